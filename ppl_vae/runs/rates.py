"""Processor time of trainings and measurements, told from a few steps and a few data."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import pyro
import torch

from ppl_vae.data.inputs import Batch
from ppl_vae.nn.modes import matmul_precision
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.training.trainer import Trainer

__all__ = ["clock_of", "measurement_seconds", "training_seconds"]

T = TypeVar("T")

WARM, TIMED, ENOUGH = 3, 40, 2.0
"""Steps before any is timed; most steps that are; seconds after which no further one begins."""

FEW, MORE = 50, 200
"""Numbers of data by which the time of a measurement of many is told."""


def clock_of(device: str) -> Callable[[], float]:
    """The clock of a bill: the time of this process's processors, and beside a GPU that of the wall."""
    return time.process_time if device == "cpu" else _synchronised


def _synchronised() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.monotonic()


def training_seconds(trainer: Trainer, x: Batch, validation: Batch | None, clock: Callable[[], float]) -> float:
    """Seconds of the whole schedule of a training, from some of its steps; patience may end it before.

    Arguments:
        trainer: The trainer, whose parameters change.
        x: Training data.
        validation: Validation data, or None.
        clock: What tells the time, in seconds.
    """
    settings, total, epoch = trainer.settings, 0.0, 1
    with pyro.validation_enabled(False), matmul_precision("medium" if settings.precision == "bf16" else "highest"):
        for epochs, _ in settings.schedule:
            trainer.begin(epoch)
            total += epochs * settings.steps(len(x)) * _step_seconds(trainer, x, clock)
            epoch += epochs
    if validation is not None and len(validation):

        def validate(count: int) -> None:
            with fork_random_state(settings.seed):
                trainer.objective.validate(trainer.model, trainer.guide, validation[:count])

        total += settings.epochs * measurement_seconds(validate, len(validation), clock)[1]
    return total


def _step_seconds(trainer: Trainer, x: Batch, clock: Callable[[], float]) -> float:
    """Seconds of one step, with what is done for its batch, once the first ones are over."""
    size, done = trainer.settings.batch_size, 0
    begun = start = clock()
    while done < WARM + TIMED and (done < WARM + 1 or clock() - begun < ENOUGH):
        order = torch.randperm(len(x))[:size]
        for _ in range(trainer.settings.guide_steps - 1):
            trainer._steps.guide_step(x)
        trainer.step(x[order.to(x.device)])
        done += 1
        if done == WARM:
            start = clock()
    return (clock() - start) / (done - WARM)


def measurement_seconds(measured: Callable[[int], T], data: int, clock: Callable[[], float]) -> tuple[T, float]:
    """A measurement of few data, and seconds of that of all, on the line through two numbers of data.

    Arguments:
        measured: Measures so many data.
        data: Number of all data.
        clock: What tells the time, in seconds.
    """

    def timed(count: int) -> tuple[T, float]:
        begun = clock()
        return measured(count), clock() - begun

    if data <= FEW:
        return timed(data)
    timed(2)  # with all that is done once
    found, few = timed(FEW)
    more = min(MORE, data)
    each = max(0.0, timed(more)[1] - few) / (more - FEW) if more > FEW else few / FEW
    return found, few + each * (data - FEW)
