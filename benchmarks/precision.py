"""What bf16 inside matrix products costs in accuracy, and what it buys in time.

    python -m benchmarks.precision --setting d1e2S1 --threads 1

The gradient of one batch by the same draws in either precision: how far the two lie apart, over the norm of the first,
for decoder and guide, beside the noise of one draw; the time of a step, by turns; and how far apart two trainings from
the same start end, evaluated in float32, beside how far apart two seeds do. Whether it pays depends on the processor:
those with AMX, and GPUs, have units for it.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import click
import torch
from rich.table import Table
from torch import Tensor

from benchmarks.peers.ours import Ours
from benchmarks.setting import keep_corpus, read_corpus
from benchmarks.steps import POSITIVE, finish, options, parse
from ppl_vae.data.counts import PackedCounts
from ppl_vae.nn.modes import matmul_precision

MODES = {"float32": "highest", "bf16": "medium"}


def gradient(peer: Ours, x: PackedCounts, mode: str, seed: int) -> list[Tensor]:
    """Decoder's and guide's, of given draws in a given precision."""
    torch.manual_seed(seed)
    with matmul_precision(MODES[mode]):
        found = peer.gradient(x)
    size = sum(p.numel() for p in peer.trainer.model.parameters())
    return [found[:size], found[size:]]


def ended(peer: Ours, x: PackedCounts, held: PackedCounts, mode: str, steps: int, seed: int) -> float:
    """The bound on held-out documents after so many steps, in nats a document, in float32."""
    torch.manual_seed(seed)
    size = peer.setting.batch
    with matmul_precision(MODES[mode]):
        for _ in range(steps):
            peer.step(x[torch.randperm(len(x))[:size]])
    trainer = peer.trainer
    torch.manual_seed(0)
    return trainer.objective.validate(trainer.model, trainer.guide, held)["elbo"]


@click.command()
@click.option("--setting", "names", multiple=True, default=("d0e1S1", "d1e2S1"), show_default=True)
@click.option("--steps", default=400, show_default=True, type=POSITIVE, help="Of the trainings that are compared.")
@click.option("--width", default=512, show_default=True, type=POSITIVE, help="Units of hidden layers.")
@options
def main(
    names: tuple[str, ...],
    steps: int,
    width: int,
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
    """Compare float32 with bf16 inside matrix products."""
    torch.set_flush_denormal(True)
    torch.set_num_threads(threads or torch.get_num_threads())
    with tempfile.TemporaryDirectory() as folder:
        x = read_corpus(keep_corpus(corpus, documents, vocabulary, Path(folder)))
    held, x = x[: len(x) // 10], x[len(x) // 10 :]
    rows: list[dict[str, Any]] = []
    table = Table(title="bf16 inside matrix products against float32")
    for column in (
        "",
        "decoder",
        "(a draw's noise)",
        "guide",
        "(a draw's noise)",
        "time",
        "bound, nats",
        "(two seeds)",
    ):
        table.add_column(column, justify="left" if column == "" else "right")
    for name in names:
        setting = parse(name, width=width)

        def fresh(seed: int = 0, setting: Any = setting) -> Ours:
            torch.manual_seed(seed)
            return Ours(setting, x)

        peer, batch = fresh(), x[: setting.batch]
        ended(peer, x, held, "float32", steps // 4, 0)  # not at the very start
        draws = (("float32", 1), ("bf16", 1), ("float32", 2))
        full, half, other = (gradient(peer, batch, mode, seed) for mode, seed in draws)
        apart = [((h - f).norm() / f.norm()).item() for f, h in zip(full, half, strict=True)]
        noise = [((o - f).norm() / f.norm() / 2**0.5).item() for f, o in zip(full, other, strict=True)]
        turns = [[timed(peer, x, mode, seconds) for mode in MODES] for _ in range(blocks)]
        ratio = median(half / whole for whole, half in turns)
        ends = [ended(fresh(s), x, held, mode, steps, s) for mode, s in (("float32", 0), ("bf16", 0), ("float32", 1))]
        rows.append(
            {
                "setting": name,
                "error": dict(zip(("decoder", "guide"), apart, strict=True)),
                "noise": dict(zip(("decoder", "guide"), noise, strict=True)),
                "time_over_float32": ratio,
                "bound": ends[0],
                "bf16_minus_float32": ends[1] - ends[0],
                "seed_minus_seed": ends[2] - ends[0],
            }
        )
        table.add_row(
            str(setting),
            *(f"{v:.1e}" for pair in zip(apart, noise, strict=True) for v in pair),
            f"{ratio:.2f}",
            f"{ends[1] - ends[0]:+.3f}",
            f"{ends[2] - ends[0]:+.3f}",
        )
    finish({"corpus": corpus, "steps": steps, "rows": rows}, [table], as_json, out)


def timed(peer: Ours, x: PackedCounts, mode: str, seconds: float) -> float:
    """Processor's time of a step."""
    start, count = time.process_time(), 0
    with matmul_precision(MODES[mode]):
        while time.process_time() - start < seconds:
            peer.step(x[torch.randperm(len(x))[: peer.setting.batch]])
            count += 1
    return (time.process_time() - start) / count


if __name__ == "__main__":
    main()
