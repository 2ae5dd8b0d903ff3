"""Guide e3: linear in the word frequencies."""

from __future__ import annotations

from ppl_vae.data.inputs import Batch
from ppl_vae.nn.dense import CountsLinear
from ppl_vae.programs.amortised import Factorised
from ppl_vae.programs.types import Program


class LinearFrequencies(Factorised):
    r"""Independent latents with natural parameters affine in the word frequencies x / l: encoder e3.

    .. math:: g(x) = W x / l + b

    It cannot grow more certain with a document's length l, and can be tight only where its code holds nothing
    (Schlesinger, Shekhovtsov and Flach 2021, example 3).

    Arguments:
        model: The generative model; its latents may be of any family of ``mean_field``.
        x: An example batch.
    """

    def __init__(self, model: Program, x: Batch) -> None:
        super().__init__(model, x, lambda outputs: CountsLinear(x, outputs, read_as="frequencies"))
