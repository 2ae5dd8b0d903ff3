"""Rounding of log-probabilities of documents of up to a million words, against sums without rounding (math.fsum)."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from ppl_vae.guides.linear_counts import LinearCounts
from ppl_vae.models.text import Text

from ppl_vae.data.counts import PackedCounts
from ppl_vae.distributions.multinomial import LONG
from ppl_vae.evidence.measure import measure
from ppl_vae.programs.invariance import check_deterministic, dependence_faults
from ppl_vae.programs.log_weight import log_joint

WORDS, BITS = 500, 3


def pair_of(length: int, hidden: int = 0):
    """A pair in float32 and four documents of so many words, with bits of influence."""
    rng = np.random.default_rng(0)
    topics = rng.dirichlet(0.3 * np.ones(WORDS), 2)
    counts = np.stack([rng.multinomial(length, topics[i % 2]) for i in range(4)])
    x = PackedCounts.from_dense(torch.from_numpy(counts).float())
    model = Text(WORDS, bits=BITS, hidden=hidden, width=8, unigram=torch.from_numpy(topics.mean(0)).float())
    guide = LinearCounts(model, x)
    for parameter in guide.parameters():
        parameter.data *= 0.01
    return model, guide, x, counts


def joint_by_fsum(model: Text, counts: np.ndarray) -> np.ndarray:
    """log p(x, z) for all documents and codes, the sums of exact rounding."""
    weight, bias = (p.detach().double().numpy() for p in (model.words.weight, model.words.bias))
    table = np.empty((len(counts), 2**BITS))
    for code in range(2**BITS):
        z = np.array([code >> place & 1 for place in range(BITS)])
        logits = weight @ z + bias
        normaliser = math.log(math.fsum(np.exp(logits)))
        for row, count in enumerate(counts):
            coefficient = [math.lgamma(count.sum() + 1), *(-math.lgamma(c + 1) for c in count)]
            terms = [*coefficient, *(count * logits), -count.sum() * normaliser, -BITS * math.log(2)]
            table[row, code] = math.fsum(terms)
    return table


@pytest.mark.parametrize("length", [1000, LONG, LONG + 1, 10**6])
def test_exact_evidence_of_long_documents_is_exact_to_a_thousandth_of_a_nat(length):
    model, guide, x, counts = pair_of(length)
    found = measure(model, guide, x)
    joint = joint_by_fsum(model, counts)
    evidence = np.logaddexp.reduce(joint, axis=1)
    assert found.evidence.bound == "exact"
    np.testing.assert_allclose(found.evidence.pointwise.numpy(), evidence, atol=1e-3, rtol=0)
    if length > LONG:
        np.testing.assert_allclose(found.evidence.pointwise.numpy(), evidence, atol=1e-7, rtol=0)


def test_log_densities_at_given_codes_are_those_without_rounding():
    model, _, x, counts = pair_of(10**6)
    codes = torch.tensor([[float(code >> place & 1) for place in range(BITS)] for code in range(2**BITS)])
    with torch.no_grad():
        joint = log_joint(model, x, {"z": codes[:, None].expand(-1, 4, -1)})
    np.testing.assert_allclose(joint.T.numpy(), joint_by_fsum(model, counts), atol=1e-6, rtol=0)


def test_a_hidden_layer_in_float32_is_not_called_exact_for_a_million_words():
    short, long = (measure(*pair_of(length, hidden=1)[:3]) for length in (1000, 10**6))
    assert short.evidence.bound == "exact"
    assert long.evidence.bound == "approximate"
    assert "float32 rounds log-densities of this size by up to 0.48 nats" in " ".join(long.warnings)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_a_sum_of_many_numbers_is_off_by_less_than_is_said(kind):
    centres = torch.linspace(-1, 1, 100_000, dtype=torch.float64)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(torch.tensor(0.5, dtype=kind)))
            pyro.sample("x", dist.Normal(z[..., None] * centres.to(kind), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(torch.full((), 0.5, dtype=kind)))

    x = torch.randn(2, 100_000, dtype=kind)
    found = measure(model, guide, x)
    numbers, at = x.double().numpy(), centres.to(kind).double().numpy()
    terms = [[-((row - z * at) ** 2) / 2 - math.log(2 * math.pi) / 2 for z in (0, 1)] for row in numbers]
    truth = [np.logaddexp(*(math.fsum(part) for part in parts)) + math.log(0.5) for parts in terms]
    error = np.abs(found.evidence.pointwise.numpy() - truth).max()
    assert found.evidence.bound == ("approximate" if kind == torch.float32 else "exact")
    assert error < (4 * np.finfo(np.float32).eps * np.abs(truth).max() if kind == torch.float32 else 1e-6)


@pytest.mark.parametrize("place", [0, 1, 200])
def test_a_long_document_among_short_ones_is_no_other_document_for_them(place):
    model, guide, x, counts = pair_of(20)
    counts = np.resize(counts, (300, WORDS))
    counts[place] *= LONG
    x = PackedCounts.from_dense(torch.from_numpy(counts).float())
    check_deterministic(model, x)
    assert not dependence_faults(guide, x, "guide")
    short = measure(model, guide, x[2:3])
    np.testing.assert_allclose(measure(model, guide, x).elbo.pointwise[2], short.elbo.pointwise[0], rtol=1e-5)
