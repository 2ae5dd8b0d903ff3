"""The split of gaps of latents that count for some data only, against NumPy on the latents that do."""

from contextlib import nullcontext
from functools import partial
from itertools import product

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from scipy.optimize import minimize
from scipy.special import expit, logsumexp
from scipy.stats import norm

import ppl_vae as pv

pytestmark = pytest.mark.usefixtures("float64")

RANDOM = np.random.default_rng(0)
X, LENGTHS = RANDOM.normal(0.5, 1.0, (7, 3)), np.array([1, 2, 3, 2, 1, 3, 2])
DATA = {"x": X, "lengths": LENGTHS}
LOGITS, STEP, LOC = 0.4, 1.5, 0.2


def chain(x, lengths):
    """Bits, each of which depends on the one before it; values seen depend on two bits."""
    with pyro.plate("data", len(x)):
        z = torch.zeros(len(x))
        for t in range(3):
            with poutine.mask(mask=t < lengths):
                before, z = z, pyro.sample(f"z_{t}", dist.Bernoulli(logits=STEP * z - LOGITS))
                pyro.sample(f"x_{t}", dist.Normal(z + 0.5 * before, 0.7), obs=x[:, t])


def bits(x, lengths):
    with pyro.plate("data", len(x)):
        for t in range(3):
            pyro.sample(f"z_{t}", dist.Bernoulli(logits=LOC * x[:, t]))


def elbo_of_bits(mu, x):
    """The sum over all states of the bits that count, of probabilities mu."""
    value = 0.0
    for state in product([0, 1], repeat=len(mu)):
        z, before = np.array(state), np.array([0, *state[:-1]])
        q = np.prod(np.where(z == 1, mu, 1 - mu))
        value += q * (log_joint_of_bits(z, before, x) - np.log(q)) if q > 0 else 0.0
    return value


def log_joint_of_bits(z, before, x):
    logits = STEP * before - LOGITS
    return (z * logits - np.logaddexp(0, logits) + norm.logpdf(x, z + 0.5 * before, 0.7)).sum()


def test_bits_that_are_masked_have_no_part_in_either_gap():
    gap = pv.split_gap(chain, bits, DATA)
    for row, (x, length) in enumerate(zip(X, LENGTHS, strict=True)):
        x = x[:length]
        states = [np.array(state) for state in product([0, 1], repeat=length)]
        evidence = logsumexp([log_joint_of_bits(z, np.array([0, *z[:-1]]), x) for z in states])
        starts = RANDOM.normal(size=(8, length))
        best = max(-minimize(lambda free, x=x: -elbo_of_bits(expit(free), x), start, tol=1e-10).fun for start in starts)
        elbo = elbo_of_bits(expit(LOC * x), x)
        found = [each.pointwise[row].item() for each in (gap.evidence, gap.family_gap, gap.amortisation_gap)]
        np.testing.assert_allclose(found, [evidence, evidence - best, best - elbo], atol=1e-6)
    assert float(gap.family_gap.pointwise[0].abs()) < 1e-9 < 1e-3 < float(gap.family_gap.pointwise[2])


def walk(x, lengths):
    with pyro.plate("data", len(x)):
        z = torch.zeros(len(x))
        for t in range(3):
            with poutine.mask(mask=t < lengths):
                z = pyro.sample(f"z_{t}", dist.Normal(STEP * z, 1.0))
                pyro.sample(f"x_{t}", dist.Normal(z, 0.5), obs=x[:, t])


def normals(x, lengths):
    with pyro.plate("data", len(x)):
        for t in range(3):
            pyro.sample(f"z_{t}", dist.Normal(0.7 * x[:, t] + LOC, 0.5))


def parts_of_walk(x):
    """Evidence, and family and amortisation gap, by the precision of the posterior of the steps that count."""
    n = len(x)
    powers = np.tril(STEP ** np.abs(np.subtract.outer(np.arange(n), np.arange(n))))
    prior = powers @ powers.T
    precision = np.linalg.inv(prior) + 4 * np.eye(n)
    marginal = prior + 0.25 * np.eye(n)
    evidence = -0.5 * (n * np.log(2 * np.pi) + np.linalg.slogdet(marginal)[1] + x @ np.linalg.solve(marginal, x))
    family = 0.5 * (np.log(np.diag(precision)).sum() - np.linalg.slogdet(precision)[1])
    away = 0.7 * x + LOC - 4 * np.linalg.solve(precision, x)
    whole = 0.5 * (away @ precision @ away + 0.25 * np.trace(precision) - n)
    whole -= 0.5 * (n * np.log(0.25) + np.linalg.slogdet(precision)[1])
    return evidence, family, whole - family


TRUTH = np.array([parts_of_walk(x[:length]) for x, length in zip(X, LENGTHS, strict=True)])


def test_normals_that_are_masked_are_integrated_out_of_the_posterior():
    gap = pv.split_gap(walk, normals, DATA, draws=2000)
    assert gap.family_gap.bound == "exact"
    found = np.stack([each.pointwise.numpy() for each in (gap.evidence, gap.family_gap)], 1)
    np.testing.assert_allclose(found, TRUTH[:, :2], atol=1e-6)
    network = gap.amortisation_gap
    error = np.abs(network.pointwise.numpy() - TRUTH[:, 2])
    assert (error < 4 * network.pointwise_se.numpy() + 1e-6).all()


def test_an_ascent_leaves_masked_latents_out():
    gap = pv.split_gap(walk, normals, DATA, method="ascent", steps=200, restarts=1)
    error = np.abs(gap.family_gap.pointwise.numpy() - TRUTH[:, 1])
    assert (error < 4 * gap.family_gap.pointwise_se.numpy() + 0.01).all()


def test_draws_for_arviz_are_weighed_without_masked_latents():
    from ppl_vae.runs.export_arviz import to_arviz

    with pytest.raises(ValueError, match="observe obs=x; or draw no data .--predictive 0"):
        to_arviz(walk, normals, DATA, draws=2, predictive=1)
    found = to_arviz(walk, normals, DATA, draws=400, predictive=0)
    weights = found["sample_stats"]["log_weight"].values[0]
    bound = TRUTH[:, 0] - TRUTH[:, 1] - TRUTH[:, 2]
    assert (np.abs(weights.mean(0) - bound) < 4 * weights.std(0) / 20).all()


def test_a_mask_inside_the_distribution_is_that_of_the_site():
    """The gap of a guide whose second site depends on the first, with the mask written both ways."""
    x, seen = torch.randn(4, 2), torch.tensor([[1.0, 1.0], [1.0, 0.0], [1.0, 1.0], [1.0, 0.0]])

    def chain(x, seen, inside, observed):
        z = torch.zeros(len(x), 1)
        with pyro.plate("data", len(x)):
            for t in range(2):
                mask = seen[:, t : t + 1]
                with nullcontext() if inside else poutine.mask(mask=mask[:, 0].bool()):
                    step, value = dist.Normal(0.5 * z, 0.8), x[:, t : t + 1]
                    z = pyro.sample(f"z_{t}", (step.mask(mask) if inside else step).to_event(1))
                    if observed:
                        seen_step = dist.Normal(z.sin(), 0.5)
                        pyro.sample(f"x_{t}", (seen_step.mask(mask) if inside else seen_step).to_event(1), obs=value)

    gaps = []
    for inside in (False, True):
        torch.manual_seed(0)
        pair = [partial(chain, inside=inside, observed=observed) for observed in (True, False)]
        gaps.append(pv.split_gap(*pair, x, seen, steps=4, draws=8, restarts=1, check=0).best.pointwise)
    torch.testing.assert_close(*gaps)
