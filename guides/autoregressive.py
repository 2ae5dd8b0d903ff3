"""The guide of bits that depend on all bits before them."""

from __future__ import annotations

from functools import partial
from typing import Unpack

from torch import Tensor
from torch.distributions import Distribution

from ppl_vae.data.inputs import Batch
from ppl_vae.distributions.bits import AutoregressiveBits
from ppl_vae.distributions.exponential_family import Family
from ppl_vae.nn.arguments import check_at_least
from ppl_vae.nn.dense import MaskedAutoregressiveLogits
from ppl_vae.programs.deep_guide import DeepGuide, LayerOptions
from ppl_vae.programs.types import Program


class Autoregressive(DeepGuide):
    r"""Bits drawn one by one, each from a masked network of those before it (Germain et al. 2015).

    .. math:: q(z \mid x) = \prod_j \mathrm{Bernoulli}\bigl(z_j \mid
        \mathrm{logit} = a_j(x) + \mathrm{network}_j(z_1, \dots, z_{j-1}, c(x))\bigr)

    It can come near any distribution of a code of any length; a draw takes as many passes as there are bits. The masked
    network starts at zero: there this is ``mean_field``.

    Arguments:
        model: The generative model, with one latent site of bits.
        x: An example batch.
        context: Length of c, on which the masked network is conditioned.
        hidden: Units of the masked network; 0 is four times the bits.
        encoder: Options of the encoder, as of :class:`~ppl_vae.programs.deep_guide.DeepGuide`.
    """

    supports = (Family.BERNOULLI,)

    def __init__(
        self,
        model: Program,
        x: Batch,
        context: int = 64,
        hidden: int = 0,
        **encoder: Unpack[LayerOptions],
    ) -> None:
        super().__init__(model, x, **encoder)
        check_at_least(1, context=context)
        check_at_least(0, hidden=hidden)
        self.logits = MaskedAutoregressiveLogits(self.latent.size, context, hidden or 4 * self.latent.size)
        self.set_encoder(x, self.logits.outputs)

    def members(self, parameters: Tensor) -> dict[str, Distribution]:
        logits, latent = partial(self.logits, parameters), self.latent
        return {latent.name: AutoregressiveBits(logits, parameters.shape[:-1], latent.shape, parameters)}
