"""Points on a sphere under normal noise of a fixed scale: the best that any decoder can do, exactly."""

from __future__ import annotations

from math import inf, sqrt
from typing import Any

import numpy as np
from numpy.polynomial import Polynomial
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import gammaln, ive

__all__ = ["best_evidence", "best_radius", "log_density", "log_kernel", "resultant", "threshold"]

Numbers = NDArray[np.float64]

UNIFORM = 20.0
"""Order from which the expansion of a Bessel function uniform in its argument is exact to rounding."""


def threshold(radius: float, dimensions: int) -> float:
    r"""The noise from which on the best decoder knows nothing of the sphere, :math:`R / \sqrt D`.

    Below it the best radius of the means is positive, from it on zero (see :func:`best_radius`). Theorem 1 of Berger
    and Sebag (2020) gives :math:`R / \sqrt{D - 1}`, which suffices for the collapse but is not needed for it.
    """
    _check(radius, 1.0, dimensions)
    return radius / sqrt(dimensions)


def resultant(concentration: ArrayLike, dimensions: int) -> Numbers:
    r"""Mean cosine between a von Mises-Fisher direction and its centre.

    .. math:: A_D(k) = \frac{I_{D/2}(k)}{I_{D/2 - 1}(k)}

    by its continued fraction :math:`A_D(k) = k / (D + k\, A_{D+2}(k))` (DLMF 10.33.1), begun so deep that the bound of
    Amos (1974) it begins with no longer matters. No Bessel function is evaluated, so none under- or overflows.

    Arguments:
        concentration: k, not negative, of any shape.
        dimensions: D, at least 2.

    Example:
        >>> k = 2.5  # in three dimensions it is coth k - 1/k
        >>> round(float(resultant(k, 3)), 12), round(float(1 / np.tanh(k) - 1 / k), 12)
        (0.613567309813, 0.613567309813)
    """
    k: Any = np.asarray(concentration, dtype=np.float64)
    # An error at the start shrinks by exp(-depth^2 / k) on its way up.
    depth = 30 + int(7 * sqrt(k.max(initial=0.0)))
    order = dimensions / 2 - 1 + depth
    found = k / (order + 0.5 + np.sqrt((order + 1.5) ** 2 + k**2))
    if k.ndim == 0:  # Python computes with single numbers ten times as fast
        k, found = float(k), float(found)
    for step in range(depth, 0, -1):
        found = k / (dimensions + 2 * (step - 1) + k * found)
    return np.asarray(found)


def best_radius(radius: float, sigma: float, dimensions: int) -> float:
    r"""Radius of the means under which points of a sphere are most likely.

    The distribution of the means that maximises the likelihood is uniform on a sphere of the radius

    .. math:: r^* = R\, A_D(r^* R / \sigma^2),

    the stationary points of :func:`log_density` in r. :math:`A_D` is concave with slope :math:`1 / D` at zero: there
    is a positive solution, and only one, exactly where :math:`\sigma < R / \sqrt D`; elsewhere :math:`r^* = 0`.

    Arguments:
        radius: R, of the sphere the data lie on.
        sigma: Of the noise.
        dimensions: D, of the space.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> [round(best_radius(1.0, sigma, 2), 4) for sigma in (0.1, 0.5, 0.7, 0.71)]
        [0.995, 0.8315, 0.1987, 0.0]
    """
    _check(radius, sigma, dimensions)
    precision = (radius / sigma) ** 2
    if precision <= dimensions:
        return 0.0
    # In k = r R / sigma^2 the equation is k / A_D(k) = R^2 / sigma^2. Bounds of Amos (1974) on A_D, both of slope 1 / D
    # at zero, bracket the solution however near the threshold it is.
    low, high = (sqrt((precision - dimensions) * (precision + more)) for more in (1, 2))

    def excess(k: float) -> float:
        # k / A_D(k), without dividing two small numbers.
        return float(dimensions + k * resultant(k, dimensions + 2)) - precision

    if excess(low) >= 0:  # so near the threshold that rounding hides the difference
        return low * sigma**2 / radius
    return float(brentq(excess, low, high * (1 + 1e-9), xtol=1e-15 * high, rtol=1e-14)) * sigma**2 / radius


def log_kernel(concentration: ArrayLike, dimensions: int) -> Numbers:
    r"""Log of the mean of :math:`e^{k \cos \phi}` over the directions of the space.

    .. math:: \log {}_0F_1(; \tfrac D2; \tfrac{k^2}{4}) = \log \Gamma(\tfrac D2)
        - (\tfrac D2 - 1) \log \tfrac k2 + \log I_{D/2 - 1}(k)

    by SciPy's scaled Bessel function up to 40 dimensions, and beyond by its expansion for large orders, uniform in the
    argument (DLMF 10.41.3), where the function itself would underflow.

    Arguments:
        concentration: k, not negative, of any shape.
        dimensions: D, at least 2.
    """
    k = np.asarray(concentration, dtype=np.float64)
    order = dimensions / 2 - 1
    small = k**2 / (2 * dimensions) * (1 - k**2 / (2 * dimensions * (dimensions + 2)))
    safe = np.where(k < 1e-2, 1.0, k)
    if order < UNIFORM:
        bessel = np.log(ive(order, safe)) + safe
        return np.where(k < 1e-2, small, bessel - order * np.log(safe / 2) + gammaln(order + 1))
    z = safe / order
    root = np.sqrt(1 + z**2)
    # sqrt(1 + z^2) + log(z / (1 + sqrt(1 + z^2))) less log z, of which the power of k cancels the rest.
    exponent = order * (root - np.log1p(root) + np.log(2 / order)) + gammaln(order + 1)
    series = sum(term(1 / root) / order**j for j, term in enumerate(_debye(8)))
    return np.where(k < 1e-2, small, exponent - 0.5 * np.log(2 * np.pi * order * root) + np.log(series))


def _debye(count: int) -> list[Polynomial]:
    """The polynomials of DLMF 10.41.10, by the recurrence 10.41.9."""
    found, p = [Polynomial([1.0])], Polynomial([0.0, 1.0])
    for _ in range(count):
        last = found[-1]
        found.append(0.5 * p**2 * (1 - p**2) * last.deriv() + 0.125 * ((1 - 5 * p**2) * last).integ())
    return found


def log_density(distance: ArrayLike, radius: ArrayLike, sigma: ArrayLike, dimensions: int) -> Numbers:
    r"""Log-density of a point at distance |x| from the centre, the mean uniform on a sphere, in nats.

    .. math:: \log p(x) = -\frac D2 \log 2 \pi \sigma^2 - \frac{|x|^2 + r^2}{2 \sigma^2}
        + \log {}_0F_1\Bigl(; \frac D2; \frac{r^2 |x|^2}{4 \sigma^4}\Bigr)

    (the integral in eq. 8 of Berger and Sebag 2020, with all constants, for every D).

    Arguments:
        distance: :math:`|x|`, which for data on a sphere is R.
        radius: r, of the sphere of means; this and the others of shapes that broadcast.
        sigma: Of the noise.
        dimensions: D, at least 2.

    Example:
        >>> round(float(log_density(1.0, 0.0, 1.0, 2)), 6)  # a normal density: -log(2 pi) - 1/2
        -2.337877
    """
    x, r, s = (np.asarray(value, dtype=np.float64) for value in (distance, radius, sigma))
    normal = -dimensions / 2 * np.log(2 * np.pi * s**2) - (x**2 + r**2) / (2 * s**2)
    return np.asarray(normal + log_kernel(r * x / s**2, dimensions))


def best_evidence(radius: float, sigma: float, dimensions: int) -> float:
    """Log-density of every point of the sphere under the best distribution of means, in nats: no decoder exceeds it."""
    return float(log_density(radius, best_radius(radius, sigma, dimensions), sigma, dimensions))


def _check(radius: float, sigma: float, dimensions: int) -> None:
    if not 0 < radius < inf or not 0 < sigma < inf or dimensions < 2:
        raise ValueError(
            f"a sphere has a positive radius, noise and at least 2 dimensions, got radius={radius:g}, "
            f"sigma={sigma:g}, dimensions={dimensions}"
        )
