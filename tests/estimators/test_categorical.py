"""What every estimator of categoricals must do; a new one is tested by being found in its folder."""

from itertools import product

import numpy as np
import pytest
import torch

from ppl_vae.distributions.bits import bit_states
from ppl_vae.estimators import Code, estimate
from ppl_vae.estimators.arms import ARMS
from ppl_vae.estimators.arms_tree import ArmsTree
from ppl_vae.estimators.base.tree import leaf_of, node_logits, path_of
from ppl_vae.estimators.local_states import LocalStates
from ppl_vae.estimators.unordered_set import UnorderedSet
from tests.estimators.test_battery import ESTIMATORS
from tests.support.estimator_checks import Given, curved, expectation_gradient
from tests.support.z_test import assert_mean

pytestmark = pytest.mark.usefixtures("float64")

CATEGORICAL = [estimator for estimator in ESTIMATORS if estimator.categorical]
CASES = [(estimator, draws) for estimator in CATEGORICAL for draws in sorted({estimator.least_draws, 4})]
assert len(CATEGORICAL) >= 3


def exact_gradient(f, logits):
    """By a sum over all joint states in NumPy: q(z) times its score times f(z)."""
    number, states = logits.shape
    q = np.exp(logits.numpy()) / np.exp(logits.numpy()).sum(-1, keepdims=True)
    total = np.zeros((number, states))
    for chosen in product(range(states), repeat=number):
        indicators = np.eye(states)[list(chosen)]
        value = f(torch.from_numpy(indicators.ravel())).item()
        total += q[np.arange(number), chosen].prod() * value * (indicators - q)
    return torch.from_numpy(total)


@pytest.mark.parametrize(("number", "states"), [(1, 2), (1, 3), (3, 4), (2, 9), (1, 40), (2, 1)])
@pytest.mark.parametrize(("estimator", "draws"), CASES, ids=lambda v: getattr(v, "name", str(v)))
def test_the_mean_gradient_is_the_exact_one(estimator, draws, number, states):
    f, logits = curved(number * states), 1.5 * torch.randn(number, states)
    found = estimate(estimator, f, logits.expand(2500, number, states), draws, states=True)
    assert_mean(found, exact_gradient(f, logits))


@pytest.mark.parametrize(("estimator", "draws"), CASES, ids=lambda v: getattr(v, "name", str(v)))
def test_constants_have_no_gradient_and_states_have_their_probabilities(estimator, draws):
    logits = torch.tensor([[2.0, -1.0, 0.0, -torch.inf], [0.3, 0.0, -50.0, 0.1]])
    flat = estimate(estimator, lambda z: 3 + 0 * z.sum(-1), logits[:, :3].expand(5, 2, 3), draws, states=True)
    torch.testing.assert_close(flat, torch.zeros(5, 2, 3))
    code = estimator.draw_states(logits.expand(4000, 2, 4), draws)
    assert code.bits.shape == (estimator.rows(draws), 4000, 8)
    assert code.groups == ((2, 4),)
    assert_mean(code.bits.mean(0), logits.softmax(-1).flatten())
    f = Given(values=code.bits[..., 0], switched_values=code.bits, slope_at_mean=torch.ones(8))
    assert estimator.gradient(code, f).isfinite().all()


@pytest.mark.parametrize("states", [1, 2, 3, 5, 8, 13])
def test_a_tree_has_the_probabilities_of_its_states(states):
    logits = torch.randn(6, states)
    on, right = path_of(torch.arange(states), states)
    turns = 1 / (1 + np.exp(-node_logits(logits).numpy()[:, None]))
    reached = np.where(on, np.where(right, turns, 1 - turns), 1).prod(-1)
    np.testing.assert_allclose(reached, logits.softmax(-1).numpy())
    bits = torch.rand(200, states - 1).round()
    on, right = path_of(leaf_of(bits), states)
    assert torch.equal(bits.bool() & on, right)


def test_two_states_are_a_bit_under_arms():
    logits = torch.randn(3, 4)
    code, f = ARMS().draw(logits, 4), Given(values=torch.randn(4, 3))
    alike = Code(code.bits, code.noise, code.logits)
    torch.testing.assert_close(ArmsTree().gradient(alike, f), ARMS().gradient(code, f))


def test_a_node_that_one_draw_passes_counts_its_own_turn():
    """Two draws of four states by hand: root and right node passed by the first, root and left by the second."""
    logits = torch.tensor([[0.5, -0.2, 0.1, 0.9]])
    indicators = torch.eye(4)[[3, 0]][:, None]
    spread, values = torch.tensor([1.3, 5.0, 7.0]), torch.tensor([4.0, 1.0])
    code = Code(indicators, spread[None, None], logits, None, ((1, 4),))
    found = ArmsTree().gradient_of_states(code, Given(values=values[:, None])).squeeze()
    e = np.exp(logits.numpy()[0])
    root, left, right = (e[2] + e[3]) / e.sum(), e[1] / (e[0] + e[1]), e[3] / (e[2] + e[3])
    # Half of 4 - 1, times the difference of the centred turns: 1 and 0 at the root, 0 on the left, 1 on the right.
    of_nodes = 1.5 * np.array([1.3, left, 1 - right])
    jacobian = [
        [-e[0] / (e[0] + e[1]), -e[1] / (e[0] + e[1]), e[2] / (e[2] + e[3]), e[3] / (e[2] + e[3])],
        [-1, 1, 0, 0],
        [0, 0, -1, 1],
    ]
    assert 0 < root < 1
    np.testing.assert_allclose(found.numpy(), of_nodes @ np.array(jacobian))


def test_a_single_categorical_has_no_noise_left_under_local_expectations():
    logits, f = torch.randn(1, 7), curved(7)
    found = torch.stack([estimate(LocalStates(), f, logits, states=True) for _ in range(5)])
    torch.testing.assert_close(found, exact_gradient(f, logits).expand(5, 1, 7))


@pytest.mark.parametrize("draws", [4, 6])
def test_a_set_of_all_states_gives_the_exact_gradient(draws):
    logits, f = torch.tensor([[0.4, -1.0], [40.0, -40.0]]), curved(2)
    torch.testing.assert_close(estimate(UnorderedSet(), f, logits, draws), expectation_gradient(f, logits))


def test_sets_weigh_their_states_and_hold_none_twice():
    logits = torch.randn(3)
    states, estimator = bit_states(3), UnorderedSet()
    log_q = torch.distributions.Bernoulli(logits=logits).log_prob(states).sum(-1)
    rows = estimator.draw_rows(log_q[:, None].expand(-1, 4000), 3)
    assert (rows.sort(0).values.diff(dim=0) > 0).all()
    weights = estimator.weights(log_q[rows])
    torch.testing.assert_close(weights.sum(0), torch.ones(4000))
    counted = torch.zeros(4000, 8).scatter_add_(1, rows.T, weights.T)
    assert_mean(counted, log_q.exp())
    with pytest.raises(ValueError, match="takes at most 6 draws, got 7"):
        estimator.rows(7)


def test_arms_tree_is_less_noisy_than_independent_draws():
    """On average over functions, with as many evaluations: mean squares of both, up to the noise of the test."""
    logits, differences = torch.randn(2, 4), []
    for slope in torch.randn(12, 8):
        f = lambda z, slope=slope: torch.tanh(z @ slope) * 3  # noqa: E731
        truth = exact_gradient(f, logits)
        mine = estimate(ArmsTree(), f, logits.expand(1500, 2, 4), 4, states=True)
        state = torch.distributions.Categorical(logits=logits).sample((4, 1500))
        indicators = torch.nn.functional.one_hot(state, 4).double()
        values = f(indicators.flatten(-2))
        independent = ((values - values.mean(0))[..., None, None] * (indicators - logits.softmax(-1))).sum(0) / 3
        differences.append((mine - truth).square().sum((1, 2)) - (independent - truth).square().sum((1, 2)))
    every = torch.cat(differences)
    assert every.mean() < 2 * every.std() / len(every) ** 0.5
