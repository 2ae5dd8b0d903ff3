"""Does a long training slow down or grow?

    python -m benchmarks.endurance --steps 50000

One training in so many blocks: the processor's time of a step, the memory held, and the share of Adam's moments that
are denormal numbers. Units that no document reaches any more drive them there within some hundred steps, and on a
processor that does not flush them arithmetic is tens of times slower; ``--keep-denormals`` shows what that costs.
"""

from __future__ import annotations

import gc
import json
import os
import tempfile
import time
from itertools import islice, repeat
from pathlib import Path
from typing import Any

import click
import torch
from rich.table import Table

from benchmarks.peers.ours import Ours
from benchmarks.setting import keep_corpus, read_corpus
from benchmarks.steps import POSITIVE, parse, show


@click.command()
@click.option("--setting", default="d1e2S1", show_default=True, help="As of benchmarks.steps.")
@click.option("--steps", default=50_000, show_default=True, type=POSITIVE)
@click.option("--blocks", default=10, show_default=True, type=POSITIVE)
@click.option("--corpus", default="zipf", show_default=True, help="zipf (synthetic), or what train takes.")
@click.option("--documents", default=11_269, show_default=True, type=POSITIVE)
@click.option("--vocabulary", default=2_000, show_default=True, type=POSITIVE)
@click.option("--bits", default=32, show_default=True, type=POSITIVE)
@click.option("--width", default=128, show_default=True, type=POSITIVE, help="Units of hidden layers.")
@click.option("--batch", default=64, show_default=True, type=POSITIVE)
@click.option("--keep-denormals", is_flag=True, help="As a program that does not flush them.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of a table.")
def main(
    setting: str,
    steps: int,
    blocks: int,
    corpus: str,
    documents: int,
    vocabulary: int,
    bits: int,
    width: int,
    batch: int,
    keep_denormals: bool,
    as_json: bool,
) -> None:
    """Take many steps, and print how each block of them went."""
    if steps < blocks:
        raise click.BadParameter(f"{steps} steps are fewer than the {blocks} blocks they are counted in; take more")
    torch.set_flush_denormal(not keep_denormals)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        x = read_corpus(keep_corpus(corpus, documents, vocabulary, Path(folder)))
    peer = Ours(parse(setting, bits=bits, width=width, batch=batch), x)
    rows = []
    for block in range(blocks):
        start, size = time.process_time(), steps // blocks
        for part in islice((p for _ in repeat(None) for p in torch.randperm(len(x)).split(batch)), size):
            peer.step(x[part])
        rows.append(
            {
                "steps": (block + 1) * size,
                "cpu_ms": 1e3 * (time.process_time() - start) / size,
                "resident_mb": resident() / 1e6,
                "denormal": denormal(peer),
            }
        )
    table = Table(title=f"{parse(setting)}, {vocabulary} words, denormals {'kept' if keep_denormals else 'flushed'}")
    for column in ("steps", "CPU ms a step", "memory, MB", "denormal moments"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(
            f"{row['steps']}", f"{row['cpu_ms']:.2f}", f"{row['resident_mb']:.0f}", f"{100 * row['denormal']:.2f}%"
        )
    if as_json:
        click.echo(json.dumps({"rows": rows}, indent=2))
    else:
        show(table)


def resident() -> int:
    """Bytes of this process in memory, garbage collected before."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def denormal(peer: Ours) -> float:
    """Share of Adam's moments that are denormal: asked bit by bit, as arithmetic would flush them."""
    state: list[Any] = [m for s in peer.trainer.optimizer.state.values() for n, m in s.items() if n != "step"]
    bits = torch.cat([moment.flatten().view(torch.int32) for moment in state])
    exponent, mantissa = bits & 0x7F800000, bits & 0x007FFFFF
    return ((exponent == 0) & (mantissa != 0)).double().mean().item()


if __name__ == "__main__":
    main()
