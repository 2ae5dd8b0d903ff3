"""The general factorised guide."""

from __future__ import annotations

from typing import Unpack

from torch import Tensor
from torch.distributions import Distribution

from ppl_vae.data.inputs import Batch
from ppl_vae.programs.amortised import INDEPENDENT, independents, parameter_count
from ppl_vae.programs.deep_guide import DeepGuide, LayerOptions
from ppl_vae.programs.types import Program


class MeanField(DeepGuide):
    r"""Independent latents whose parameters are an affine map of the data plus a deep network.

    .. math:: g(x) = W x + b + \mathrm{network}(x)

    The affine map reads the counts of a document, as the true posterior of a linear decoder does; the network
    reads its frequencies. ``linear_counts``, ``deep_frequencies`` and ``linear_frequencies`` are special cases.

    Arguments:
        model: The generative model, with latents of any family.
        x: An example batch.
        layers: Number of hidden layers of the network.
        encoder: Options of the encoder, as of :class:`~ppl_vae.programs.deep_guide.DeepGuide`.
    """

    supports = INDEPENDENT

    def __init__(self, model: Program, x: Batch, **encoder: Unpack[LayerOptions]) -> None:
        super().__init__(model, x, **encoder)
        self.set_encoder(x, sum(map(parameter_count, self.latents)))

    def members(self, parameters: Tensor) -> dict[str, Distribution]:
        return independents(self.latents, parameters)
