"""Prints and stores how often statements about evidence are true: ``python -m benchmarks.coverage --runs 200``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from benchmarks.coverage.oracles import ORACLES
from benchmarks.coverage.table import markdown, replicate


@click.command()
@click.option("--runs", default=200, show_default=True, help="Replications per row, each on new data.")
@click.option("--data", default=50, show_default=True, help="Data per replication.")
@click.option("--draws", default="20,200", show_default=True, help="Samples per datum of importance sampling.")
@click.option("--annealing/--no-annealing", default=False, help="Also anneal, from the guide.")
@click.option("--out", type=click.Path(path_type=Path), help="File for the rows, as JSON.")
def main(runs: int, data: int, draws: str, annealing: bool, out: Path | None) -> None:
    """Counts how often limits, brackets and warnings of the evidence are right."""
    rows = []
    for kind in ORACLES:
        for guide in kind.guides:
            settings = [("importance", int(count), {}) for count in draws.split(",")]
            if annealing:
                settings.append(("annealing", 4, {"temperatures": 50}))
            for method, count, options in settings:
                rows.append(replicate(kind, guide, method, count, runs, data, **options))
                print(markdown(rows[-1:]).splitlines()[-1], flush=True)
                if out:
                    out.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    print(markdown(rows))


if __name__ == "__main__":
    main()
