"""A step of a mixture of Gaussians that bits number: ours, exact by hand, and Pyro's objective."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from ppl_vae.guides.mean_field import MeanField
from ppl_vae.models.gmm import Gmm
from pyro.infer import SVI, Trace_ELBO
from torch import Tensor
from torch.nn.functional import logsigmoid

from benchmarks.workloads import Size
from benchmarks.workloads.pairs import ByHand, ByTrainer, PairPeer


class Pair(PairPeer):
    """The shipped model, with centres and scale that are learned, and its default guide."""

    def pair(self, setting: Size, x: Tensor) -> tuple[Gmm, MeanField]:
        """The model and the guide."""
        model = Gmm(setting.latents, centres="random", learn_centres=True, learn_scale=True)
        return model, MeanField(model, x[:64], width=setting.width)


class Ours(ByTrainer, Pair):
    """The step of ``ppl-vae train``, which lists so few codes."""


class Replayed(Ours):
    """The same, recorded once and replayed."""

    replay = True


class Exact(ByHand, Pair):
    """The sum over all codes, written down."""

    def __init__(self, setting: Size, x: Tensor) -> None:
        super().__init__(setting, x)
        self.states = self.model.states

    def loss(self, x: Tensor) -> Tensor:
        logits = self.encoder(x)
        log_q = logsigmoid(logits) @ self.states.T + logsigmoid(-logits) @ (1 - self.states).T
        centres, log_scale = self.model.centres, self.model.log_scale
        squares = x.square().sum(1)[:, None] - 2 * x @ centres.T + centres.square().sum(1)
        log_p = -0.5 * squares * (-2 * log_scale).exp() - x.shape[1] * log_scale
        return (log_q.exp() * (log_q - log_p)).sum() / len(x)


class Compiled(Exact):
    """The same under ``torch.compile``."""

    compiled = True


class Trace(Pair):
    """Pyro's own objective with one draw a datum."""

    def __init__(self, setting: Size, x: Tensor) -> None:
        super().__init__(setting, x)
        self.elbo = Trace_ELBO()
        self.svi = SVI(self.written, self.read, pyro.optim.Adam({"lr": 1e-3}), loss=self.elbo)

    def written(self, x: Tensor) -> None:
        """The model."""
        pyro.module("centres", self.model)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(x.new_full((self.setting.latents,), 0.5)).to_event(1))
            code = (z @ 2 ** torch.arange(self.setting.latents - 1, -1, -1.0)).long()
            pyro.sample("x", dist.Normal(self.model.centres[code], self.model.log_scale.exp()).to_event(1), obs=x)

    def read(self, x: Tensor) -> None:
        """The guide."""
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(logits=self.encoder(x)).to_event(1))

    def step(self, x: Tensor) -> None:
        self.svi.step(x)

    def loss(self, x: Tensor) -> Tensor:
        # Its loss has the gradient of REINFORCE in a surrogate that is not the loss itself.
        raise NotImplementedError

    def gradient(self, x: Tensor) -> Tensor:
        for parameter in self.parameters:
            parameter.grad = None
        self.elbo.loss_and_grads(self.written, self.read, x)
        return torch.cat([p.grad.flatten() for p in self.parameters if p.grad is not None]) / len(x)
