"""A chain summed out by its distribution, and the capture and recapture of animals."""

from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from scipy.stats import multivariate_normal
from torch import Tensor, nn
from torch.distributions import constraints

from benchmarks.structures.structure import Array, Structure, array

__all__ = ["STRUCTURES"]

DATA, STEPS = 8, 3


def gaussian_chain() -> Structure:
    x, encoder = torch.randn(DATA, STEPS, 1), nn.Linear(STEPS, 2)
    one = torch.eye(1)

    def model(x: Tensor) -> None:
        shift = pyro.param("shift", torch.tensor(0.5))
        with pyro.plate("series", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
            loc = (shift * z)[..., None, None].expand(*z.shape, STEPS, 1)
            series = dist.GaussianHMM(
                dist.MultivariateNormal(torch.zeros(1), one),
                one.expand(STEPS, 1, 1),
                dist.MultivariateNormal(torch.zeros(STEPS, 1), 0.25 * one),
                one,
                dist.MultivariateNormal(loc, 0.16 * one),
                duration=STEPS,
            )
            pyro.sample("x", series, obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("series", len(x)):
            loc, log_scale = encoder(x.squeeze(-1)).unbind(-1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()))

    def truth() -> Array:
        steps, shift = np.arange(1, STEPS + 1), float(pyro.param("shift"))
        covariance = 1 + 0.25 * np.minimum.outer(steps, steps) + 0.16 * np.eye(STEPS) + shift**2
        return multivariate_normal(np.zeros(STEPS), covariance).logpdf(array(x)[..., 0])

    return Structure("series of a linear state space", "`dist.GaussianHMM` observed", model, guide, (x,), truth)


class Recapture:
    """Cormack, Jolly and Seber's model: an animal is followed from its first capture on, and may die unseen.

    Arguments:
        in_place: Whether the mask of the animals seen so far is changed in place, as in Pyro's example.
        summed: Whether the guide leaves the states to be summed out.
    """

    def __init__(self, *, in_place: bool = False, summed: bool = False) -> None:
        self.y = (torch.rand(DATA, STEPS) < 0.5).float()
        self.in_place, self.summed, self.net = in_place, summed, nn.Linear(STEPS, STEPS)

    def model(self, y: Tensor) -> None:
        survival = pyro.param("survival", torch.tensor(0.8), constraint=constraints.unit_interval)
        recapture = pyro.param("recapture", torch.tensor(0.5), constraint=constraints.unit_interval)
        with pyro.plate("animals", len(y), dim=-1):
            z, followed = torch.ones(len(y)), torch.zeros(len(y)).bool()
            for t in pyro.markov(range(STEPS)):
                alive = torch.where(followed, survival * z, 1.0)
                z = pyro.sample(f"z_{t}", dist.Bernoulli(alive), infer={"enumerate": "parallel"})
                with pyro.poutine.mask(mask=followed):
                    pyro.sample(f"y_{t}", dist.Bernoulli(recapture * z), obs=y[:, t])
                if self.in_place:
                    followed |= y[:, t].bool()
                else:
                    followed = followed | y[:, t].bool()

    def guide(self, y: Tensor) -> None:
        pyro.module("net", self.net)
        if not self.summed:
            with pyro.plate("animals", len(y), dim=-1):
                for t in range(STEPS):
                    pyro.sample(f"z_{t}", dist.Bernoulli(logits=self.net(y)[:, t]))

    def truth(self) -> Array:
        survival, recapture, result = float(pyro.param("survival")), float(pyro.param("recapture")), []
        for row in array(self.y):
            alpha, followed = np.array([0.0, 1.0]), False
            for seen in row:
                if followed:
                    alpha = np.array([alpha[0] + alpha[1] * (1 - survival), alpha[1] * survival])
                    alpha = alpha * ([0.0, recapture] if seen else [1.0, 1 - recapture])
                followed = followed or bool(seen)
            result.append(np.log(alpha.sum()))
        return np.array(result)


def recapture() -> Structure:
    pair = Recapture()
    return Structure(
        "capture and recapture",
        "chain of bits, `poutine.mask` around observations before the first capture",
        pair.model,
        pair.guide,
        (pair.y,),
        pair.truth,
    )


def recapture_in_place() -> Structure:
    pair = Recapture(in_place=True)
    return Structure(
        "capture and recapture, as in the example",
        "a mask that grows in place",
        pair.model,
        pair.guide,
        (pair.y,),
        refused="the mask of site 'y_0' is changed in place after its statement",
    )


def recapture_summed() -> Structure:
    pair = Recapture(summed=True)
    return Structure(
        "chain summed out by `TraceEnum_ELBO`",
        "a guide without the enumerated sites",
        pair.model,
        pair.guide,
        (pair.y,),
        refused="which the model marks for enumeration",
    )


STRUCTURES = (gaussian_chain, recapture, recapture_in_place, recapture_summed)
