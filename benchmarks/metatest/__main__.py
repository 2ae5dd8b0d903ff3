"""Measures thousands of random programs: ``python -m benchmarks.metatest --programs 2000 --out metatest.json``."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from benchmarks.metatest.comparison import Comparison
from benchmarks.metatest.description import descriptions, for_each


@click.command()
@click.option("--programs", default=2000, show_default=True, help="Number of random programs.")
@click.option("--annealed", default=10, show_default=True, help="Anneal every so many programs; 0 for never.")
@click.option("--out", type=click.Path(path_type=Path), help="File for counts and worst values, as JSON.")
def main(programs: int, annealed: int, out: Path | None) -> None:
    """Measures random programs by every method, and by an interpreter in NumPy."""
    comparison, start = Comparison(annealed), time.perf_counter()
    for_each(descriptions(), programs, comparison.add)
    summary = comparison.summary() | {"seconds": round(time.perf_counter() - start)}
    print(json.dumps(summary, indent=1))
    if out:
        out.write_text(json.dumps(summary, indent=1))


if __name__ == "__main__":
    main()
