"""Gradient estimators of categorical latents: how noisy each is, and how fast it trains.

    python -m benchmarks.categorical --sites 4 --states 8

Two states are a bit: ``python -m benchmarks.bits`` races the estimators of bits by the same clock.
Synthetic binary data of a known structure: each datum is made of one of so many patterns per site, with noise. The
first table: root mean square error of one gradient estimate over the norm of the exact one (the mean of many where
states are too many to list), for the parameters of the guide, after some epochs; and the error in the time of the
first estimator. The second: negative ELBO after as many seconds as the first estimator takes for its epochs. Estimators
take turns step by step and epoch by epoch; times are those of one processor core; medians with ranges over seeds.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import click
import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule
from torch import Tensor, nn

from benchmarks.estimators import over_seeds, own_time, parse, show_rows
from benchmarks.steps import NATURAL, POSITIVE
from ppl_vae.objectives.elbo import DiscreteELBO
from ppl_vae.programs.random_state import fork_random_state

BATCH, PIXELS, WIDTH = 128, 64, 64
DEFAULT = "loo:2 loo:4 arms_tree:2 arms_tree:4 arms_tree+first_order:2 arms_tree+first_order:4 local_states:1"


def data(count: int, sites: int, states: int, seed: int) -> Tensor:
    """Binary data, each of one pattern per site, of which a tenth of the pixels are flipped."""
    random = torch.Generator().manual_seed(seed)
    patterns = 2.5 * torch.randn(sites, states, PIXELS, generator=random) / sites**0.5
    chosen = torch.randint(states, (count, sites), generator=random)
    clean = patterns[torch.arange(sites), chosen].sum(1) > 0
    return (clean ^ (torch.rand(count, PIXELS, generator=random) < 0.1)).float()


class Decoder(PyroModule):
    """One-hot categoricals explain pixels by a network with one hidden layer."""

    def __init__(self, sites: int, states: int) -> None:
        super().__init__()
        self.shape = (sites, states)
        self.net = nn.Sequential(nn.Linear(sites * states, WIDTH), nn.Tanh(), nn.Linear(WIDTH, PIXELS))

    def forward(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.OneHotCategorical(logits=torch.zeros(self.shape)).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=self.net(z.flatten(-2))).to_event(1), obs=x)


class Encoder(PyroModule):
    """A factorised guide with one hidden layer."""

    def __init__(self, sites: int, states: int) -> None:
        super().__init__()
        self.shape = (sites, states)
        self.net = nn.Sequential(nn.Linear(PIXELS, WIDTH), nn.Tanh(), nn.Linear(WIDTH, sites * states))

    def forward(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.OneHotCategorical(logits=self.net(x).unflatten(-1, self.shape)).to_event(1))


class SingleDecoder(Decoder):
    """The same of one site, whose states can be listed."""

    def forward(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.OneHotCategorical(logits=torch.zeros(self.shape[1])))
            pyro.sample("x", dist.Bernoulli(logits=self.net(z)).to_event(1), obs=x)


class SingleEncoder(Encoder):
    """The same of one site."""

    def forward(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.OneHotCategorical(logits=self.net(x)))


class BitDecoder(Decoder):
    """The same of two states, as bits."""

    def __init__(self, bits: int, states: int) -> None:
        super().__init__(bits, states - 1)

    def forward(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(logits=torch.zeros(self.shape[0])).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=self.net(z)).to_event(1), obs=x)


class BitEncoder(Encoder):
    """The same of two states, as bits."""

    def __init__(self, bits: int, states: int) -> None:
        super().__init__(bits, states - 1)

    def forward(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(logits=self.net(x)).to_event(1))


@dataclass
class Racer:
    """A pair in training, its own clock and random state, and the negative ELBO after each epoch."""

    spec: str
    seed: int
    x: Tensor
    shape: tuple[int, int]
    seconds: list[float] = field(default_factory=lambda: [0.0])
    losses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        single, bits = self.shape[0] == 1, self.shape[1] == 2
        kinds = (SingleDecoder, SingleEncoder) if single else (BitDecoder, BitEncoder) if bits else (Decoder, Encoder)
        with fork_random_state(self.seed):
            self.model, self.guide = (kind(*self.shape) for kind in kinds)
            self.random = torch.get_rng_state()
        self.objective = parse(self.spec)
        self.optimizer = torch.optim.Adam([*self.model.parameters(), *self.guide.parameters()], lr=3e-3)

    def epoch(self, held_out: Tensor) -> None:
        order = torch.randperm(len(self.x), generator=torch.Generator().manual_seed(len(self.losses)))
        with own_time(self):
            for rows in order.split(BATCH):
                self.optimizer.zero_grad()
                self.objective.loss_and_grads(self.model, self.guide, self.x[rows])
                self.optimizer.step()
        with fork_random_state(self.seed):
            self.losses.append(-self.objective.validate(self.model, self.guide, held_out)["elbo"])

    def after(self, seconds: float) -> float:
        """The negative ELBO after the last epoch that ended by then."""
        ended = [loss for loss, end in zip(self.losses, self.seconds[1:], strict=True) if end <= seconds * 1.001]
        return ended[-1] if ended else self.losses[0]

    def gradient(self, objective: DiscreteELBO, x: Tensor) -> Tensor:
        self.optimizer.zero_grad()
        objective.loss_and_grads(self.model, self.guide, x)
        return torch.cat([p.grad.flatten() for p in self.guide.parameters() if p.grad is not None]) / len(x)


def noise(specs: list[str], repeats: int, epochs: int, x: Tensor, shape: tuple[int, int]) -> list[dict[str, Any]]:
    """Errors of single estimates for the guide on one batch, and those of other batches' exact gradients."""
    trained = Racer("loo:4", 0, x, shape)
    for _ in range(epochs):
        trained.epoch(x[:BATCH])
    listed = shape[1] ** shape[0] <= 4096 and (shape[0] == 1 or shape[1] == 2)

    def exact(batch: Tensor) -> Tensor:
        if listed:
            return trained.gradient(parse("enumerate"), batch)
        many = parse("local_states:20")
        return sum((trained.gradient(many, batch) for _ in range(40)), torch.zeros(())) / 40

    truth, *others = (exact(x[k * BATCH : (k + 1) * BATCH]) for k in range(4))
    objectives = {spec: parse(spec) for spec in specs}
    squares: dict[str, list[float]] = {spec: [] for spec in specs}
    times: dict[str, list[float]] = {spec: [] for spec in specs}
    for _ in range(repeats):
        for spec, objective in objectives.items():
            start = time.process_time()
            found = trained.gradient(objective, x[:BATCH])
            times[spec].append(time.process_time() - start)
            squares[spec].append((found - truth).square().sum().item())
    rows = []
    for spec in specs:
        values = torch.tensor(squares[spec], dtype=torch.float64)
        root = values.mean().sqrt().item()
        error = (values.std() / len(values) ** 0.5).item() / (2 * root) if root else 0.0
        unit, norm = median(times[specs[0]]), truth.norm().item()
        ratio, quartiles = median(times[spec]) / unit, [q / unit for q in quantiles(times[spec], n=4)]
        row: dict[str, Any] = {"estimator": spec, "noise": root / norm, "noise_se": error / norm, "time": ratio}
        row["time_quartiles"] = [quartiles[0], quartiles[2]]
        rows.append(row | {"noise_same_time": root / norm * ratio**0.5})
    other = sum((o - truth).square().sum().item() / 2 for o in others) / len(others)
    return [*rows, {"estimator": "another batch, exact", "noise": other**0.5 / truth.norm().item()}]


def race(
    specs: list[str], seeds: int, epochs: int, x: Tensor, held_out: Tensor, shape: tuple[int, int]
) -> list[dict[str, Any]]:
    """Trains all from the same start; those faster than the first go on until they had its time."""
    found: dict[str, list[dict[str, float]]] = {spec: [] for spec in specs}
    for seed in range(seeds):
        racers = [Racer(spec, seed, x, shape) for spec in specs]
        for turn in range(20 * epochs):
            first = racers[0].seconds[epochs] if turn >= epochs else float("inf")
            waiting = [racer for racer in racers if turn < epochs or racer.seconds[-1] < first]
            for place in range(len(waiting)):
                waiting[(turn + place) % len(waiting)].epoch(held_out)
        budget = racers[0].seconds[epochs]
        for racer in racers:
            row = {"step": racer.seconds[epochs] / budget, "same_epochs": racer.losses[epochs - 1]}
            found[racer.spec].append(row | {"same_seconds": racer.after(budget), "seconds_of_first": budget})
    return [{"estimator": spec, "seeds": runs} for spec, runs in found.items()]


@click.command()
@click.option("--sites", default=4, show_default=True, type=POSITIVE)
@click.option("--states", default=8, show_default=True, type=POSITIVE)
@click.option(
    "--count",
    default=2000,
    show_default=True,
    type=click.IntRange(4 * BATCH),
    help="Training data; half as many held out.",
)
@click.option("--epochs", default=10, show_default=True, type=NATURAL, help="Of training before measuring the noise.")
@click.option("--repeats", default=100, show_default=True, type=NATURAL, help="Gradients an estimator; 0: no noise.")
@click.option("--race-epochs", default=40, show_default=True, type=NATURAL, help="Of the first estimator; 0: no race.")
@click.option("--seeds", default=5, show_default=True, type=POSITIVE, help="Of the race.")
@click.option("--estimators", default=DEFAULT, show_default=True, help="NAME[+first_order][:DRAWS], with spaces.")
@click.option("--json", "file", type=click.Path(path_type=Path), help="File to store the numbers in.")
def main(
    sites: int,
    states: int,
    count: int,
    epochs: int,
    repeats: int,
    race_epochs: int,
    seeds: int,
    estimators: str,
    file: Path | None,
) -> None:
    """Print the gradient noise of estimators of categoricals, and how far each trains in the same time."""
    torch.set_num_threads(1)  # time is counted by the core
    pyro.settings.set(module_local_params=True)
    specs, shape = list(dict.fromkeys(estimators.split())), (sites, states)
    every = data(count + count // 2, sites, states, seed=0)
    x, held_out = every[:count], every[count:]
    with pyro.validation_enabled(False), fork_random_state(0):
        noisy = noise(specs, repeats, epochs, x, shape) if repeats else []
        raced = race(specs, seeds, race_epochs, x, held_out, shape) if race_epochs else []
    if file is not None:
        file.write_text(json.dumps({"sites": sites, "states": states, "noise": noisy, "race": raced}, indent=2) + "\n")
    where = f"{sites} sites of {states} states"
    if noisy:
        show_rows(
            f"Gradient noise of the guide after {epochs} epochs: {where}, batch of {BATCH}",
            {
                "estimator": lambda r: r["estimator"],
                "noise / norm": lambda r: f"{r['noise']:.3f}" + (f" +- {r['noise_se']:.3f}" if "time" in r else ""),
                "time (quartiles)": lambda r: (
                    "{:.2f} ({:.2f} to {:.2f})".format(r["time"], *r["time_quartiles"]) if "time" in r else ""
                ),
                "in the same time": lambda r: f"{r['noise_same_time']:.3f}" if "time" in r else "",
            },
            noisy,
        )
    if raced:
        columns: dict[str, Callable[[Any], str]] = {
            "estimator": lambda r: r["estimator"],
            "step": lambda r: over_seeds(r, "step"),
            "nelbo, same epochs": lambda r: over_seeds(r, "same_epochs"),
            "same seconds": lambda r: over_seeds(r, "same_seconds"),
        }
        first = over_seeds(raced[0], "seconds_of_first", ".1f")
        show_rows(f"{race_epochs} epochs of {specs[0]} ({first} s): {where}, {seeds} seeds", columns, raced)


if __name__ == "__main__":
    main()
