"""The main job on real documents."""

import pytest
import torch
from ppl_vae.guides.linear_counts import LinearCounts
from ppl_vae.models.text import Text

from ppl_vae.data import load_corpus
from ppl_vae.evidence.measure import measure
from ppl_vae.objectives.elbo import DiscreteELBO
from ppl_vae.programs.loading import find
from tests.support.repeated import measured
from tests.support.z_test import assert_mean


@pytest.mark.usefixtures("newsgroups_data")
def test_a_short_training_beats_the_unigram_model_and_its_gap_is_exact():
    corpus = load_corpus("20news", vocabulary=1000)
    x, test = corpus.train.values, corpus.test.values
    model = Text(**find("models", "text").facts(x), bits=8)
    guide = LinearCounts(model, x[:2])
    before = measure(model, guide, test).elbo.mean
    loss = DiscreteELBO()(model, guide)
    optimizer = torch.optim.Adam(loss.parameters(), lr=3e-3)
    for epoch in range(2):
        for part in torch.randperm(len(x), generator=torch.Generator().manual_seed(epoch)).split(128):
            optimizer.zero_grad()
            (loss(x[part]) / len(part)).backward()
            optimizer.step()
    exact = measure(model, guide, test)
    assert exact.elbo.mean > before + 10
    precise = measure(model.double(), guide.double(), test)
    assert precise.gap.pointwise.min() > -1e-9
    assert abs(precise.evidence.mean - exact.evidence.mean) < 1e-3
    assert abs(precise.gap.mean - exact.gap.mean) < 1e-3
    model.float(), guide.float()
    some = torch.arange(0, len(test), 150)
    runs = measured(20, model, guide, test[some], method="importance", draws=50)
    sampled = torch.stack([run.elbo.pointwise for run in runs])
    assert_mean(sampled.mean(1, keepdim=True), exact.elbo.pointwise[some].mean()[None])
