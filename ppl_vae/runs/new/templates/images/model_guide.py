"""A guide of the images: the code of an image is normal, by a network of its pixels."""

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

    def __init__(self, model, x, width: int = 200):
        super().__init__()
        outputs = 2 * model.latents
        self.encoder = nn.Sequential(nn.Linear(x[0].numel(), width), nn.ReLU(), nn.Linear(width, outputs))

    def forward(self, x):
        loc, log_scale = self.encoder(x.flatten(1)).chunk(2, -1)
        with pyro.plate("data", len(x)):
            # Choice of the family. `ppl-vae gap` says whether this one loses nats or its network does; correlated
            # latents, a flow or convolutions need no code: --guide full, flow or convolutional.
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))
