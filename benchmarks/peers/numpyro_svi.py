"""NumPyro's objective for discrete latents, on dense counts and a stock multinomial."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro.infer import SVI, TraceGraph_ELBO
from torch import Tensor

from benchmarks.peers import Peer
from benchmarks.peers.dense_jax import arrays, flat, network
from benchmarks.setting import Setting, dense
from ppl_vae.data.counts import PackedCounts


class NumPyroTraceGraph(Peer):
    """REINFORCE with each document's own cost for its code; one particle for each pair of the others."""

    def __init__(self, setting: Setting, x: PackedCounts) -> None:
        super().__init__(setting, x)
        self.start = arrays(setting, x)
        self.elbo = TraceGraph_ELBO(num_particles=setting.draws)
        self.svi = SVI(self.model, self.guide, numpyro.optim.Adam(1e-3), self.elbo)
        self.state = self.svi.init(jax.random.key(0), jnp.asarray(dense(x[:2]).numpy()))
        self.update = jax.jit(self.svi.update, donate_argnums=0)
        self.slopes, self.key = jax.jit(jax.grad(self._loss)), jax.random.key(1)

    def model(self, counts: jax.Array) -> None:
        decoder = numpyro.param("decoder", self.start[0])
        with numpyro.plate("data", len(counts)):
            z = numpyro.sample("z", dist.Bernoulli(jnp.full(self.setting.bits, 0.5)).to_event(1))
            words = network(decoder, z.astype(counts.dtype))
            numpyro.sample(
                "x", dist.Multinomial(logits=words, total_count=counts.sum(1), total_count_max=1), obs=counts
            )

    def guide(self, counts: jax.Array) -> None:
        encoder = numpyro.param("encoder", self.start[1])
        read = 100 * counts / counts.sum(1, keepdims=True) if self.setting.layers else counts
        with numpyro.plate("data", len(counts)):
            numpyro.sample("z", dist.Bernoulli(logits=network(encoder, read)).to_event(1))

    def step(self, x: PackedCounts) -> None:
        self.state, loss = self.update(self.state, jnp.asarray(dense(x).numpy()))
        jax.block_until_ready((self.state, loss))

    def gradient(self, x: PackedCounts) -> Tensor:
        self.key, key = jax.random.split(self.key)
        slopes = self.slopes(self.svi.get_params(self.state), key, jnp.asarray(dense(x).numpy()))
        return flat([slopes["decoder"], slopes["encoder"]]) / len(x)

    def _loss(self, parameters: dict[str, Any], key: jax.Array, counts: jax.Array) -> jax.Array:
        return self.elbo.loss(key, parameters, self.model, self.guide, counts)
