"""Documents as bags of words, given a binary code whose posterior factorises."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule
from torch import Tensor, nn

from ppl_vae.data.counts import PackedCounts
from ppl_vae.distributions.bits import JointBits, bit_states
from ppl_vae.distributions.multinomial import PackedMultinomial
from ppl_vae.distributions.softmax import log_normaliser


class TextRbm(PyroModule):
    r"""The tight text pair: replicated softmax (Salakhutdinov and Hinton 2009) given the length l of a document.

    .. math::
        p(x, z \mid l) = \frac{1}{c(l)} \frac{l!}{\prod_k x_k!} \exp(x^\top W z + a^\top x + b^\top z), \qquad
        z \mid x \sim \mathrm{Bernoulli}(\sigma(W^\top x + b))

    This is what theorem 1 leaves of ``text`` with a linear decoder (Schlesinger, Shekhovtsov and Flach 2021, eq. 23).
    Words given the code are the same multinomial there and here; what differs is the prior of the code,

    .. math:: p(z \mid l) \propto \exp\bigl(b^\top z + l A(W z + a)\bigr), \qquad A(\eta) = \log \sum_k e^{\eta_k},

    which grows with the length where it is uniform there. (The bias b does not, as it would in a replicated softmax.)

    Arguments:
        vocabulary: Number of words; the corpus gives it.
        bits: Length of the code, at most 16: the prior is a table of all codes for every document.
        unigram: Word frequencies of the training documents, ``(vocabulary,)``, where a starts; the corpus gives them.

    Raises:
        ValueError: If there are no bits, or too many for the table.

    Example:
        >>> x = PackedCounts.from_dense([[2, 0, 1], [0, 3, 0]])
        >>> TextRbm(vocabulary=3, bits=4).posterior(x)["z"].base_dist.logits.shape
        torch.Size([2, 4])
    """

    def __init__(self, vocabulary: int, bits: int = 8, unigram: Tensor | None = None) -> None:
        super().__init__()
        if not 1 <= bits <= 16:
            raise ValueError(f"the prior lists all codes of 1 to 16 bits, got {bits}")
        self.register_buffer("states", bit_states(bits), persistent=False)
        self.words = nn.Linear(bits, vocabulary)
        self.code_bias = nn.Parameter(torch.zeros(bits))
        if unigram is not None:
            self.words.bias.data.copy_(unigram.log())

    def forward(self, x: PackedCounts) -> None:
        normaliser = log_normaliser(self.states, self.words.weight, self.words.bias)
        # What all codes have in common cancels; without it long documents lose no digits.
        longer = x.lengths[:, None].to(normaliser) * (normaliser - normaliser.mean())
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", JointBits(self.states @ self.code_bias + longer))
            f = {"hidden": z, "weight": self.words.weight, "bias": self.words.bias}
            pyro.sample("x", PackedMultinomial(x.lengths, **f), obs=x)

    def posterior(self, x: PackedCounts) -> dict[str, dist.Independent]:
        """The exact posterior of the code, linear in the counts."""
        return {"z": dist.Bernoulli(logits=x @ self.words.weight + self.code_bias).to_event(1)}
