"""ARM written by hand in JAX, compiled, on dense counts."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import Tensor

from benchmarks.peers import Peer
from benchmarks.setting import Setting, dense, layers_of
from ppl_vae.data.counts import PackedCounts

Tree = Any


def arrays(setting: Setting, x: PackedCounts) -> Tree:
    """The layers of decoder and encoder, as JAX holds them."""
    both = layers_of(*setting.pair(x))
    return [[(jnp.array(w.detach().numpy()), jnp.array(b.detach().numpy())) for w, b in layers] for layers in both]


def network(layers: Tree, value: jax.Array) -> jax.Array:
    """Affine layers with ReLU between them."""
    for weight, bias in layers[:-1]:
        value = jax.nn.relu(value @ weight.T + bias)
    weight, bias = layers[-1]
    return value @ weight.T + bias


def flat(tree: Tree) -> Tensor:
    """All leaves in one vector."""
    return torch.cat([torch.from_numpy(np.array(leaf)).flatten() for leaf in jax.tree.leaves(tree)])


class JaxARM(Peer):
    """One compiled function a step, its buffers given back to it, the draws unrolled: the fastest form found."""

    def __init__(self, setting: Setting, x: PackedCounts) -> None:
        super().__init__(setting, x)
        parameters = arrays(setting, x)
        zeros = jax.tree.map(jnp.zeros_like, parameters)
        self.key = jax.random.key(0)
        self.state = (parameters, zeros, jax.tree.map(jnp.copy, zeros), jnp.zeros(()))
        self.update = jax.jit(self._update, donate_argnums=0)
        self.slopes = jax.jit(jax.grad(self.loss))

    def loss(self, parameters: Tree, key: jax.Array, counts: jax.Array) -> jax.Array:
        """The mean loss of a batch but for a constant, its gradient by ARM."""
        decoder, encoder = parameters
        lengths = counts.sum(1)
        logits = network(encoder, 100 * counts / lengths[:, None] if self.setting.layers else counts)
        fixed = jax.lax.stop_gradient(logits)

        def score(z: jax.Array) -> jax.Array:
            words = network(decoder, z)
            return (counts * words).sum(-1) - lengths * jax.nn.logsumexp(words, axis=-1)

        log_p = slope = 0.0
        for one in jax.random.split(key, self.setting.draws):
            noise = jax.random.uniform(one, logits.shape)
            codes = [(noise > jax.nn.sigmoid(-fixed)) * 1.0, (noise < jax.nn.sigmoid(fixed)) * 1.0]
            scores = [score(z) for z in codes]
            f = [
                jax.lax.stop_gradient(s) + jax.nn.softplus((1 - 2 * z) * fixed).sum(-1)
                for s, z in zip(scores, codes, strict=True)
            ]
            slope += 0.5 * (f[0] - f[1])[:, None] * (2 * noise - 1) / self.setting.draws
            log_p += (scores[0] + scores[1]) / (2 * self.setting.draws)
        return -(log_p.sum() + (slope * logits).sum()) / len(counts)

    def _update(self, state: Tree, key: jax.Array, counts: jax.Array) -> Tree:
        """Adam (Kingma and Ba 2015, algorithm 1)."""
        parameters, first, second, count = state
        slopes, count = jax.grad(self.loss)(parameters, key, counts), count + 1
        first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, slopes)
        second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, slopes)
        rate, spread = 1e-3 / (1 - 0.9**count), 1 - 0.999**count
        move = partial(jax.tree.map, lambda p, m, v: p - rate * m / (jnp.sqrt(v / spread) + 1e-8))
        return move(parameters, first, second), first, second, count

    def _key(self) -> jax.Array:
        self.key, key = jax.random.split(self.key)
        return key

    def step(self, x: PackedCounts) -> None:
        self.state = self.update(self.state, self._key(), jnp.asarray(dense(x).numpy()))
        jax.block_until_ready(self.state)

    def gradient(self, x: PackedCounts) -> Tensor:
        return flat(self.slopes(self.state[0], self._key(), jnp.asarray(dense(x).numpy())))
