"""Tests all gradient estimators for bias: ``python -m benchmarks.gradients --models 1000 --out gradients.json``."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from benchmarks.gradients.table import markdown, run


@click.command()
@click.option("--models", default=1000, show_default=True, help="Random models per estimator.")
@click.option("--copies", default=300, show_default=True, help="Gradient estimates per model.")
@click.option("--out", type=click.Path(path_type=Path), help="File for the table, as JSON.")
def main(models: int, copies: int, out: Path | None) -> None:
    """Compares mean gradients of random models with sums over all states."""
    start = time.process_time()
    rows = [scores.summary() for scores in run(models, copies)]
    print(markdown(rows))
    seconds = round(time.process_time() - start)
    print(f"{seconds} s of processor time")
    if out:
        out.write_text(json.dumps({"models": models, "copies": copies, "seconds": seconds, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
