"""The guide of bits that depend on all bits before them."""

from __future__ import annotations

from functools import partial

from torch import Tensor
from torch.distributions import Distribution

from ppl_vae.data.inputs import Batch
from ppl_vae.distributions.bits import AutoregressiveBits
from ppl_vae.distributions.exponential_family import Family
from ppl_vae.nn.arguments import check_at_least
from ppl_vae.nn.dense import Activation, LinearPlusMLP, MaskedAutoregressiveLogits
from ppl_vae.programs.amortised import AmortisedGuide
from ppl_vae.programs.types import Program


class Autoregressive(AmortisedGuide):
    r"""Bits drawn one by one, each from a masked network of those before it (Germain et al. 2015).

    .. math:: q(z \mid x) = \prod_j \mathrm{Bernoulli}\bigl(z_j \mid
        \mathrm{logit} = a_j(x) + \mathrm{network}_j(z_1, \dots, z_{j-1}, c(x))\bigr)

    It can come near any distribution of a code of any length; a draw takes as many passes as there are bits. The masked
    network starts at zero: there this is ``mean_field``.

    Arguments:
        model: The generative model, with one latent site of bits.
        x: An example batch.
        layers: Number of hidden layers of the network over the data.
        width: Units of each layer.
        activation: Activation of those layers.
        context: Length of c, on which the masked network is conditioned.
        hidden: Units of the masked network; 0 is four times the bits.
    """

    supports = (Family.BERNOULLI,)

    def __init__(
        self,
        model: Program,
        x: Batch,
        layers: int = 2,
        width: int = 512,
        activation: Activation = "elu",
        context: int = 64,
        hidden: int = 0,
    ) -> None:
        super().__init__(model, x)
        check_at_least(1, context=context)
        check_at_least(0, hidden=hidden)
        self.logits = MaskedAutoregressiveLogits(self.latent.size, context, hidden or 4 * self.latent.size)
        self.encoder = LinearPlusMLP(x, self.logits.outputs, layers, width, activation)

    def members(self, parameters: Tensor) -> dict[str, Distribution]:
        logits, latent = partial(self.logits, parameters), self.latent
        return {latent.name: AutoregressiveBits(logits, parameters.shape[:-1], latent.shape, parameters)}
