"""ARM and DisARM: pairs of draws that exclude each other."""

import pytest
import torch

from ppl_vae.estimators import Code, estimate
from ppl_vae.estimators.arm import ARM
from ppl_vae.estimators.disarm import DisARM
from tests.support.estimator_checks import Given, curved
from tests.support.z_test import assert_mean

pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize("estimator", [ARM(), DisARM()], ids=lambda e: e.name)
def test_one_antithetic_pair_of_one_bit(estimator):
    """One draw, one bit: the formulas by hand."""
    logits = torch.tensor([[0.7]])
    f = Given(values=torch.tensor([[5.0], [3.0]]))
    for u in (0.1, 0.45, 0.8):
        b, mirrored = float(u > 1 / (1 + torch.tensor(0.7).exp())), float(u < torch.tensor(0.7).sigmoid())
        code = Code(torch.tensor([[[b]], [[mirrored]]]), torch.tensor([[[u]]]), logits)
        by_hand = {
            "arm": 0.5 * (5 - 3) * (2 * u - 1),
            "disarm": 0.5 * (5 - 3) * (b - mirrored) * torch.tensor(0.7).sigmoid(),
        }
        assert estimator.gradient(code, f).item() == pytest.approx(by_hand[estimator.name])


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


def test_disarm_is_never_noisier_than_arm():
    """It is ARM's mean given the bits: on the same draws its mean square is no larger, up to the noise of the test."""
    logits, f = torch.randn(1, 6), curved(6)
    squares = {}
    for estimator in (ARM(), DisARM()):
        torch.manual_seed(1)
        squares[estimator.name] = torch.stack([estimate(estimator, f, logits) for _ in range(3000)]).square().sum(-1)
    difference = (squares["disarm"] - squares["arm"]).squeeze()
    assert difference.mean() < 2 * difference.std() / len(difference) ** 0.5


def test_disarm_differentiates_f_at_one_draw_of_each_pair():
    assert DisARM().draw(torch.zeros(1, 3), 4).differentiated == 4
    assert ARM().draw(torch.zeros(1, 3), 4).differentiated is None
