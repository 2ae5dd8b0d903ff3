"""A guide of the documents: independent bits by a linear map of the words."""

import pyro
import pyro.distributions as dist
from pyro.nn import PyroModule

import ppl_vae as pv
from ppl_vae.nn.dense import CountsLinear


class Guide(PyroModule):
    """z ~ Bernoulli(A x + a): independent bits.

    Arguments:
        model: The model.
        x: Some of the data.
    """

    def __init__(self, model, x):
        super().__init__()
        # Choice of the encoder. It reads words as counts, as the posterior of a linear decoder does; by
        # read_as="frequencies" it does not know how long a document is. CountsLinear is nn.Linear for sparse counts:
        # hidden layers go behind it.
        self.encoder = CountsLinear(x, model.bits, read_as="counts")

    def forward(self, x: pv.PackedCounts):
        logits = self.encoder(x)
        with pyro.plate("documents", len(x)):
            # Choice of the family. `ppl-vae gap` says whether independent bits lose nats or the network does; bits that
            # depend on each other need no code: --guide tree, autoregressive or full.
            pyro.sample("z", dist.Bernoulli(logits=logits).to_event(1))
