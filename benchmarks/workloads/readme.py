"""A step of the ten lines of the README, in Pyro's own loop: our objectives, Pyro's, and DisARM by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import ELBO, SVI, Trace_ELBO, TraceGraph_ELBO
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

import ppl_vae as pv
from benchmarks.peers import Peer
from benchmarks.peers.ours import trainer_of
from benchmarks.workloads import Size


class Loop(Peer):
    """``SVI`` with an objective; the data are the README's, whatever is given."""

    objective: type[ELBO] = pv.DiscreteELBO
    options: tuple[Any, ...] = ()
    settings: dict[str, Any] = {}

    def __init__(self, setting: Size, x: Tensor) -> None:
        self.decoder, self.encoder = nn.Linear(8, 6), nn.Linear(6, 8)
        self.parameters = [*self.decoder.parameters(), *self.encoder.parameters()]
        self.elbo = self.objective(*self.options, **self.settings)
        self.svi = SVI(self.model, self.guide, pyro.optim.Adam({"lr": 0.03}), loss=self.elbo)
        self.x = torch.rand(100, 1, generator=torch.Generator().manual_seed(0)).round().expand(100, 6)

    def model(self, x: Tensor) -> None:
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.5 * torch.ones(8)).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=self.decoder(z)).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(logits=self.encoder(x)).to_event(1))

    def step(self, x: Tensor) -> None:
        self.svi.step(self.x)

    def gradient(self, x: Tensor) -> Tensor:
        for parameter in self.parameters:
            parameter.grad = None
        self.elbo.loss_and_grads(self.model, self.guide, self.x)
        return torch.cat([p.grad.flatten() for p in self.parameters if p.grad is not None])


class DisARM(Loop):
    """Our objective with the estimator that is written by hand below."""

    options = ("disarm",)


class Program(nn.Module):
    """A program with its network, as ``pv.train`` takes them."""

    def __init__(self, network: nn.Module, run: Callable[[Tensor], None]) -> None:
        super().__init__()
        self.network, self.run = network, run

    def forward(self, x: Tensor) -> None:
        self.run(x)


class Trained(DisARM):
    """The step of ``ppl-vae train``, its optimiser in one kernel."""

    replay = False

    def __init__(self, setting: Size, x: Tensor) -> None:
        super().__init__(setting, x)
        model, guide = Program(self.decoder, self.model), Program(self.encoder, self.guide)
        self.trainer = trainer_of(model, guide, len(self.x), self.elbo, replay=self.replay)

    def step(self, x: Tensor) -> None:
        self.trainer.step(self.x)


class Replayed(Trained):
    """The same, recorded once and replayed."""

    replay = True


class Trace(Loop):
    """REINFORCE."""

    objective = Trace_ELBO


class TraceThree(Trace):
    """REINFORCE with as many evaluations of the model as ours: of a pair of codes, and at their mean."""

    settings = {"num_particles": 3}


class TraceThreeAtOnce(Trace):
    """The same in one run of each program."""

    settings = {"num_particles": 3, "vectorize_particles": True, "max_plate_nesting": 1}


class TraceGraph(Loop):
    """REINFORCE with each datum's own cost for its code."""

    objective = TraceGraph_ELBO


class Hand(Loop):
    """DisARM written down (Dong, Mnih and Tucker 2020), with PyTorch's Adam."""

    def __init__(self, setting: Size, x: Tensor) -> None:
        super().__init__(setting, x)
        self.optimizer = torch.optim.Adam(self.parameters, lr=0.03, fused=True)

    def backward(self) -> None:
        """Sets the gradients of the loss, summed over the data."""
        logits = self.encoder(self.x)
        fixed = logits.detach()
        noise, positive = torch.rand_like(fixed), fixed.sigmoid()
        z = torch.stack([noise > 1 - positive, noise < positive]).to(fixed.dtype)
        # Minus log p(x | z), log q(z | x) but for what both codes of a pair have in common.
        distortion = binary_cross_entropy_with_logits(self.decoder(z), self.x.expand(2, -1, -1), reduction="none").sum(
            -1
        )
        cost = distortion.detach() + (z * fixed).sum(-1)
        slope = 0.5 * (cost[0] - cost[1])[:, None] * (z[0] - z[1]) * fixed.abs().sigmoid()
        (distortion.sum() / 2 + (slope * logits).sum()).backward()

    def step(self, x: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        self.backward()
        self.optimizer.step()

    def gradient(self, x: Tensor) -> Tensor:
        self.optimizer.zero_grad(set_to_none=True)
        self.backward()
        return torch.cat([p.grad.flatten() for p in self.parameters if p.grad is not None])
