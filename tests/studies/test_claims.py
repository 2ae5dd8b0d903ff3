"""One rule decides all claims of all reports: its error rate, its power, its edges."""

import math

import numpy as np
import pytest
from scipy.stats import binom, false_discovery_control, norm, t, ttest_1samp

from ppl_vae.diagnostics.holm import holm
from ppl_vae.studies.claims import Claim
from ppl_vae.studies.decisions import decide
from ppl_vae.studies.report import Report, Row
from tests.support.z_test import FLAKES, TESTS

REPORTS = 2_000
COUNTS = [(seeds, claims) for seeds in (1, 2, 3, 5, 10) for claims in (1, 5, 20)]


def answers(claims, level=0.05):
    return [decision.answer for decision in decide(claims, level)]


def at_most(count, rate):
    """Whether so many of REPORTS are no more than a rate allows, by a binomial test within the suite's flake budget."""
    return binom.sf(count - 1, REPORTS, rate) > FLAKES / TESTS


@pytest.mark.parametrize(("seeds", "claims"), COUNTS)
def test_without_an_effect_a_report_has_a_false_answer_at_the_level_at_most(seeds, claims):
    values = np.random.default_rng(seeds * 100 + claims).normal(0.0, 3.0, (REPORTS, claims, seeds))
    false_held, false_not = 0, 0
    for report in values.tolist():
        found = answers([Claim.greater("", sample) for sample in report])
        false_held += "held" in found
        false_not += "did not hold" in found
    assert at_most(false_held, 0.05) and at_most(false_not, 0.05)
    if seeds == 1:
        assert false_held == false_not == 0
    elif claims == 1:  # at the border of the claim the test is exact: it is not merely silent
        assert binom.cdf(false_held, REPORTS, 0.05) > FLAKES / TESTS


@pytest.mark.parametrize("seeds", [2, 3, 10])
def test_claims_that_hold_do_not_raise_the_error_of_those_that_do_not(seeds):
    generator = np.random.default_rng(seeds)
    false_held = 0
    for _ in range(REPORTS):
        claims = [Claim.greater("", generator.normal(8.0 * (i < 5), 1.0, seeds).tolist()) for i in range(10)]
        false_held += "held" in answers(claims)[5:]
    assert at_most(false_held, 0.05)


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_equivalence_is_not_claimed_at_the_border_nor_of_any_when_one_fails(seeds):
    generator = np.random.default_rng(seeds)
    border, every, refuted, best = 0, 0, 0, 0
    for _ in range(REPORTS):
        border += answers([Claim.within("", generator.normal(1.3, 0.05, seeds).tolist(), 0.3, of=1.0)]) == ["held"]
        cases = [Claim.greater("", generator.normal(mean, 1.0, seeds).tolist()) for mean in (50.0, 0.0, 50.0)]
        every += answers([Claim.every("", cases)]) == ["held"]
        true = [Claim.greater("", generator.normal(0.0, 1.0, seeds).tolist()) for _ in range(4)]
        refuted += answers([Claim.every("", true)]) == ["did not hold"]
        best += answers([Claim.some("", true)]) == ["held"]
    assert all(at_most(count, 0.05) for count in (border, every, refuted, best))


@pytest.mark.parametrize(("seeds", "effect"), [(3, 60.0), (5, 15.0), (10, 5.0)])
def test_a_clear_effect_is_found_among_twenty_claims(seeds, effect):
    generator = np.random.default_rng(1)
    values = generator.normal(0.0, 1.0, (50, 20, seeds))
    held = [answers([Claim.greater("", (effect + sample).tolist()) for sample in report]) for report in values]
    wrong = [answers([Claim.below("", (effect + sample).tolist()) for sample in report]) for report in values]
    assert np.mean(np.array(held) == "held") > 0.95
    assert np.mean(np.array(wrong) == "did not hold") > 0.95


def test_p_values_are_those_of_students_t():
    generator = np.random.default_rng(2)
    for count in (2, 3, 7, 400):
        values = generator.normal(0.3, 1.0, count)
        for claim, side in ((Claim.greater("", values, 0.1), "greater"), (Claim.below("", values, 0.1), "less")):
            assert claim.p_false == pytest.approx(ttest_1samp(values, 0.1, alternative=side).pvalue, rel=1e-10)
            assert claim.p_true == pytest.approx(1 - claim.p_false, abs=1e-12)
        both = Claim.within("", values, 0.2, of=0.25)
        above = ttest_1samp(values, 0.05, alternative="greater").pvalue
        under = ttest_1samp(values, 0.45, alternative="less").pvalue
        assert both.p_false == pytest.approx(max(above, under), rel=1e-10)
        assert both.p_true == pytest.approx(min(1, 2 * min(1 - above, 1 - under)), rel=1e-10)
    tiny = Claim.greater("", [1.0, 1.0001, 0.9999, 1.0, 1.0002, 0.9998])
    assert tiny.p_false == pytest.approx(
        t.sf(1.0 / (np.std([0, 1, -1, 0, 2, -2], ddof=1) * 1e-4 / 6**0.5), 5), rel=1e-6
    )
    for mean, se in ((0.3, 0.2), (-1.0, 0.1)):
        assert Claim.estimate("", mean, se).p_false == pytest.approx(norm.sf(mean / se), rel=1e-10)


def test_an_estimate_without_an_error_decides_by_itself_but_for_rounding():
    assert answers([Claim.estimate("", 0.4, 0.0, by=0.3), Claim.estimate("", 0.2, 0.0, by=0.3)]) == [
        "held", "did not hold",
    ]  # fmt: skip
    for mean, bound in ((0.1 + 0.2, 0.3), (1e-17, 0.0), (-1e-17, 0.0), (1e9 + 1e-6, 1e9)):
        decision = decide([Claim.estimate("it rises", mean, 0.0, by=bound)])[0]
        assert decision.answer == "undecided" and "at the bound, but for rounding" in str(decision)


def test_holm_is_the_closed_test_of_bonferroni():
    """Rejects a hypothesis if Bonferroni rejects every intersection that it is part of."""
    generator = np.random.default_rng(3)
    for count in (1, 2, 5, 8):
        for _ in range(20):
            p = generator.uniform(0, 1, count) ** 3
            closed = [
                max(
                    min(1.0, len(members) * p[members].min())
                    for mask in range(1, 2**count)
                    if mask >> i & 1
                    for members in [[j for j in range(count) if mask >> j & 1]]
                )
                for i in range(count)
            ]
            np.testing.assert_allclose(holm(p.tolist()), closed, rtol=1e-12)
            assert (np.array(holm(p.tolist())) >= false_discovery_control(p) - 1e-12).all()
    assert holm([]) == []


def test_values_that_are_all_equal_are_tested_by_their_signs():
    for count, answer in ((2, "undecided"), (4, "undecided"), (5, "held")):
        claim = Claim.greater("", [0.3] * count)
        assert (claim.p_false, claim.p_true) == (0.5**count, 1.0) and answers([claim]) == [answer]
    assert answers([Claim.greater("", [-0.3] * 5)]) == ["did not hold"]
    assert Claim.greater("", [0.2] * 9, by=0.2).p_false == Claim.below("", [0.0] * 9).p_false == 1.0
    assert answers([Claim.within("", [5.0] * 6, 0.5, of=5.0), Claim.within("", [7.0] * 7, 0.5, of=5.0)]) == [
        "held", "did not hold",
    ]  # fmt: skip
    # At zero there is no number that rounding could be relative to.
    for values in ([1e-16, -1e-16, 2e-16, 1e-16, 1e-16], [1e-15] * 5):
        assert answers([Claim.greater("", values), Claim.below("", values)]) == ["undecided"] * 2
    rounding = [0.1 + 0.2, 0.3, 0.15 * 2]
    assert len(set(rounding)) > 1 and Claim.greater("", rounding).p_false == 0.125


@pytest.mark.parametrize("values", [[math.nan, 1.0, 2.0], [math.inf, 1.0, 2.0], [-math.inf] * 3, [math.nan]])
def test_numbers_that_are_not_finite_decide_nothing(values):
    for make in (Claim.greater, Claim.below, lambda text, v: Claim.within(text, v, 1.0)):
        decision = decide([make("it rises", values)])[0]
        assert decision.answer == "undecided" and "not finite" in str(decision)
    assert answers([Claim.estimate("", values[0], 1.0), Claim.estimate("", 1.0, math.nan)]) == ["undecided"] * 2


def test_one_seed_says_that_it_decides_nothing():
    decision = decide([Claim.greater("the ELBO rises", [3.0])])[0]
    assert str(decision) == "undecided: the ELBO rises (+3; one seed decides nothing about training)"
    assert answers([Claim.greater("", [3.0], over="data")]) == ["undecided"]
    family = Claim.every("all rise", [Claim.greater("a", [3.0]), Claim.greater("b", [2.0])])
    assert "one seed decides nothing" in str(decide([family])[0])


def test_exact_statements_are_true_or_false_and_not_tested():
    tested = Claim.greater("rises", [1.0, 1.1, 0.9])
    exact = [Claim.exact("bound", True, "0.1 below 0.2"), Claim.exact("limit", False, "0.3")]
    decisions = decide([exact[0], tested, exact[1]])
    assert [decision.answer for decision in decisions] == ["held", "held", "did not hold"]
    assert decisions[1].p_false == tested.p_false  # Holm counts the tested one alone
    assert str(decisions[0]) == "held: bound (0.1 below 0.2; exact)"
    assert answers([Claim.every("all", exact)]) == ["did not hold"]
    assert decide([Claim.every("all", exact)])[0].claim.is_exact


def test_a_family_holds_if_all_do_and_fails_if_one_clearly_does():
    good, bad = Claim.greater("good", [2.0, 2.1, 1.9, 2.0]), Claim.greater("bad", [-2.0, -2.1, -1.9, -2.0])
    unclear = Claim.greater("unclear", [1.0, -1.1, 0.3, -0.1])
    assert Claim.every("", [good, unclear]).p_false == unclear.p_false
    assert Claim.every("", [good, unclear, bad]).p_true == 3 * bad.p_true
    families = [[good, good], [good, unclear], [good, unclear, bad]]
    assert [answers([Claim.every("", each)])[0] for each in families] == ["held", "undecided", "did not hold"]
    assert Claim.every("", [good, unclear]).figures.startswith("2 cases, decisive unclear: +0.025 +- ")
    choice = [Claim.some("", each) for each in families]
    assert [answers([each])[0] for each in choice] == ["held", "held", "held"]
    assert choice[2].p_false == 3 * good.p_false and choice[2].p_true == good.p_true
    assert answers([Claim.some("", [bad, bad])]) == ["did not hold"]
    assert answers([Claim.some("", [unclear, bad])]) == ["undecided"]
    exact = [Claim.exact("one", False, "1"), Claim.exact("two", True, "2")]
    assert [answers([Claim.some("", each)])[0] for each in (exact, exact[:1])] == ["held", "did not hold"]
    with pytest.raises(ValueError, match="the claim 'all' is about no cases"):
        Claim.every("all", [])
    with pytest.raises(ValueError, match="the claim 'none' has no values"):
        Claim.greater("none", [])


def test_a_report_prints_level_answers_and_p_values():
    claims = [
        Claim.greater("a rises", [1.0, 1.1, 0.9]),
        Claim.greater("b rises", [1.0, -1.1, 0.3], figures="of 4 nats"),
        Claim.exact("c is two", False, "1.9"),
    ]
    report = Report("T", [Row("a", [1.0])], claims, level=0.1)
    page = report.markdown()
    assert "Level 10.0% for the whole report: one-sided tests, p-values adjusted by Holm's procedure over the 2" in page
    assert "- held: a rises (+1 +- 0.058 over 3 seeds; p = 0.0033)" in page
    assert "- undecided: b rises (+0.06667 +- 0.62 over 3 seeds; of 4 nats; p = 0.46)" in page
    assert "- did not hold: c is two (1.9; exact)" in page and "did not hold: c is two" in str(report)
    kept = report.to_json()
    assert kept["level"] == 0.1
    assert [claim["answer"] for claim in kept["claims"]] == ["held", "undecided", "did not hold"]
    assert kept["claims"][0]["p"]["false"] == claims[0].p_false
    assert kept["claims"][0]["p_holm"]["false"] == 2 * claims[0].p_false
    assert kept["claims"][2]["p"] is None
    with pytest.raises(ValueError, match=r"level of a report is above 0 and below 0\.5, got 0\.7"):
        decide(claims, 0.7)
