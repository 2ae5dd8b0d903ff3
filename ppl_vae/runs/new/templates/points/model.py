"""Points: a normal code, a network that decodes it, and normal noise around what it says."""

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule
from torch import nn


class Model(PyroModule):
    """z ~ N(0, I) and x ~ N(f(z), sigma^2 I), with a network f and a learned sigma.

    Arguments:
        latents: Number of latents.
        width: Width of the hidden layer.
        shape: Shape of a datum, which the data give.
    """

    # The data that are trained on where --corpus names no others.
    corpus = "gaussians"

    def __init__(self, latents: int = 2, width: int = 64, shape: tuple[int, ...] = (2,)):
        super().__init__()
        self.latents = latents
        self.decoder = nn.Sequential(nn.Linear(latents, width), nn.Tanh(), nn.Linear(width, *shape))
        self.log_sigma = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        with pyro.plate("data", len(x)):
            # Choice of the code. Of few normal latents, or up to 16 bits, the evidence is exact. For bits write
            # dist.Bernoulli(0.5 * torch.ones(self.latents)).to_event(1) here, and Bernoulli in the guide.
            z = pyro.sample("z", dist.Normal(x.new_zeros(self.latents), 1.0).to_event(1))
            # Choice of the noise. Outliers: dist.StudentT(4.0, loc, sigma). Positive data: dist.LogNormal.
            pyro.sample("x", dist.Normal(self.decoder(z), self.log_sigma.exp()).to_event(1), obs=x)
