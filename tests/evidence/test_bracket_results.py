"""Brackets in tables, JSON, gaps and stored results, and why there is no upper limit."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import t

from ppl_vae.diagnostics.comparison import Compared, Comparison
from ppl_vae.diagnostics.gap.gap import Gap
from ppl_vae.diagnostics.gap.ladder import Ladder, Rung
from ppl_vae.evidence.bracket import bracket_of
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.intervals import of_these_data
from ppl_vae.evidence.measure import measure
from ppl_vae.evidence.shortfall import Shortfall
from ppl_vae.evidence.upper import above
from ppl_vae.runs.resumable import BlockStore
from tests.support.bracketed import linear, normal_guide, numbers

pytestmark = pytest.mark.usefixtures("float64")


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
    found = measure(linear, normal_guide(0.5), x, method="importance", draws=200, check=False)
    bracket = found.bracket()
    assert bracket.lower <= truth.mean() <= bracket.upper
    line = f"95% bracket: {bracket.lower:.3f} <= mean log p(x) <= {bracket.upper:.3f} (leave-one-out weights)"
    few = f"; the lower limit is {np.log(40) / 30:.3f} below the estimate, as it must be with 30 data: more narrow it"
    assert line + few in str(found)
    content = json.loads(json.dumps(found.to_json(), allow_nan=False))["evidence"]["bracket"]
    assert (content["lower"], content["upper"], content["level"]) == (bracket.lower, bracket.upper, 0.95)
    (limit,) = content["uppers"]
    assert limit["method"] == "leave-one-out weights" and limit["validity"].startswith("in expectation")
    narrow = found.bracket(level=0.5)
    assert bracket.lower < narrow.lower < narrow.upper < bracket.upper


def test_many_data_take_nothing_from_the_lower_limit():
    evidence = Estimate(torch.randn(400), "weights", "lower", 50, torch.full((400,), 0.1))
    assert evidence.mean - bracket_of(evidence).lower == pytest.approx(np.log(40) / 400)
    assert "below the estimate" not in str(bracket_of(evidence))


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
