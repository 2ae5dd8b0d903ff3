"""Training settings."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import torch

from ppl_vae.data.text_file import shown
from ppl_vae.plugins.nearest import nearest

__all__ = ["OPEN", "Decay", "Precision", "Settings", "parse_schedule"]

EPOCHS, STEPS = 60, 2_000
"""Least number of epochs, and of steps, where none is given."""

PATIENCE = 10
"""Least patience in epochs where none is given; a sixth of all epochs where that is more."""

OPEN = 0
"""Number of epochs of a schedule that leaves it to the data."""

Decay = Literal["none", "linear", "cosine"]

Precision = Literal["float32", "bf16"]


def parse_schedule(text: str, draws: int = 1) -> list[tuple[int, int]]:
    """Phases of training, as (epochs, draws per datum).

    Arguments:
        text: A number of epochs, or phases ``EPOCHSxDRAWS`` separated by commas.
        draws: Draws of phases that do not name theirs.

    Raises:
        ValueError: If the text is neither.

    Example:
        >>> parse_schedule("1000x1,500x10")
        [(1000, 1), (500, 10)]
        >>> parse_schedule("30", draws=2)
        [(30, 2)]
    """
    phases = []
    for part in text.split(","):
        epochs, _, own_draws = part.strip().partition("x")
        if (
            not epochs.isdecimal()
            or (own_draws and not own_draws.isdecimal())
            or part.strip().endswith("x")
            or int(epochs) < 1
        ):
            raise ValueError(
                "epochs are a number of at least 1, or phases such as 1000x1,500x10 (epochs x draws), got "
                f"{shown(text)}"
            )
        phases.append((int(epochs), int(own_draws or draws)))
    if min(phase[1] for phase in phases) < 1:
        raise ValueError(f"every phase needs at least one draw, got {shown(text)}")
    return phases


@dataclass(frozen=True)
class Settings:
    """Training settings.

    Arguments:
        schedule: Phases (epochs, draws per datum); one of 0 epochs leaves their number to the data (:meth:`settled`).
        batch_size: Batch size.
        optimizer: Optimizer, a class of ``torch.optim``.
        learning_rate: Learning rate in the first epoch.
        decay: How the learning rate falls from epoch to epoch, towards zero at the end of the schedule.
        weight_decay: Weight decay of the optimizer; 0 leaves its own default.
        guide_weight_decay: Weight decay of the guide's parameters; by default that of all.
        guide_steps: Steps of the guide per step of the model: all but the last are of the guide alone, each on a batch
            drawn from the training data (He et al. 2019).
        dreams: Share of the guide's training that is data drawn from the model (Zhang et al. 2022); the model itself
            learns from the training data alone.
        clip: Largest norm of the gradient of a batch's mean; 0 is no limit.
        patience: Epochs without a better validation score after which training stops; 0 is never, and None leaves it to
            the number of epochs.
        seed: Seed of parameters, splits, order of the data, and draws.
        precision: Precision of matrix products in training; ``"bf16"`` rounds their factors to 8 bits of mantissa and
            adds up in float32. Measurements are in float32.
        capture: Whether steps on CUDA are captured as a graph and replayed, where the first replays give what the steps
            themselves give; elsewhere nothing changes. Gaussian models with a sigma that the network gives, and costs
            of the rate that change, are trained without.
        replay: Whether steps on the CPU are recorded, once for each shape of batch, and replayed without running the
            programs again, where the first replay and one in each epoch give what the steps themselves give. Faster
            where networks are small; what a program decides in Python stays as it was when it was recorded.
        watch_gradients: Measure the signal-to-noise ratio of the gradient after each epoch, by groups of parameters,
            from ten gradients of the first batch of the data; the training is the same with and without.
    """

    schedule: list[tuple[int, int]] = field(default_factory=lambda: [(100, 1)])
    batch_size: int = 256
    optimizer: str = "Adam"
    learning_rate: float = 1e-3
    decay: Decay = "none"
    weight_decay: float = 0.0
    guide_weight_decay: float | None = None
    guide_steps: int = 1
    dreams: float = 0.0
    clip: float = 100.0
    patience: int | None = 0
    seed: int = 0
    precision: Precision = "float32"
    capture: bool = True
    replay: bool = False
    watch_gradients: bool = False

    def __post_init__(self) -> None:
        kind = getattr(torch.optim, self.optimizer, None)
        # Those left out need exact gradients, sparse ones, or matrices only.
        unfit = ("Optimizer", "LBFGS", "SparseAdam", "Muon")
        names = sorted(n for n, v in vars(torch.optim).items() if isinstance(v, type) and n not in unfit)
        if self.optimizer not in names or kind is None:
            near = nearest(self.optimizer, names)
            raise ValueError(
                f"unknown optimizer {self.optimizer!r}; choose from {', '.join(names)}"
                + (f"; did you mean {near[0]}?" if near else "")
            )
        if not self.schedule or min(epochs for epochs, _ in self.schedule) < 0 or min(d for _, d in self.schedule) < 1:
            raise ValueError(f"the schedule must have phases of epochs with at least one draw, got {self.schedule}")
        for name, number in (
            ("clip", self.clip),
            ("patience", self.patience or 0),
            ("weight decay", self.weight_decay),
            ("guide weight decay", self.guide_weight_decay or 0),
        ):
            if not 0 <= number < math.inf:
                raise ValueError(f"{name} must be a finite number, at least 0, got {number:g}; 0 turns it off")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"the seed must lie in [0, 2^32), got {self.seed}")
        for name, least in (("batch size", self.batch_size), ("number of guide steps", self.guide_steps)):
            if least < 1:
                raise ValueError(f"the {name} must be at least 1, got {least}")
        if not 0 <= self.dreams <= 1:
            raise ValueError(f"the share of dreams must lie in [0, 1], got {self.dreams:g}; 0 trains on data alone")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(
                f"the learning rate must be a positive finite number, got {self.learning_rate:g}; 0.001 is the default"
            )
        for name, value, kinds in (("decay", self.decay, Decay), ("precision", self.precision, Precision)):
            if value not in get_args(kinds):
                raise ValueError(f"unknown {name} {value!r}; choose from {', '.join(get_args(kinds))}")

    def settled(self, data: int) -> Settings:
        """These settings with the epochs and the patience that are left open, by the number of training data.

        At least 60 epochs and 2,000 steps: Adam moves a parameter by about the learning rate a step, whatever the
        gradient, so that few data need as many steps as many. Patience is 10 epochs, or a sixth of all where that is
        more.

        Example:
            >>> small = Settings([(0, 1)], patience=None).settled(243)
            >>> small.schedule, small.patience
            ([(2000, 1)], 333)
        """
        schedule = self.schedule
        if self.epochs == OPEN:
            schedule = [(max(EPOCHS, math.ceil(STEPS / self.steps(data))), schedule[-1][1])]
        settings = replace(self, schedule=schedule)
        return (
            settings if self.patience is not None else replace(settings, patience=max(PATIENCE, settings.epochs // 6))
        )

    def settled_as(self, other: Settings) -> Settings:
        """These settings with what is left open as it is in others, which were settled by the data."""
        draws = self.schedule[-1][1]
        schedule = [(other.epochs, draws)] if self.epochs == OPEN and other.epochs else self.schedule
        return replace(self, schedule=schedule, patience=other.patience if self.patience is None else self.patience)

    def steps(self, data: int) -> int:
        """Steps of an epoch over data of this number."""
        return math.ceil(data / self.batch_size)

    @property
    def epochs(self) -> int:
        return sum(epochs for epochs, _ in self.schedule)

    def rate(self, epoch: int) -> float:
        r"""Learning rate of an epoch, counted from 1, where :math:`t = (\mathrm{epoch} - 1) / \mathrm{epochs}`.

        The full rate times :math:`1 - t` (linear) or :math:`(1 + \cos \pi t) / 2` (cosine; Loshchilov and Hutter
        2017, eq. 5, without restarts). It depends on nothing else, so that a resumed run continues identically.

        Example:
            >>> [Settings(schedule=[(4, 1)], learning_rate=1.0, decay="linear").rate(epoch) for epoch in (1, 2, 3, 4)]
            [1.0, 0.75, 0.5, 0.25]
        """
        done = (epoch - 1) / self.epochs
        left = {"none": 1.0, "linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}
        return self.learning_rate * left[self.decay]

    def draws(self, epoch: int) -> int:
        """Draws per datum in an epoch, counted from 1."""
        for epochs, draws in self.schedule:
            if epoch <= epochs:
                return draws
            epoch -= epochs
        return self.schedule[-1][1]
