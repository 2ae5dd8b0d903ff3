"""Documents as bags of words, given a binary code."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
from pyro.nn import PyroModule
from torch import Tensor, nn

from ppl_vae.data.counts import PackedCounts
from ppl_vae.distributions.multinomial import PackedMultinomial
from ppl_vae.nn.arguments import check_at_least
from ppl_vae.nn.dense import HiddenLayers


class Text(PyroModule):
    r"""Bernoulli VAE of documents (Schlesinger, Shekhovtsov and Flach 2021, example 3 and eq. 21).

    .. math::
        z \sim \mathrm{Bernoulli}(1/2)^m, \qquad
        x \mid z, l \sim \mathrm{Multinomial}(l, \mathrm{softmax}(f(z)))

    for word counts x of a document of l words; f is affine, or has ReLU layers.

    Arguments:
        vocabulary: Number of words; the corpus gives it.
        bits: Length m of the code.
        hidden: Number of ReLU layers of the decoder f; 0 makes it affine.
        width: Units of each layer.
        unigram: Word frequencies of the training documents, ``(vocabulary,)``, where the biases start; the corpus
            gives them.

    Example:
        >>> x = PackedCounts.from_dense([[2, 0, 1], [0, 3, 0]])
        >>> trace = pyro.poutine.trace(Text(vocabulary=3, bits=4)).get_trace(x)
        >>> trace.nodes["z"]["value"].shape
        torch.Size([2, 4])
    """

    def __init__(
        self, vocabulary: int, bits: int = 16, hidden: int = 0, width: int = 512, unigram: Tensor | None = None
    ) -> None:
        super().__init__()
        check_at_least(1, bits=bits)
        self.bits = bits
        self.hidden = HiddenLayers(bits, hidden, width)
        self.words = nn.Linear(self.hidden.outputs, vocabulary)
        if unigram is not None:
            self.words.bias.data.copy_(unigram.log())

    def forward(self, x: PackedCounts) -> None:
        prior = self.words.bias.new_zeros(self.bits)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(logits=prior).to_event(1))
            f = {"hidden": self.hidden(z), "weight": self.words.weight, "bias": self.words.bias}
            pyro.sample("x", PackedMultinomial(x.lengths, **f), obs=x)
