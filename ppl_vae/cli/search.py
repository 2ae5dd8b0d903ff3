"""The commands that use the codes of trained runs: ``ppl-vae codes``, ``search``, ``retrieval``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ppl_vae.cli.measure import measuring
from ppl_vae.cli.output import Printed, with_json

__all__ = ["codes", "retrieval", "search"]

RUN = click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))


@click.command
@RUN
@click.option(
    "--split",
    default="all",
    show_default=True,
    type=click.Choice(["all", "train", "validation", "test"]),
)
@click.option("--out", type=click.Path(path_type=Path), help="Path of the file.  [default: RUN/codes.npz]")
@click.option(
    "--how",
    default="mean-sign",
    show_default=True,
    type=click.Choice(["mean-sign", "median", "sampled"]),
    help="Take each bit's more probable value, its side of the training median, or a draw.",
)
@with_json
def codes(folder: Path, split: str, out: Path | None, how: Any) -> Printed:
    """Write the binary codes of a run's data.

    Codes are packed, eight bits per byte, for NumPy, faiss, or a database.
    The file holds SPLIT_codes, and SPLIT_labels, SPLIT_titles and label_names where the corpus has them.
    """
    from ppl_vae.runs.search import write_codes

    return write_codes(folder, split, out, how)


@click.command
@RUN
@click.argument("query", nargs=-1, required=True)
@click.option("--count", default=10, show_default=True, type=click.IntRange(min=1), help="Number of documents to show.")
@with_json
def search(folder: Path, query: tuple[str, ...], count: int) -> Printed:
    """Find the documents whose codes are nearest to a query's.

    The words of the query are counted as those of the corpus, and the guide encodes them like any document. The table
    shows the Hamming distance of each document's code, and the cosine of weighted words, by which ties are ordered. A
    document need not share a word with the query. For many documents, pip install 'ppl-vae[search]' is faster.
    """
    from ppl_vae.runs.search import search as search_run

    return search_run(folder, " ".join(query), count)


@measuring
@click.option(
    "--k",
    default=100,
    show_default=True,
    type=click.IntRange(min=1),
    help="Number of documents that each query retrieves.",
)
def retrieval(folder: Path, split: str, count: int, k: int) -> Printed:
    """Measure how well codes retrieve documents of one class.

    Queries are the documents of the split; the database holds the training documents (and the validation documents,
    if the queries are test documents). Documents are ranked by Hamming distance, and the precision is the expectation
    over random orders of ties. Baselines are the cosine of words weighted by rarity, and chance.

    Writes retrieval-SPLIT.json, the precision of each query, and a figure with precision against recall into the run.
    """
    from ppl_vae.runs.search import measure_retrieval

    return measure_retrieval(folder, split, k, count)
