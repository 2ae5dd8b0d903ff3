import math

import pytest
import torch

from ppl_vae.distributions.bits import bit_states
from ppl_vae.estimators import (
    ARM,
    ARMS,
    ESTIMATORS,
    Auto,
    Code,
    DisARM,
    DoubleCV,
    Enumerate,
    FirstOrder,
    Local,
    ReinforceLOO,
    estimate,
)
from tests.support.z_test import assert_mean

pytestmark = pytest.mark.usefixtures("float64")

PLAIN = [ARM(), DisARM(), ARMS(), ReinforceLOO()]
SAMPLING = [*PLAIN, *map(FirstOrder, PLAIN), DoubleCV(), Local(), Auto()]


def value(bits: int):
    """A function of codes, ``(rows, batch, bits)`` to ``(rows, batch)``, smooth and not linear in any bit."""
    generator = torch.Generator().manual_seed(bits)
    first, second = (torch.randn(bits, 5, generator=generator) for _ in range(2))
    return lambda z: (torch.tanh(z @ first) * (z @ second).exp().clamp(max=5)).sum(-1)


def expectation_gradient(f, logits):
    """By automatic differentiation of the sum over all codes."""
    logits = logits.clone().requires_grad_()
    states = bit_states(logits.shape[-1])[:, None].expand(-1, len(logits), -1)
    probabilities = torch.distributions.Bernoulli(logits=logits).log_prob(states).sum(-1).exp()
    return torch.autograd.grad((probabilities * f(states)).sum(), logits)[0]


@pytest.mark.parametrize("draws", [2, 5])
@pytest.mark.parametrize("bits", [1, 3, 8])
@pytest.mark.parametrize("estimator", SAMPLING, ids=lambda e: e.name)
def test_mean_gradient_is_the_enumerated_one(estimator, bits, draws):
    logits, f = 2 * torch.randn(3, bits), value(bits)
    samples = torch.stack([estimate(estimator, f, logits, draws) for _ in range(1000)])
    assert_mean(samples, expectation_gradient(f, logits))


@pytest.mark.parametrize("bits", [1, 3, 8])
def test_enumeration_is_exact(bits):
    logits, f = 2 * torch.randn(3, bits), value(bits)
    torch.testing.assert_close(estimate(Enumerate(), f, logits), expectation_gradient(f, logits))


@pytest.mark.parametrize("estimator", [ARM(), DisARM()], ids=lambda e: e.name)
def test_one_antithetic_pair_of_one_bit(estimator):
    """One draw, one bit: the formulas by hand."""
    logits = torch.tensor([[0.7]])
    f = torch.tensor([[5.0], [3.0]])
    for u in (0.1, 0.45, 0.8):
        b, mirrored = float(u > 1 / (1 + torch.tensor(0.7).exp())), float(u < torch.tensor(0.7).sigmoid())
        code = Code(torch.tensor([[[b]], [[mirrored]]]), torch.tensor([[[u]]]), logits)
        by_hand = {
            "arm": 0.5 * (5 - 3) * (2 * u - 1),
            "disarm": 0.5 * (5 - 3) * (b - mirrored) * torch.tensor(0.7).sigmoid(),
        }
        assert estimator.gradient(f, code).item() == pytest.approx(by_hand[estimator.name])


def test_pairs_are_antithetic():
    """Each half has the right marginals, and a bit is the same in both only where its logit forces it."""
    logits = torch.tensor([[2.0, 0.0, -1.0]])
    code = ARM().draw(logits, 4000)
    first, second = code.bits.chunk(2)
    assert_mean(first, logits.sigmoid())
    assert_mean(second, logits.sigmoid())
    assert (first + second)[..., 1].eq(1).all()
    assert (first + second)[..., 0].ge(1).all()
    assert (first + second)[..., 2].le(1).all()


def test_two_draws_left_out_of_each_other():
    code = Code(torch.tensor([[[1.0]], [[0.0]]]), torch.zeros(2, 1, 1), torch.zeros(1, 1))
    f = torch.tensor([[4.0], [1.0]])
    # (f1 - f2)/2 * score(1) + (f2 - f1)/2 * score(0) with scores 1/2 and -1/2.
    assert ReinforceLOO().gradient(f, code).item() == pytest.approx(1.5)


def test_a_linear_function_has_no_noise_left_under_the_control_variate():
    logits, slope = torch.randn(2, 4), torch.randn(4)
    samples = torch.stack([estimate(FirstOrder(DisARM()), lambda z: z @ slope, logits) for _ in range(5)])
    mean = logits.sigmoid()
    torch.testing.assert_close(samples, (slope * mean * (1 - mean)).expand(5, 2, 4))


def test_two_draws_of_arms_are_disarm():
    """Given the same pair of codes, which either draws with the same probabilities."""
    logits, pair = torch.tensor([[1.5, 0.0, -0.4]]), torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 1.0]])[:, None]
    drawn = ARMS().draw(logits, 4000)
    f = torch.tensor([[5.0], [3.0]])
    many = ARMS().draw(logits.expand(4000, 3), 2)
    assert (many.bits.sum(0)[:, 0] >= 1).all()
    assert many.bits.sum(0)[:, 1].eq(1).all()
    assert_mean(many.bits[0], logits[0].sigmoid())
    assert_mean(drawn.bits, logits.sigmoid())
    of_two = ARMS().gradient(f, Code(pair, many.noise[:, :1], logits))
    torch.testing.assert_close(of_two, DisARM().gradient(f, Code(pair, pair, logits)))


@pytest.mark.parametrize("draws", [2, 3, 10])
def test_correlation_of_draws_that_exclude_each_other(draws):
    logits = torch.tensor([[2.0, 0.3, -1.0, -4.0]])
    code = ARMS().draw(logits.expand(20_000, 4), draws)
    mean = logits[0].sigmoid()
    covariance = (code.bits[0] - mean) * (code.bits[1] - mean)
    assert_mean(covariance, (1 - 1 / code.noise[0, 0]) * mean * (1 - mean))
    assert (code.noise < 1).all()  # correlations are negative


def test_arms_of_bits_that_are_all_but_certain():
    torch.set_default_dtype(torch.float32)
    logits = torch.tensor([[200.0, -200.0, 0.0]])
    found = estimate(ARMS(), value(3), logits, 4)
    assert found.isfinite().all()
    assert (found[0, :2] == 0).all()


def test_a_bit_that_others_do_not_touch_has_no_noise_left_under_local_expectations():
    logits = torch.randn(2, 4)
    samples = torch.stack([estimate(Local(), lambda z: (3 * z).exp().sum(-1), logits) for _ in range(5)])
    mean = logits.sigmoid()
    torch.testing.assert_close(samples, ((math.e**3 - 1) * mean * (1 - mean)).expand(5, 2, 4))


def test_a_linear_function_has_no_noise_left_under_double_control_variates():
    logits, slope = torch.randn(2, 4), torch.randn(4)
    samples = torch.stack([estimate(DoubleCV(), lambda z: z @ slope, logits, 3) for _ in range(5)])
    mean = logits.sigmoid()
    torch.testing.assert_close(samples, (slope * mean * (1 - mean)).expand(5, 2, 4))


def test_disarm_is_never_noisier_than_arm():
    """It is ARM's mean given the bits: on the same draws its mean square is no larger, up to the noise of the test."""
    logits, f = torch.randn(1, 6), value(6)
    squares = {}
    for estimator in (ARM(), DisARM()):
        torch.manual_seed(1)
        squares[estimator.name] = torch.stack([estimate(estimator, f, logits) for _ in range(3000)]).square().sum(-1)
    difference = (squares["disarm"] - squares["arm"]).squeeze()
    assert difference.mean() < 2 * difference.std() / len(difference) ** 0.5


def test_constant_functions_have_zero_gradient():
    for estimator in SAMPLING:
        found = estimate(estimator, lambda z: 3 + 0 * z.sum(-1), torch.randn(2, 3), 2)
        torch.testing.assert_close(found, torch.zeros(2, 3), msg=estimator.name)


def test_limits_are_named():
    with pytest.raises(ValueError, match="at most 12 bits, got 13; use disarm"):
        Enumerate().draw(torch.zeros(1, 13))
    with pytest.raises(ValueError, match="loo needs at least 2 draws, got 1"):
        ReinforceLOO().draw(torch.zeros(1, 3), 1)
    with pytest.raises(ValueError, match="independent bits only"):
        ARM().score_weights(torch.zeros(2), torch.zeros(2))
    with pytest.raises(ValueError, match="enumerate is exact: it takes no control variate"):
        FirstOrder(Enumerate())
    with pytest.raises(ValueError, match="local works from the gains of f: it takes no control variate"):
        FirstOrder(Local())
    with pytest.raises(ValueError, match="needs the slope"):
        FirstOrder(ARM()).gradient(torch.zeros(2, 1), ARM().draw(torch.zeros(1, 1), 1))


def test_every_estimator_has_a_name_of_its_own():
    assert [kind().name for kind in ESTIMATORS.values()] == list(ESTIMATORS)
