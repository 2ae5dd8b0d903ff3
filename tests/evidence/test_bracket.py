"""Brackets of log p(x), against numbers by NumPy and SciPy: how often they cover, and when they say unknown."""

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import binom, norm

from ppl_vae.evidence.ais import Schedule
from ppl_vae.evidence.bdmc import sandwich
from ppl_vae.evidence.bracket import bracket_of
from ppl_vae.evidence.measure import measure
from tests.support.bracketed import linear, normal_guide, numbers

pytestmark = pytest.mark.usefixtures("float64")

RUNS, DATA = 100, 20


LOADING = np.random.default_rng(3).normal(size=(4, 5))


def factor(x):
    """Four bits that are seen through the logits of five."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Bernoulli(0.4 * torch.ones(4)).to_event(1))
        pyro.sample("x", dist.Bernoulli(logits=z @ torch.tensor(LOADING)).to_event(1), obs=x)


def half(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Bernoulli(0.5 * torch.ones(len(x), 4)).to_event(1))


def bits(count):
    x = torch.rand(count, 5).round()
    codes = np.array(list(product((0.0, 1.0), repeat=4)))
    prior = (codes * np.log(0.4) + (1 - codes) * np.log(0.6)).sum(-1)
    logits = (codes @ LOADING)[:, None]
    return x, logsumexp(prior[:, None] + (x.numpy() * logits - np.logaddexp(0, logits)).sum(-1), 0)


def two_modes(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 2.0))
        pyro.sample("x", dist.Normal(z**2, 0.4), obs=x)


def one_sided(x):
    root = x.clamp(min=0.05).sqrt()
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(root, 0.3 / root.clamp(min=0.5)))


def squares(count):
    x = (2 * torch.randn(count)) ** 2 + 0.4 * torch.randn(count)
    grid = np.linspace(-12, 12, 4001)
    prior = norm(0, 2).logpdf(grid) + np.log(grid[1] - grid[0])
    return x, logsumexp(prior[:, None] + norm(grid[:, None] ** 2, 0.4).logpdf(x.numpy()), 0)


def part(estimate, rows):
    """The estimate of some of the data."""
    names = ("pointwise", "pointwise_se", "k_hat")
    values = {name: None if (v := getattr(estimate, name)) is None else v[rows] for name in names}
    return replace(estimate, **values, upper=estimate.upper and part(estimate.upper, rows))


def brackets(estimate):
    """Brackets of measurements of twenty data each: replications that are measured together."""
    return [bracket_of(part(estimate, slice(start, start + DATA))) for start in range(0, RUNS * DATA, DATA)]


def assert_covered(found, truth, known=0.5):
    """Brackets miss the truth no more often than by chance at their level, and not by being unknown."""
    means = truth.reshape(RUNS, DATA).mean(-1)
    missed = sum(mean not in bracket for bracket, mean in zip(found, means, strict=True))
    assert missed <= binom.ppf(1 - 1e-6, RUNS, 0.05)
    assert sum(bracket.upper is not None for bracket in found) > known * RUNS


CASES = {
    "good": (linear, normal_guide(0.1, 1.1), numbers, {}),
    "wide": (linear, normal_guide(0, 2.0), numbers, {}),
    "narrow": (linear, normal_guide(0, 0.6), numbers, {}),
    "shifted": (linear, normal_guide(1.5), numbers, {}),
    "bits": (factor, half, bits, {}),
    "two modes": (two_modes, one_sided, squares, {}),
    "few draws": (linear, normal_guide(1.0), numbers, {"draws": 8, "prior_share": 0.0}),
}


@pytest.mark.parametrize("case", CASES)
def test_brackets_cover_at_their_level(case):
    torch.manual_seed(0)
    model, guide, data, options = CASES[case]
    x, truth = data(RUNS * DATA)
    estimate = measure(model, guide, x, check=False, **{"method": "importance", "draws": 100} | options).evidence
    assert_covered(brackets(estimate), truth)


def test_a_sandwich_of_few_chains_covers():
    torch.manual_seed(0)
    x, _ = numbers(RUNS * DATA)
    z = x / 2 + 0.5**0.5 * torch.randn(len(x))
    found = sandwich(linear, normal_guide(1.5), x, draws=2, schedule=Schedule(1, start="guide"), drawn_with={"z": z})
    truth = norm(0, 2**0.5).logpdf(x.numpy())
    several = [
        type(found)(*(part(each, slice(start, start + DATA)) for each in (found.lower, found.upper)))
        for start in range(0, RUNS * DATA, DATA)
    ]
    assert_covered([each.bracket() for each in several], truth)
    low, high = several[0].bracket().lower, several[0].bracket().upper
    assert low == pytest.approx(several[0].lower.mean - math.log(40) / DATA)
    assert high == pytest.approx(several[0].upper.mean + math.log(40) / DATA)
    assert several[0].to_json()["width"]["bracket"]["upper"] == high
    assert "95% bracket" in str(several[0])


def test_simulated_data_give_the_upper_limit_where_the_weights_are_blind():
    """A bit that the guide takes for certain: its weights are constant, and miss log 2."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.5 * torch.ones(20)).to_event(1))
            pyro.sample("x", dist.Normal(0.2 * z[..., 0], 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            logits = torch.tensor([-9.0] + [0.0] * 19).expand(len(x), 20)
            pyro.sample("z", dist.Bernoulli(logits=logits).to_event(1))

    torch.manual_seed(0)
    x = torch.linspace(-1, 1, 40)
    truth = np.logaddexp(norm(0, 1).logpdf(x.numpy()), norm(0.2, 1).logpdf(x.numpy())).mean() - np.log(2)
    settings = {"method": "importance", "draws": 20, "prior_share": 0.0}
    blind = measure(model, guide, x, check=False, **settings)
    assert truth - blind.evidence.mean > 0.6
    assert blind.bracket().upper is None and "constant weights show nothing" in blind.bracket().reason
    checked = measure(model, guide, x, check=True, **settings)
    assert truth in checked.bracket()
    weights, simulated = checked.bracket().uppers
    assert weights.value is None and simulated.value == checked.bracket().upper
    assert "as far as the data resemble" in simulated.validity
    interval = checked.interval("evidence")
    assert interval.low < truth < interval.high


@pytest.mark.parametrize("check", [False, True])
def test_a_rare_bit_that_few_draws_of_the_prior_hold_leaves_brackets_that_cover(check):
    """A guide that never draws it: most data have constant weights, those that need the bit among them."""
    share, shift, runs, data = 0.05, 2.0, 16, 20

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(share * torch.ones(1)).to_event(1))
            pyro.sample("x", dist.Normal(shift * z.expand(*z.shape[:-1], 6), 0.8).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(torch.full((len(x), 1), 1e-6)).to_event(1))

    random = np.random.default_rng(0)
    missed, short = 0, 0.0
    torch.manual_seed(0)
    for _ in range(runs):
        on = random.random((data, 1)) < share
        x = shift * on + 0.8 * random.normal(size=(data, 6))
        joint = [norm(loc, 0.8).logpdf(x).sum(-1) for loc in (0.0, shift)]
        truth = np.logaddexp(joint[0] + np.log1p(-share), joint[1] + np.log(share)).mean()
        found = measure(model, guide, torch.tensor(x), method="importance", draws=100, check=check)
        missed += truth not in found.bracket()
        short = max(short, truth - found.evidence.mean)
    assert missed <= binom.ppf(1 - 1e-3, runs, 0.05)
    assert short > 0.5  # there is something to miss
