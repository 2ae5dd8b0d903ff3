"""Time series: Markov chains of normals and of states, and sequences of unequal length."""

from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from scipy.special import log_softmax, logsumexp
from scipy.stats import multivariate_normal
from torch import Tensor, nn

from benchmarks.structures.structure import Array, Structure, array, normal_log_prob

__all__ = ["STRUCTURES"]

DATA, STEPS, STATES = 10, 3, 2


def _chain_covariance(slope: float, noise: float, steps: int) -> Array:
    """Covariance of z_t = slope z_{t-1} + noise e_t with z_0 = 0."""
    forward = np.array([[slope ** (t - s) if s <= t else 0.0 for s in range(steps)] for t in range(steps)])
    return noise**2 * forward @ forward.T


class KalmanFilter(nn.Module):
    """A linear state space model with a recurrent guide."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(0.7))
        self.rnn, self.combine = nn.GRU(1, 8, batch_first=True), nn.Linear(9, 2)

    def model(self, x: Tensor) -> None:
        pyro.module("kalman", self)
        z = torch.zeros(1)
        with pyro.plate("sequences", len(x)):
            for t in pyro.markov(range(STEPS)):
                z = pyro.sample(f"z_{t}", dist.Normal(self.slope * z, 0.8).to_event(1))
                pyro.sample(f"x_{t}", dist.Normal(z, 0.5).to_event(1), obs=x[:, t])

    def guide(self, x: Tensor) -> None:
        hidden, _ = self.rnn(x.flip(1))
        hidden = hidden.flip(1)
        z = torch.zeros(1)
        with pyro.plate("sequences", len(x)):
            for t in pyro.markov(range(STEPS)):
                h = hidden[:, t]
                shape = torch.broadcast_shapes(z.shape[:-1], h.shape[:-1])
                joined = torch.cat([z.expand(shape + (1,)), h.expand(shape + h.shape[-1:])], -1)
                loc, scale = self.combine(joined).chunk(2, -1)
                z = pyro.sample(f"z_{t}", dist.Normal(loc, scale.exp()).to_event(1))


def kalman_filter() -> Structure:
    x, pair = torch.randn(DATA, STEPS, 1), KalmanFilter()

    def truth() -> Array:
        covariance = _chain_covariance(float(pair.slope), 0.8, STEPS) + 0.25 * np.eye(STEPS)
        return multivariate_normal(np.zeros(STEPS), covariance).logpdf(array(x)[..., 0])

    return Structure(
        "linear state space model", "`pyro.markov` over time, recurrent guide", pair.model, pair.guide, (x,), truth
    )


class DeepMarkov(nn.Module):
    """A Markov model of sequences of unequal length, masked by their lengths."""

    def __init__(self) -> None:
        super().__init__()
        self.slope, self.encoder = nn.Parameter(torch.tensor(0.7)), nn.Linear(2, 2)

    def model(self, x: Tensor, lengths: Tensor) -> None:
        pyro.module("dmm", self)
        z = torch.zeros(1)
        with pyro.plate("sequences", len(x)):
            for t in range(STEPS):
                with pyro.poutine.mask(mask=t < lengths):
                    z = pyro.sample(f"z_{t}", dist.Normal(self.slope * z, 0.8).to_event(1))
                    pyro.sample(f"x_{t}", dist.Normal(z, 0.5).to_event(1), obs=x[:, t])

    def guide(self, x: Tensor, lengths: Tensor) -> None:
        z = torch.zeros(1)
        with pyro.plate("sequences", len(x)):
            for t in range(STEPS):
                shape = torch.broadcast_shapes(z.shape[:-1], x.shape[:1])
                joined = torch.cat([z.expand(shape + (1,)), x[:, t].expand(shape + (1,))], -1)
                loc, scale = self.encoder(joined).chunk(2, -1)
                with pyro.poutine.mask(mask=t < lengths):
                    z = pyro.sample(f"z_{t}", dist.Normal(loc, scale.exp()).to_event(1))


def deep_markov() -> Structure:
    x, lengths, pair = torch.randn(DATA, STEPS, 1), 1 + torch.arange(DATA) % STEPS, DeepMarkov()

    def truth() -> Array:
        covariance = _chain_covariance(float(pair.slope), 0.8, STEPS) + 0.25 * np.eye(STEPS)
        rows = zip(array(x)[..., 0], lengths.tolist(), strict=True)
        return np.array([multivariate_normal(np.zeros(n), covariance[:n, :n]).logpdf(row[:n]) for row, n in rows])

    return Structure(
        "deep Markov model, unequal lengths",
        "`poutine.mask(t < lengths)` around latents and observations, `model(x, lengths)`",
        pair.model,
        pair.guide,
        (x, lengths),
        truth,
    )


def hidden_markov() -> Structure:
    x = torch.randn(DATA, STEPS)
    transition, encoder = nn.Parameter(torch.randn(STATES, STATES)), nn.Linear(STEPS, STEPS * STATES)
    locs = torch.tensor([-1.0, 1.0])

    def model(x: Tensor) -> None:
        logits = pyro.param("transition", transition)
        with pyro.plate("sequences", len(x)):
            state = torch.zeros((), dtype=torch.long)
            for t in pyro.markov(range(STEPS)):
                state = pyro.sample(
                    f"state_{t}", dist.Categorical(logits=logits[state]), infer={"enumerate": "parallel"}
                )
                pyro.sample(f"x_{t}", dist.Normal(locs[state], 1.0), obs=x[:, t])

    def guide(x: Tensor) -> None:
        pyro.module("encoder", encoder)
        logits = encoder(x).unflatten(-1, (STEPS, STATES))
        with pyro.plate("sequences", len(x)):
            for t in range(STEPS):
                pyro.sample(f"state_{t}", dist.Categorical(logits=logits[:, t]))

    def truth() -> Array:
        rates, seen = log_softmax(array(transition), -1), array(x)
        alpha = rates[0] + normal_log_prob(seen[:, :1], array(locs), 1.0)
        for t in range(1, STEPS):
            step = logsumexp(alpha[:, :, None] + rates[None], axis=1)
            alpha = step + normal_log_prob(seen[:, t : t + 1], array(locs), 1.0)
        return logsumexp(alpha, -1)

    return Structure(
        "hidden Markov model", 'categorical chain, `infer={"enumerate": "parallel"}`', model, guide, (x,), truth
    )


STRUCTURES = (kalman_filter, deep_markov, hidden_markov)
