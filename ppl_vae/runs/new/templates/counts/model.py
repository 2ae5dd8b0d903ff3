"""Counts, such as molecules of genes in cells: a normal code and negative binomials."""

from pathlib import Path

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule
from torch import nn


class Model(PyroModule):
    """z ~ N(0, I) and x ~ NegativeBinomial of mean exp f(z) and a dispersion for each feature.

    Arguments:
        latents: Number of latents.
        width: Width of the hidden layer.
        shape: Shape of a datum, which the data give.
        data_mean: Mean of each count, which the data give.
    """

    # The data that are trained on where --corpus names no others.
    corpus = str(Path(__file__).with_name("counts.npy"))

    def __init__(self, data_mean: torch.Tensor, latents: int = 2, width: int = 64, shape: tuple[int, ...] = (20,)):
        super().__init__()
        self.latents = latents
        self.decoder = nn.Sequential(nn.Linear(latents, width), nn.Tanh(), nn.Linear(width, *shape))
        self.decoder[-1].bias.data = (data_mean + 0.01).log()  # training begins at the mean of the data
        self.log_dispersion = nn.Parameter(torch.zeros(shape))

    def forward(self, x):
        with pyro.plate("data", len(x)):
            # Choice of the code. Of one or two normal latents and few data, or of up to 16 bits, the evidence is exact.
            z = pyro.sample("z", dist.Normal(x.new_zeros(self.latents), 1.0).to_event(1))
            log_mean = self.decoder(z)
            # Choice of the noise. Without dispersion: dist.Poisson(log_mean.exp()). More zeros:
            # dist.ZeroInflatedNegativeBinomial. The size of a datum, or its batch, as a further argument:
            # forward(self, x, size), with log_mean + size.log().
            counts = dist.NegativeBinomial(self.log_dispersion.exp(), logits=log_mean - self.log_dispersion)
            pyro.sample("x", counts.to_event(1), obs=x)
