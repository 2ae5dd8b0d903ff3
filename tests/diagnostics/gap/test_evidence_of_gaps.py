"""Gaps whose evidence is by a method of one's choice."""

import math

import pytest
import torch

from ppl_vae.diagnostics.gap.split import split_gap
from tests.support.cli import flat, invoke, json_of
from tests.support.small_pairs import LinearGaussian, text_pair

pytestmark = pytest.mark.usefixtures("float64")


def test_a_gap_takes_annealed_evidence():
    pair = LinearGaussian(2)
    x = pair.simulate(6)[1]
    torch.manual_seed(0)
    options = {"method": "ascent", "steps": 20, "restarts": 1, "draws": 20}
    gap = split_gap(
        pair.model, pair.guide, x, evidence="annealing", evidence_draws=6, temperatures=20, leapfrog_steps=2, **options
    )
    assert "20 temperatures" in gap.evidence.method or "best members" in gap.evidence.method
    assert abs(gap.evidence.mean - pair.evidence(x).mean()) < 0.3
    # Of three means of chains and a look far out, and the best members' weights.
    assert gap.evidence.selection == pytest.approx(math.log(8))


def test_enumerated_gaps_have_exact_evidence_and_take_no_other():
    model, guide, x = text_pair(3, 1)
    with pytest.raises(ValueError, match="evidence is exact, but evidence='annealing' was given: leave it out, or set"):
        split_gap(model, guide, x, evidence="annealing")
    with pytest.raises(ValueError, match="but temperatures was given"):
        split_gap(model, guide, x, temperatures=5)


def test_the_command_line_takes_the_method_with_its_options(trained):
    chosen = ("--evidence", "annealing", "--evidence-draws", "4", "--temperatures", "5", "--data", "3")
    content = json_of("gap", "r", "--method", "ascent", "--steps", "4", "--draws", "4", *chosen)
    assert content["evidence"]["method"].startswith(("annealing, 5 temperatures", "importance"))
    refused = invoke("gap", "r", "--ladder", "linear_counts,full", *chosen)
    assert "leave out the ladder" in flat(refused.output)
