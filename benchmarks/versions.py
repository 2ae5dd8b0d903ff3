"""The tests under the oldest and the newest versions of every dependency: ``python -m benchmarks.versions``.

Makes an environment of the lower bounds of ``setup.cfg`` and one of the newest releases, without extras and with one
after another, runs the tests that reach them, and stores what passed.
"""

from __future__ import annotations

import argparse
import configparser
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.stored import keep

ROOT = Path(__file__).parents[1]

CORE = (
    "tests/data",
    "tests/distributions",
    "tests/nn",
    "tests/plugins",
    "tests/training",
    "tests/runs/test_config.py",
    "tests/runs/test_tensor_runs.py",
    "tests/runs/test_export_arviz.py",
    "tests/cli/test_train.py",
    "tests/evidence/test_importance.py",
)
"""Tests that reach every dependency."""

OF_EXTRAS = {
    "search": ("tests/cli/test_search.py", "tests/diagnostics/retrieval"),
    "fid": ("tests/diagnostics/images",),
    "parquet": ("tests/data/readers", "tests/cli/test_columns.py"),
}
"""Tests that an extra adds."""

UNPINNED = ("build", "mypy", "pytest-xdist", "ruff")
"""Tools of which any version serves."""


def requirements() -> tuple[list[str], dict[str, list[str]]]:
    """What ``setup.cfg`` requires, and what its extras add."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    extras = {name: text.split() for name, text in config["options.extras_require"].items()}
    return config["options"]["install_requires"].split(), extras


def oldest(requirement: str, instead: dict[str, str]) -> str:
    """The lower bound itself, or what stands for it where it cannot be installed here."""
    name, _, version = requirement.partition(">=")
    version = instead.get(name, version)
    return f"{name}=={version}" + (".*" if version.count(".") < 2 and name not in instead else "") if version else name


def install(python: Path, packages: list[str]) -> str:
    """Installs packages; returns the end of the error, empty if there is none."""
    command = [str(python), "-m", "pip", "install", "--quiet", *packages]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    return "" if done.returncode == 0 else (errors or done.stderr.splitlines() or ["failed"])[-1]


def test(python: Path, paths: tuple[str, ...]) -> dict[str, Any]:
    """The numbers of tests that passed, failed and were skipped, and the names of those that failed."""
    command = [str(python), "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "-rfE", *paths]
    begun = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    last = (done.stdout.splitlines() or [""])[-1]
    counts = {what: int(number) for number, what in re.findall(r"(\d+) (passed|failed|skipped|error)", last)}
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    wrong = counts.get("failed", 0) + counts.get("error", 0)
    return {
        "passed": counts.get("passed", 0),
        "failed": wrong or int(done.returncode not in (0, 1)),
        "skipped": counts.get("skipped", 0),
        "failures": failed[:20] or ([last] if done.returncode else []),
        "seconds": round(time.monotonic() - begun),
    }


def versions(python: Path, names: list[str]) -> dict[str, str]:
    """The versions that are installed."""
    code = f"import importlib.metadata as m, json; print(json.dumps({{n: m.version(n) for n in {names!r}}}))"
    found: dict[str, str] = json.loads(subprocess.check_output([str(python), "-c", code], text=True))
    return found


def main() -> None:
    """Prints a row for each environment, and stores them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instead", default="", help="oldest versions that install here, as NAME==VERSION,...")
    parser.add_argument("--only", default="oldest,newest", help="environments to make")
    parser.add_argument("--folder", type=Path, help="where the environments are made and kept; else they are not")
    parser.add_argument("--tests", nargs="*", default=CORE, help="tests to run without extras")
    options = parser.parse_args()
    required, extras = requirements()
    instead = dict(each.split("==") for each in options.instead.split(",") if each)
    rows: list[dict[str, Any]] = []
    for environment in options.only.split(","):
        pin = (lambda each: oldest(each, instead)) if environment == "oldest" else (lambda each: each)
        tools = [each if each in UNPINNED else pin(each) for each in extras["test"]]
        with tempfile.TemporaryDirectory(prefix="versions-") as scratch:
            folder = (options.folder or Path(scratch)) / environment
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
            python = folder / "bin" / "python"
            names = [re.split(r"[>=]", each)[0] for each in required]
            for extra, added in {
                "": [*map(pin, required), *tools],
                **{n: [*map(pin, extras[n])] for n in OF_EXTRAS},
            }.items():
                error = install(python, added)
                row: dict[str, Any] = {"environment": environment, "extra": extra or "none", "error": error}
                if not error:
                    row |= test(python, OF_EXTRAS.get(extra, tuple(options.tests)))
                    also = [re.split(r"[>=]", each)[0] for each in extras[extra]] if extra else names
                    row["versions"] = versions(python, also)
                rows.append(row)
                print(json.dumps(row), flush=True)
    keep("versions", rows)


if __name__ == "__main__":
    main()
