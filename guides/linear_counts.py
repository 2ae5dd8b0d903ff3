"""Guide e1: linear in the word counts."""

from __future__ import annotations

from ppl_vae.data.inputs import Batch
from ppl_vae.nn.dense import CountsLinear
from ppl_vae.programs.amortised import Factorised
from ppl_vae.programs.types import Program


class LinearCounts(Factorised):
    r"""Independent latents with natural parameters affine in the data: encoder e1.

    .. math:: g(x) = W x + b

    For documents x are the word counts, so that confidence grows with a document's length as that of the
    posterior does (Schlesinger, Shekhovtsov and Flach 2021, section 4.3).

    Arguments:
        model: The generative model; its latents may be of any family of ``mean_field``.
        x: An example batch.
    """

    def __init__(self, model: Program, x: Batch) -> None:
        super().__init__(model, x, lambda outputs: CountsLinear(x, outputs, self.reads_counts))
