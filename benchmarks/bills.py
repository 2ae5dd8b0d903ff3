"""Bills of presets beside what they took: ``python -m benchmarks.bills toy_channel ppca --keep``.

Each preset is told by ``--dry-run`` and then computed, in processes of their own; both are times of processors, which
depend on what else the machine does by its caches alone.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from benchmarks.stored import keep

__all__ = ["compare"]

PRESETS = ("toy_channel", "ppca", "gmm", "rate_distortion_gmm", "rate_distortion_text")


def compare(name: str, preset: str, folder: Path) -> dict[str, Any]:
    """The bill of a preset and what it took, in seconds, and their ratio."""
    out = folder / name
    command = [
        sys.executable,
        "-m",
        "ppl_vae",
        "experiment",
        name,
        "--preset",
        preset,
        "--device",
        "cpu",
        "--out",
        str(out),
    ]
    for options in (["--dry-run"], []):
        subprocess.run([*command, *options], check=True, stdout=subprocess.DEVNULL)
    bill, took = json.loads((out / "bill.json").read_text()), json.loads((out / "took.json").read_text())["seconds"]
    row = {"experiment": name, "preset": preset, "cells": len(took["cells"])}
    row |= {"told_from": bill["seconds"]["measured"], "billed": took["billed"], "took": took["took"]}
    return row | {"billed_over_took": took["billed"] / took["took"], "notes": bill["notes"]}


def main() -> None:
    """Runs all, prints a row each, and stores them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=PRESETS, help="experiments, or files of sweeps")
    parser.add_argument("--preset", default="smoke")
    parser.add_argument("--keep", action="store_true", help="store the result")
    asked = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in asked.names:
            rows.append(compare(name, asked.preset, Path(folder)))
            print(json.dumps(rows[-1]), flush=True)
    if asked.keep:
        keep("bills", [*rows, {"machine": machine()}])


if __name__ == "__main__":
    main()
