"""Whether the numbers of a training make sense: one list of checks, each with its threshold and its reason."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ppl_vae.data.inputs import main_field
from ppl_vae.data.precision import FEW_STEPS, steps_per_deviation
from ppl_vae.diagnostics.baseline import baseline
from ppl_vae.nn.observation_noise import ObservationNoise
from ppl_vae.runs.trained import Trained
from ppl_vae.training.undertraining import undertrained

__all__ = ["CHECKS", "Check", "FailedCheck", "failed_checks"]

Found = tuple[float, str] | None
"""The number that a check computes where it is beyond its threshold, and the note; else None."""

TOO_SHORT = "training too short"

RATE = 0.01
"""Nats below which a code says nothing."""


@dataclass(frozen=True)
class Check:
    """One way in which the numbers of a training make no sense.

    Arguments:
        name: Its name.
        computes: The number that is computed.
        threshold: Where the note begins.
        reason: Why there.
        find: The number and the note, which says what to try.
    """

    name: str
    computes: str
    threshold: float
    reason: str
    find: Callable[[Trained, float], Found]


@dataclass(frozen=True)
class FailedCheck:
    """A check beyond its threshold: its name, the number and the note."""

    check: str
    value: float
    note: str


CHECKS: list[Check] = []
"""All checks, in the order of their notes."""


def failed_checks(trained: Trained) -> tuple[FailedCheck, ...]:
    """Returns what the checks found, in their order."""
    found = ((check.name, check.find(trained, check.threshold)) for check in CHECKS)
    return tuple(FailedCheck(name, *each) for name, each in found if each is not None)


def _check(name: str, computes: str, threshold: float, reason: str) -> Callable[..., Callable[[Trained, float], Found]]:
    """Adds a function to the list."""

    def added(find: Callable[[Trained, float], Found]) -> Callable[[Trained, float], Found]:
        CHECKS.append(Check(name, computes, threshold, reason, find))
        return find

    return added


@_check(
    TOO_SHORT,
    "rise of the validation metric over the last tenth of the epochs, at least five, if the best is among them",
    0.01,
    "nats per datum, and over twice the error of the fitted line: less does not matter, or may be chance",
)
def _too_short(run: Trained, least: float) -> Found:
    return undertrained(run.rows, run.metric, run.best_epoch, run.settings.schedule, least)


@_check("rate at zero", "rate of the training data", RATE, "nats: what the code tells of the data is at most the rate")
def _rate_at_zero(run: Trained, threshold: float) -> Found:
    rate = run.splits["train"].rate
    if not rate.mean + 2 * rate.se < threshold:
        return None
    return rate.mean, (
        f"the rate of the training data is {rate.mean:.2g} nats: the code says nothing about them (posterior "
        "collapse), and a model without latents does as well; let the rate cost less at first (--anneal linear:10), "
        "leave some of it free (--free-bits 1), or take a decoder that needs the code"
    )


@_check(
    "rate at its maximum",
    "logarithm of the number of codes of one probability, minus the rate of the training data",
    0.01,
    "nats: the entropy of the guide that is left",
)
def _rate_at_its_maximum(run: Trained, threshold: float) -> Found:
    rate, most = run.splits["train"].rate, run.log_codes
    if most is None or not rate.mean - 2 * rate.se > most - threshold:
        return None
    return most - rate.mean, (
        f"the rate of the training data is at its maximum, {most:.3f} nats, the logarithm of the number of codes: each "
        "datum has one code for certain; more bits or states may tell more, and, where the guide was certain from the "
        "first epochs, a lower learning rate (--learning-rate)"
    )


@_check(
    "collapsed units",
    "share of the units whose mean has a variance below 0.01 over the training data",
    0.5,
    "most of the code is unused; some unused units are usual",
)
def _collapsed(run: Trained, threshold: float) -> Found:
    units, rate = run.units["train"], run.splits["train"].rate
    count = len(set(units.collapsed) - set(units.undecided))
    share = count / max(1, len(units.names))
    if not share > threshold or rate.mean < RATE:
        return None
    return share, (
        f"{count} of {len(units.names)} units of the code do not vary with the data (the variance of their means is "
        "below 0.01): fewer would do as well; if more are wanted, let the rate cost less at first (--anneal linear:10)"
    )


@_check(
    "stuck units",
    "divergence from the prior of a unit whose mean has a variance below 0.01 over the training data",
    0.1,
    "nats: it is paid for and tells nothing",
)
def _stuck(run: Trained, threshold: float) -> Found:
    units = run.units["train"]
    if units.kl is None:
        return None
    dead = ~units.active & (units.kl > threshold)
    dead &= torch.tensor([name not in units.undecided for name in units.names], device=dead.device)
    if not dead.any():
        return None
    cost = units.kl[dead].sum().item()
    named = [name for name, each in zip(units.names, dead.tolist(), strict=True) if each]
    return units.kl[dead].max().item(), (
        f"{len(named)} of {len(units.names)} units of the code have the same distribution for all data and cost "
        f"{cost:.2g} nats of rate ({', '.join(named[:4])}{', ...' if len(named) > 4 else ''}): they are stuck; take a "
        "lower learning rate (--learning-rate), or another seed (--seed)"
    )


@_check(
    "ELBO below a baseline",
    "log-likelihood of a model without latents minus the ELBO, on test data",
    0.01,
    "nats, and over twice its error over the data: a unigram model of documents, independent bits, or independent "
    "normal numbers, fitted to the training data",
)
def _below_baseline(run: Trained, threshold: float) -> Found:
    split, elbo = run.unseen, run.splits[run.unseen].measurement.elbo
    known = baseline(run.model, run.train, run.data[split])
    if known is None or len(elbo.pointwise) < 2:
        return None
    name, values = known
    loss = values.to(elbo.pointwise) - elbo.pointwise
    mean, error = loss.mean().item(), math.hypot(loss.std().item() / len(loss) ** 0.5, elbo.se)
    if not threshold < mean - 2 * error < math.inf:
        return None
    above = run.splits[split].measurement.evidence.mean > values.mean().item()
    return mean, (
        f"the ELBO of the {split} data is {mean:.4g} +- {error:.1g} nats below the log-likelihood of {name}, without "
        "latents: "
        + (
            "the evidence is above it, so that the guide is at fault; train longer (--epochs), or take another guide"
            if above
            else "the pair is worse than none; train longer (--epochs), take another learning rate (--learning-rate), "
            "or of few data a smaller model"
        )
    )


@_check(
    "guide not learned",
    "evidence minus ELBO of the training data, where it is over the rate",
    1.0,
    "nats, and over twice its error: the prior would be nearer to the posterior than the guide is",
)
def _unlearned_guide(run: Trained, threshold: float) -> Found:
    split = run.splits["train"]
    gap, rate = split.measurement.gap, split.rate.mean
    if not gap.mean - 2 * gap.se > max(rate, threshold):
        return None
    return gap.mean, (
        f"the evidence of the training data is {gap.mean:.4g} nats above the ELBO, more than the whole rate of "
        f"{rate:.3g}: the guide is further from the posterior than from the prior and has not learned it; train longer "
        "(--epochs), take a lower learning rate (--learning-rate), or another guide"
    )


@_check(
    "few validation data",
    "validation data in parts of a batch",
    1.0,
    "the epoch is chosen by a mean that is noisier than a step's",
)
def _few_validation_data(run: Trained, threshold: float) -> Found:
    share = run.validation / run.settings.batch_size
    if not run.metric or not 0 < share < threshold:
        return None
    return share, (
        f"{run.validation} validation data, fewer than a batch of {run.settings.batch_size}, chose the epoch: the "
        "choice is noisy, and their figures flatter it; hold out more (--validation), or take more data"
    )


@_check(
    "constant numbers",
    "numbers of a datum that are the same in all training data, under a learned sigma",
    1,
    "the likelihood has no bound there",
)
def _constant_numbers(run: Trained, threshold: float) -> Found:
    scale = run.scale
    if scale is None or not scale.learned or scale.diverges or scale.constants < threshold:
        return None
    return scale.constants, (
        f"{scale.constants} of {scale.numbers} numbers of a datum are the same in all training data: under a learned "
        f"sigma their likelihood has no bound, and they add {scale.bits:.2f} bits per number so far; leave them out, "
        "fix sigma (--sigma), or give it a floor (--floor)"
    )


@_check(
    "sigma below the data's step",
    "learned sigma in parts of the data's resolution",
    0.5,
    "the density rewards how the data were rounded",
)
def _sigma_below_step(run: Trained, threshold: float) -> Found:
    scale = run.scale
    return None if scale is None or scale.warning is None else (scale.least / scale.step, scale.warning)


@_check(
    "sigma at its floor",
    "learned sigma in parts of its floor",
    1.01,
    "within a hundredth of it",
)
def _sigma_at_floor(run: Trained, threshold: float) -> Found:
    floor = max((part.floor for part in run.model.modules() if isinstance(part, ObservationNoise)), default=0.0)
    if run.scale is None or not run.scale.learned or not run.scale.least <= threshold * floor:
        return None
    return run.scale.least / floor, (
        f"sigma is {run.scale.least:.3g}, at its floor of {floor:g}: the likelihood would grow if it fell further, so "
        "that the floor decides the bound; say so beside it, or fix sigma (--sigma)"
    )


@_check(
    "few digits",
    "standard deviation of a number of a datum, in steps between 32-bit floats of its size",
    FEW_STEPS,
    "a log-density errs by about the inverse, for each number",
)
def _few_digits(run: Trained, threshold: float) -> Found:
    x = main_field(run.train)
    if not isinstance(x, Tensor) or x.dtype != torch.float32:
        return None
    steps = steps_per_deviation(x).flatten()
    if not (least := steps.nan_to_num(math.inf).min().item()) < threshold:
        return None
    return least, (
        f"{int((steps < threshold).sum())} of {len(steps)} numbers of a datum vary by few steps of a 32-bit float (a "
        f"standard deviation is {least:.2g} steps): their densities are noise; subtract their mean before saving them"
    )


@_check(
    "separate draws",
    "rate plus distortion plus ELBO",
    1e-3,
    "nats; zero where they come from the same draws",
)
def _sum(run: Trained, threshold: float) -> Found:
    off = {name: split.imbalance for name, split in run.splits.items() if split.rate.draws}
    worst = max(map(abs, off.values()), default=0.0)
    if not worst > threshold:
        return None
    each = ", ".join(f"{value:+.3g} ({name})" for name, value in off.items() if abs(value) > threshold)
    return worst, (
        "rate and distortion come from other draws than the ELBO: their sum and the ELBO add up to "
        f"{each} nats instead of 0"
    )
