"""Confidence intervals of means over data: what the draws leave open, and what the sample of data does."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.upper import above

__all__ = [
    "LEVEL",
    "Ends",
    "Interval",
    "ends",
    "minus",
    "monte_carlo_margin",
    "of_population",
    "of_these_data",
    "over_data",
    "split_se",
]

LEVEL = 0.95
"""Confidence level of all intervals that are printed."""


@dataclass(frozen=True)
class Interval:
    """A confidence interval, in nats per datum where nothing else is said.

    Arguments:
        low: Its lower end; None where nothing is known from below.
        high: Its upper end; None where nothing is known from above.
    """

    low: float | None
    high: float | None

    def to_json(self) -> list[float | None]:
        """Both ends, None where unknown or not finite."""
        return [end if end is not None and math.isfinite(end) else None for end in (self.low, self.high)]

    def __contains__(self, value: float) -> bool:
        return (self.low is None or self.low <= value) and (self.high is None or value <= self.high)

    def __str__(self) -> str:
        low, high = ("" if end is None else f"{end + 0.0:.3f}" for end in self.to_json())
        if low and high:
            return f"{low} to {high}"
        return f">= {low}" if low else f"<= {high}" if high else "not known"


Ends = tuple[Estimate | None, Estimate | None]
"""A number that is at most the true one in expectation, and one that is at least; None where none is known."""


def ends(estimate: Estimate) -> Ends:
    """The number itself at the ends where it bounds the true one: both of an exact one, neither of an approximation.

    A lower bound of the evidence has an upper one beside it, where its weights or simulated data give a valid one.
    """
    low = estimate if estimate.bound in ("exact", "unbiased", "lower") else estimate.lower
    return low, estimate if estimate.bound in ("exact", "unbiased", "upper") else above(estimate)


def minus(one: Ends, other: Ends) -> Ends:
    """The ends of a difference, each datum's from its own: one's lower minus the other's upper, and the reverse."""
    (low, high), (other_low, other_high) = one, other
    return (
        None if low is None or other_high is None else low.minus(other_high),
        None if high is None or other_low is None else high.minus(other_low),
    )


def of_these_data(known: Ends, level: float = LEVEL) -> Interval:
    r"""What the draws leave open of the mean over these very data.

    The errors :math:`s_i` of single data are themselves estimates, from :math:`S` draws each, so that the mean is off
    by Student's t with the degrees of freedom of Welch (1947) and Satterthwaite (1946),

    .. math:: \nu = (S - 1) \frac{(\sum_i s_i^2)^2}{\sum_i s_i^4}

    Arguments:
        known: The ends that are known.
        level: Confidence level.
    """
    low, high = known
    return Interval(
        None if low is None else low.mean - monte_carlo_margin(low, level),
        None if high is None else high.mean + monte_carlo_margin(high, level),
    )


def of_population(known: Ends, level: float = LEVEL, *, of: int | None = None) -> Interval:
    """Where the mean over all lies from which these data are a random sample, draws and sampling together.

    Arguments:
        known: The ends that are known, of each datum.
        level: Confidence level.
        of: Number of data of the split; None for a population without end.
    """
    low, high = known
    if any(each is not None and len(each.pointwise) == of for each in known):
        return of_these_data(known, level)
    return Interval(
        None if low is None else low.mean + _population_margins(low, level, of)[0],
        None if high is None else high.mean + _population_margins(high, level, of)[1],
    )


def _population_margins(estimate: Estimate, level: float, of: int | None) -> tuple[float, float]:
    low, high = over_data(estimate.pointwise, level, noise=estimate.pointwise_se, of=of)
    common = _quantile(level, math.inf) * estimate.common_se
    return -math.hypot(low, common), math.hypot(high, common)


def monte_carlo_margin(estimate: Estimate, level: float = LEVEL) -> float:
    """How far the mean over these data may be off by its draws alone, in nats per datum."""
    return _quantile(level, _degrees_of_freedom(estimate)) * estimate.se if estimate.se else 0.0


def _degrees_of_freedom(estimate: Estimate) -> float:
    """Degrees of freedom of the Monte Carlo error of a mean; infinite where the number of draws is not known."""
    if estimate.pointwise_se is None or estimate.draws < 2:
        return math.inf
    errors = estimate.pointwise_se.double()
    squares = (errors / errors.max().clamp(min=torch.finfo(errors.dtype).tiny)).square()  # fourth powers overflow
    fourth = squares.square().sum().item()
    return (estimate.draws - 1) * squares.sum().item() ** 2 / fourth if fourth > 0 else math.inf


def over_data(
    values: Tensor, level: float = LEVEL, *, noise: Tensor | None = None, of: int | None = None
) -> tuple[float, float]:
    r"""How far below and above the mean of some data that of all may lie, at a confidence level.

    Values per datum are skewed (of a Gaussian model log p(x) is a negative chi-square), and few. With the sample's
    skewness :math:`\hat\gamma` the transformed mean of Hall (1992, eq. 2.2)

    .. math:: g(W) = W + \frac{\hat\gamma}{3} W^2 + \frac{\hat\gamma^2}{27} W^3 + \frac{\hat\gamma}{6 n},
        \qquad W = \frac{\bar v - \mu}{s}

    is all but symmetric, and is inverted at quantiles of Student's t over :math:`\sqrt n`. Values that are themselves
    sampled are scattered by the noise of their draws as well, which is thereby included.

    Of a finite split of N data the sample holds a share n / N, of whose values only the noise is left:
    :math:`(1 - n/N)\, s^2 + (n/N)\, \overline{\sigma^2}` takes the place of :math:`s^2`.

    Arguments:
        values: One value per datum, ``(data,)``.
        level: Confidence level.
        noise: Monte Carlo standard error of each value, ``(data,)``; None is zero.
        of: Number of data of the split of which these are a random sample; None for a population without end.

    Returns:
        A negative and a positive margin; infinite for a single datum.
    """
    count = len(values)
    if count < 2:
        return -math.inf, math.inf
    values = values.double()
    deviation = values.std().item()
    if not deviation > 0 or not math.isfinite(deviation):
        return (0.0, 0.0) if deviation == 0 else (-math.inf, math.inf)
    centred = (values - values.mean()) / deviation
    skewness = centred.pow(3).sum().item() * count / ((count - 1) * (count - 2)) if count > 2 else 0.0
    y = _quantile(level, count - 1) / math.sqrt(count)
    scale = split_se(values, noise, of) * math.sqrt(count)
    # The values exceed the mean of all by s W: a large W is the lower end.
    return -scale * _inverse(y, skewness, count), -scale * _inverse(-y, skewness, count)


def split_se(values: Tensor, noise: Tensor | None = None, of: int | None = None) -> float:
    """Standard error of the mean as that of all ``of`` data of a split, or of a population without end, in nats.

    Arguments:
        values: One value per datum, ``(data,)``.
        noise: Monte Carlo standard error of each value, ``(data,)``; None is zero.
        of: Number of data of the split; None for a population without end.
    """
    count = len(values)
    share = 0.0 if of is None else count / of
    of_draws = 0.0 if noise is None else noise.double().square().mean().item()
    spread = 0.0 if share == 1 else values.double().var().item() if count > 1 else math.nan
    return math.sqrt(((1 - share) * spread + share * of_draws) / count)


def _inverse(y: float, skewness: float, count: int) -> float:
    """W of which Hall's g is y."""
    if abs(skewness) < 1e-6:
        return y
    cube = 1 + skewness * (y - skewness / (6 * count))
    return 3 / skewness * (math.copysign(abs(cube) ** (1 / 3), cube) - 1)


def _quantile(level: float, degrees: float) -> float:
    """How many standard errors of Student's t both ends lie away."""
    from scipy.special import ndtri, stdtrit

    upper = (1 + level) / 2
    return float(ndtri(upper) if math.isinf(degrees) else stdtrit(degrees, upper))
