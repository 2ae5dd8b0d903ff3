"""A table of columns of several kinds: a normal code of a row, and an observed site for each column."""

from pathlib import Path

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule
from torch import nn


class Model(PyroModule):
    """z ~ N(0, I), and every column independent given z: normal, Bernoulli or categorical.

    Arguments:
        latents: Number of latents.
        width: Width of the hidden layer.
        region_classes: Number of regions, which the data give: one more than the largest integer.
    """

    # The data that are trained on where --corpus names no others. Columns are found by the names of forward's
    # arguments: numpy.savez("table.npz", income=..., owner=..., region=...), or a Parquet table.
    corpus = str(Path(__file__).with_name("table.npz"))

    def __init__(self, region_classes: int, latents: int = 2, width: int = 32):
        super().__init__()
        self.latents = latents
        self.decoder = nn.Sequential(nn.Linear(latents, width), nn.Tanh(), nn.Linear(width, 2 + region_classes))
        self.log_sigma = nn.Parameter(torch.zeros(()))

    # Choice of the columns: rename them to yours, here and in the guide; give each a site below.
    def forward(self, income, owner, region):
        with pyro.plate("rows", len(income)):
            z = pyro.sample("z", dist.Normal(income.new_zeros(self.latents), 1.0).to_event(1))
            out = self.decoder(z)
            # A number: subtract its mean and divide by its spread before saving it.
            pyro.sample("income", dist.Normal(out[..., 0], self.log_sigma.exp()), obs=income)
            # Yes or no, as 1.0 and 0.0.
            pyro.sample("owner", dist.Bernoulli(logits=out[..., 1]), obs=owner)
            # One of several classes, as integers from 0.
            pyro.sample("region", dist.Categorical(logits=out[..., 2:]), obs=region)
            # A missing value is NaN: `--missing`, and dist.Normal(...).mask(~income.isnan()).
