"""Guide e2: deep, on word frequencies."""

from __future__ import annotations

from ppl_vae.data.inputs import Batch
from ppl_vae.nn.dense import MLP
from ppl_vae.programs.amortised import Factorised
from ppl_vae.programs.types import Program


class DeepFrequencies(Factorised):
    r"""Independent latents with natural parameters from ReLU layers over the word frequencies x / l: encoder e2.

    .. math:: g(x) = \mathrm{network}(x / l)

    The encoder usual in semantic hashing (Schlesinger, Shekhovtsov and Flach 2021, section 4.3).

    Arguments:
        model: The generative model; its latents may be of any family of ``mean_field``.
        x: An example batch.
        layers: Number of hidden ReLU layers.
        width: Units of each layer.
    """

    def __init__(self, model: Program, x: Batch, layers: int = 2, width: int = 512) -> None:
        super().__init__(model, x, lambda outputs: MLP(x, outputs, layers, width, keeps_scale=True))
