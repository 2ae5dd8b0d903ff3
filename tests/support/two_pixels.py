"""A pair of one bit and two pixels, of which all is enumerated in plain NumPy."""

import numpy as np
import pyro
import pyro.distributions as dist
import torch

PRIOR = 0.3
STATES = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=float)
"""All data."""

MODEL, GUIDE = np.array([0.4, -0.9, 1.6, -0.7]), np.array([0.8, -0.5, 0.2])
"""Parameters: offsets and slopes of the pixels' logits; weights and offset of the bit's."""


class TwoPixels(torch.nn.Module):
    """The model: the pixels have logits a + b z."""

    def __init__(self, theta=MODEL):
        super().__init__()
        self.theta = torch.nn.Parameter(torch.tensor(theta))

    def forward(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(PRIOR * torch.ones(1, dtype=x.dtype)).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=self.theta[:2] + self.theta[2:] * z).to_event(1), obs=x)


class OneBit(torch.nn.Module):
    """The guide: the bit has the logit w x + c."""

    def __init__(self, phi=GUIDE):
        super().__init__()
        self.phi = torch.nn.Parameter(torch.tensor(phi))

    def forward(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(logits=x @ self.phi[:2, None] + self.phi[2]).to_event(1))


def log_joint(theta):
    """log p(x, z) of all data and bits, ``(4, 2)``."""
    logits = theta[:2] + np.outer([0, 1], theta[2:])
    likelihood = (STATES[:, None] * logits - np.log1p(np.exp(logits))).sum(-1)
    return likelihood + np.log([1 - PRIOR, PRIOR])


def log_guide(phi):
    """log q(z | x) of all data and bits, ``(4, 2)``."""
    logit = STATES @ phi[:2] + phi[2]
    return np.stack([-np.log1p(np.exp(logit)), -np.log1p(np.exp(-logit))], 1)


def elbos(theta, phi):
    """The ELBO of all data, ``(4,)``."""
    log_q = log_guide(phi)
    return (np.exp(log_q) * (log_joint(theta) - log_q)).sum(1)


def posterior(theta):
    """The parameters of the guide that is the posterior of this model."""
    empty = np.log1p(np.exp(theta[:2])) - np.log1p(np.exp(theta[:2] + theta[2:]))
    return np.array([*theta[2:], np.log(PRIOR / (1 - PRIOR)) + empty.sum()])


def slope(function, at, step=1e-5):
    """Gradient of a function by central differences."""
    moves = step * np.eye(len(at))
    return np.array([(function(at + move) - function(at - move)) / (2 * step) for move in moves])
