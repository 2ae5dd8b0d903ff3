"""Recurrent networks and kernels over time: the deep Markov model of the tutorial, series, sentences."""

from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from scipy.special import log_softmax, logsumexp
from scipy.stats import multivariate_normal
from torch import Tensor, nn
from torch.distributions import constraints
from torch.nn import functional

from benchmarks.structures.structure import (
    Array,
    Structure,
    array,
    bernoulli_log_prob,
    log_mean,
    normal_grid,
    normal_log_prob,
)

__all__ = ["STRUCTURES"]

DATA, STEPS = 8, 3


class TutorialMarkov(nn.Module):
    """The deep Markov model of the tutorial: masks inside distributions, a recurrent guide over reversed sequences."""

    def __init__(self, width: int = 2, hidden: int = 4) -> None:
        super().__init__()
        self.emitter, self.transition = nn.Linear(1, width), nn.Linear(1, 1)
        self.rnn, self.combiner = nn.RNN(width, hidden, batch_first=True), nn.Linear(1 + hidden, 2)
        self.z_0, self.z_q_0 = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
        self.h_0 = nn.Parameter(torch.zeros(1, 1, hidden))

    def model(self, batch: Tensor, reversed_batch: Tensor, mask: Tensor, annealing_factor: float = 1.0) -> None:
        pyro.module("dmm", self)
        z = self.z_0.expand(batch.size(0), self.z_0.size(0))
        with pyro.plate("z_minibatch", len(batch)):
            for t in pyro.markov(range(1, batch.size(1) + 1)):
                with pyro.poutine.scale(None, annealing_factor):
                    z_t = dist.Normal(self.transition(z), 0.6).mask(mask[:, t - 1 : t]).to_event(1)
                    z = pyro.sample(f"z_{t}", z_t)
                x_t = dist.Bernoulli(logits=self.emitter(z)).mask(mask[:, t - 1 : t]).to_event(1)
                pyro.sample(f"obs_x_{t}", x_t, obs=batch[:, t - 1, :])

    def guide(self, batch: Tensor, reversed_batch: Tensor, mask: Tensor, annealing_factor: float = 1.0) -> None:
        pyro.module("dmm", self)
        h_0 = self.h_0.expand(1, batch.size(0), self.h_0.size(-1)).contiguous()
        states = self.rnn(reversed_batch, h_0)[0].flip(1)
        z = self.z_q_0.expand(batch.size(0), self.z_q_0.size(0))
        with pyro.plate("z_minibatch", len(batch)):
            for t in pyro.markov(range(1, batch.size(1) + 1)):
                h = states[:, t - 1, :].expand(*z.shape[:-1], -1)
                loc, log_scale = self.combiner(torch.cat([z, h], -1)).chunk(2, -1)
                with pyro.poutine.scale(None, annealing_factor):
                    z = pyro.sample(f"z_{t}", dist.Normal(loc, log_scale.exp()).mask(mask[:, t - 1 : t]).to_event(1))


def tutorial_markov() -> Structure:
    x, lengths, pair = (torch.rand(DATA, STEPS, 2) < 0.5).float(), 1 + torch.arange(DATA) % STEPS, TutorialMarkov()
    mask = (torch.arange(STEPS) < lengths[:, None]).float()

    def truth() -> Array:
        points = np.linspace(-6, 6, 301)
        weight, bias = float(pair.transition.weight), float(pair.transition.bias)
        spacing = np.log(points[1] - points[0])
        step = normal_log_prob(points, weight * points[:, None] + bias, 0.6) + spacing
        first = normal_log_prob(points, weight * float(pair.z_0) + bias, 0.6) + spacing
        logits = points[:, None] @ array(pair.emitter.weight).T + array(pair.emitter.bias)
        result = []
        for row, length in zip(array(x), lengths.tolist(), strict=True):
            alpha = first
            for t in range(length):
                alpha = logsumexp(alpha[:, None] + step, axis=0) if t else alpha
                alpha = alpha + bernoulli_log_prob(row[t], logits)
            result.append(logsumexp(alpha))
        return np.array(result)

    return Structure(
        "deep Markov model of the tutorial",
        "`.mask(mini_batch_mask[:, t - 1:t]).to_event(1)` of latents, an RNN, an annealing factor",
        pair.model,
        pair.guide,
        (x, x.flip(1), mask),
        truth,
        train=(x, x.flip(1), mask, 0.3),
    )


class RecurrentDecoder(nn.Module):
    """A series given its own past and a latent, by a GRU."""

    def __init__(self) -> None:
        super().__init__()
        self.start, self.gru, self.out = nn.Linear(1, 4), nn.GRU(1, 4, batch_first=True), nn.Linear(4, 1)
        self.encoder, self.head = nn.GRU(1, 4, batch_first=True), nn.Linear(4, 2)

    def means(self, x: Tensor, z: Tensor) -> Tensor:
        past = torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1)
        states, _ = self.gru(past, torch.tanh(self.start(z)).unsqueeze(0))
        return self.out(states)

    def model(self, x: Tensor) -> None:
        pyro.module("decoder", self)
        with pyro.plate("data", x.size(0)):
            z = pyro.sample("z", dist.Normal(torch.zeros(x.size(0), 1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.means(x, z), 0.7).to_event(2), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", x.size(0)):
            _, state = self.encoder(x)
            loc, log_scale = self.head(state.squeeze(0)).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


def recurrent_decoder() -> Structure:
    x, pair = torch.randn(DATA, STEPS, 1), RecurrentDecoder()

    def truth() -> Array:
        points, weights = normal_grid(1, 501)
        gates = [(array(pair.gru.weight_ih_l0), array(pair.gru.bias_ih_l0))]
        gates += [(array(pair.gru.weight_hh_l0), array(pair.gru.bias_hh_l0))]
        density = np.zeros((len(points), DATA))
        state = np.tanh(points @ array(pair.start.weight).T + array(pair.start.bias))[:, None].repeat(DATA, 1)
        past = np.zeros((DATA, 1))
        for t in range(STEPS):
            (given, bias), (back, back_bias) = gates
            new, old = np.split(past @ given.T + bias, 3, -1), np.split(state @ back.T + back_bias, 3, -1)
            reset, update = (1 / (1 + np.exp(-(a + b))) for a, b in zip(new[:2], old[:2], strict=True))
            state = (1 - update) * np.tanh(new[2] + reset * old[2]) + update * state
            mean = state @ array(pair.out.weight).T + array(pair.out.bias)
            past = array(x)[:, t]
            density += normal_log_prob(past, mean, 0.7).sum(-1)
        return log_mean(weights, density)

    return Structure(
        "recurrent decoder", "a GRU of the past (`batch_first=True`), begun by z", pair.model, pair.guide, (x,), truth
    )


class Sentences(nn.Module):
    """Words given those before and a latent, by an LSTM; the guide packs sentences of unequal length."""

    def __init__(self, words: int = 5) -> None:
        super().__init__()
        self.embedding, self.lstm = nn.Embedding(words, 3), nn.LSTM(4, 4, batch_first=True)
        self.out, self.encoder, self.head = nn.Linear(4, words), nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 2)

    def logits(self, tokens: Tensor, z: Tensor) -> Tensor:
        past = torch.cat([tokens.new_zeros(tokens.size(0), 1), tokens[:, :-1]], 1)
        inputs = torch.cat([self.embedding(past), z.unsqueeze(1).expand(-1, tokens.size(1), -1)], -1)
        return self.out(self.lstm(inputs)[0])

    def model(self, tokens: Tensor, lengths: Tensor) -> None:
        pyro.module("language", self)
        mask = torch.arange(tokens.size(1)) < lengths[:, None]
        with pyro.plate("data", tokens.size(0)):
            z = pyro.sample("z", dist.Normal(torch.zeros(tokens.size(0), 1), 1.0).to_event(1))
            words = dist.Categorical(logits=self.logits(tokens, z)).mask(mask).to_event(1)
            pyro.sample("tokens", words, obs=tokens)

    def guide(self, tokens: Tensor, lengths: Tensor) -> None:
        with pyro.plate("data", tokens.size(0)):
            packed = nn.utils.rnn.pack_padded_sequence(
                self.embedding(tokens), lengths, batch_first=True, enforce_sorted=False
            )
            _, (state, _) = self.encoder(packed)
            loc, log_scale = self.head(state[-1]).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


def sentences() -> Structure:
    tokens, lengths, pair = torch.randint(0, 5, (DATA, STEPS)), 1 + torch.arange(DATA) % STEPS, Sentences()

    def truth() -> Array:
        points, weights = normal_grid(1, 201)
        z, columns = torch.as_tensor(points).float(), []
        with torch.no_grad():
            for row, length in zip(tokens, lengths.tolist(), strict=True):
                densities = log_softmax(array(pair.logits(row.expand(len(z), -1), z)), -1)
                columns.append(sum(densities[:, t, int(row[t])] for t in range(length)))
        return log_mean(weights, np.stack(columns, 1))

    return Structure(
        "sentences of unequal length",
        "LSTMs over tokens, `pack_padded_sequence` in the guide",
        pair.model,
        pair.guide,
        (tokens, lengths),
        truth,
    )


def kernel() -> Structure:
    """A Gaussian process over time as the prior of each series."""
    x, steps = torch.randn(DATA, 4, 2), 4
    decoder, encoder = nn.Linear(1, 2), nn.Linear(2 * steps, steps + steps**2)
    time = torch.linspace(0, 1, steps)

    def model(x: Tensor) -> None:
        pyro.module("decoder", decoder)
        length = pyro.param("length", torch.tensor(0.5), constraint=constraints.positive)
        covariance = (-0.5 * ((time[:, None] - time) / length) ** 2).exp() + 1e-3 * torch.eye(steps)
        with pyro.plate("series", x.size(0)):
            f = pyro.sample("f", dist.MultivariateNormal(torch.zeros(steps), covariance_matrix=covariance))
            pyro.sample("x", dist.Normal(decoder(f.unsqueeze(-1)), 0.5).to_event(2), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("encoder", encoder)
        loc, factor = encoder(x.reshape(x.size(0), -1)).split([steps, steps**2], -1)
        factor = factor.unflatten(-1, (steps, steps))
        diagonal = functional.softplus(factor.diagonal(dim1=-2, dim2=-1)) + 0.05
        with pyro.plate("series", x.size(0)):
            tril = 0.1 * factor.tril(-1) + diagonal.diag_embed()
            pyro.sample("f", dist.MultivariateNormal(loc, scale_tril=tril))

    def truth() -> Array:
        t, weight = array(time), array(decoder.weight)[:, 0]
        covariance = np.exp(-0.5 * ((t[:, None] - t) / float(pyro.param("length"))) ** 2) + 1e-3 * np.eye(steps)
        joint = np.kron(covariance, np.outer(weight, weight)) + 0.25 * np.eye(2 * steps)
        return multivariate_normal(np.tile(array(decoder.bias), steps), joint).logpdf(array(x).reshape(DATA, -1))

    return Structure(
        "Gaussian process over time", "`MultivariateNormal` by a kernel, a full guide", model, guide, (x,), truth
    )


STRUCTURES = (tutorial_markov, recurrent_decoder, sentences, kernel)
