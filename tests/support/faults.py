"""Samples of the benchmarks that harm commands, in a process that tests do not share."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.disk import disk
from benchmarks.kills import kills
from tests.support.cli import forkserver


def harmed(trained: Path) -> dict[str, Any]:
    """A row of each benchmark on a trained run, written and read in the working folder."""
    process = forkserver().Process(target=_write, args=(trained,))
    process.start()
    process.join(120)
    rows: dict[str, Any] = json.loads(Path("harmed.json").read_text())
    return rows


def _write(trained: Path) -> None:
    rows = {"kills": next(kills(1, 0, ["evidence"], trained)), "disk": next(disk(1, ["evidence"], trained))}
    Path("harmed.json").write_text(json.dumps({name: asdict(row) for name, row in rows.items()}))
