"""The guide that mixes factorised guides."""

from __future__ import annotations

from typing import Unpack

from torch import Tensor
from torch.distributions import Distribution
from torch.nn.functional import pad

from ppl_vae.data.inputs import Batch
from ppl_vae.distributions.exponential_family import Family
from ppl_vae.distributions.mixtures import MixtureOfBits, MixtureOfNormals
from ppl_vae.distributions.scales import bounded_log_scale
from ppl_vae.nn.arguments import check_at_least
from ppl_vae.programs.amortised import parameter_count
from ppl_vae.programs.deep_guide import DeepGuide, LayerOptions
from ppl_vae.programs.types import Program


class Mixture(DeepGuide):
    r"""A mixture of independent bits, or of independent normals (Jaakkola and Jordan 1998).

    .. math:: q(z \mid x) = \sum_k w_k(x) \prod_j q_j\bigl(z_j \mid g_{kj}(x)\bigr)

    Where all g_k are the same this is ``mean_field``. Components that start there would stay there, all moving alike,
    so it starts nearby, each component a little different from the first, at random.

    Arguments:
        model: The generative model, with one latent site of bits or normals.
        x: An example batch.
        components: Number of components.
        encoder: Options of the encoder, as of :class:`~ppl_vae.programs.deep_guide.DeepGuide`.
    """

    supports = (Family.BERNOULLI, Family.NORMAL)

    def __init__(
        self,
        model: Program,
        x: Batch,
        components: int = 4,
        **encoder: Unpack[LayerOptions],
    ) -> None:
        super().__init__(model, x, **encoder)
        check_at_least(1, components=components)
        self.components, self.numbers = components, parameter_count(self.latent)
        self.family = f"mixtures of {components} independent members, {self.latent.family}"
        self.set_encoder(x, components * (self.numbers + 1) - 1)

    def members(self, parameters: Tensor) -> dict[str, Distribution]:
        others = self.components - 1
        first, weights, away = parameters.split([self.numbers, others, others * self.numbers], -1)
        away = away.reshape(*parameters.shape[:-1], others, self.numbers)
        # The first component's weight and offset are zero: they would be one number too many.
        each, log_weights = first[..., None, :] + pad(away, (0, 0, 1, 0)), pad(weights, (1, 0))
        if self.latent.family == Family.BERNOULLI:
            return {self.latent.name: MixtureOfBits(log_weights, each, self.latent.shape)}
        loc, log_scale = each.chunk(2, -1)
        scale = bounded_log_scale(log_scale, self.latent.unit).exp()
        return {self.latent.name: self.latent.onto(MixtureOfNormals(log_weights, loc, scale))}
