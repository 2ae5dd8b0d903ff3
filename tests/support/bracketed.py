"""A normal number seen with noise, guides for it, and its evidence by SciPy."""

import pyro
import pyro.distributions as dist
import torch
from scipy.stats import norm

from tests.support.small_pairs import number_with_noise

linear = number_with_noise()


def normal_guide(shift=0.0, factor=1.0):
    """The posterior of :func:`number_with_noise`, moved by deviations and widened by a factor."""

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2 + shift * 0.5**0.5, factor * 0.5**0.5))

    return guide


def numbers(count):
    x = 2**0.5 * torch.randn(count)
    return x, norm(0, 2**0.5).logpdf(x.numpy())
