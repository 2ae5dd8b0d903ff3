"""Limits of brackets that are unknown, or zero, and intervals of what is not there."""

import math
from dataclasses import replace

import pytest
import torch

from ppl_vae.evidence.bracket import bracket_of, bracket_of_gap
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.leave_one_out import leave_one_out
from ppl_vae.evidence.results import Evidence
from ppl_vae.evidence.shortfall import Shortfall

pytestmark = pytest.mark.usefixtures("float64")


def lower(weights, **more):
    size = len(weights)
    upper = leave_one_out(weights)
    return Estimate(weights.logsumexp(0) - math.log(size), "weights", "lower", size, upper=upper, **more)


def test_unknown_above_says_why():
    torch.manual_seed(0)
    weights = torch.randn(100, 4)
    single = torch.full((100, 4), -torch.inf).scatter(0, torch.zeros(1, 4).long(), 1.0)
    reasons = {
        "a single sample carries the evidence of 4 data": lower(single),
        "bounds by its weights lie over 10 nats per datum apart": lower(torch.cat([weights[:7], weights[:1] + 9])),
        "constant weights show nothing": lower(0 * weights, k_hat=torch.full((4,), -torch.inf)),
        "the k-hat of the weights, 0.90 on average": lower(weights, k_hat=torch.full((4,), 0.9)),
        "neither a bound nor unbiased": replace(lower(weights), bound="approximate"),
        "an error common to all data": replace(lower(weights), common_se=0.1),
        "not several independent estimates": lower(weights[:1]),
        "some data have no finite evidence": lower(torch.full((100, 4), -torch.inf)),
    }
    for reason, estimate in reasons.items():
        bracket = bracket_of(estimate)
        assert bracket.upper is None and reason in bracket.reason and reason in str(bracket)
        assert bracket.to_json()["unknown_above"] == bracket.reason
    apart = replace(lower(torch.cat([weights[:7], weights[:1] + 9])), shortfall=Shortfall(torch.full((20,), 2.0)))
    assert bracket_of(apart).upper is None
    both = replace(lower(weights), k_hat=torch.full((4,), 0.9), shortfall=Shortfall(torch.full((20,), 2.0)))
    why = "the k-hat of the weights, 0.90 on average, is not below 0.7 by more than its error"
    reason = f"leave-one-out weights and simulated data: {why}"
    ways = "(--method, method=; of a gap --evidence, evidence=) may know"
    for method, others in (("importance", "best_member or annealing"), ("annealing, 5 steps", "best_member")):
        assert bracket_of(replace(both, method=method)).reason == f"{reason}; the method {others} {ways}"
        assert bracket_of_gap(replace(both, method=method), both).reason == f"{reason}; the method {others} {ways}"
    assert "may know" not in bracket_of(replace(both, common_se=0.1)).reason
    light = replace(lower(weights), k_hat=torch.full((4,), 0.52))
    of_light, of_heavy = (Shortfall(torch.full((20,), 2.0), torch.full((20,), k)) for k in (0.0, 0.52))
    assert "of simulated data at most" in bracket_of(replace(light, shortfall=of_light)).uppers[1].validity
    assert bracket_of(replace(light, shortfall=of_heavy)).upper == pytest.approx(light.mean + 2)
    heavy = replace(
        light, k_hat=torch.full((4,), 0.9), shortfall=Shortfall(torch.full((20,), 2.0), torch.full((20,), 0.9))
    )
    assert bracket_of(heavy).upper is None


def test_a_gap_is_at_least_zero():
    """With errors larger than the gap the limits of evidence minus bound are on both sides of zero, or below it."""
    torch.manual_seed(0)
    evidence = lower(torch.randn(100, 4) * 0.5)
    near, far = (Estimate(evidence.pointwise + shift, "weights", "lower", 100, torch.ones(4)) for shift in (0.0, 50.0))
    bracket = bracket_of_gap(evidence, near)
    assert bracket.lower == 0 < bracket.upper
    assert bracket_of_gap(evidence, replace(near, pointwise=evidence.pointwise - 50)).lower > 40
    content = bracket_of_gap(evidence, far).to_json()
    assert (content["lower"], content["upper"], content["uppers"][0]["value"]) == (0, 0, 0)
    found = Evidence(elbo=near, evidence=evidence, gap=evidence.minus(near))
    assert "95% bracket: 0.000 <= mean gap" in str(found) and found.to_json()["gap"]["bracket"]["lower"] == 0


def test_an_interval_of_what_is_not_there_is_refused():
    evidence = lower(torch.zeros(30, 4))
    found = Evidence(elbo=evidence, evidence=evidence, gap=evidence)
    with pytest.raises(ValueError, match="no row 'foo'; there are 'ELBO', 'evidence', 'gap'"):
        found.interval("foo")
    with pytest.raises(ValueError, match="'data', 'split', 'population', got 'foo'"):
        found.interval("gap", "foo")
