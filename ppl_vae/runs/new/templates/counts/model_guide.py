"""A guide of the counts: the code of a datum is normal, by a network of the logarithms of its counts."""

import pyro
import pyro.distributions as dist
from pyro.nn import PyroModule
from torch import nn


class Guide(PyroModule):
    """z ~ N(m(x), s(x)^2 I): independent normals.

    Arguments:
        model: The model.
        x: Some of the data.
        width: Width of the hidden layer.
    """

    def __init__(self, model, x, width: int = 64):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(x.shape[1], width), nn.Tanh(), nn.Linear(width, 2 * model.latents))

    def forward(self, x):
        # Choice of what is read: counts of any size, so their logarithms.
        loc, log_scale = self.encoder(x.log1p()).chunk(2, -1)
        with pyro.plate("data", len(x)):
            # Choice of the family. `ppl-vae gap` says whether this one loses nats or its network does; correlated
            # latents, a flow or a mixture need no code: --guide full, flow or mixture.
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))
