"""Codes of bits and of states: belief networks, one-hot codes, presence bits, answers and annotators."""

from __future__ import annotations

from itertools import product

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from scipy.special import expit, log_softmax, logsumexp
from scipy.stats import multivariate_normal
from torch import Tensor, nn

from benchmarks.structures.structure import Array, Structure, array, bernoulli_log_prob, log_mean, normal_grid

__all__ = ["STRUCTURES"]

DATA, WIDTH, STATES = 12, 4, 3


def belief_network() -> Structure:
    """Two layers of bits, with a guide that runs upwards."""
    x = (torch.rand(DATA, WIDTH) < 0.4).float()
    top = nn.Parameter(torch.zeros(2))
    down, out = nn.Linear(2, 3), nn.Linear(3, WIDTH)
    up, upper = nn.Linear(WIDTH, 3), nn.Linear(3, 2)

    def model(x: Tensor) -> None:
        pyro.module("down", down)
        pyro.module("out", out)
        with pyro.plate("data", len(x)):
            h2 = pyro.sample("h2", dist.Bernoulli(logits=pyro.param("top", top)).to_event(1))
            h1 = pyro.sample("h1", dist.Bernoulli(logits=down(h2)).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=out(h1)).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("up", up)
        pyro.module("upper", upper)
        with pyro.plate("data", len(x)):
            h1 = pyro.sample("h1", dist.Bernoulli(logits=up(x)).to_event(1))
            pyro.sample("h2", dist.Bernoulli(logits=upper(h1)).to_event(1))

    def truth() -> Array:
        total = []
        for h2 in np.array(list(product((0.0, 1.0), repeat=2))):
            middle = array(down.weight) @ h2 + array(down.bias)
            for h1 in np.array(list(product((0.0, 1.0), repeat=3))):
                prior = bernoulli_log_prob(h2, array(top)) + bernoulli_log_prob(h1, middle)
                total.append(prior + bernoulli_log_prob(array(x), array(out.weight) @ h1 + array(out.bias)))
        return logsumexp(np.stack(total), axis=0)

    return Structure(
        "sigmoid belief network", "two layers of bits, guide q(h1) q(h2 given h1)", model, guide, (x,), truth
    )


def one_hot_code() -> Structure:
    x = (torch.rand(DATA, WIDTH) < 0.4).float()
    decoder, encoder = nn.Linear(STATES, WIDTH), nn.Linear(WIDTH, STATES)

    def model(x: Tensor) -> None:
        pyro.module("decoder", decoder)
        with pyro.plate("images", x.shape[0]):
            code = pyro.sample("code", dist.OneHotCategorical(logits=torch.zeros(x.shape[0], STATES)))
            pyro.sample("x", dist.Bernoulli(torch.sigmoid(decoder(code))).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("images", x.shape[0]):
            pyro.sample("code", dist.OneHotCategorical(logits=encoder(x)))

    def truth() -> Array:
        weight, bias = array(decoder.weight), array(decoder.bias)
        parts = np.stack([bernoulli_log_prob(array(x), weight[:, k] + bias) for k in range(STATES)])
        return logsumexp(parts, axis=0) - np.log(STATES)

    return Structure("one-hot code", "plate `images`, probabilities by a sigmoid", model, guide, (x,), truth)


def attend_infer_repeat() -> Structure:
    """Objects one after another: each is present if the one before it was, and adds its picture."""
    x = torch.randn(DATA, WIDTH)
    decoder, encoder = nn.Linear(1, WIDTH, bias=False), nn.Linear(WIDTH, 3)

    def model(x: Tensor) -> None:
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            picture, present = torch.zeros(WIDTH), torch.ones(())
            for step in range(2):
                present = pyro.sample(f"present_{step}", dist.Bernoulli(0.4 * present))
                what = pyro.sample(f"what_{step}", dist.Normal(torch.zeros(1), 1.0).to_event(1))
                picture = picture + present[..., None] * decoder(what)
            pyro.sample("x", dist.Normal(picture, 0.5).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            logit, loc, scale = encoder(x).chunk(3, -1)
            present = torch.ones(())
            for step in range(2):
                present = pyro.sample(f"present_{step}", dist.Bernoulli(torch.sigmoid(logit[..., 0]) * present))
                pyro.sample(f"what_{step}", dist.Normal(loc, scale.exp()).to_event(1))

    def truth() -> Array:
        weight = array(decoder.weight)
        total = []
        for count, probability in ((0, 0.6), (1, 0.4 * 0.6), (2, 0.16)):
            covariance = count * weight @ weight.T + 0.25 * np.eye(WIDTH)
            total.append(np.log(probability) + multivariate_normal(np.zeros(WIDTH), covariance).logpdf(array(x)))
        return logsumexp(np.stack(total), axis=0)

    return Structure("attend, infer, repeat", "a chain of presence bits, each with a normal", model, guide, (x,), truth)


def item_response() -> Structure:
    """Answers of persons to questions of given difficulty (Rasch), ability being the latent."""
    answers = (torch.rand(DATA, WIDTH) < 0.5).float()
    difficulty, encoder = nn.Parameter(torch.randn(WIDTH)), nn.Linear(WIDTH, 2)

    def model(answers: Tensor) -> None:
        with pyro.plate("persons", len(answers), dim=-2):
            ability = pyro.sample("ability", dist.Normal(torch.zeros(1), 1.0))
            with pyro.plate("items", WIDTH, dim=-1):
                logits = ability - pyro.param("difficulty", difficulty)
                pyro.sample("answers", dist.Bernoulli(logits=logits), obs=answers)

    def guide(answers: Tensor) -> None:
        pyro.module("encoder", encoder)
        loc, scale = encoder(answers).chunk(2, -1)
        with pyro.plate("persons", len(answers), dim=-2):
            pyro.sample("ability", dist.Normal(loc, scale.exp()))

    def truth() -> Array:
        points, weights = normal_grid(1)
        return log_mean(weights, bernoulli_log_prob(array(answers)[None], points[:, :, None] - array(difficulty)))

    return Structure("item response", "plates `persons` and `items`", model, guide, (answers,), truth)


def noisy_labels() -> Structure:
    """Dawid and Skene: the true class of an item, seen through annotators who err."""
    labels = torch.randint(STATES, (DATA, 3))
    confusion, encoder = nn.Parameter(torch.eye(STATES).repeat(3, 1, 1)), nn.Linear(3, STATES)

    def model(labels: Tensor) -> None:
        with pyro.plate("items", len(labels)):
            truth = pyro.sample("truth", dist.Categorical(torch.ones(STATES) / STATES))
            for annotator in pyro.plate("annotators", 3):
                logits = pyro.param("confusion", confusion)[annotator][truth]
                pyro.sample(f"label_{annotator}", dist.Categorical(logits=logits), obs=labels[:, annotator])

    def guide(labels: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("items", len(labels)):
            pyro.sample("truth", dist.Categorical(logits=encoder(labels.float())))

    def truth() -> Array:
        rates = log_softmax(array(confusion), -1)
        seen = labels.numpy()
        joint = sum(rates[a][:, seen[:, a]] for a in range(3))
        return logsumexp(joint, axis=0) - np.log(STATES)

    return Structure("noisy annotators", "sequential plate `annotators` inside `items`", model, guide, (labels,), truth)


def zero_inflated() -> Structure:
    x = torch.poisson(torch.full((DATA, WIDTH), 2.0)) * (torch.rand(DATA, WIDTH) < 0.7)
    decoder, encoder = nn.Linear(3, 2 * WIDTH), nn.Linear(WIDTH, 3)

    def model(x: Tensor) -> None:
        pyro.module("decoder", decoder)
        with pyro.plate("cells", len(x)):
            code = pyro.sample("code", dist.Bernoulli(0.5 * torch.ones(3)).to_event(1))
            log_rate, gate = decoder(code).chunk(2, -1)
            pyro.sample("x", dist.ZeroInflatedPoisson(log_rate.exp(), gate_logits=gate).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("cells", len(x)):
            pyro.sample("code", dist.Bernoulli(logits=encoder(x)).to_event(1))

    def truth() -> Array:
        from scipy.stats import poisson

        parts = []
        for code in np.array(list(product((0.0, 1.0), repeat=3))):
            log_rate, logit = np.split(array(decoder.weight) @ code + array(decoder.bias), 2)
            gate = expit(logit)
            mass = (1 - gate) * poisson(np.exp(log_rate)).pmf(array(x)) + gate * (array(x) == 0)
            parts.append(np.log(mass).sum(-1) - 3 * np.log(2))
        return logsumexp(np.stack(parts), axis=0)

    return Structure("zero-inflated counts", "`ZeroInflatedPoisson` of a code of bits", model, guide, (x,), truth)


STRUCTURES = (
    belief_network,
    one_hot_code,
    attend_infer_repeat,
    item_response,
    noisy_labels,
    zero_inflated,
)
