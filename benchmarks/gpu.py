"""What a GPU does: parts of ``benchmarks/gpu.sh``, each a command that writes its rows to a file as it finds them.

    python -m benchmarks.gpu capture --device cuda --out capture.json

A row that fails holds the error instead of numbers, and the next is measured. ``--small`` takes sizes of no account, to
see that all of it runs, on the CPU too, where nothing is captured.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pyro
import torch

import ppl_vae as pv
from benchmarks.machine import machine
from benchmarks.setting import Setting, zipf
from benchmarks.steps import SETTINGS, parse
from benchmarks.workloads import Size
from ppl_vae.data.inputs import Batch
from ppl_vae.nn.modes import matmul_precision
from ppl_vae.objectives.elbo import DiscreteELBO
from ppl_vae.plugins.discovery import available
from ppl_vae.runs.options import run_config
from ppl_vae.runs.pair import Pair, make_objective
from ppl_vae.training.run_folder import RunFolder
from ppl_vae.training.settings import Settings
from ppl_vae.training.trainer import Trainer

IMAGES = ("image", "image_binary")
"""Models whose corpora would be downloaded; they get synthetic images."""

Row = dict[str, Any]
Measured = tuple[Row, Callable[[], Row]]
"""What a row is of, and how its numbers are measured."""


def wait(device: str) -> float:
    """The clock, once the device has done all that it was given."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def trainer_of(model: torch.nn.Module, guide: torch.nn.Module, objective: Any, settings: Settings) -> Trainer:
    """A trainer whose run folder is never written to."""
    trainer = Trainer(model, guide, objective, RunFolder(Path(tempfile.gettempdir())), settings)
    trainer.begin(1)
    return trainer


def seconds(trainer: Trainer, x: Batch, device: str, steps: int) -> float:
    """Of a step, after those that capture, compare and allocate."""
    size = trainer.settings.batch_size
    batches = [x[start : start + size] for start in range(0, max(1, len(x) - size + 1), size)]
    for step in range(6):
        trainer.step(batches[step % 2 % len(batches)])
    begun = wait(device)
    for step in range(steps):
        trainer.step(batches[step % 2 % len(batches)])
    return (wait(device) - begun) / steps


def captured(trainer: Trainer) -> bool | str:
    """Whether steps are replayed, or why that was given up."""
    graphed = trainer._steps._graphed
    return graphed is not None and (graphed.given_up or any(shape.checked for shape in graphed.shapes.values()))


def both(make: Callable[[bool], Trainer], x: Batch, device: str, steps: int) -> Row:
    """Steps one operation at a time and captured, from the same start."""
    row: Row = {}
    for capture in (False, True):
        trainer = make(capture)
        name = "captured" if capture else "plain"
        row[f"{name}_ms"] = 1e3 * seconds(trainer, x, device, steps)
        row["is_captured"] = captured(trainer)
    return row | {"plain_over_captured": row["plain_ms"] / row["captured_ms"]}


def pairs(device: str, small: bool) -> Iterator[Measured]:
    """Every shipped pair that fits its model's data."""
    docs = zipf(60 if small else 600, 50 if small else 10_000)
    images = Size(data=60 if small else 600, side=8 if small else 28).read(Path())
    models = ("gmm", "image_binary") if small else tuple(available("models", own=False))
    guides = ("mean_field", "convolutional") if small else tuple(available("guides", own=False))
    for model in models:
        for guide in guides:

            def measured(model: str = model, guide: str = guide) -> Row:
                config = run_config(model, guide, device=device, epochs=1)
                if model in IMAGES:
                    x: Batch = images.round() if model == "image_binary" else images
                elif config.corpus.name == "docstrings":
                    x = docs
                else:
                    x = config.load_corpus().train.values[: len(images)]
                x = x.to(torch.device(device))

                def make(capture: bool) -> Trainer:
                    pair = Pair.from_config(config, x)
                    objective, _, settings = make_objective(config, pair, config.settings, x[:20])
                    return trainer_of(pair.model, pair.guide, objective, replace(settings, capture=capture))

                return both(make, x, device, 2 if small else 20)

            yield {"model": model, "guide": guide}, measured


def texts(device: str, small: bool) -> Iterator[Measured]:
    """All settings of the text step, in both precisions."""
    sizes = {"bits": 3, "width": 8, "batch": 16} if small else {}
    x = zipf(*((60, 50) if small else (11_269, 10_000))).to(device)
    for name in SETTINGS[:1] if small else SETTINGS:
        chosen = parse(name, **sizes)
        for precision in ("float32", "bf16"):

            def measured(setting: Setting = chosen, precision: Any = precision) -> Row:
                def make(capture: bool) -> Trainer:
                    torch.manual_seed(0)
                    model, guide = (part.to(device) for part in setting.pair(x))
                    settings = Settings([(1, setting.draws)], setting.batch, precision=precision, capture=capture)
                    return trainer_of(model, guide, DiscreteELBO(draws=setting.draws), settings)

                with matmul_precision("medium" if precision == "bf16" else "highest"):
                    found = both(make, x, device, 2 if small else 50)
                return found | {"documents_per_second": 1e3 * setting.batch / found["captured_ms"]}

            yield {"setting": name, "precision": precision}, measured


def evidences(device: str, small: bool) -> Iterator[Measured]:
    """Exact evidence of documents, and two estimates of that of images."""

    def enumeration() -> Row:
        x = zipf(*((60, 50) if small else (11_269, 10_000))).to(device)
        model, guide = (part.to(device) for part in Setting(bits=4 if small else 16).pair(x))
        begun = wait(device)
        found = pv.measure(model, guide, x, method="enumeration")
        taken = wait(device) - begun
        return {"seconds": taken, "data_per_second": len(x) / taken, "nats": found.evidence.pointwise.mean().item()}

    def sampled(method: str, count: int, **options: Any) -> Row:
        x = Size(data=4 if small else count, side=8 if small else 28).read(Path()).to(device)
        config = run_config("ppca", "mean_field", device=device, hidden=2, width=8 if small else 512, latents=8)
        pair = Pair.from_config(config, x)
        pv.measure(pair.model, pair.guide, x[:2], method=method, check=False, **options)
        begun = wait(device)
        found = pv.measure(pair.model, pair.guide, x, method=method, check=False, **options)
        taken = wait(device) - begun
        return {"seconds": taken, "data_per_second": len(x) / taken, "nats": found.evidence.pointwise.mean().item()}

    many, chains = (10, 4) if small else (1000, 16)
    temperatures = 3 if small else 500
    yield {"method": "enumeration"}, enumeration
    yield {"method": "importance", "draws": many}, lambda: sampled("importance", 1000, draws=many)
    yield (
        {"method": "annealing", "temperatures": temperatures},
        lambda: sampled("annealing", 100, draws=chains, temperatures=temperatures),
    )


def epochs(device: str, small: bool) -> Iterator[Measured]:
    """An epoch of images as many as MNIST has, after one that warms up."""
    x = Size(data=64 if small else 60_000, side=8 if small else 28).read(Path()).to(device)
    options: Row = {"hidden": 2, "width": 8 if small else 512}
    for model, guide, given in (("image", "convolutional", {}), ("ppca", "mean_field", options)):

        def measured(model: str = model, guide: str = guide, given: Row = given) -> Row:
            config = run_config(model, guide, device=device, epochs=2, **given)
            pair = Pair.from_config(config, x)
            objective, _, settings = make_objective(config, pair, config.settings, x[:20])
            with tempfile.TemporaryDirectory() as folder:
                trainer = Trainer(pair.model, pair.guide, objective, RunFolder(Path(folder)), settings)
                trainer.fit(x, None)
            rate = trainer.rows[-1]["data_per_second"]
            return {"images_per_second": rate, "seconds": len(x) / rate}

        yield {"model": model, "guide": guide}, measured


PARTS = {"capture": pairs, "steps": texts, "evidence": evidences, "epoch": epochs}


@click.command()
@click.argument("part", type=click.Choice(list(PARTS)))
@click.option("--device", default="cuda", show_default=True, type=click.Choice(["cuda", "cpu"]))
@click.option("--small", is_flag=True, help="Sizes of no account.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="File of the rows.")
def main(part: str, device: str, small: bool, out: Path) -> None:
    """Measure a part."""
    rows: list[Row] = []
    document = {"part": part, "machine": machine(), "device": device, "small": small, "rows": rows}
    with pyro.validation_enabled(False):
        for row, measured in PARTS[part](device, small):
            try:
                rows.append(row | measured())
            except Exception as error:  # pairs that do not fit, and whatever a device refuses
                rows.append(row | {"failed": f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"})
            # A part that is ended by its time limit leaves what it has.
            out.write_text(json.dumps(document, indent=1) + "\n")
            click.echo(json.dumps(rows[-1]))


if __name__ == "__main__":
    main()
