"""Least squares on the statistics of a family: the variance that an affine function leaves unexplained."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import sqrt
from typing import Any

import torch
from torch import Tensor

from ppl_vae.evidence.estimate import finite

__all__ = ["Unexplained", "Whitened", "regress", "unexplained_variance", "whiten"]

COLLINEAR = 1e-12
"""Eigenvalue of a correlation matrix below which its direction is rounding."""


@dataclass(frozen=True)
class Unexplained:
    """Variance of one function per datum, and the part of it that a fit does not explain.

    Arguments:
        variance: Variance of the function over z, ``(data,)``, in squared nats.
        residual: Variance of the residuals of the fit, ``(data,)``.
        noise: Monte Carlo variance of ``residual``, its covariance with ``variance``, and the variance of
            ``variance``, ``(data, 3)``; zero for exact weights.
        precision: Smallest residual standard deviation that is more than rounding, ``(data,)``, in nats.
        known: Whether the draws of a datum are different enough to judge by, ``(data,)``.
    """

    variance: Tensor
    residual: Tensor
    noise: Tensor
    precision: Tensor
    known: Tensor

    @property
    def data(self) -> int:
        """Number of data that can be judged."""
        return int(self.known.sum())

    def _means(self) -> tuple[float, float, list[float]]:
        """Means of residual and variance over the data, and the errors of those means, squared, as in ``noise``."""
        known = self.known
        means = [values[known].mean().item() for values in (self.residual, self.variance)]
        return means[0], means[1], (self.noise[known].sum(0) / max(1, self.data) ** 2).tolist()

    @property
    def tolerance(self) -> float:
        """Root mean square of the precisions."""
        return self.precision[self.known].square().mean().sqrt().item()

    @property
    def varies(self) -> bool:
        """Whether the function varies over z by more than rounding: else there is nothing to explain."""
        return self.data > 0 and self._roundings(self.variance) > 1

    @property
    def vanishes(self) -> bool:
        """Whether the residual is rounding: an affine function has no residual, whatever the draws."""
        return self.data > 0 and self._roundings(self.residual) <= 1

    def _roundings(self, variance: Tensor) -> float:
        """Mean over the data of a variance in units of each datum's rounding: a huge datum hides no others."""
        tiny = torch.finfo(variance.dtype).tiny
        return (variance / self.precision.square().clamp(min=tiny))[self.known].mean().item()

    @property
    def share(self) -> float:
        """Mean residual over mean variance; 0 where nothing varies."""
        residual, variance, _ = self._means()
        return residual / variance if self.varies else 0.0 if self.data else torch.nan

    @property
    def share_se(self) -> float:
        """Monte Carlo standard error of the share, by the delta method."""
        _, variance, (rr, rv, vv) = self._means()
        share = self.share
        return sqrt(max(0.0, rr - 2 * share * rv + share**2 * vv)) / variance if self.varies else 0.0

    @property
    def deviation(self) -> float:
        """Root of the mean residual variance, in nats."""
        return sqrt(self._means()[0]) if self.data else torch.nan

    @property
    def deviation_se(self) -> float:
        """Monte Carlo standard error of the deviation, by the delta method."""
        return sqrt(self._means()[2][0]) / (2 * self.deviation) if self.data and self.deviation else 0.0

    def shares(self) -> Tensor:
        """The share of each datum, ``(data,)``; 0 where nothing varies or nothing is known."""
        varies = self.known & (self.variance > self.precision.square())
        return torch.where(varies, self.residual / self.variance.clamp(min=torch.finfo(self.variance.dtype).tiny), 0)

    def to_json(self) -> dict[str, Any]:
        """Returns the numbers over all data that can be judged."""
        numbers = ("share", "share_se", "deviation", "deviation_se", "tolerance")
        values: dict[str, Any] = {name: finite(getattr(self, name)) for name in numbers}
        return values | {"data": self.data, "varies": self.varies, "vanishes": self.vanishes}

    @classmethod
    def join(cls, parts: list[Unexplained]) -> Unexplained:
        """Returns the result of all data from those of consecutive blocks."""
        return cls(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(cls)))


@dataclass(frozen=True)
class Whitened:
    """Statistics transformed into uncorrelated directions of unit variance; those without variance are dropped.

    Arguments:
        centre: Means of the statistics, ``(data or 1, statistics)``.
        turn: Matrix from centred statistics to directions, ``(data or 1, statistics, statistics)``; zero for dropped
            ones.
        basis: The directions at each z, ``(data or 1, z, statistics)``.
        rank: Number of directions with variance, ``(data or 1,)``.
    """

    centre: Tensor
    turn: Tensor
    basis: Tensor
    rank: Tensor


def whiten(statistics: Tensor, weights: Tensor) -> Whitened:
    """Returns uncorrelated directions of statistics, by eigenvectors of their correlations with a tolerance.

    Arguments:
        statistics: Sufficient statistics of each z, ``(data or 1, z, statistics)``.
        weights: Weight of each z, adding up to 1, ``(data or 1, z)``.
    """
    centre = _mean(statistics, weights)
    basis, turn = statistics - centre[:, None], None
    for first in (True, False):  # the second pass corrects rounding of nearly collinear statistics
        basis = basis - _mean(basis, weights)[:, None]
        moments = (basis * weights[..., None]).mT @ basis
        scale = moments.diagonal(dim1=1, dim2=2).sqrt()
        least = 16 * torch.finfo(basis.dtype).eps * statistics.abs().amax(1) if first else 0.5
        inverse = torch.where(scale > least, 1 / scale, 0)
        values, vectors = torch.linalg.eigh(inverse[:, :, None] * moments * inverse[:, None])
        retained = values > COLLINEAR * values[:, -1:].clamp(min=1e-300)
        step = inverse[:, :, None] * vectors * torch.where(retained, values, 1).rsqrt()[:, None] * retained[:, None]
        basis, turn = basis @ step, step if turn is None else turn @ step
    assert turn is not None
    return Whitened(centre, turn, basis, retained.sum(1))


def regress(
    statistics: Tensor, values: Tensor, weights: Tensor, precision: Tensor, *, drawn: bool
) -> tuple[Unexplained, Tensor, Tensor]:
    r"""Fits the best affine function of the statistics for each datum, by weighted least squares.

    .. math:: \min_{g_i, b_i} \sum_z w_i(z) \bigl(y_i(z) - \langle \psi(z), g_i \rangle - b_i\bigr)^2

    Arguments:
        statistics: Sufficient statistics of each z, ``(data or 1, z, statistics)``.
        values: y, ``(data, z)``, in nats.
        weights: Weight w of each z, adding up to 1, ``(data or 1, z)``.
        precision: Smallest residual standard deviation that is more than rounding, ``(data,)``, in nats.
        drawn: Whether the z are independent draws, equally weighted: variances then are corrected for what was fitted
            to the same draws, and have errors.

    Returns:
        The unexplained variance; the coefficients g, ``(data, statistics)``; the residual at each z, ``(data, z)``.
    """
    white = whiten(statistics, weights)
    centred = values - (weights * values).sum(1, keepdim=True)
    inner, residuals = torch.zeros_like(values[:, :1]), centred
    for _ in range(2):  # the second pass corrects the rounding of the first
        step = _product(weights * residuals, white.basis)
        residuals = residuals - _combine(white.basis, step)
        inner = inner + step
    coefficients = _combine(white.turn, inner)
    residuals = residuals - (weights * residuals).sum(1, keepdim=True)
    leverage = weights * (1 + white.basis.square().sum(2)) if drawn else None
    result = unexplained_variance(centred, residuals, weights, precision, leverage)
    if drawn:
        # On as many different points as coefficients any function is affine.
        direction = (statistics * torch.cos(torch.arange(statistics.shape[-1]).to(statistics))).sum(-1).sort(1).values
        steps = direction.diff(dim=1) > 1e-12 * direction.abs().amax(1, keepdim=True)
        known = (steps.sum(1) > white.rank).expand(len(values))
        result = Unexplained(result.variance, result.residual, result.noise, precision, known)
    return result, coefficients, residuals


def unexplained_variance(
    centred: Tensor, residuals: Tensor, weights: Tensor, precision: Tensor, leverage: Tensor | None
) -> Unexplained:
    r"""Returns the variance that a fit leaves unexplained, from its residuals; see :func:`regress`.

    A fit follows the draws it was made from. Squares of its residuals are therefore divided by one minus the
    leverage of their draw (MacKinnon and White 1985, HC2), which to first order is right whatever function is fitted;
    degrees of freedom are not, as functions far from affine are furthest where the leverage is largest.

    Arguments:
        centred: The function minus its mean over z, ``(data, z)``.
        residuals: Residuals of the fit, minus their mean over z, ``(data, z)``.
        leverage: Leverage of each draw on the fit, ``(data or 1, z)``; None if z are not draws.
    """
    known = torch.ones_like(centred[:, 0], dtype=torch.bool)
    precision, noise = precision.expand(len(centred)), centred.new_zeros(len(centred), 3)
    squares, squared_residuals = centred.square(), residuals.square()
    if leverage is not None:
        draws = centred.shape[1]
        # A draw of leverage 1 is fitted exactly, and says nothing.
        squared_residuals = squared_residuals / (1 - leverage).clamp(min=1e-6)
        squares = squares * (draws / max(1, draws - 1))
    variance, residual = (weights * squares).sum(1), (weights * squared_residuals).sum(1)
    if leverage is not None:
        of_residual, of_variance = squared_residuals - residual[:, None], squares - variance[:, None]
        pairs = (
            (of_residual, of_residual),
            (of_residual, of_variance),
            (of_variance, of_variance),
        )
        noise = torch.stack([(a * b).mean(1) for a, b in pairs], 1) / draws
    return Unexplained(variance, residual, noise, precision, known)


def _mean(statistics: Tensor, weights: Tensor) -> Tensor:
    """Weighted means of statistics over z, ``(data or 1, statistics)``."""
    if len(statistics) == 1:
        return weights @ statistics[0]
    return (weights[:, None] @ statistics)[:, 0]


def _product(values: Tensor, basis: Tensor) -> Tensor:
    """Sums over z of values ``(data, z)`` times each direction, ``(data, statistics)``."""
    return values @ basis[0] if len(basis) == 1 else (values[:, None] @ basis)[:, 0]


def _combine(basis: Tensor, coefficients: Tensor) -> Tensor:
    """``(data or 1, a, b)`` times ``(data, b)``: ``(data, a)``."""
    return coefficients @ basis[0].T if len(basis) == 1 else (basis @ coefficients[..., None])[..., 0]
