"""How a training step grows: time and peak memory against each size, one at a time, and the fitted exponent.

    python -m benchmarks.growth --threads 1
    python -m benchmarks.growth --size vocabulary --peer ours-arm

Everything else stays as it is by default. An exponent is the slope of the logarithms by least squares, of the
processors' time and of memory: 0 is "does not grow", 1 "in proportion". Hidden layers are fitted as one more than
their number. Sizes of a row run by turns, each in a process of its own; memory is what the process holds beyond
packages and the corpus itself.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.table import Table

from benchmarks.peers import PEERS
from benchmarks.race import Entry, Result, race
from benchmarks.setting import Setting, keep_corpus
from benchmarks.steps import finish, options

SIZES = {
    "documents": (1.0, 3.0, 10.0),
    "vocabulary": (1.0, 3.0, 10.0),
    "bits": (8.0, 16.0, 32.0, 64.0, 128.0),
    "draws": (1.0, 3.0, 10.0, 30.0, 100.0),
    "hidden": (0.0, 1.0, 2.0, 4.0),
}
"""Values of each size; of documents and vocabulary, multiples."""


def exponent(sizes: list[float], values: list[float]) -> float:
    """Slope of log value against log size."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def entries_of(size: str, most: float, peer: str, base: Setting, corpus: str, counts: dict[str, int], folder: Path):
    """The competitors of one row: the same step at every value of a size."""
    for value in (v for v in SIZES[size] if v <= most):
        own, setting = dict(counts), base
        if size in own:
            own[size] = int(value * own[size])
        else:
            setting = replace(base, **{size: int(value)})
        yield value, Entry(f"{size} {value:g}", peer, setting, keep_corpus(corpus, *own.values(), folder))


@click.command()
@click.option("--size", "sizes", multiple=True, default=tuple(SIZES), type=click.Choice(list(SIZES)))
@click.option("--peer", default="ours", show_default=True, type=click.Choice(list(PEERS)))
@click.option("--most", default=128.0, show_default=True, help="Leave larger values out.")
@options
def main(
    sizes: tuple[str, ...],
    peer: str,
    most: float,
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
    """Time steps at growing sizes."""
    if corpus != "zipf" and {"documents", "vocabulary"} & set(sizes):
        raise click.BadParameter("only the synthetic corpus can grow; name other sizes with --size, or use zipf")
    rows: list[dict[str, Any]] = []
    table = Table(title=f"{peer}: a step as sizes grow")
    for column in ("size", "value", "ms a step", "CPU ms", "memory", "exponents"):
        table.add_column(column, justify="left" if column == "size" else "right")
    with tempfile.TemporaryDirectory() as folder:
        counts = {"documents": documents, "vocabulary": vocabulary}
        for size in sizes:
            pairs = list(entries_of(size, most, peer, Setting(), corpus, counts, Path(folder)))
            found = race(
                [entry for _, entry in pairs],
                blocks=blocks,
                seconds=seconds,
                threads=threads,
                precision=matmul_precision,
            )
            kept: list[tuple[float, Result]] = []
            for (value, _), result in zip(pairs, found, strict=True):
                if result.skipped:
                    print(f"note: {result.entry.name} left out: {result.skipped}", file=sys.stderr)
                else:
                    kept.append((value, result))
            scale = [value + (size == "hidden") for value, _ in kept]
            memory = [max(1, result.peak - result.start) for _, result in kept]
            slopes = {"time": float("nan"), "memory": float("nan")}
            if len(kept) > 1:
                slopes = {"time": exponent(scale, [r.busy_median for _, r in kept]), "memory": exponent(scale, memory)}
            for at, ((value, result), held) in enumerate(zip(kept, memory, strict=True)):
                rows.append({"size": size, "value": value} | result.to_json())
                words = f"time {slopes['time']:.2f}, memory {slopes['memory']:.2f}" if at == len(kept) - 1 else ""
                table.add_row(
                    size,
                    f"{value:g}",
                    f"{1e3 * result.median:.1f}",
                    f"{1e3 * result.busy_median:.1f}",
                    f"{held / 1e9:.2f} GB",
                    words,
                )
            table.add_section()
            rows.append({"size": size, "exponents": slopes if len(kept) > 1 else None})
    finish({"peer": peer, "threads": threads, "rows": rows}, [table], as_json, out)


if __name__ == "__main__":
    main()
