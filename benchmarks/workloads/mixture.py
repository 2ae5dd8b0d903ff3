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

from benchmarks.peers import Peer
from benchmarks.peers.ours import trainer_of
from benchmarks.workloads import Size


class Pair(Peer):
    """The shipped model, with centres and scale that are learned, and its default guide."""

    def __init__(self, setting: Size, x: Tensor) -> None:
        self.setting = setting
        self.model = Gmm(setting.latents, centres="random", learn_centres=True, learn_scale=True)
        self.guide = MeanField(self.model, x[:64], width=setting.width)
        self.encoder = self.guide.encoder
        self.parameters = [*self.model.parameters(), *self.guide.parameters()]

    def loss(self, x: Tensor) -> Tensor:
        """The mean loss of a batch."""
        raise NotImplementedError

    def gradient(self, x: Tensor) -> Tensor:
        found = torch.autograd.grad(self.loss(x), self.parameters)
        return torch.cat([value.flatten() for value in found])


class Ours(Pair):
    """The step of ``ppl-vae train``, which lists so few codes."""

    def __init__(self, setting: Size, x: Tensor) -> None:
        super().__init__(setting, x)
        self.trainer = trainer_of(self.model, self.guide, setting.batch)

    def step(self, x: Tensor) -> None:
        self.trainer.step(x)

    def loss(self, x: Tensor) -> Tensor:
        return self.trainer.loss(x) / len(x)


class Exact(Pair):
    """The sum over all codes, written down."""

    compiled = False

    def __init__(self, setting: Size, x: Tensor) -> None:
        super().__init__(setting, x)
        self.states = self.model.states
        self.optimizer = torch.optim.Adam(self.parameters, lr=1e-3, fused=True)
        if self.compiled:
            self.loss = torch.compile(self.loss)  # type: ignore[method-assign]

    def loss(self, x: Tensor) -> Tensor:
        logits = self.encoder(x)
        log_q = logsigmoid(logits) @ self.states.T + logsigmoid(-logits) @ (1 - self.states).T
        centres, log_scale = self.model.centres, self.model.log_scale
        squares = x.square().sum(1)[:, None] - 2 * x @ centres.T + centres.square().sum(1)
        log_p = -0.5 * squares * (-2 * log_scale).exp() - x.shape[1] * log_scale
        return (log_q.exp() * (log_q - log_p)).sum() / len(x)

    def step(self, x: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        self.loss(x).backward()
        self.optimizer.step()


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
