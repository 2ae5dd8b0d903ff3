"""A guide of the rows of the table: the code of a row is normal, by a network of its columns."""

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule
from torch import nn
from torch.nn.functional import one_hot


class Guide(PyroModule):
    """z ~ N(m(row), s(row)^2 I): independent normals.

    Arguments:
        model: The model.
        x: Some of the data.
        width: Width of the hidden layer.
    """

    def __init__(self, model, x, width: int = 32):
        super().__init__()
        self.classes = model.decoder[-1].out_features - 2
        self.encoder = nn.Sequential(nn.Linear(2 + self.classes, width), nn.Tanh(), nn.Linear(width, 2 * model.latents))

    def forward(self, income, owner, region):
        columns = [income[:, None], owner[:, None], one_hot(region, self.classes)]
        loc, log_scale = self.encoder(torch.cat(columns, -1)).chunk(2, -1)
        with pyro.plate("rows", len(income)):
            # Choice of the family. `ppl-vae gap` says whether this one loses nats or its network does; correlated
            # latents, a flow or a mixture need no code: --guide full, flow or mixture.
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))
