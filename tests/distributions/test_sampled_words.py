"""Softmaxes over a sample of the words: the sum is right on average, and so is the gradient of a pair."""

import numpy as np
import pytest
import torch
from ppl_vae.guides.mean_field import MeanField
from ppl_vae.models.text import Text

from ppl_vae.distributions import sampled_words
from ppl_vae.distributions.sampled_words import few_words, sampling_words
from ppl_vae.objectives.choice import make_estimator
from ppl_vae.objectives.elbo import DiscreteELBO
from tests.support.small_pairs import documents
from tests.support.z_test import assert_mean

pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(sampled_words, "LIKELY", 2)
    monkeypatch.setattr(sampled_words, "DRAWN", 3)


def test_the_sum_over_words_is_right_on_average_over_all_samples(few, monkeypatch):
    hidden, weight, bias = torch.randn(5, 4), torch.randn(14, 4), torch.randn(14)
    truth = np.exp(hidden.numpy() @ weight.numpy().T + bias.numpy()).sum(1)
    sums = []
    for start in range(12):
        monkeypatch.setattr(torch, "randint", lambda *args, start=start, **kwargs: torch.tensor([start]))
        with sampling_words():
            rows, offsets = few_words(hidden, weight, bias)
        assert rows.shape == (5, 4)
        sums.append(np.exp(hidden.numpy() @ rows.numpy().T + offsets.numpy()).sum(1))
    np.testing.assert_allclose(np.mean(sums, 0), truth)
    assert np.std(sums, 0).min() > 1e-3


def test_without_leave_or_with_few_words_it_is_the_whole_layer(few):
    hidden, weight, bias = torch.randn(5, 4), torch.randn(14, 4), torch.randn(14)
    assert few_words(hidden, weight, bias)[0] is weight
    with sampling_words():
        assert few_words(hidden, weight[:9], bias[:9])[0].shape == (9, 4)
        assert few_words(hidden, weight, bias)[0].shape == (5, 4)


def test_a_control_variate_from_some_words_leaves_the_gradient_unbiased(few):
    x = documents(9, 14)
    model = Text(14, bits=3, hidden=1, width=8)
    model.words.weight.data *= 4
    guide = MeanField(model, x, width=8)
    parameters = [*model.parameters(), *guide.parameters()]

    def gradient(objective):
        grads = torch.autograd.grad(objective.differentiable_loss(model, guide, x), parameters)
        return torch.cat([g.flatten() for g in grads])

    expected = gradient(DiscreteELBO("enumerate"))
    objective = DiscreteELBO(make_estimator("disarm", True))
    assert_mean(torch.stack([gradient(objective) for _ in range(150)]), expected)
