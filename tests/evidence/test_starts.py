"""Annealing from the guide and from the prior: what one misses the other finds, and the choice stays a lower bound."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import norm

from ppl_vae.evidence.ais import AIS, Schedule
from ppl_vae.evidence.bdmc import sandwich
from ppl_vae.evidence.bracket import bracket_of
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.measure import measure
from ppl_vae.evidence.starts import by_start, chosen, disagreement, few_weights, together

pytestmark = pytest.mark.usefixtures("float64")

NOISE = 0.3


def absolute(x):
    """The absolute value of a number, seen with noise: two modes."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z.abs(), NOISE), obs=x)


def positive(x):
    """The guide of one of them."""
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(x / (1 + NOISE**2), NOISE))


def truth(x):
    grid = np.linspace(-8, 8, 20001)
    terms = norm.logpdf(grid) + norm.logpdf(x.numpy()[:, None], np.abs(grid), NOISE)
    return logsumexp(terms, 1) + np.log(grid[1] - grid[0])


def test_a_mode_that_the_guide_leaves_out_is_found_from_the_prior_and_said():
    torch.manual_seed(0)
    x = torch.linspace(1.5, 2.5, 20)
    options = {"method": "annealing", "draws": 16, "temperatures": 60}
    from_guide = measure(absolute, positive, x, start="guide", **options)
    assert truth(x).mean() - from_guide.evidence.mean > 0.6  # log 2
    assert not from_guide.warnings
    found = measure(absolute, positive, x, **options)
    assert abs(truth(x).mean() - found.evidence.mean) < 4 * found.evidence.se + 0.05
    line = next(line for line in found.warnings if "starts of annealing disagree" in line)
    assert "chains from the guide reach" in line
    assert "the guide leaves out a part of the posterior" in line
    assert found.evidence.method.endswith("8 chains from the prior")
    torch.testing.assert_close(found.gap.pointwise, found.evidence.pointwise - found.elbo.pointwise)
    # JSON names both starts; the choice among three and a wide prior costs the guaranteed limit log 4 / n more.
    content = found.to_json()
    assert content["evidence_by_start"]["guide"]["mean"] < content["evidence_by_start"]["prior"]["mean"]
    assert content["evidence"]["bracket"]["lower"] == pytest.approx(found.evidence.mean - np.log(4 / 0.025) / 20)


def test_the_sandwich_of_both_starts_is_narrow_where_that_of_the_guide_is_wide():
    torch.manual_seed(1)
    x = torch.zeros(16)
    one = sandwich(absolute, positive, x, draws=8, schedule=Schedule(40, 3, "guide"))
    both = sandwich(absolute, positive, x, draws=8, schedule=Schedule(40, 3))
    assert one.width.mean > 1
    assert both.width.mean < 0.3
    assert set(both.lowers) == set(both.uppers) == {"guide", "prior"}


def test_all_chains_together_are_the_mean_of_their_weights():
    guide, prior = torch.randn(3, 5), torch.randn(2, 5)
    starts = by_start({"guide": guide, "prior": prior}, "annealing", "lower")
    everything = torch.cat([guide, prior]).numpy()
    found = together(starts)
    np.testing.assert_allclose(found.pointwise, logsumexp(everything, 0) - np.log(5))
    weights = np.exp(everything)
    noise = 3 * weights[:3].var(0, ddof=1) + 2 * weights[3:].var(0, ddof=1)
    np.testing.assert_allclose(found.pointwise_se, np.sqrt(noise) / weights.sum(0))
    assert found.method == "annealing, 5 chains"
    upper = together(by_start({"guide": -guide, "prior": -prior}, "annealing", "upper"))
    np.testing.assert_allclose(upper.pointwise, np.log(5) - logsumexp(-everything, 0))


@pytest.mark.parametrize("bound", ["lower", "upper"])
def test_the_best_is_chosen_by_its_mean_beyond_the_error(bound):
    def given(values, error):
        return Estimate(torch.tensor(values), "a", bound, 8, torch.full((2,), error))

    sign = 1 if bound == "lower" else -1
    near = {"guide": given([0.0, 1.0], 0.5), "prior": given([0.1 * sign, 1.1], 0.5)}
    assert chosen(near).draws == 16
    far = {"guide": given([0.0, 1.0], 0.01), "prior": given([5.0 * sign, 1.0], 0.01)}
    assert chosen(far).pointwise is far["prior"].pointwise
    assert chosen(far).selection == pytest.approx(np.log(3))
    # Each start is the better one for one datum: all chains together lose log 2 at most for each.
    crossed = {"guide": given([0.0, 5.0], 0.01), "prior": given([5.0, 0.0], 0.01)}
    expected = 5.0 * (bound == "lower") + sign * (np.log1p(np.exp(-5)) - np.log(2))
    np.testing.assert_allclose(chosen(crossed).pointwise, expected)
    if bound == "lower":
        assert disagreement(near, chosen(near)) is None
        assert "in 2 of 2 data" in str(disagreement(crossed, chosen(crossed)))


def test_the_upper_limit_of_a_start_that_is_better_alone_is_not_lowered_by_the_other():
    """Chains from the guide that reach log p = 0 all but exactly, beside chains from the prior that reach nothing."""
    torch.manual_seed(0)
    weights = {"guide": 0.02 * torch.randn(8, 4), "prior": torch.randn(8, 4) - 60}
    starts = by_start(weights, "annealing", "lower")
    best = chosen(starts)
    assert best.method.endswith("from the guide")
    assert together(starts).mean < -0.6  # half of the chains count as nothing
    bracket = bracket_of(best)
    assert bracket.lower < 0 < bracket.upper < 1


def test_nothing_is_known_above_where_chains_from_the_guide_end_far_below_those_from_the_prior():
    torch.manual_seed(0)
    weights = {"guide": torch.randn(8, 4) - 60, "prior": torch.randn(8, 4)}
    bracket = bracket_of(chosen(by_start(weights, "annealing", "lower")))
    assert bracket.upper is None and "lie over 10 nats per datum apart" in bracket.reason
    near = {"guide": torch.randn(8, 4) - 3, "prior": torch.randn(8, 4)}
    assert bracket_of(chosen(by_start(near, "annealing", "lower"))).upper < 5


def test_few_weights_are_warned_of_where_their_error_may_be_many_times_what_is_stated():
    """Of four log-normal weights, whose mean is one, the stated error is too small; of 32 seldom by much."""
    torch.manual_seed(0)

    def scores(draws):
        found = by_start({"guide": torch.randn(draws, 4000) - 0.5}, "annealing", "lower")["guide"]
        assert found.pointwise_se is not None
        return (found.pointwise.abs() / found.pointwise_se).numpy()

    few, many = scores(4), scores(32)
    assert (few > 3).mean() > 0.1 > 2 * (many > 3).mean()
    one = by_start({"guide": torch.randn(8, 1)}, "annealing", "lower")
    assert "8 chains each of one datum are too few" in str(few_weights(one["guide"]))
    for enough in (torch.randn(8, 2), torch.randn(16, 1)):
        assert few_weights(by_start({"guide": enough}, "annealing", "lower")["guide"]) is None


def test_chains_of_one_walk_have_one_start():
    with pytest.raises(ValueError, match="one start; set start='guide' or start='prior'"):
        AIS(absolute, positive, torch.zeros(2), Schedule())
