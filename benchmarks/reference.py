"""The arithmetic of a training step by two-sided ARM over a dense softmax, and its time at the very shapes.

    python -m benchmarks.reference --threads 1

How far each program is from it is a column of ``python -m benchmarks.steps``, where it takes its turns too. It is no
lower bound: other unbiased estimators need less (``arithmetic``), and with a linear decoder tables of the halves of a
code would need fewer products.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from statistics import median

import click
import torch
from rich.table import Table

from benchmarks.peers.reference import Reference, ReferenceBF16
from benchmarks.setting import keep_corpus, read_corpus
from benchmarks.steps import SETTINGS, finish, options, parse


@click.command()
@click.option("--setting", "names", multiple=True, default=SETTINGS, help="Repeatable; by default all eight.")
@options
def main(
    names: tuple[str, ...],
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
    """Print operations, bytes and measured rates of each setting."""
    if threads:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])
        torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(matmul_precision)
    with tempfile.TemporaryDirectory() as folder:
        x = read_corpus(keep_corpus(corpus, documents, vocabulary, Path(folder)))
    rows = []
    table = Table(title=f"Two-sided ARM, {torch.get_num_threads()} threads")
    columns = ("", "GFLOP", "G exp", "MB", "GFLOP/s", "bf16", "G exp/s", "GB/s", "ms a step", "bf16")
    for column in columns:
        table.add_column(column, justify="left" if column == "" else "right")
    for name in names:
        setting = parse(name)
        references = [kind(setting, x) for kind in (Reference, ReferenceBF16)]
        taken: list[list[dict[str, float]]] = [[], []]
        for _ in range(blocks + 1):
            for reference, found in zip(references, taken, strict=True):
                reference.step(x)
                found.append(dict(reference.seconds))
        # The first turn brings the operands into memory.
        parts = [{part: median(turn[part] for turn in found[1:]) for part in found[0]} for found in taken]
        work = references[0].work
        row = {
            "flops": work.flops,
            "exponentials": work.exponentials,
            "bytes": work.bytes,
            "flops_per_second": work.flops / parts[0]["products"],
            "flops_per_second_bf16": work.flops / parts[1]["products"],
            "exponentials_per_second": work.exponentials / parts[0]["exponentials"],
            "bytes_per_second": work.bytes / parts[0]["memory"],
            "seconds": sum(parts[0].values()),
            "seconds_bf16": sum(parts[1].values()),
        }
        rows.append({"setting": str(setting)} | row)
        giga = [row[key] / 1e9 for key in ("flops", "exponentials")]
        rates = [v / 1e9 for key, v in row.items() if "per_second" in key]
        times = [1e3 * row[key] for key in ("seconds", "seconds_bf16")]
        table.add_row(
            str(setting),
            *(f"{v:.3g}" for v in (*giga, row["bytes"] / 1e6)),
            *(f"{v:.3g}" for v in rates),
            *(f"{v:.1f}" for v in times),
        )
    finish({"threads": torch.get_num_threads(), "rows": rows}, [table], as_json, out)


if __name__ == "__main__":
    main()
