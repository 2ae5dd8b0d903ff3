"""Random pairs of bits, categoricals and a normal, and the gradient of their ELBO by a plain sum over all states."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["Pair"]

WIDTH, OBSERVED, DATA = 4, 3, 2
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(120)


def through(value: Tensor, weight: Tensor) -> Tensor:
    """The product with a matrix, or with one for each datum."""
    return (value[..., None] * weight).sum(-2)


def _beside(drawn: list[Tensor]) -> list[Tensor]:
    """Values of several sites with the same leading dimensions."""
    shape = torch.broadcast_shapes(*(d.shape[:-1] for d in drawn))
    return [d.expand(*shape, d.shape[-1]) for d in drawn]


class Pair:
    """A random model, guide and two data; every parameter may be given for each datum of a batch.

    One to five bits in up to three sites, one of which may be a categorical of three states; a normal beside them or
    none; priors that are learned and not uniform, and may depend on the site before; a decoder with a hidden layer or
    none; a Gaussian, Bernoulli or Poisson likelihood; a guide linear in x whose sites may depend on each other; a
    weight of the rate, a scale, and a mask of the observation and of the last site.

    Arguments:
        seed: Decides all of this.
    """

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        torch.manual_seed(seed)
        count = int(rng.integers(1, 4))
        further = rng.multinomial(rng.integers(0, 6 - count), [1 / count] * count)
        self.sizes = [1 + int(n) for n in further]
        self.states = int(rng.integers(count)) if rng.random() < 0.25 else None
        if self.states is not None:
            self.sizes[self.states] = 3
        self.normal = bool(rng.random() < 0.4)
        self.hidden = bool(rng.random() < 0.5)
        self.chained_prior = count > 1 and bool(rng.random() < 0.3)
        self.chained_guide = count > 1 and bool(rng.random() < 0.2)
        self.likelihood = str(rng.choice(["normal", "bernoulli", "poisson"]))
        self.beta = float(rng.choice([1.0, rng.uniform(0.2, 3)]))
        self.scale = float(rng.choice([1.0, rng.uniform(0.3, 5)]))
        self.mask = torch.tensor(rng.random(DATA) < 0.6) if rng.random() < 0.3 else torch.ones(DATA, dtype=torch.bool)
        inputs, before = sum(self.sizes) + self.normal, self.sizes[0]
        shapes = {
            "first": (inputs, WIDTH if self.hidden else OBSERVED),
            "last": (WIDTH, OBSERVED),
            "offset": (OBSERVED,),
        }
        for i, size in enumerate(self.sizes):
            shapes |= {f"prior{i}": (size,), f"link{i}": (before, size)}
            shapes |= {f"guide{i}": (OBSERVED, size), f"bias{i}": (size,), f"chain{i}": (before, size)}
        shapes |= {"mean": (OBSERVED, 1), "spread": (1,)}
        self.values = {
            name: torch.randn(shape) * (0.4 if name in ("mean", "spread") else 1) for name, shape in shapes.items()
        }
        x = torch.randn(DATA, OBSERVED)
        draw = {"normal": x, "bernoulli": (x > 0).to(x), "poisson": x.abs().mul(2).round()}
        self.x, self.at = draw[self.likelihood], x  # what the model observes, what the guide reads

    @property
    def guided(self) -> list[str]:
        """Names of the guide's parameters."""
        return [n for n in self.values if n.startswith(("guide", "bias", "chain", "mean", "spread"))]

    # The pair as Pyro programs; `v` holds a row of every parameter for each datum.

    def _site(self, i: int, logits: Tensor) -> Any:
        return dist.OneHotCategorical(logits=logits) if i == self.states else dist.Bernoulli(logits=logits).to_event(1)

    def _prior(self, v: dict[str, Tensor], i: int, first: Tensor | None) -> Tensor:
        linked = self.chained_prior and i and first is not None
        return v[f"prior{i}"] + (through(first, v[f"link{i}"]) if linked else 0)

    def _posterior(self, v: dict[str, Tensor], i: int, at: Tensor, first: Tensor | None) -> Tensor:
        chained = self.chained_guide and i and first is not None
        return through(at, v[f"guide{i}"]) + v[f"bias{i}"] + (through(first, v[f"chain{i}"]) if chained else 0)

    def _output(self, v: dict[str, Tensor], latents: Tensor) -> Tensor:
        inner = through(latents, v["first"])
        return (through(inner.tanh(), v["last"]) if self.hidden else inner.tanh()) + v["offset"]

    def programs(self, v: dict[str, Tensor], copies: int) -> tuple[Any, Any]:
        """Model and guide of so many copies of the data in a row."""
        mask, last = self.mask.repeat(copies), len(self.sizes) - 1

        def masked(i: int) -> Any:
            return pyro.poutine.mask(mask=mask if i == last else torch.ones_like(mask))

        def model(x: Tensor, at: Tensor) -> None:
            with pyro.plate("data", len(x)), pyro.poutine.scale(scale=self.scale):
                drawn: list[Tensor] = []
                for i in range(len(self.sizes)):
                    with masked(i):
                        logits = self._prior(v, i, drawn[0] if drawn else None)
                        drawn.append(pyro.sample(f"z{i}", self._site(i, logits)))
                if self.normal:
                    drawn.append(pyro.sample("u", dist.Normal(torch.zeros(1), 1.0).to_event(1)))
                out = self._output(v, torch.cat(_beside(drawn), -1))
                with masked(last):
                    pyro.sample("x", self._observed(out), obs=x)

        def guide(x: Tensor, at: Tensor) -> None:
            with pyro.plate("data", len(x)), pyro.poutine.scale(scale=self.scale):
                first = None
                for i in range(len(self.sizes)):
                    with masked(i):
                        drawn = pyro.sample(f"z{i}", self._site(i, self._posterior(v, i, at, first)))
                        first = drawn if first is None else first
                if self.normal:
                    normal = dist.Normal(through(at, v["mean"]), v["spread"].exp())
                    pyro.sample("u", normal.to_event(1))

        return model, guide

    def _observed(self, out: Tensor) -> Any:
        if self.likelihood == "normal":
            return dist.Normal(out, 0.7).to_event(1)
        if self.likelihood == "bernoulli":
            return dist.Bernoulli(logits=out).to_event(1)
        return dist.Poisson(functional.softplus(out)).to_event(1)

    # The same as formulas.

    def gradient(self) -> dict[str, Tensor]:
        """Gradient of the loss, the negative ELBO summed over the data, by a sum over states and quadrature."""
        v = {name: value.clone().requires_grad_() for name, value in self.values.items()}
        nodes, weights = (torch.tensor(NODES), torch.tensor(WEIGHTS / WEIGHTS.sum()))
        if not self.normal:
            nodes, weights = nodes[:1], torch.ones(1)
        elbo: Any = 0.0
        for x, at, seen in zip(self.x, self.at, self.mask.tolist(), strict=True):
            u = (at @ v["mean"] + v["spread"].exp() * nodes[:, None]) if self.normal else torch.zeros(len(nodes), 0)
            ratio_u = (-(u**2) / 2 + (nodes[:, None] ** 2) / 2 + v["spread"]).sum(-1) if self.normal else 0.0
            for state in self._states():
                log_q, rate = torch.zeros(()), torch.zeros(())
                for i, z in enumerate(state):
                    prior = v[f"prior{i}"] + (state[0] @ v[f"link{i}"] if self.chained_prior and i else 0)
                    logits = at @ v[f"guide{i}"] + v[f"bias{i}"]
                    logits = logits + (state[0] @ v[f"chain{i}"] if self.chained_guide and i else 0)
                    q, p = self._log_density(i, z, logits), self._log_density(i, z, prior)
                    log_q = log_q + q
                    rate = rate + (q - p if seen or i < len(state) - 1 else 0)
                inner = torch.cat([torch.cat(state).expand(len(nodes), -1), u], -1) @ v["first"]
                out = (inner.tanh() @ v["last"] if self.hidden else inner.tanh()) + v["offset"]
                fits = self._fit(x, out).sum(-1) if seen else 0.0
                f = fits + self.beta * (ratio_u - rate)
                elbo = elbo + self.scale * log_q.exp() * (weights * f).sum()
        names = list(v)
        found = torch.autograd.grad(-elbo, [v[n] for n in names], allow_unused=True)
        return {n: torch.zeros_like(v[n]) if g is None else g for n, g in zip(names, found, strict=True)}

    def _states(self) -> list[list[Tensor]]:
        bits = [torch.tensor(list(product([0.0, 1.0], repeat=size))) for size in self.sizes]
        if self.states is not None:
            bits[self.states] = torch.eye(3)
        return [list(state) for state in product(*bits)]

    def _log_density(self, i: int, z: Tensor, logits: Tensor) -> Tensor:
        if i == self.states:
            return z @ (logits - logits.logsumexp(-1))
        return (z * logits - functional.softplus(logits)).sum()

    def _fit(self, x: Tensor, out: Tensor) -> Tensor:
        if self.likelihood == "normal":
            return -((x - out) ** 2) / (2 * 0.49) - np.log(0.7) - np.log(2 * np.pi) / 2
        if self.likelihood == "bernoulli":
            return x * out - functional.softplus(out)
        rate = functional.softplus(out)  # smooth, as quadrature over the normal asks for
        return x * rate.log() - rate - torch.lgamma(x + 1)
