"""The guide of normals whose covariance is diagonal plus low rank."""

from __future__ import annotations

from typing import Unpack

from pyro.distributions import LowRankMultivariateNormal
from torch import Tensor
from torch.distributions import Distribution

from ppl_vae.data.inputs import Batch
from ppl_vae.distributions.exponential_family import Family
from ppl_vae.distributions.scales import COUPLED, bounded, bounded_log_scale
from ppl_vae.nn.arguments import check_at_least
from ppl_vae.programs.deep_guide import DeepGuide, NetworkOptions
from ppl_vae.programs.types import Program


class LowRank(DeepGuide):
    r"""A normal whose covariance is diagonal but for a few directions (Ong, Nott and Smith 2018, section 3).

    .. math:: q(z \mid x) = \mathcal{N}\bigl(\mu, S (1 + U U^\top) S\bigr), \qquad S = \mathrm{diag}(\sigma)

    with :math:`\mu, \log \sigma, U` from the network over the data. Without U this is ``mean_field``; there the bound
    has no slope in U, so U starts at small random numbers.

    Arguments:
        model: The generative model, with one latent site of normals.
        x: An example batch.
        rank: Number of columns of U.
        encoder: Options of the encoder, as of :class:`~ppl_vae.programs.deep_guide.DeepGuide`.
    """

    supports = (Family.NORMAL,)

    def __init__(
        self,
        model: Program,
        x: Batch,
        rank: int = 2,
        **encoder: Unpack[NetworkOptions],
    ) -> None:
        super().__init__(model, x, **encoder)
        check_at_least(1, rank=rank)
        self.rank = rank
        self.family = f"normals of covariance diagonal plus rank {rank}"
        self.set_encoder(x, self.latent.size * (2 + rank))

    def members(self, parameters: Tensor) -> dict[str, Distribution]:
        size = self.latent.size
        loc, log_scale, factor = parameters.split([size, size, size * self.rank], -1)
        scale = bounded_log_scale(log_scale, self.latent.unit).exp()
        # Beyond, the density of a draw is a difference of numbers that single precision does not tell apart.
        factor = bounded(factor, -COUPLED, COUPLED).reshape(*parameters.shape[:-1], size, self.rank)
        factor = scale[..., None] * factor
        return {self.latent.name: self.latent.onto(LowRankMultivariateNormal(loc, factor, scale.square()))}
