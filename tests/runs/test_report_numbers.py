"""What a report says in words follows from its numbers and their errors."""

import numpy as np
import pytest
import torch

from ppl_vae.data.counts import PackedCounts
from ppl_vae.diagnostics.gap.gap import Gap
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.results import Evidence
from ppl_vae.runs.report.finding import GapPart, judge
from ppl_vae.runs.report.sections.gap import _bars, section
from ppl_vae.runs.report.sections.words import distinctive, perplexity
from ppl_vae.runs.report.subject import Subject

COUNTS = np.array([[3, 0, 1, 2], [0, 1, 0, 1], [5, 2, 2, 0]])


class Measured(Subject):
    """A subject whose measurements are given."""

    evidence = gap = None

    def __init__(self, evidence=None, gap=None, count=10):
        self.evidence, self.gap, self.missing, self.split = evidence, gap, {}, "test"
        self.count, self.is_split_doubtful = count, False

    data = property(lambda self: torch.zeros(self.count, 3))


def estimate(value, bound="exact", *, count=10, error=None):
    errors = None if error is None else torch.full((count,), error, dtype=torch.float64)
    return Estimate(torch.full((count,), value, dtype=torch.float64), "test", bound, 100 if error else 0, errors)


def split(evidence, best, elbo):
    """The finding of a gap between these levels."""
    from ppl_vae.runs.report.finding import find

    gap = Gap(evidence, best, elbo, family="independent latents")
    measured = Evidence(elbo, evidence, evidence.minus(elbo))
    return find(Measured(measured, gap))


def test_exact_parts_are_named_with_what_follows():
    network = split(estimate(-3.0), estimate(-3.06), estimate(-6.15))
    assert network.sentence == (
        "Of 3.15 nats per datum between ELBO and evidence, 0.06 are the family's and 3.09 the network's: more data or "
        "a refitted guide, not a richer family."
    )
    family = split(estimate(-3.0), estimate(-6.0), estimate(-6.1))
    assert (family.verdict, "a richer family" in family.sentence) == ("family", True)
    assert split(estimate(-3.0), estimate(-4.0), estimate(-5.2)).verdict == "both"
    assert split(estimate(-3.0), estimate(-3.01), estimate(-3.02)).verdict == "tight"


def test_parts_that_the_errors_do_not_tell_apart_are_left_undecided():
    evidence, elbo = estimate(-3.0), estimate(-5.0)
    sharp, wide = (split(evidence, estimate(-3.2, "unbiased", error=e), elbo) for e in (0.01, 2.0))
    assert (sharp.verdict, wide.verdict) == ("network", "undecided")
    assert "the errors leave open" in wide.sentence
    assert "\u00b1" in wide.sentence


def test_a_gap_without_an_upper_limit_is_at_least_so_wide():
    found = split(estimate(-3.0, "lower", error=0.01), estimate(-3.2, "lower"), estimate(-5.0))
    # By Markov's inequality at 97.5%, with the draws of ten data.
    low = 2.0 - np.log(40) / 10
    assert found.sentence.startswith(f"At least {low:.2f} nats per datum")
    assert (found.verdict, found.family.high) == ("undecided", None)


@pytest.mark.parametrize("doubtful, verdict", [(False, "family"), (True, "undecided")])
def test_a_family_is_not_blamed_for_what_a_search_has_missed(doubtful, verdict):
    total, family, network = GapPart(1.0, 1.0, 1.0), GapPart(0.9, 0.88, 0.92), GapPart(0.1, 0.08, 0.12)
    assert judge(total, family, network, doubtful) == verdict


def test_perplexities_are_those_of_the_words_in_their_order():
    words = COUNTS / COUNTS.sum(1, keepdims=True) * 0.9 + 0.1 / 4
    log_words = (COUNTS * np.log(words)).sum(1)
    lengths = COUNTS.sum(1)
    x = PackedCounts.from_dense(COUNTS)
    evidence = Estimate(torch.from_numpy(log_words) + x.log_coefficient, "test", "exact")
    elbo = Estimate(evidence.pointwise - 1.0, "test", "exact")
    found = perplexity(x, Evidence(elbo, evidence, evidence.minus(elbo)))
    corpus = [np.exp(-(log_words - less).sum() / lengths.sum()) for less in (0, 1)]
    document = [np.exp(-((log_words - less) / lengths).mean()) for less in (0, 1)]
    assert found == pytest.approx((*corpus, *document), rel=1e-5)


def test_words_that_set_documents_apart_are_scored_as_published():
    one, other = COUNTS[0].astype(float), COUNTS[1:].sum(0).astype(float)
    prior = 500 * (one + other) / (one + other).sum() + 1e-9
    odds = [np.log((y + prior) / (y.sum() + prior.sum() - y - prior)) for y in (one, other)]
    expected = (odds[0] - odds[1]) / np.sqrt(1 / (one + prior) + 1 / (other + prior))
    found = distinctive(torch.from_numpy(one), torch.from_numpy(other))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9)


def test_what_is_drawn_of_a_split_gap_is_the_number_beside_it():
    torch.manual_seed(0)
    elbo = Estimate(-3 - torch.rand(20), "200 draws", "unbiased", 200, torch.full((20,), 0.1))
    best = Estimate(elbo.pointwise + 0.5, "ascent", "lower", 200, torch.full((20,), 0.05))
    evidence = Estimate(best.pointwise + 0.2, "importance", "lower", 200, torch.full((20,), 0.02))
    split = Gap(evidence, best, elbo, "independent latents").of_sample(torch.arange(20), 60)
    bars = {bar.name: bar for bar in _bars(split)}
    for name, value in (("the network's part", split.amortisation_gap), ("the family's part", split.family_gap)):
        assert bars[name].high - bars[name].low == pytest.approx(value.mean)
        assert bars[name].error == pytest.approx(value.se)
        assert f"{value.mean:.3f}" in bars[name].value and "least" not in bars[name].value
    assert bars["ELBO"].low == bars["the network's part"].low == pytest.approx(elbo.mean)
    assert bars["the family's part"].high == bars["evidence"].low == pytest.approx(evidence.mean)
    assert bars["evidence"].value.startswith("≥\N{NO-BREAK SPACE}")


def test_a_split_of_a_sample_says_what_the_sentence_is_of():
    evidence, elbo = estimate(-3.0, count=20), estimate(-6.0, count=20)
    whole = Evidence(elbo, evidence, evidence.minus(elbo))
    for count in (10, 20):
        levels = [estimate(value, count=count) for value in (-2.0, -2.1, -4.0)]
        subject = Measured(whole, Gap(*levels, family="independent latents"), count=20)
        subject.check = None
        assert ("The sentence at the top is of all 20" in section(subject)) == (count < 20)
