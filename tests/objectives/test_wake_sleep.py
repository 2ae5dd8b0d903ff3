"""Wake-sleep: both gradients against enumeration in NumPy, its fixed point, and by the command line."""

import json
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from ppl_vae.objectives.base import NonFiniteError
from ppl_vae.objectives.wake_sleep import WakeSleep
from tests.support.cli import flat, invoke, summary
from tests.support.two_pixels import (
    GUIDE,
    MODEL,
    STATES,
    OneBit,
    TwoPixels,
    elbos,
    log_guide,
    log_joint,
    posterior,
    slope,
)
from tests.support.z_test import assert_mean


def gradients(model, guide, x, count, draws=1):
    """Independent gradients per datum for the model, ``(count, 4)``, and the guide, ``(count, 3)``, and values."""
    objective, found = WakeSleep(draws), []
    for _ in range(count):
        loss = objective.differentiable_loss(model, guide, x)
        found.append([g / len(x) for g in torch.autograd.grad(-loss, [model.theta, guide.phi])] + [-loss.detach()])
    return [torch.stack(each) for each in zip(*found, strict=True)]


@pytest.mark.usefixtures("float64")
def test_each_gradient_is_that_of_its_own_utility():
    x = torch.tensor(STATES).repeat(10, 1)
    wake, sleep, value = gradients(TwoPixels(), OneBit(), x, 150, draws=2)
    q, p = np.exp(log_guide(GUIDE)), np.exp(log_joint(MODEL))
    truth = slope(lambda theta: (q * log_joint(theta)).sum(1).mean(), MODEL)
    assert_mean(wake, torch.tensor(truth))
    assert_mean(sleep, torch.tensor(slope(lambda phi: (p * log_guide(phi)).sum(), GUIDE)))
    assert_mean(value, torch.tensor(len(x) * elbos(MODEL, GUIDE).mean()))


@pytest.mark.usefixtures("float64")
def test_the_model_of_the_data_with_its_posterior_is_a_fixed_point():
    """The guide is the posterior of any datum, so that no draw of the weight differs from the evidence."""
    model, guide = TwoPixels(), OneBit(posterior(MODEL))
    evidence = np.log(np.exp(log_joint(MODEL)).sum(1))
    counts = torch.distributions.Multinomial(4000, torch.tensor(np.exp(evidence))).sample()
    x = torch.tensor(STATES).repeat_interleave(counts.long(), 0)
    wake, sleep, value = gradients(model, guide, x, 100)
    torch.testing.assert_close(value, (counts @ torch.tensor(evidence)).expand(100))
    assert_mean(sleep, torch.zeros(3))
    # Of data drawn once: their gradient of the likelihood, which has mean zero over the data that the model draws.
    score = slope(lambda theta: counts.numpy() @ np.log(np.exp(log_joint(theta)).sum(1)) / 4000, MODEL)
    assert_mean(wake, torch.tensor(score))
    assert np.abs(score).max() < 0.05


@pytest.mark.usefixtures("float64")
def test_draws_of_the_guide_that_the_model_excludes_are_named():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1e-200))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))

    with pytest.raises(NonFiniteError, match="log-weight of a draw of the guide is not finite: datum 0 of the batch"):
        WakeSleep().loss(model, guide, torch.zeros(3))


def test_a_pair_is_trained_by_it_under_both_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    named = ("train", "gmm", "--corpus", "gaussians", "--epochs", "1", "--batch-size", "2000", "--evidence-data", "9")
    result = invoke(*named, "--objective", "symmetric", "--out", "r")
    assert result.exit_code == 0, result.output
    assert "no gradient through latents" in flat(result.output)
    assert "trained to a symmetric equilibrium" in flat(result.output)
    rows = [json.loads(line) for line in Path("r/train-metrics.jsonl").read_text().splitlines()]
    assert rows[0]["train_elbo"] == pytest.approx(-rows[0]["train_rate"] - rows[0]["train_distortion"], rel=1e-5)
    assert (summary("r")["objective"], summary("r")["chosen_by"]) == ("symmetric", "elbo")
    for option, words in (("--beta", "wake-sleep has none"), ("--dreams", "wake-sleep is all dreams")):
        assert words in flat(invoke(*named, "--objective", "wake_sleep", option, "0.5").output)
