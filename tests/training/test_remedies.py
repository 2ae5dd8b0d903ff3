"""Advice after a number that is not finite fits the data and the step."""

import re
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from ppl_vae.objectives.base import blame
from ppl_vae.programs.handlers import run
from ppl_vae.training.remedies import remedy
from tests.support.cli import flat, invoke
from tests.support.pair_files import METHODS


@pytest.mark.parametrize(
    ("data", "begun", "words"),
    [
        (
            torch.randn(5, 2),
            True,
            r"lower the learning rate \(--learning-rate, .*\) or clip the gradient \(--clip, clip=",
        ),
        (torch.randn(5, 2), False, "no step has been taken, so that the learning rate is not at fault"),
        (torch.full((5, 2), 3.0), True, "all numbers of the training data are 3, .*give data that vary, or fix the sc"),
        (torch.tensor([[-2.0, 1e18]]), True, r"lie between -2 and 1e\+18; divide them by their scale"),
        (torch.tensor([[-2e7, 1.0]]), False, r"lie between -2e\+07 and 1; divide them by their scale"),
        (torch.tensor([[0, 1], [1, 1]]), True, "lower the learning rate"),
    ],
)
def test_advice_fits_the_data(data, begun, words):
    assert re.search(words, remedy(data, begun=begun))


@pytest.mark.parametrize(("scale", "words"), [(1e18, "divide them by their scale"), (0.0, "give data that vary")])
def test_data_without_a_scale_are_named_and_no_rate_is_advised(tmp_path, monkeypatch, scale, words):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", (scale * np.random.default_rng(0).normal(size=(40, 3))).astype(np.float32))
    Path("mine.py").write_text(METHODS.replace("sigma = pyro", "sigma = 1e-30 * pyro"))
    shown = invoke("train", "mine.py", "--corpus", "x.npy", "--epochs", "2", "--out", "r")
    assert shown.exit_code == 1
    assert words in flat(shown.stderr) and "learning rate" not in shown.stderr


def test_a_batch_of_one_that_a_layer_does_not_take_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.random.default_rng(0).normal(size=(51, 3)).astype(np.float32))
    norm = "torch.nn.Sequential(torch.nn.Linear(input_dim, z_dim), torch.nn.BatchNorm1d(z_dim))"
    Path("mine.py").write_text(METHODS.replace("torch.nn.Linear(input_dim, z_dim)", norm))
    options = ("--corpus", "x.npy", "--epochs", "1", "--batch-size")
    shown = invoke("train", "mine.py", *options, "40", "--out", "r")
    assert "the last batch of the epoch holds one datum; take --batch-size 41" in flat(shown.stderr), shown.stderr
    assert "use a module" not in flat(shown.stderr)
    assert invoke("train", "mine.py", *options, "41", "--out", "r2").exit_code == 0


@pytest.mark.parametrize(
    ("fn", "numbers", "words"),
    [
        (dist.Gamma(2.0, 1.0), [3.0, 0.0], "between 0 and 3: a Gamma from 0 has no finite density at one of them"),
        (dist.Beta(0.5, 2.0), [0.25, 0.0], "between 0 and 0.25: a Beta from 0 to 1 has no finite density"),
        (dist.Binomial(10, 0.5), [11.0, 4.0], "between 4 and 11: a Binomial from 0 to 10 has no finite density"),
        (dist.Normal(0.0, 1.0), [float("nan"), 1.0], "datum 2 of the batch, which is missing or not finite"),
    ],
)
def test_a_number_without_density_is_named_with_its_distribution(fn, numbers, words):
    x = torch.tensor([[0.5, 0.5], [0.5, 0.25], numbers])
    x = x.round() if isinstance(fn, dist.Binomial) else x

    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", fn.expand([2]).to_event(1), obs=x)

    with pyro.validation_enabled(False):
        message = blame(run(model, (x,), {}, draws=1, training=True))
    assert "site 'x' is not finite (first at datum 2 of the batch" in message and words in message
