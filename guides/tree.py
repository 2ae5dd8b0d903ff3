"""The guide of bits that depend on each other along a tree."""

from __future__ import annotations

from typing import Literal, Unpack

import torch
from torch import Tensor
from torch.distributions import Distribution

from ppl_vae.data.inputs import Batch
from ppl_vae.distributions.bits import TreeBits
from ppl_vae.distributions.exponential_family import Family
from ppl_vae.programs.deep_guide import DeepGuide, LayerOptions
from ppl_vae.programs.types import Program


class Tree(DeepGuide):
    r"""Bits of which each depends on one other: structured mean field (Saul and Jordan 1996).

    .. math:: q(z \mid x) = \prod_j \mathrm{Bernoulli}\bigl(z_j \mid \mathrm{logit} = a_j(x) + c_j(x) z_{p(j)}\bigr)

    The parents are given by the order of the bits. A model that is trained along with the guide lays its code out
    accordingly; for one that is not, the order is arbitrary. In a balanced tree, where bit j hangs on bit
    (j - 1) // 2, any two bits are few edges apart; in a chain it hangs on bit j - 1. Without the couplings c this is
    ``mean_field``, and there it starts.

    Arguments:
        model: The generative model, with one latent site of bits.
        x: An example batch.
        layout: Form of the tree.
        encoder: Options of the encoder, as of :class:`~ppl_vae.programs.deep_guide.DeepGuide`.
    """

    supports = (Family.BERNOULLI,)

    def __init__(
        self,
        model: Program,
        x: Batch,
        layout: Literal["balanced", "chain"] = "balanced",
        **encoder: Unpack[LayerOptions],
    ) -> None:
        super().__init__(model, x, **encoder)
        bits = self.latent.size
        below = torch.arange(bits - 1)
        self.register_buffer("parents", below // 2 if layout == "balanced" else below, persistent=False)
        self.family = f"bits along a {layout} tree"
        self.set_encoder(x, 2 * bits - 1, zeros=bits - 1)

    def members(self, parameters: Tensor) -> dict[str, Distribution]:
        bits = self.latent.size
        logits, coupling = parameters.split([bits, bits - 1], -1)
        return {self.latent.name: TreeBits(logits, coupling, self.parents, self.latent.shape)}
