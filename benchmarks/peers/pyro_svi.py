"""Pyro's own objectives, on the model as Pyro's tutorials would write it: dense counts, a stock multinomial."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import SVI, Trace_ELBO, TraceGraph_ELBO
from torch import Tensor

from benchmarks.peers import Peer
from benchmarks.peers.dense_torch import MLP
from benchmarks.setting import Setting, dense, layers_of
from ppl_vae.data.counts import PackedCounts


class Trace(Peer):
    """REINFORCE. So many particles as the others have pairs: it evaluates the decoder half as often."""

    objective: type[Trace_ELBO | TraceGraph_ELBO] = Trace_ELBO
    particles = 1

    def __init__(self, setting: Setting, x: PackedCounts) -> None:
        super().__init__(setting, x)
        decoder, encoder = layers_of(*setting.pair(x))
        self.decoder, self.encoder = MLP(decoder), MLP(encoder)
        count = self.particles * setting.draws
        self.elbo = self.objective(num_particles=count, vectorize_particles=count > 1, max_plate_nesting=1)
        self.svi = SVI(self.model, self.guide, pyro.optim.Adam({"lr": 1e-3}), loss=self.elbo)

    def model(self, counts: Tensor) -> None:
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", len(counts)):
            z = pyro.sample("z", dist.Bernoulli(counts.new_full((self.setting.bits,), 0.5)).to_event(1))
            total = int(counts.sum(1).max())
            pyro.sample("x", dist.Multinomial(total, logits=self.decoder(z), validate_args=False), obs=counts)

    def guide(self, counts: Tensor) -> None:
        pyro.module("encoder", self.encoder)
        read = 100 * counts / counts.sum(1, keepdim=True) if self.setting.layers else counts
        with pyro.plate("data", len(counts)):
            pyro.sample("z", dist.Bernoulli(logits=self.encoder(read)).to_event(1))

    def step(self, x: PackedCounts) -> None:
        # SVI takes the loss's sum over the batch; Adam's steps do not depend on the scale.
        self.svi.step(dense(x))

    def gradient(self, x: PackedCounts) -> Tensor:
        parameters = [*self.decoder.parameters(), *self.encoder.parameters()]
        for parameter in parameters:
            parameter.grad = None
        self.elbo.loss_and_grads(self.model, self.guide, dense(x))
        return torch.cat([p.grad.flatten() for p in parameters]) / len(x)


class TracePairs(Trace):
    """REINFORCE with two particles where the others have a pair: as many evaluations of the decoder."""

    particles = 2


class TraceGraph(Trace):
    """REINFORCE with each document's own cost, and not the batch's, for its code."""

    objective = TraceGraph_ELBO
