"""Documents: a binary code, and words drawn from one softmax over the vocabulary."""

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule
from torch import nn

import ppl_vae as pv
from ppl_vae.distributions import PackedMultinomial


class Model(PyroModule):
    """z ~ Bernoulli(1/2)^bits and x ~ Multinomial(softmax(W z + b)) with as many words as the document has.

    Arguments:
        bits: Length of the code.
        vocabulary: Number of words, which the data give.
        unigram: Frequency of each word in the training data, which the data give.
    """

    # The data that are trained on where --corpus names no others: docstrings of the packages that are installed.
    corpus = "docstrings"

    def __init__(self, vocabulary: int, unigram: torch.Tensor, bits: int = 8):
        super().__init__()
        self.bits = bits
        self.words = nn.Linear(bits, vocabulary)
        self.words.bias.data = unigram.log()  # training begins at the best model without a code

    def forward(self, x: pv.PackedCounts):
        with pyro.plate("documents", len(x)):
            # Choice of the code. Up to 16 bits the evidence is exact. For topics in shares take
            # theta = pyro.sample("z", dist.Normal(torch.zeros(topics), 1.0).to_event(1)).softmax(-1), and Normal in
            # the guide.
            z = pyro.sample("z", dist.Bernoulli(logits=self.words.bias.new_zeros(self.bits)).to_event(1))
            # Choice of the decoder. hidden, weight and bias never form all documents times all words at once;
            # PackedMultinomial(x.lengths, logits=network(z)) takes the output of any network.
            words = PackedMultinomial(x.lengths, hidden=z, weight=self.words.weight, bias=self.words.bias)
            pyro.sample("x", words, obs=x)
