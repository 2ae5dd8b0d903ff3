"""The shortfall of a method on simulated data, against what it really misses by numbers without the package."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import norm

from ppl_vae.evidence.calibration import measure_shortfall
from ppl_vae.evidence.measure import measure
from ppl_vae.evidence.methods.annealing import Annealing
from ppl_vae.evidence.methods.importance import Importance
from ppl_vae.evidence.shortfall import Shortfall
from ppl_vae.programs.simulate import simulate
from tests.support.small_pairs import number_with_noise
from tests.support.z_test import assert_mean

NOISE = 0.4


def two_modes(x):
    """A latent whose square is seen: the posterior has a mode on each side of zero."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 2.0))
        pyro.sample("x", dist.Normal(z**2, NOISE), obs=x)


def one_sided(x):
    """A guide that knows the positive mode only."""
    with pyro.plate("data", len(x)):
        root = x.clamp(min=0.05).sqrt()
        pyro.sample("z", dist.Normal(root, 0.5 * NOISE / root.clamp(min=0.4)))


def evidence(x: np.ndarray) -> np.ndarray:
    points = np.linspace(-12, 12, 20001)
    weights = norm(0, 2).logpdf(points) + np.log(points[1] - points[0])
    return logsumexp(weights[:, None] + norm(points[:, None] ** 2, NOISE).logpdf(x), axis=0)


linear = number_with_noise()


def wide(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(x / 2, 1.0))


def test_importance_sampling_with_few_draws_misses_what_its_shortfall_says():
    method, torch_seed = Importance(draws=3, prior_share=0.0), 5
    torch.manual_seed(torch_seed)
    x = torch.randn(4000) * 2**0.5
    shortfall = measure_shortfall(method, linear, wide, x, size=len(x) - 1, seed=1)
    # The upper bound of few draws is about as far above the evidence as the lower one is below it.
    rng = np.random.default_rng(0)
    data = rng.normal(0, 2**0.5, 200_000)
    z = data / 2 + rng.normal(size=(3, len(data)))
    weights = norm.logpdf(z) + norm.logpdf(data, z, 1) - norm.logpdf(z, data / 2, 1)
    lower = logsumexp(weights, axis=0) - np.log(3)
    truth = norm.logpdf(data, 0, 2**0.5)
    posterior = data / 2 + rng.normal(size=len(data)) * 0.5**0.5
    exact = norm.logpdf(posterior) + norm.logpdf(data, posterior, 1) - norm.logpdf(posterior, data / 2, 1)
    upper = logsumexp(np.vstack([exact, weights[1:]]), axis=0) - np.log(3)
    assert upper.mean() > truth.mean() > lower.mean()
    assert_mean(shortfall.pointwise[:, None], torch.tensor([(upper - lower).mean()]))


def test_a_guide_that_misses_a_mode_is_found_out():
    torch.manual_seed(0)
    x = two_modes_data(200)
    pair = measure(two_modes, one_sided, x, method="importance", draws=200, prior_share=0.0)
    missed = evidence(x.numpy()).mean() - pair.evidence.mean
    assert missed > 0.4  # about log 2, unseen by the weights of the guide
    assert pair.shortfall is not None and pair.shortfall.mean > missed - 4 * pair.shortfall.se
    assert any("simulated from the model this method misses" in line for line in pair.warnings)
    assert pair.to_json()["evidence"]["simulated_data"]["data"] == 20


def two_modes_data(count: int) -> torch.Tensor:
    z = 2 * torch.randn(count)
    return z**2 + NOISE * torch.randn(count)


def test_a_good_method_is_not_warned_of():
    torch.manual_seed(0)
    pair = measure(linear, wide, torch.randn(200) * 2**0.5, method="importance", draws=1000)
    assert pair.shortfall is not None and abs(pair.shortfall.mean) < 0.01 and not pair.warnings


def far_off(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(x / 2 + 4, 0.1))


def test_nats_that_are_missed_are_a_warning_however_wide_the_gap():
    """A guide so far off that what the samples of the prior miss is a small part of the gap."""
    torch.manual_seed(0)
    x = torch.randn(200) * 2**0.5
    pair = measure(linear, far_off, x, method="importance", draws=10)
    missed = norm(0, 2**0.5).logpdf(x.numpy()).mean() - pair.evidence.mean
    assert 0.5 < missed < 0.1 * pair.gap.mean
    assert any("this method misses" in line for line in pair.warnings)


def narrow(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(x / 2, 0.45))


def test_heavy_tails_that_do_no_harm_on_simulated_data_are_no_warning():
    """A k-hat over its limit, at an error of the evidence that is a hundredth of the gap."""
    torch.manual_seed(0)
    x = torch.randn(200) * 2**0.5
    truth = norm(0, 2**0.5).logpdf(x.numpy()).mean()
    settings = dict(method="importance", draws=1000, prior_share=0.0)
    unchecked = measure(linear, narrow, x, check=False, **settings)
    checked = measure(linear, narrow, x, check=True, **settings)
    assert abs(unchecked.evidence.mean - truth) < 0.01
    assert any("k-hat" in line for line in unchecked.warnings)
    assert not any("k-hat" in line for line in checked.warnings)


def test_heavier_tails_than_those_of_simulated_data_stay_a_warning():
    """Data far out, for which the guide is poor, beside a model that makes none of them."""

    def far(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2 + 0.5 * x.abs().clamp(min=4) - 2, 0.6))

    torch.manual_seed(0)
    result = measure(linear, far, torch.randn(200) + 7, method="importance", draws=1000, prior_share=0.0, check=True)
    assert any("k-hat" in line for line in result.warnings)


@pytest.mark.parametrize("method", [Importance(draws=50), Annealing(draws=4, temperatures=20)])
def test_the_shortfall_of_a_seed_is_the_same_and_leaves_the_random_state(method):
    x, state = torch.randn(30), torch.get_rng_state()
    shortfalls = [measure_shortfall(method, linear, wide, x, size=10) for _ in range(2)]
    assert torch.equal(shortfalls[0].pointwise, shortfalls[1].pointwise)
    assert torch.equal(state, torch.get_rng_state())
    assert len(shortfalls[0].pointwise) == 10


def test_calibration_that_is_asked_for_and_impossible_says_why():
    def half(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.StudentT(3.0, z, 1.0), obs=x**2)

    x = torch.randn(5)
    with pytest.raises(ValueError, match="cannot be checked on simulated data.*observe obs=x"):
        measure(half, wide, x, method="importance", draws=50, check=True)
    unasked = measure(half, wide, x, method="importance", draws=50)
    assert unasked.shortfall is None
    assert unasked.why.startswith("importance, as requested; not checked on simulated data: site 'x' does not observe")


def test_annealing_with_states_summed_over_misses_what_its_shortfall_says():
    """At one temperature it is importance sampling from guide and prior, which NumPy repeats."""
    weights, means, noise = np.array([0.5, 0.2, 0.3]), np.array([-1.0, 0.5, 2.0]), 0.7

    def model(x):
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Categorical(torch.tensor(weights)))
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z + torch.tensor(means)[k], noise), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("k", dist.Categorical(torch.ones(3).expand(len(x), 3)))
            pyro.sample("z", dist.Normal(0.5 * x, 0.5))

    rng, count = np.random.default_rng(0), 6000
    k, z = rng.choice(3, size=count, p=weights), rng.normal(size=count)
    x = z + means[k] + noise * rng.normal(size=count)
    torch.manual_seed(0)
    posterior = {"k": torch.tensor(k), "z": torch.tensor(z)}
    shortfall = Annealing(draws=4, temperatures=1).shortfall(model, guide, torch.tensor(x), posterior)

    def joint(z, k):
        return np.log(weights[k]) + norm.logpdf(z) + norm.logpdf(x, z + means[k], noise)

    lower, upper = np.empty((4, 3, count)), np.empty((4, 3, count))
    replaced = np.where(rng.random(count) < 0.5, 0, 2)
    for chain in range(4):
        centre, scale = (0.5 * x, 0.5) if chain < 2 else (0.0, 1.0)
        for state in range(3):
            drawn = centre + scale * rng.normal(size=count)
            lower[chain, state] = joint(drawn, state) - norm.logpdf(drawn, centre, scale)
            true = joint(z, k) - norm.logpdf(z, centre, scale)
            upper[chain, state] = np.where((replaced == chain) & (k == state), true, lower[chain, state])
    expected = logsumexp(upper, axis=(0, 1)) - logsumexp(lower, axis=(0, 1))
    assert_mean((shortfall.pointwise - torch.tensor(expected).to(shortfall.pointwise))[:, None], torch.zeros(1))


def test_a_check_that_costs_next_to_nothing_is_made_without_being_asked_for():
    """Of one datum under importance sampling, of as many data as are simulated under annealing."""
    x = torch.randn(40)
    quick = {"method": "importance", "draws": 100}
    assert measure(linear, wide, x[:1], **quick).shortfall is not None
    assert measure(linear, wide, x[:1], method="importance", draws=2**16).shortfall is None
    chains = {"method": "annealing", "draws": 4, "temperatures": 2}
    assert measure(linear, wide, x[:39], **chains).shortfall is None
    assert measure(linear, wide, x, **chains).shortfall is not None


def test_one_datum_is_checked_on_twenty():
    shortfall = measure_shortfall(Importance(draws=20), linear, wide, torch.zeros(1))
    assert len(shortfall.pointwise) == 20 and shortfall.pointwise.std() > 0


def step(x):
    """A number that jumps where the latent passes 2.5, which the prior's draws hardly ever do."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(6.0 * (z > 2.5), 1.0), obs=x)


def all_but_the_prior(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.001))


def test_data_of_lower_evidence_than_the_model_s_are_not_judged_by_those():
    """A datum beyond the jump, whose weights are all but constant, as are those of simulated data."""
    torch.manual_seed(0)
    result = measure(step, all_but_the_prior, torch.tensor([6.0]), method="importance", draws=100, check=True)
    truth = np.logaddexp(norm.logsf(2.5) + norm.logpdf(0), norm.logcdf(2.5) + norm.logpdf(6))
    assert truth - result.evidence.mean > 5 and result.shortfall.mean < 0.01
    assert "lower evidence than any of 20 simulated" in result.shortfall.unlike(result.evidence.pointwise)
    assert result.bracket().upper is None


def test_data_that_live_on_the_prior_s_samples_do_no_harm_where_simulated_ones_lose_nothing_by_it():
    """A guide far off, whose data owe their evidence to a hundred samples of the prior, which are enough."""
    torch.manual_seed(0)
    x = torch.randn(200) * 2**0.5
    unchecked, checked = (
        measure(linear, far_off, x, method="importance", draws=1000, check=check) for check in (False, True)
    )
    assert abs(norm(0, 2**0.5).logpdf(x.numpy()).mean() - checked.evidence.mean) < 0.05
    assert any("samples of the prior" in line for line in unchecked.warnings)
    assert not any("samples of the prior" in line for line in checked.warnings)
    assert Shortfall.stored(checked.shortfall.to_json()).share_uncovered == checked.shortfall.share_uncovered > 0.9


def test_few_distinct_weights_are_no_warning_where_simulated_data_lose_nothing_by_them():
    """Two bits, four weights at most: no tail can be fitted, and none is needed."""

    def bits(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.5 * torch.ones(2)).to_event(1))
            pyro.sample("x", dist.Normal(z.sum(-1), 1.0), obs=x)

    def fair(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(0.5 * torch.ones(len(x), 2)).to_event(1))

    torch.manual_seed(0)
    _, x = simulate(bits, torch.zeros(100))
    unchecked, checked = (
        measure(bits, fair, x, method="importance", draws=1000, check=check) for check in (False, True)
    )
    assert any("too few different draws" in line for line in unchecked.warnings)
    assert not checked.warnings
