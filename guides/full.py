"""The guide without independence assumptions."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Unpack

from torch import Tensor
from torch.distributions import Distribution

from ppl_vae.data.inputs import Batch
from ppl_vae.distributions.bits import FEW, AutoregressiveBits, JointBits, bit_states
from ppl_vae.distributions.exponential_family import Family
from ppl_vae.nn.dense import MaskedAutoregressiveLogits
from ppl_vae.programs.amortised import independents, parameter_count
from ppl_vae.programs.deep_guide import DeepGuide, LayerOptions
from ppl_vae.programs.types import Program


class Full(DeepGuide):
    r"""The exact family where that is affordable, autoregressive beyond it.

    Up to 12 bits every joint state has its own logit; longer codes are drawn bit by bit as by ``autoregressive``; a
    continuous latent has a full covariance matrix, of the numbers that are mapped to its support; a single categorical
    is its own exact family. In every case the parameters of ``mean_field`` come first, so that its family is contained
    in this one, and the others start at zero.

    Arguments:
        model: The generative model, with one latent site: bits, a categorical, or continuous.
        x: An example batch.
        encoder: Options of the encoder, as of :class:`~ppl_vae.programs.deep_guide.DeepGuide`.
    """

    supports = (Family.BERNOULLI, Family.CATEGORICAL, Family.ONE_HOT, Family.NORMAL)

    def __init__(self, model: Program, x: Batch, **encoder: Unpack[LayerOptions]) -> None:
        super().__init__(model, x, **encoder)
        latent = self.latent
        if latent.states and latent.size > (latent.states if latent.family == Family.ONE_HOT else 1):
            raise ValueError(
                f"Full supports a single categorical per datum, but site {latent.name!r} has several; use mean_field"
            )
        outputs = first = parameter_count(latent)
        if latent.family == Family.BERNOULLI and latent.size <= FEW:
            outputs = first + 2**first
        elif latent.family == Family.NORMAL:
            outputs = parameter_count(replace(latent, family=Family.MULTIVARIATE_NORMAL))
        # Couplings are many: an affine map of the counts to each would be larger than all else.
        zeros = outputs - first
        if latent.family == Family.BERNOULLI and latent.size > FEW:
            self.logits = MaskedAutoregressiveLogits(latent.size)
            outputs, zeros = self.logits.outputs, 0
        self.set_encoder(x, outputs, affine=first, zeros=zeros)

    def members(self, parameters: Tensor) -> dict[str, Distribution]:
        latent = self.latent
        if latent.family == Family.NORMAL:
            return independents([replace(latent, family=Family.MULTIVARIATE_NORMAL)], parameters)
        if latent.family != Family.BERNOULLI:
            return independents([latent], parameters)
        if latent.size > FEW:
            logits = partial(self.logits, parameters)
            return {latent.name: AutoregressiveBits(logits, parameters.shape[:-1], latent.shape, parameters)}
        natural, coupling = parameters.split([latent.size, 2**latent.size], -1)
        states = bit_states(latent.size, like=parameters)
        return {latent.name: JointBits(natural @ states.T + coupling, latent.shape)}
