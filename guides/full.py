"""The guide without independence assumptions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor

from ppl_vae.distributions.bits import FEW, AutoregressiveBits, JointBits, bit_states
from ppl_vae.nn.dense import LinearPlusMLP, MaskedAutoregressiveLogits
from ppl_vae.programs.amortised import AmortisedGuide, independents, parameters


class Full(AmortisedGuide):
    r"""The exact family where that is affordable, autoregressive beyond it.

    Up to 12 bits every joint state has its own logit; longer codes are drawn bit by bit as by ``autoregressive``; a
    normal latent has a full covariance matrix; a single categorical is its own exact family. In every case the
    parameters of ``mean_field`` come first, so that its family is contained in this one, and the others start at zero.

    Arguments:
        model: The generative model, with one latent site: Bernoulli, categorical or normal.
        x: An example batch.
        layers: Hidden ReLU layers of the network over the data.
        width: Units of each.
    """

    supports = ("Bernoulli", "categorical", "one-hot categorical", "normal")

    def __init__(self, model: Callable[[Any], Any], x: Any, layers: int = 2, width: int = 512) -> None:
        super().__init__(model, x)
        latent = self.latent
        if "categorical" in latent.family and latent.size > max(1, latent.states * (latent.family[0] == "o")):
            raise ValueError(
                f"Full supports a single categorical a datum, but site {latent.name!r} has several; use mean_field"
            )
        outputs = first = parameters(latent)
        if latent.family == "Bernoulli" and latent.size <= FEW:
            outputs = first + 2**first
        elif latent.family == "normal":
            outputs = parameters(replace(latent, family="multivariate normal"))
        # Couplings are many: an affine map of the counts to each would be larger than all else.
        options = {"affine": first, "zeros": outputs - first}
        if latent.family == "Bernoulli" and latent.size > FEW:
            self.logits = MaskedAutoregressiveLogits(latent.size)
            outputs, options = self.logits.outputs, {"affine": first}
        self.encoder = LinearPlusMLP(x, outputs, layers, width, **options)

    def members(self, part: Tensor) -> dict[str, Any]:
        latent = self.latent
        if latent.family == "normal":
            return independents([replace(latent, family="multivariate normal")], part)
        if latent.family != "Bernoulli":
            return independents([latent], part)
        if latent.size > FEW:
            logits = partial(self.logits, part)
            return {latent.name: AutoregressiveBits(logits, part.shape[:-1], latent.shape, part)}
        natural, coupling = part.split([latent.size, 2**latent.size], -1)
        states = bit_states(latent.size, like=part)
        return {latent.name: JointBits(natural @ states.T + coupling, latent.shape)}
