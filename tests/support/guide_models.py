"""Models that guides of every kind are tried on."""

import pyro
import pyro.distributions as dist
import torch
from ppl_vae.models.text import Text
from torch import nn

from tests.support.small_pairs import documents


class Drawn(pyro.nn.PyroModule):
    """Bits that explain images."""

    def __init__(self, bits):
        super().__init__()
        self.net = nn.Linear(bits, 20)

    def forward(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.5 * torch.ones(self.net.in_features)).to_event(1))
            pyro.sample("x", dist.Normal(self.net(z).unflatten(-1, (5, 4)), 1.0).to_event(2), obs=x)


def text_pair(target, bits):
    """A guide of bits with documents, or with images if it reads those."""
    images = target.reads == "images"
    x, model = (torch.rand(6, 5, 4), Drawn(bits)) if images else (documents(6, 9), Text(9, bits=bits))
    return model, target(model, x), x


class Gaussians(pyro.nn.PyroModule):
    """Two latent sites of different shapes, and data that are tensors."""

    def __init__(self, kind: str):
        super().__init__()
        self.kind = kind
        self.net = nn.Linear(4, 5)

    def prior(self):
        if self.kind == "normal":
            return dist.Normal(torch.zeros(2, 2), 1.0).to_event(2)
        if self.kind == "categorical":
            return dist.Categorical(logits=torch.zeros(4))
        return dist.OneHotCategorical(logits=torch.zeros(4))

    def forward(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.prior())
            if self.kind == "categorical":
                z = torch.nn.functional.one_hot(z.long(), 4).to(x.dtype)
            mean = self.net(z.reshape(*z.shape[: z.ndim - (2 if self.kind == "normal" else 1)], 4))
            pyro.sample("x", dist.Normal(mean.reshape(*mean.shape[:-1], 5), 1.0).to_event(1), obs=x)


class Bent(pyro.nn.PyroModule):
    """Normals that explain five numbers by a non-linear map."""

    def __init__(self, size, shape=(5,)):
        super().__init__()
        self.size, self.net, self.shape = size, nn.Linear(size, 5), shape

    def forward(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(self.size), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.mean(z), 0.5).to_event(len(self.shape)), obs=x)

    def mean(self, z):
        return torch.tanh(self.net(z)).unflatten(-1, self.shape)
