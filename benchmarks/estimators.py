"""Gradient estimators of the text model: how noisy each is, and how fast it trains.

    PPL_VAE_DATA=... python -m benchmarks.estimators --corpus 20news --bits 32

Two tables. The first: root mean square error of one gradient estimate over the norm of the exact gradient, for the
parameters of the guide and of the model, after some epochs of training; the exact one is enumerated up to twelve bits
and the mean of many estimates beyond. The second: from the same start, the time each estimator takes to reach the
validation deviance that ARM has after so many epochs, and the deviance after as many epochs and as many seconds.
Competitors take turns epoch by epoch; times are those of one processor core, so that neighbours on a busy machine count
less, and ratios are medians.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import click
import pyro
import torch
from ppl_vae.guides.linear_counts import LinearCounts
from ppl_vae.models.text import Text
from rich.table import Table
from torch import Tensor

from benchmarks.steps import NATURAL, POSITIVE, show
from ppl_vae.data import Corpus, load_corpus
from ppl_vae.data.counts import PackedCounts
from ppl_vae.objectives.choice import make_estimator
from ppl_vae.objectives.elbo import DiscreteELBO
from ppl_vae.programs.loading import find
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.training.progress import log

BATCH = 256
DEFAULT = (
    "arm disarm disarm+first_order arms:4 arms+first_order:4 loo+first_order:2 double_cv:2 double_cv:4 local local:2"
)


def parse(spec: str) -> DiscreteELBO:
    """An objective from ``NAME[+first_order][:DRAWS]``; draws are pairs for arm and disarm."""
    name, _, draws = spec.partition(":")
    name, plus, control = name.partition("+")
    if plus and control != "first_order":
        raise click.BadParameter(f"{spec!r}: write NAME[+first_order][:DRAWS]")
    estimator = make_estimator(name, bool(plus))
    return DiscreteELBO(estimator, draws=int(draws or estimator.least_draws))


def passes(objective: DiscreteELBO, bits: int) -> str:
    """Evaluations of the likelihood per datum; flip differences are two products and no softmax."""
    estimator = objective.estimator
    rows = 2**bits if estimator.exact else estimator.rows(objective.draws)
    once_more = estimator.without_control is not estimator
    return f"{rows + once_more}{' + flips' * estimator.independent_latents}"


@contextmanager
def own_time(racer: Any) -> Iterator[None]:
    """Runs a block under a racer's own random state, and adds the processor time to its clock."""
    with fork_random_state():
        torch.set_rng_state(racer.random)
        start = time.process_time()
        yield
        racer.seconds.append(racer.seconds[-1] + time.process_time() - start)
        racer.random = torch.get_rng_state()


@dataclass
class Racer:
    """A pair in training, its own clock, and what it reached after each epoch."""

    spec: str
    seed: int
    train: PackedCounts
    shape: dict[str, int]
    seconds: list[float] = field(default_factory=lambda: [0.0])
    deviances: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        with fork_random_state(self.seed):
            self.model = Text(**find("models", "text").facts(self.train), **self.shape)
            self.guide = LinearCounts(self.model, self.train[:2])
            self.random = torch.get_rng_state()
        self.objective = parse(self.spec)
        self.loss = self.objective(self.model, self.guide)
        self.optimizer = torch.optim.Adam(self.loss.parameters(), lr=1e-3)

    def epoch(self, validation: PackedCounts) -> None:
        epoch = len(self.deviances) + 1
        order = torch.randperm(len(self.train), generator=torch.Generator().manual_seed(self.seed * 1_000_003 + epoch))
        with own_time(self):
            for part in order.split(BATCH):
                self.optimizer.zero_grad()
                (self.loss(self.train[part]) / len(part)).backward()
                self.optimizer.step()
        with fork_random_state(self.seed):
            bound = self.objective.validate(self.model, self.guide, validation)["elbo"]
            self.deviances.append(validation.saturated.double().mean().item() - bound)

    def first_below(self, target: float) -> int | None:
        """The first epoch that reached a deviance."""
        return next((e for e, deviance in enumerate(self.deviances, 1) if deviance <= target), None)

    def at(self, seconds: float) -> float:
        """The deviance after the last epoch that ended by then."""
        done = [d for d, s in zip(self.deviances, self.seconds[1:], strict=True) if s <= seconds]
        return done[-1] if done else math.nan


def race(specs: list[str], seeds: int, epochs: int, x: Corpus, shape: dict[str, int]) -> list[dict[str, Any]]:
    """Trains all from the same start; those faster than ARM go on until they had its time."""
    found: dict[str, list[dict[str, float | None]]] = {spec: [] for spec in specs}
    for seed in range(seeds):
        racers = {spec: Racer(spec, seed, x.train.values, shape) for spec in specs}
        arm = racers["arm"]
        for turn in range(50 * epochs):
            waiting = [r for r in racers.values() if turn < epochs or r.seconds[-1] < arm.seconds[epochs]]
            if not waiting or (turn >= epochs and waiting == [arm]):
                break
            first = turn % len(waiting)
            for racer in waiting[first:] + waiting[:first]:
                if racer is not arm or turn < epochs:
                    racer.epoch(x.validation.values)
        log(f"seed {seed}: {', '.join(f'{r.spec} {r.deviances[epochs - 1]:.1f}' for r in racers.values())}")
        target, budget = arm.deviances[epochs - 1], arm.seconds[epochs]
        for spec, racer in racers.items():
            reached = racer.first_below(target)
            found[spec].append(
                {
                    "epochs_to_target": reached,
                    "time_to_target_over_arm": racer.seconds[reached] / budget if reached else None,
                    "step_over_arm": racer.seconds[epochs] / budget,
                    "deviance_same_epochs": racer.deviances[epochs - 1],
                    "deviance_same_seconds": racer.at(budget),
                    "seconds_of_arm": budget,
                }
            )
    return [{"estimator": spec, "seeds": runs} for spec, runs in found.items()]


def noise(specs: list[str], repeats: int, epochs: int, x: Corpus, shape: dict[str, int]) -> list[dict[str, Any]]:
    """Errors of single estimates on one batch; those of another batch's exact gradient, for comparison."""
    trained = Racer("disarm+first_order" if shape["hidden"] else "local", 0, x.train.values, shape)
    for _ in range(epochs):
        trained.epoch(x.validation.values)
    sides = {"guide": trained.guide, "model": trained.model}

    def gradient(objective: DiscreteELBO, batch: PackedCounts) -> list[Tensor]:
        trained.optimizer.zero_grad()
        loss = objective(trained.model, trained.guide)(batch) / len(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        return [torch.cat([p.grad.flatten() for p in m.parameters()]) for m in sides.values()]  # type: ignore[union-attr]

    def exact(batch: PackedCounts, times: int) -> list[Tensor]:
        if shape["bits"] <= 12:
            return gradient(parse("enumerate"), batch)
        many = parse("disarm+first_order:20" if shape["hidden"] else "local:20")
        return [sum(parts) / times for parts in zip(*(gradient(many, batch) for _ in range(times)), strict=True)]

    batches = [x.train.values[start : start + BATCH] for start in range(0, min(len(x.train.values), 4 * BATCH), BATCH)]
    truth = exact(batches[0], repeats)
    others = [exact(batch, max(1, repeats // 10)) for batch in batches[1:]]
    objectives = {spec: parse(spec) for spec in specs}
    errors: dict[str, list[list[float]]] = {spec: [] for spec in specs}
    times: dict[str, list[float]] = {spec: [] for spec in specs}
    for _ in range(repeats):
        for spec, objective in objectives.items():
            start = time.process_time()
            estimate = gradient(objective, batches[0])
            times[spec].append(time.process_time() - start)
            errors[spec].append([(e - t).square().sum().item() for e, t in zip(estimate, truth, strict=True)])

    rows = []
    for spec, squares in errors.items():
        row: dict[str, Any] = {"estimator": spec, "passes": passes(objectives[spec], shape["bits"])}
        row["time_over_arm"] = median(times[spec]) / median(times["arm"])
        for side, (name, exact_one) in enumerate(zip(sides, truth, strict=True)):
            values = torch.tensor([square[side] for square in squares], dtype=torch.float64)
            root = values.mean().sqrt()
            row[name] = (root / exact_one.norm()).item()
            row[f"{name}_se"] = (values.std() / len(values) ** 0.5 / (2 * root) / exact_one.norm()).item()
        row["guide_at_time_of_arm"] = row["guide"] * row["time_over_arm"] ** 0.5
        rows.append(row)
    if others:
        other: dict[str, Any] = {"estimator": "another batch, exact", "passes": "", "time_over_arm": None}
        for side, name in enumerate(sides):
            squares_of = [(o[side] - truth[side]).square().sum().item() / 2 for o in others]
            other[name] = (sum(squares_of) / len(squares_of)) ** 0.5 / truth[side].norm().item()
        rows.append(other)
    return rows


def show_rows(title: str, columns: dict[str, Callable[[Any], str]], rows: list[dict[str, Any]]) -> None:
    """Prints one table; each column formats a row."""
    table = Table(title=title)
    for column in columns:
        table.add_column(column, justify="left" if column == "estimator" else "right")
    for row in rows:
        table.add_row(*(form(row) for form in columns.values()))
    show(table)


def over_seeds(row: dict[str, Any], key: str, form: str = ".2f") -> str:
    """The median, and the range where there are several seeds; never reached counts as infinite."""
    values = sorted(math.inf if run[key] is None else run[key] for run in row["seeds"])
    middle = f"{median(values):{form}}"
    return middle if len(values) == 1 else f"{middle} ({values[0]:{form}} to {values[-1]:{form}})"


@click.command()
@click.option("--corpus", default="docstrings", show_default=True)
@click.option("--vocabulary", default=2000, show_default=True, type=POSITIVE)
@click.option("--bits", default=8, show_default=True, type=POSITIVE)
@click.option("--hidden", default=0, show_default=True, type=NATURAL, help="ReLU layers of the decoder.")
@click.option("--epochs", default=5, show_default=True, type=NATURAL, help="Of training before measuring the noise.")
@click.option(
    "--repeats", default=100, show_default=True, type=NATURAL, help="Gradient estimates an estimator; 0: no noise."
)
@click.option(
    "--race-epochs", default=30, show_default=True, type=NATURAL, help="Epochs of ARM that set the target; 0: no race."
)
@click.option("--seeds", default=3, show_default=True, type=POSITIVE, help="Of the race.")
@click.option("--estimators", default=DEFAULT, show_default=True, help="NAME[+first_order][:DRAWS], with spaces.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of tables.")
def main(
    corpus: str,
    vocabulary: int,
    bits: int,
    hidden: int,
    epochs: int,
    repeats: int,
    race_epochs: int,
    seeds: int,
    estimators: str,
    as_json: bool,
) -> None:
    """Print the gradient noise of estimators, and how fast each trains."""
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)  # time is counted by the core
    pyro.settings.set(module_local_params=True)
    x = load_corpus(corpus, vocabulary=vocabulary, validation=0.1)
    specs = list(dict.fromkeys(["arm", *estimators.split()]))
    shape, where = (
        {"bits": bits, "hidden": hidden},
        f"{corpus}, {vocabulary} words, {bits} bits, {hidden} hidden layers",
    )
    with pyro.validation_enabled(False), fork_random_state(0):
        noisy = noise(specs, repeats, epochs, x, shape) if repeats else []
        raced = race(specs, seeds, race_epochs, x, shape) if race_epochs else []
    if as_json:
        click.echo(json.dumps({"bits": bits, "corpus": corpus, "rows": noisy, "race": raced}, indent=2))
        return
    if noisy:
        columns: dict[str, Callable[[Any], str]] = {
            "estimator": lambda r: r["estimator"],
            "passes": lambda r: r["passes"],
            "noise / norm, guide": lambda r: f"{r['guide']:.3f}" + (f" +- {r['guide_se']:.3f}" if r["passes"] else ""),
            "model": lambda r: f"{r['model']:.3f}",
            "time / ARM": lambda r: f"{r['time_over_arm']:.2f}" if r["passes"] else "",
            "guide, in ARM's time": lambda r: f"{r['guide_at_time_of_arm']:.3f}" if r["passes"] else "",
        }
        show_rows(f"Gradient noise after {epochs} epochs: {where}, batch of {BATCH}", columns, noisy)
    if raced:
        arms = next(row for row in raced if row["estimator"] == "arm")
        columns = {
            "estimator": lambda r: r["estimator"],
            "time to ARM's deviance / ARM's time": lambda r: over_seeds(r, "time_to_target_over_arm"),
            "epochs to it": lambda r: over_seeds(r, "epochs_to_target", ".0f"),
            "step / ARM": lambda r: over_seeds(r, "step_over_arm"),
            "deviance, same epochs": lambda r: over_seeds(r, "deviance_same_epochs", ".1f"),
            "same seconds": lambda r: over_seeds(r, "deviance_same_seconds", ".1f"),
        }
        show_rows(
            f"{race_epochs} epochs of ARM ({over_seeds(arms, 'seconds_of_arm', '.0f')} s): {where}, {seeds} seeds, "
            "median (range)",
            columns,
            raced,
        )


if __name__ == "__main__":
    main()
