"""What is prepared for a GPU runs on the CPU, in sizes of no account."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import gpu

ROOT = Path(__file__).parents[2]
NUMBERS = {
    "capture": ("plain_ms", "captured_ms"),
    "steps": ("plain_ms", "documents_per_second"),
    "evidence": ("seconds", "data_per_second"),
    "epoch": ("seconds", "images_per_second"),
}


@pytest.mark.parametrize("part", gpu.PARTS)
def test_each_part_writes_its_rows(part, tmp_path):
    out = tmp_path / "rows.json"
    CliRunner().invoke(gpu.main, [part, "--device", "cpu", "--small", "--out", str(out)], catch_exceptions=False)
    found = json.loads(out.read_text())
    assert found["device"] == "cpu" and found["machine"]["cores"] >= 1
    failed = [row for row in found["rows"] if "failed" in row]
    assert len(failed) == (part == "capture")  # convolutions of points of the plane
    assert all("Convolutional reads images" in row["failed"] for row in failed)
    rows = [row for row in found["rows"] if row not in failed]
    assert rows and all(row[name] > 0 for row in rows for name in NUMBERS[part])


def test_a_part_that_fails_does_not_stop_the_script(tmp_path):
    stub = tmp_path / "python"
    stub.write_text('#!/bin/bash\necho "$@"\n[ "$3" != evidence ] || exit 3\n')
    stub.chmod(0o755)
    command = ["bash", str(ROOT / "benchmarks" / "gpu.sh"), str(tmp_path / "out"), "--small"]
    environment = {**os.environ, "PYTHON": str(stub)}
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60)
    parts = json.loads((tmp_path / "out" / "parts.json").read_text())
    assert {name: part["status"] for name, part in parts.items()} == {
        **dict.fromkeys(("tests", "steps", "capture", "epoch", "table2"), 0),
        "evidence": 3,
    }
    assert sum(part["limit"] for part in parts.values()) <= 9 * 60
    commands = {name: (tmp_path / "out" / f"{name}.log").read_text() for name in parts}
    assert all(f"benchmarks.gpu {name} --device cpu --small" in commands[name] for name in gpu.PARTS)
    assert "--preset smoke" in commands["table2"]
