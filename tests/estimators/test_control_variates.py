"""Which functions leave an estimator no noise, and which estimators take no control variate."""

import math

import pytest
import torch

from ppl_vae.estimators import Code, FirstOrder, estimate
from ppl_vae.estimators.base.integrand import FunctionIntegrand
from ppl_vae.estimators.disarm import DisARM
from ppl_vae.estimators.double_cv import DoubleCV
from ppl_vae.estimators.enumerate import Enumerate
from ppl_vae.estimators.local import Local

pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize(("estimator", "draws"), [(FirstOrder(DisARM()), 1), (DoubleCV(), 3)], ids=["first", "double"])
def test_a_linear_function_has_no_noise_left(estimator, draws):
    logits, slope = torch.randn(2, 4), torch.randn(4)
    samples = torch.stack([estimate(estimator, lambda z: z @ slope, logits, draws) for _ in range(5)])
    mean = logits.sigmoid()
    torch.testing.assert_close(samples, (slope * mean * (1 - mean)).expand(5, 2, 4))


def test_a_bit_that_others_do_not_touch_has_no_noise_left_under_local_expectations():
    logits = torch.randn(2, 4)
    samples = torch.stack([estimate(Local(), lambda z: (3 * z).exp().sum(-1), logits) for _ in range(5)])
    mean = logits.sigmoid()
    torch.testing.assert_close(samples, ((math.e**3 - 1) * mean * (1 - mean)).expand(5, 2, 4))


def test_limits_are_named():
    with pytest.raises(ValueError, match="at most 12 bits, got 13; use disarm"):
        Enumerate().draw(torch.zeros(1, 13))
    with pytest.raises(ValueError, match="enumerate is exact: it takes no control variate"):
        FirstOrder(Enumerate())
    with pytest.raises(ValueError, match="local works from the flip differences of f: it takes no control variate"):
        FirstOrder(Local())
    with pytest.raises(ValueError, match="double_cv works from the slopes of f: it takes no control variate"):
        FirstOrder(DoubleCV())


def test_slopes_need_draws_that_say_so():
    code = Code(torch.ones(2, 1, 1), torch.ones(2, 1, 1), torch.zeros(1, 1))
    with pytest.raises(ValueError, match="return Code.bits.requires_grad_.., .... from its draw"):
        DoubleCV().gradient(code, FunctionIntegrand(lambda z: z.sum(-1), code))


def test_an_estimator_computes_what_it_reads_and_nothing_else():
    calls = []

    def f(z):
        calls.append(tuple(z.shape))
        return z.square().sum(-1)

    for estimator, shapes in (
        (DisARM(), [(2, 1, 3)]),
        (FirstOrder(DisARM()), [(2, 1, 3), (1, 1, 3)]),
        (Local(), [(3, 1, 3), (1, 1, 3)]),
        (Enumerate(), [(8, 1, 3)]),
    ):
        estimate(estimator, f, torch.zeros(1, 3))
        assert calls == shapes, estimator.name
        calls.clear()
