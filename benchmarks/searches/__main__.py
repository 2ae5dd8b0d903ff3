"""How often the searches miss the best member: ``python -m benchmarks.searches --models 100 --out searches.json``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click
import torch

from benchmarks.searches.table import judge, markdown


@click.command()
@click.option("--models", default=100, show_default=True, help="Random models of each kind, eight data each.")
@click.option("--ascents", default=25, show_default=True, help="Of these also searched by gradient ascent.")
@click.option("--out", type=click.Path(path_type=Path), help="File for the table, as JSON.")
def main(models: int, ascents: int, out: Path | None) -> None:
    """Counts the data whose best member a search misses, over random models of bits and of a normal."""
    torch.set_default_dtype(torch.float64)
    rows = judge(models, ascents)
    print(markdown(rows))
    if out:
        out.write_text(json.dumps([asdict(row) for row in rows], indent=1))


if __name__ == "__main__":
    main()
