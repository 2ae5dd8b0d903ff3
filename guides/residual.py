"""Residual networks over the data."""

from __future__ import annotations

from torch import nn

from ppl_vae.data.inputs import Batch
from ppl_vae.nn.dense import CountsLinear, DenseResidualBlock
from ppl_vae.programs.amortised import Factorised
from ppl_vae.programs.types import Program


class Residual(Factorised):
    r"""Independent latents with parameters from a residual network (the encoder of Berger and Sebag 2020, section 4.1).

    Arguments:
        model: The generative model; its latents may be of any family of ``mean_field``.
        x: An example batch; documents are read as frequencies in per cent.
        blocks: Number of residual blocks.
        width: Units of each block.
    """

    def __init__(self, model: Program, x: Batch, blocks: int = 4, width: int = 200) -> None:
        def network(outputs: int) -> nn.Sequential:
            residual = (DenseResidualBlock(width) for _ in range(blocks))
            return nn.Sequential(CountsLinear(x, width, "frequencies"), *residual, nn.ReLU(), nn.Linear(width, outputs))

        super().__init__(model, x, network)
