"""What a guide that reads word frequencies cannot know: the length of a document."""

import numpy as np
import pytest
import torch
from ppl_vae.guides.deep_frequencies import DeepFrequencies
from ppl_vae.guides.linear_counts import LinearCounts
from ppl_vae.guides.linear_frequencies import LinearFrequencies
from ppl_vae.models.text import Text
from ppl_vae.models.text_rbm import TextRbm
from scipy.special import expit

from ppl_vae.data.counts import PackedCounts
from ppl_vae.diagnostics.tightness.tightness import tightness

pytestmark = pytest.mark.usefixtures("float64")


def documents_of_several_lengths():
    generator = np.random.default_rng(0)
    return generator.multinomial(generator.integers(3, 60, 40), np.full(12, 1 / 12))


def tight_pair():
    torch.manual_seed(0)
    model = TextRbm(12, bits=3)
    with torch.no_grad():
        model.words.weight.normal_(std=0.3)
        model.code_bias.normal_()
    return model


def trained(guide):
    """The guide with parameters that depend on the data."""
    with torch.no_grad():
        for parameter in guide.parameters():
            parameter.normal_(std=0.3)
    return guide


def test_the_tight_text_pair_is_tight_for_documents_of_all_lengths():
    x, model = PackedCounts.from_dense(torch.tensor(documents_of_several_lengths())), tight_pair()
    found = tightness(model, trained(LinearCounts(model, x)), x)
    assert found.status == "tight"
    assert found.unread is None
    for guide in found.guides.values():  # natural parameters W'x + b, with x the counts
        constant = guide.weights["x"] - model.words.weight
        torch.testing.assert_close(constant, torch.zeros_like(constant), atol=1e-8, rtol=0)
        torch.testing.assert_close(guide.bias, model.code_bias, atol=1e-8, rtol=0)


@pytest.mark.parametrize("guide", [LinearFrequencies, DeepFrequencies])
def test_frequencies_lose_what_a_document_and_its_double_do(guide):
    counts, model = documents_of_several_lengths(), tight_pair()
    x = PackedCounts.from_dense(torch.tensor(counts))
    found = tightness(model, trained(guide(model, x)), x)
    weight, bias = model.words.weight.detach().numpy(), model.code_bias.detach().numpy()
    one, two = expit(counts @ weight + bias), expit(2 * counts @ weight + bias)
    lost = -np.log(np.sqrt(one * two) + np.sqrt((1 - one) * (1 - two))).sum(-1)
    assert found.status == "not read"
    np.testing.assert_allclose(found.unread.pointwise.numpy(), lost, atol=1e-10)
    assert f"{lost.mean():.3g} nats on average over the two" in found.verdict


def test_a_guide_that_has_learned_nothing_is_not_judged_and_outside_stays_outside():
    counts = documents_of_several_lengths()
    x, model = PackedCounts.from_dense(torch.tensor(counts)), tight_pair()
    constant = LinearFrequencies(model, x)
    with torch.no_grad():
        for parameter in constant.parameters():
            parameter.zero_()
    assert tightness(model, constant, x).status == "tight"
    torch.manual_seed(0)
    text = Text(12, bits=3)
    with torch.no_grad():
        for parameter in text.parameters():
            parameter.normal_(std=0.5)
    found = tightness(text, trained(LinearFrequencies(text, x)), x)
    assert found.status == "outside"
    assert any("nor does the guide read enough" in line for line in found.remarks())
