"""One of thirty levels given a discrete latent, with free tables for prior and decoder."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule
from torch import Tensor, nn


class ToyChannel(PyroModule):
    r"""The toy model of Alemi et al. (2018, Fixing a broken ELBO): prior and decoder are free tables.

    .. math:: z \sim \mathrm{Categorical}(m), \qquad x \mid z \sim \mathrm{Categorical}(d_z)

    The paper calls the prior m the marginal. The model can make any distribution of x with a code that holds nothing of
    x, with one that holds all of it, and with anything between: their ELBOs are the same, and only the rate tells them
    apart.

    Arguments:
        states: Number of states of the latent.
        spread: Standard deviation of the normal numbers from which the decoder's logits start.
        shape: Shape of a datum, ``(levels,)``, one-hot; the data give it.

    Raises:
        ValueError: If there are fewer than two states, or data are no vectors.

    Example:
        >>> model = ToyChannel(states=4)
        >>> pyro.poutine.trace(model).get_trace(torch.eye(30)[:2]).nodes["z"]["value"].shape
        torch.Size([2])
    """

    corpus = "channel"

    def __init__(self, states: int = 30, spread: float = 0.5, shape: tuple[int, ...] = (30,)) -> None:
        super().__init__()
        if states < 2:
            raise ValueError(f"the latent needs at least 2 states, got {states}")
        if len(shape) != 1:
            raise ValueError(f"a datum must be a vector with a one at its level, got the shape {tuple(shape)}")
        if spread < 0:
            raise ValueError(f"spread must not be negative, got {spread:g}")
        self.prior = nn.Parameter(torch.zeros(states))
        self.decoder = nn.Parameter(spread * torch.randn(states, *shape))

    def forward(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Categorical(logits=self.prior))
            pyro.sample("x", dist.OneHotCategorical(logits=self.decoder[z]), obs=x)
