"""Training steps of the text model, side by side with peers.

    python -m benchmarks.steps --setting d0e1S1 --setting d2e2S10
    python -m benchmarks.steps --corpus 20news --peers ours,torch-arm --blocks 7 --json

A setting is named by hidden layers of the decoder (d), the guide (e1: linear in the counts, e2: two hidden layers over
the frequencies) and antithetic pairs (S). Batch assembly and the optimiser are inside the timing; the first steps are
not. Competitors run by turns, each in a process of its own; "time / ours" is the median over blocks of its time in
the block over ours, with the smallest and the largest: over one, ours is faster. Only such ratios mean anything on a
machine that others use; where they use much of it, the processors' own time ("CPU") is the steadier one.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from benchmarks.machine import machine, title
from benchmarks.peers import PEERS
from benchmarks.race import Entry, Result, race
from benchmarks.setting import Setting, keep_corpus

SETTINGS = ("d0e1S1", "d0e1S10", "d0e2S1", "d0e2S10", "d2e1S1", "d2e1S10", "d2e2S1", "d2e2S10")
POSITIVE, NATURAL = click.IntRange(min=1), click.IntRange(min=0)
WIDTH = 120
"""Columns of a table at the least: in fewer, numbers are cut."""


def parse(text: str, **sizes: int) -> Setting:
    """A setting by its name.

    Raises:
        click.BadParameter: If it is none.
    """
    found = re.fullmatch(r"d(\d+)e([12])S(\d+)", text)
    if found is None or found[3] == "0":
        raise click.BadParameter(f"a setting is written as d0e1S1, got {text!r}")
    return Setting(int(found[1]), 2 * (found[2] == "2"), int(found[3]), **sizes)


def options(command: Callable[..., None]) -> Callable[..., None]:
    """What every timing is asked for by."""
    for option in (
        click.option("--out", type=click.Path(path_type=Path), help="Also write the JSON document to this file."),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of tables."),
        click.option("--matmul-precision", type=click.Choice(["highest", "high", "medium"]), default="highest"),
        click.option("--threads", default=0, type=NATURAL, help="Cores of each competitor; 0 is all."),
        click.option(
            "--seconds",
            default=0.5,
            show_default=True,
            type=click.FloatRange(min=0, min_open=True),
            help="About how long a block lasts.",
        ),
        click.option("--blocks", default=5, show_default=True, type=POSITIVE, help="Turns of each competitor."),
        click.option("--documents", default=11_269, show_default=True, type=POSITIVE),
        click.option("--vocabulary", default=10_000, show_default=True, type=POSITIVE),
        click.option("--corpus", default="zipf", show_default=True, help="zipf (synthetic), or what train takes."),
    ):
        command = option(command)
    return command


def table_of(title: str, results: list[Result], base: Result | None) -> Table:
    """The competitors of one setting; ratios to ``base``."""
    table = Table(title=title)
    for column in (
        "",
        "steps/s",
        "documents/s",
        "time / ours",
        "(range)",
        "CPU ms",
        "CPU / ours",
        "peak memory",
        "its own",
    ):
        table.add_column(column, justify="left" if column == "" else "right")
    for result in results:
        if result.skipped:
            continue
        ratio = result.ratio(base) if base and not base.skipped else None
        spread = (f"{ratio[0]:.2f}", f"{ratio[1]:.2f}-{ratio[2]:.2f}") if ratio else ("", "")
        busy = (f"{1e3 * result.busy_median:.1f}", f"{result.busy_ratio(base)[0]:.2f}" if ratio and base else "")
        rate = 1 / result.median
        memory = (f"{result.peak / 1e9:.2f} GB", f"{(result.peak - result.start) / 1e9:.2f} GB")
        documents = f"{rate * result.batch:.0f}"
        table.add_row(result.entry.name, f"{rate:.4g}", documents, *spread, *busy, *memory)
    return table


def finish(document: dict[str, Any], tables: list[Table], as_json: bool, out: Path | None) -> None:
    """Prints what was found, and keeps it."""
    text = json.dumps(document, indent=2)
    if out is not None:
        out.write_text(text + "\n")
    if as_json:
        click.echo(text)
    else:
        show(*tables)


def show(*tables: Table) -> None:
    """Prints tables, all numbers whole."""
    console = Console()
    console.width = max(WIDTH, console.width)
    for table in tables:
        console.print(table)


@click.command()
@click.option("--setting", "names", multiple=True, default=SETTINGS, help="Repeatable; by default all eight.")
@click.option("--peers", default=",".join(PEERS), show_default=True)
@click.option("--bits", default=32, show_default=True)
@click.option("--width", default=512, show_default=True, type=POSITIVE, help="Units of hidden layers.")
@click.option("--batch", default=256, show_default=True, type=POSITIVE)
@options
def main(
    names: tuple[str, ...],
    peers: str,
    bits: int,
    width: int,
    batch: int,
    corpus: str,
    vocabulary: int,
    documents: int,
    blocks: int,
    seconds: float,
    threads: int,
    matmul_precision: str,
    as_json: bool,
    out: Path | None,
) -> None:
    """Time training steps of every peer."""
    unknown = set(peers.split(",")) - set(PEERS)
    if unknown:
        raise click.BadParameter(f"unknown peers {', '.join(sorted(unknown))}; choose from {', '.join(PEERS)}")
    settings = [parse(name, bits=bits, width=width, batch=batch) for name in names]
    rows: list[dict[str, Any]] = []
    tables = []
    document = {"corpus": corpus, "threads": threads, "machine": machine(), "rows": rows}
    with tempfile.TemporaryDirectory() as folder:
        path = keep_corpus(corpus, documents, vocabulary, Path(folder))
        for setting in settings:
            entries = [Entry(peer, peer, setting, path) for peer in peers.split(",")]
            results = race(entries, blocks=blocks, seconds=seconds, threads=threads, precision=matmul_precision)
            base = next((r for r in results if r.entry.peer.startswith("ours") and not r.skipped), None)
            for result in results:
                if result.skipped:
                    print(f"note: {setting}: {result.entry.name} left out: {result.skipped}", file=sys.stderr)
                row = result.to_json() | {"setting": str(setting)}
                if base and not result.skipped:
                    row["time_over_ours"] = dict(zip(("median", "low", "high"), result.ratio(base), strict=True))
                    row["cpu_over_ours"] = result.busy_ratio(base)[0]
                rows.append(row)
            tables.append(table_of(f"{setting}: {corpus}, {bits} bits, batch of {batch}; {title()}", results, base))
            if not as_json:  # a long run that is interrupted leaves what it has
                finish(document, tables[-1:], False, out)
    finish(document, [], as_json, out)


if __name__ == "__main__":
    main()
