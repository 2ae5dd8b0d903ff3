"""Models without latents: their log-likelihoods are those of SciPy's distributions, and only of what is observed."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from ppl_vae.models.text import Text
from scipy import stats

from ppl_vae.data.counts import PackedCounts
from ppl_vae.diagnostics.baseline import baseline


def observing(make):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", make(z, x), obs=x)

    return model


NORMAL = observing(lambda z, x: dist.Normal(z[..., None].expand(*z.shape, 3), 1.0).to_event(1))
COUNTS = observing(lambda z, x: dist.Poisson(z.exp()[..., None].expand(*z.shape, 3)).to_event(1))
BITS = observing(lambda z, x: dist.Bernoulli(logits=z[..., None].expand(*z.shape, 3)).to_event(1))


def test_documents_are_compared_with_a_smoothed_unigram_model():
    random = np.random.default_rng(0)
    train, x = random.poisson(1.0, (20, 5)) + np.eye(20, 5, dtype=int), random.poisson(2.0, (4, 5)) + 1
    name, values = baseline(Text(vocabulary=5, bits=2), *map(PackedCounts.from_dense, (train, x)))
    share = (train.sum(0) + 0.5) / (train.sum() + 2.5)
    assert name == "a unigram model"
    np.testing.assert_allclose(values, [stats.multinomial.logpmf(row, row.sum(), share) for row in x], rtol=1e-6)


def test_numbers_are_compared_with_independent_normals():
    random = np.random.default_rng(0)
    train, x = random.normal(2, [1, 5, 0.1], (50, 3)), random.normal(2, [1, 5, 0.1], (6, 3))
    name, values = baseline(NORMAL, *(torch.tensor(each, dtype=torch.float32) for each in (train, x)))
    assert name == "independent normal numbers"
    np.testing.assert_allclose(values, stats.norm.logpdf(x, train.mean(0), train.std(0)).sum(1), rtol=1e-4)
    train[:, 1] = x[:, 1] = 3
    _, values = baseline(NORMAL, *(torch.tensor(each, dtype=torch.float32) for each in (train, x)))
    one = np.sqrt(train.var(0).mean())
    np.testing.assert_allclose(values, stats.norm.logpdf(x, train.mean(0), one).sum(1), rtol=1e-4)


def test_zeros_and_ones_are_compared_with_independent_bits():
    train, x = (np.random.default_rng(seed).integers(0, 2, (size, 3)) for seed, size in ((0, 30), (1, 5)))
    name, values = baseline(BITS, *(torch.tensor(each, dtype=torch.float32) for each in (train, x)))
    share = (train.sum(0) + 0.5) / 31
    assert name == "independent bits"
    np.testing.assert_allclose(values, stats.bernoulli.logpmf(x, share).sum(1), rtol=1e-5)


@pytest.mark.parametrize(
    ("model", "x"),
    [
        (lambda x: observing(lambda z, y: dist.Normal(z, 1.0))(x[:, 0]), torch.rand(5, 3)),
        (lambda x: NORMAL(2 * x), torch.rand(5, 3)),
        (NORMAL, torch.tensor([[0.0, 1.0, torch.nan]] * 3)),
        (COUNTS, torch.full((4, 3), 2.0)),
    ],
    ids=["a part", "a function", "missing", "counts"],
)
def test_what_has_no_baseline_is_not_compared(model, x):
    assert baseline(model, x, x) is None
