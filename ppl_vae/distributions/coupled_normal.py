"""Normals with a full covariance that stay exact in single precision where it is nearly singular."""

from __future__ import annotations

from collections.abc import Sequence
from math import log, pi

import pyro.distributions as dist
import torch
from torch import Tensor

from ppl_vae.distributions.scales import COUPLED, bounded

__all__ = ["CoupledNormal", "coupled_scale_tril", "couplings_of"]


class CoupledNormal(dist.MultivariateNormal):  # type: ignore[misc]
    r"""A multivariate normal that knows the density of its last draw by the noise it was made of.

    .. math:: z = \mu + L \epsilon, \qquad
        \log q(z) = -\tfrac12 |\epsilon|^2 - \sum_i \log L_{ii} - \tfrac{n}{2} \log 2 \pi

    The noise that is found from z, :math:`L^{-1} (z - \mu)`, is off by the rounding of z times :math:`|L^{-1}|`, whose
    square may exceed all else: an objective would make the covariance singular for it. The density of any other value
    is found so, and that of a draw from :meth:`sample` where a gradient is wanted, which its noise does not carry.

    Example:
        >>> fn = CoupledNormal(torch.zeros(2), scale_tril=torch.tensor([[1.0, 0.0], [0.7, 0.1]]))
        >>> z = fn.rsample()
        >>> torch.allclose(fn.log_prob(z), fn.log_prob(z.clone()), atol=1e-3)
        True
    """

    _noise: Tensor | None = None
    _draw: Tensor | None = None
    _version: int = 0

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        self._noise = torch.randn(
            self._extended_shape(torch.Size(sample_shape)), dtype=self.loc.dtype, device=self.loc.device
        )
        self._draw = self.loc + (self._unbroadcasted_scale_tril @ self._noise[..., None])[..., 0]
        self._version = _version_of(self._draw)
        return self._draw

    def log_prob(self, value: Tensor) -> Tensor:
        if self._noise is None or not self._is_own(value):
            result: Tensor = super().log_prob(value)
            return result
        half_log_det: Tensor = self._unbroadcasted_scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return -(self._noise.square().sum(-1) + self._noise.shape[-1] * log(2 * pi)) / 2 - half_log_det

    def _is_own(self, value: Tensor) -> bool:
        """Whether a value is the last draw as it was drawn, and its noise has the gradient of its density."""
        if value is not self._draw or _version_of(value) != self._version:
            return False
        parts = (value, self.loc, self._unbroadcasted_scale_tril)
        wanted = torch.is_grad_enabled() and any(part.requires_grad for part in parts)
        return not wanted or value.grad_fn is not None


def _version_of(value: Tensor) -> int:
    """How often a tensor was changed in place."""
    return 0 if value.is_inference() else value._version


def coupled_scale_tril(scale: Tensor, couplings: Tensor) -> Tensor:
    r"""The Cholesky factor of a covariance from standard deviations and couplings.

    .. math:: L = \mathrm{diag}(\sigma) (I + C)

    with C strictly lower triangular: :math:`\sigma_i` is the deviation of the i-th number given those before it, and
    the couplings are in its units. A step of an optimiser thus moves the same share of narrow and of wide directions.
    Beyond 100 couplings bend smoothly (:func:`~ppl_vae.distributions.scales.bounded`).

    Arguments:
        scale: The deviations, ``(*batch, size)``.
        couplings: The entries of C row by row, ``(*batch, size (size - 1) / 2)``.

    Example:
        >>> coupled_scale_tril(torch.tensor([1.0, 0.5]), torch.tensor([2.0])).tolist()
        [[1.0, 0.0], [1.0, 0.5]]
    """
    size = scale.shape[-1]
    row, column = torch.tril_indices(size, size, -1, device=scale.device)
    relative = torch.eye(size, dtype=scale.dtype, device=scale.device).repeat(*scale.shape[:-1], 1, 1)
    relative[..., row, column] = bounded(couplings, -COUPLED, COUPLED)
    return scale[..., None] * relative


def couplings_of(scale_tril: Tensor) -> Tensor:
    """The couplings of which :func:`coupled_scale_tril` makes this factor, up to their bound."""
    size = scale_tril.shape[-1]
    row, column = torch.tril_indices(size, size, -1, device=scale_tril.device)
    relative: Tensor = scale_tril / scale_tril.diagonal(dim1=-2, dim2=-1)[..., None]
    return relative[..., row, column]
