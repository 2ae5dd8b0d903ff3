"""Guides refined for each datum, against closed forms and enumeration in NumPy."""

import numpy as np
import pytest
import torch

from ppl_vae.diagnostics.gap.refined_guide import RefinedGuide
from ppl_vae.diagnostics.gap.refinement import refine
from ppl_vae.evidence.measure import measure
from tests.support.small_pairs import LinearGaussian
from tests.support.two_pixels import MODEL, STATES, OneBit, TwoPixels, elbos, log_joint
from tests.support.z_test import assert_mean

WRONG = np.array([-1.0, 0.5, 2.0])


@pytest.mark.usefixtures("float64")
def test_a_bit_is_refined_towards_the_posterior():
    x = torch.tensor(STATES)
    evidence, before = np.log(np.exp(log_joint(MODEL)).sum(1)), elbos(MODEL, WRONG)
    value, free = refine(TwoPixels(), OneBit(WRONG), x, 60, draws=1000)
    assert free.shape == (4, 1)
    left = torch.tensor(evidence) - value.pointwise
    assert (left < 0.1 * torch.tensor(evidence - before) + 4 * value.pointwise_se).all()
    assert (left > -4 * value.pointwise_se).all()


@pytest.mark.usefixtures("float64")
def test_normals_are_refined_and_a_perfect_guide_is_left_as_good():
    pair = LinearGaussian(1)
    x = pair.simulate(20)[1]
    evidence = pair.evidence(x)
    with torch.no_grad():
        value, _ = refine(pair.model, pair.guide, x, 60)
        perfect, _ = refine(pair.model, pair.posterior, x, 5)
    assert (evidence - value.pointwise).mean() < 0.1
    assert_mean((evidence - perfect.pointwise).clamp(min=-1), torch.tensor(0.0))


def test_at_least_one_step_is_asked_for():
    with pytest.raises(ValueError, match="refined by at least one step, got 0"):
        refine(TwoPixels(), OneBit(), torch.tensor(STATES), 0)


@pytest.mark.usefixtures("float64")
def test_a_refined_guide_is_measured_like_any_other_in_any_order():
    x = torch.tensor(STATES)
    refined = RefinedGuide(TwoPixels(), OneBit(WRONG), x, 60, draws=1000)
    order = torch.tensor([2, 0, 3, 3, 1, 2])
    found = measure(TwoPixels(), refined, x[order])
    truth = np.log(np.exp(log_joint(MODEL)).sum(1))[order]
    np.testing.assert_allclose(found.evidence.pointwise.numpy(), truth, rtol=1e-12)
    loss = (truth - elbos(MODEL, WRONG)[order]) / 10
    assert (found.gap.pointwise.numpy() < loss + 1e-9).all()
    assert (found.gap.pointwise[0], found.gap.pointwise[2]) == (found.gap.pointwise[5], found.gap.pointwise[3])


@pytest.mark.usefixtures("float64")
def test_a_refined_guide_proposes_draws_whose_bracket_holds_the_evidence():
    pair = LinearGaussian(1)
    x = pair.simulate(40)[1]
    truth = pair.evidence(x).mean()
    refined = RefinedGuide(pair.model, pair.guide, x, 300)
    before, after = (
        measure(pair.model, guide, x, draws=200, method="importance", check=False) for guide in (pair.guide, refined)
    )
    assert after.gap.mean < before.gap.mean / 4
    bracket = after.bracket()
    assert bracket.lower <= truth <= bracket.upper < truth + (before.bracket().upper - truth) / 5


def test_a_refined_guide_is_none_of_other_data():
    x = torch.tensor(STATES)
    refined = RefinedGuide(TwoPixels(), OneBit(WRONG), x[:3], 1)
    with pytest.raises(ValueError, match="refined for 3 data, and datum 1 of this batch is none of them"):
        refined(x[2:])
