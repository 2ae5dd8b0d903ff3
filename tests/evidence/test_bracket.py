"""Brackets of log p(x), against numbers by NumPy and SciPy: how often they cover, and when they say unknown."""

import json
import math
from dataclasses import replace
from itertools import product

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import binom, norm, t

from ppl_vae.diagnostics.comparison import Compared, Comparison
from ppl_vae.diagnostics.gap.gap import Gap
from ppl_vae.diagnostics.gap.ladder import Ladder, Rung
from ppl_vae.evidence.ais import Schedule
from ppl_vae.evidence.bdmc import sandwich
from ppl_vae.evidence.bracket import bracket_of
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.intervals import of_these_data
from ppl_vae.evidence.measure import measure
from ppl_vae.evidence.shortfall import Shortfall
from ppl_vae.evidence.upper import above
from ppl_vae.runs.resumable import BlockStore
from tests.support.small_pairs import number_with_noise

pytestmark = pytest.mark.usefixtures("float64")

RUNS, DATA = 100, 20
linear = number_with_noise()


def normal_guide(shift=0.0, factor=1.0):
    """The posterior of :func:`number_with_noise`, moved by deviations and widened by a factor."""

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2 + shift * 0.5**0.5, factor * 0.5**0.5))

    return guide


def numbers(count):
    x = 2**0.5 * torch.randn(count)
    return x, norm(0, 2**0.5).logpdf(x.numpy())


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


def test_errors_of_any_size_have_an_interval():
    """Errors of 1e120 nats, of a single large weight: their fourth power is beyond a float."""
    errors = torch.tensor([1e120, 1.0])
    interval = of_these_data((Estimate(torch.zeros(2), "weights", "upper", 50, errors),) * 2)
    assert interval.high == pytest.approx(t(49).ppf(0.975) * 5e119)


def test_exact_evidence_has_no_bracket_and_others_one_in_table_and_json():
    torch.manual_seed(0)
    x, truth = numbers(30)
    exact = measure(linear, normal_guide(), x)
    assert exact.bracket() is None and "bracket" not in str(exact)
    found = measure(linear, normal_guide(0.5), x, method="importance", draws=200)
    bracket = found.bracket()
    assert bracket.lower <= truth.mean() <= bracket.upper
    line = f"95% bracket: {bracket.lower:.3f} <= mean log p(x) <= {bracket.upper:.3f} (leave-one-out weights)"
    assert line in str(found)
    content = json.loads(json.dumps(found.to_json(), allow_nan=False))["evidence"]["bracket"]
    assert (content["lower"], content["upper"], content["level"]) == (bracket.lower, bracket.upper, 0.95)
    (limit,) = content["uppers"]
    assert limit["method"] == "leave-one-out weights" and limit["validity"].startswith("in expectation")
    narrow = found.bracket(level=0.5)
    assert bracket.lower < narrow.lower < narrow.upper < bracket.upper


def test_chains_have_an_upper_bound_each_chain_by_itself():
    torch.manual_seed(0)
    x, truth = numbers(10)
    found = measure(linear, normal_guide(1.0), x, method="annealing", draws=6, temperatures=1)
    assert found.evidence.upper.draws == 6
    assert truth.mean() in found.bracket()


def test_gaps_inherit_the_bracket_and_the_warnings():
    torch.manual_seed(0)
    x, truth = numbers(40)
    measured = measure(linear, normal_guide(0.7), x, method="importance", draws=400).noting("handle with care")
    total = 0.7**2 / 2  # the divergence of a normal moved by 0.7 deviations
    best = Estimate(torch.tensor(truth), "ascent", "lower", 100, torch.full((40,), 0.01))
    gap = Gap(measured.evidence, best, measured.elbo, "independent latents")
    content = gap.to_json()
    for found in (content["gap_bracket"], measured.to_json()["gap"]["bracket"]):
        assert found["lower"] < total < found["upper"] < total + 0.2
    interval = measured.interval("gap")
    assert interval.low < total < interval.high < total + 0.2
    assert gap.brackets()["family gap"].lower == 0
    assert 0 < content["family_gap"]["bracket"]["upper"] < 0.2
    assert truth.mean() in gap.brackets()["evidence"]
    assert any("handle with care" in line for line in content["warnings"])
    assert "<= mean family gap <=" in str(gap) and "note: handle with care" in str(gap)
    rungs = Ladder(measured.evidence, {"aside": Rung(measured.elbo, best, "independent latents")})
    compared = Comparison("test", tuple(Compared(name, "pair", "elbo", name, measured) for name in "ab"))
    assert "A: 95% bracket" in str(compared)
    for result, name in ((rungs, "evidence"), (compared, "B: evidence")):
        assert any("handle with care" in line for line in result.to_json()["warnings"])
        assert truth.mean() in result.brackets()[name]


def test_stored_evidence_has_the_same_bracket(tmp_path):
    x, _ = numbers(60)
    found = measure(linear, normal_guide(0.5), x, method="importance", draws=100, check=True)
    content = json.loads(json.dumps(found.to_json()))["evidence"]
    back = Estimate.stored(content, found.pointwise(), "evidence")
    assert bracket_of(back) == found.bracket() and back.warnings == found.evidence.warnings
    shared = replace(found.evidence, common_se=0.3)
    assert Estimate.stored(shared.to_json(), found.pointwise(), "evidence").common_se == 0.3
    blocks = BlockStore(tmp_path, {}, type(found))
    blocks[0] = replace(found, evidence=replace(found.evidence, lost=3, uncovered=60))
    assert blocks[0].evidence.warnings == replace(found.evidence, lost=3, uncovered=60).warnings
    assert bracket_of(blocks[0].evidence) == found.bracket()
    assert torch.equal(blocks[0].evidence.upper.pointwise, found.evidence.upper.pointwise)


def test_the_check_of_one_block_holds_for_all_that_are_measured_alike():
    """Its simulated data would be those of every block."""
    light = Estimate(torch.zeros(300), "importance, 100 draws", "lower", 100, torch.full((300,), 0.1))
    first = replace(light, shortfall=Shortfall(torch.full((20,), 0.2)), tolerated=0.3)
    joined = Estimate.join([first, light])
    assert joined.shortfall is first.shortfall and joined.tolerated == 0.3
    assert Estimate.join([first, replace(light, method="annealing")]).shortfall is None


def test_simulated_data_of_which_nothing_is_missed_have_an_error_still():
    missed = torch.linspace(-0.3, 0.2, 20)
    light = Estimate(torch.zeros(300), "annealing, 16 chains", "lower", 16, torch.full((300,), 0.1))
    high = above(replace(light, shortfall=Shortfall(missed)))
    assert high.mean == 0 and high.common_se == pytest.approx(missed.std().item() / 20**0.5)
