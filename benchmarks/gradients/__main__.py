"""Tests all gradient estimators for bias: ``python -m benchmarks.gradients --out FILE.json``."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from benchmarks.gradients.table import Scores, markdown, run
from benchmarks.stored import commit


@click.command()
@click.option("--models", default=1000, show_default=True, help="Random models per estimator.")
@click.option("--copies", default=300, show_default=True, help="Gradient estimates per model.")
@click.option("--seconds", default=900.0, show_default=True, help="Processor time after which it ends in any case.")
@click.option(
    "--estimators", default="", help="Those to test, with spaces, whose rows go into the table; all by default."
)
@click.option("--out", type=click.Path(path_type=Path), help="File for the table, as JSON.")
def main(models: int, copies: int, seconds: float, estimators: str, out: Path | None) -> None:
    """Compares mean gradients of random models with sums over all states."""
    start, names = time.process_time(), estimators.split()
    before = json.loads(out.read_text()) if out and out.exists() and names else {}

    def store(found: list[Scores]) -> list[dict[str, Any]]:
        rows = [scores.summary() for scores in found]
        if out:
            used = round(time.process_time() - start)
            size = {"models": models, "copies": copies, "seconds": used}
            content = {"commit": commit(), **size, "rows": rows}
            if before:
                new = {row["estimator"]: row | {"commit": commit(), "copies": copies, "seconds": used} for row in rows}
                every = {row["estimator"]: row for row in before["rows"]} | new
                content = before | {"rows": [every[name] for name in sorted(every)]}
            out.write_text(json.dumps(content, indent=1) + "\n")
        return rows

    def after(seed: int, found: list[Scores]) -> bool:
        if seed % 50 == 49:
            store(found)
        return time.process_time() - start > seconds

    print(markdown(store(run(models, copies, after, names))))


if __name__ == "__main__":
    main()
