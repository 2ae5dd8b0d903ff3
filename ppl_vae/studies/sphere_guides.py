"""Points on a sphere under normal guides: the best ELBO of the decoder r z / |z|, and where it collapses."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from math import exp, lgamma, sqrt
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from ppl_vae.studies.spheres import log_density

__all__ = ["frames", "normal_limit", "normal_threshold"]


def frames(points: int, dimensions: int) -> Tensor:
    """Points uniform on the unit sphere: orthogonal frames randomly rotated, and their opposites.

    Their mean is exactly zero and their covariance exactly that of the sphere, as in the large sample that the theorem
    is about. Independent points would have directions of more variance than others, which a decoder may find above the
    threshold.
    """
    turned = torch.linalg.qr(torch.randn(-(-points // (2 * dimensions)), dimensions, dimensions)).Q
    found = torch.cat([turned, -turned]).flatten(0, 1)
    return found[torch.randperm(len(found))]


@cache
def normal_limit(sigma: float, dimensions: int) -> Mapping[str, float]:
    r"""The highest ELBO of the decoder r z / |z| under normal guides, and its radius (R = 1).

    The data and the prior look the same from every side, and so does the best guide: it has its mean at
    :math:`m\,x/R`, the variance a along x and b across it. With C the mean cosine between z and x under it,

    .. math:: -\frac D2 \log 2 \pi \sigma^2 - \frac{R^2 + r^2 - 2 r R\, C(m, a, b)}{2 \sigma^2}
        - \mathrm{KL}(m, a, b)

    is highest at r = R C; the other three are searched. With 1/|z| the integral of
    :math:`2 \pi^{-1/2} e^{-t^2 |z|^2}` over t, C is one over a single number,

    .. math:: C = \frac{2 m}{\sqrt \pi} \int_0^\infty
        \frac{e^{-m^2 t^2 / (1 + 2 a t^2)}}{(1 + 2 a t^2)^{3/2} (1 + 2 b t^2)^{(D - 1)/2}}\, dt.

    Returns:
        ``radius``, ``elbo``, and the guide's ``mean``, ``along`` and ``across``.
    """
    angle, weight = np.polynomial.legendre.leggauss(200)
    angle, weight = np.pi / 4 * (angle + 1), np.pi / 4 * weight
    t2 = np.tan(angle) ** 2 / dimensions
    weight = 2 / sqrt(np.pi * dimensions) * weight / np.cos(angle) ** 2

    def cosine(m: float, a: float, b: float) -> float:
        one, two = 1 + 2 * a * t2, 1 + 2 * b * t2
        exponent = -(m**2) * t2 / one - 1.5 * np.log(one) - (dimensions - 1) / 2 * np.log(two)
        return float(m * (weight * np.exp(exponent)).sum())

    def loss(parameters: NDArray[np.float64]) -> float:
        m, (a, b) = parameters[0], np.exp(parameters[1:])
        divergence = (m**2 + a - 1 - np.log(a) + (dimensions - 1) * (b - 1 - np.log(b))) / 2
        return float(divergence - cosine(m, a, b) ** 2 / (2 * sigma**2))

    # From the prior, a saddle point, and from guides more and more certain.
    starts = [(share * sqrt(dimensions), -share, -share) for share in (0.01, 0.3, 0.6, 1.0)]
    options = {"ftol": 1e-14, "gtol": 1e-8}
    found = min(
        (minimize(loss, start, method="L-BFGS-B", options=options) for start in starts),
        key=lambda each: float(each.fun),
    )
    m, a, b = 0.0, 1.0, 1.0
    if found.fun < -1e-9:
        m, (a, b) = float(found.x[0]), np.exp(found.x[1:]).tolist()
    elbo = float(log_density(1.0, 0.0, sigma, dimensions)) - min(float(found.fun), 0.0)
    return MappingProxyType({"radius": abs(cosine(m, a, b)), "elbo": elbo, "mean": m, "along": a, "across": b})


def normal_threshold(dimensions: int) -> float:
    """Noise from which on r = 0 is a local maximum of the ELBO of r z / |z| under normal guides: R E|z| / D, for R = 1.

    Near r = 0 a guide can follow only what is linear in z of z / |z|, whose share of the variance is (E|z|)^2 / D.
    """
    return sqrt(2) * exp(lgamma((dimensions + 1) / 2) - lgamma(dimensions / 2)) / dimensions
