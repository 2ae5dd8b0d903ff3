"""Advice after a number that is not finite fits the data and the step."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from ppl_vae.training.remedies import remedy
from tests.support.cli import flat, invoke
from tests.support.pair_files import METHODS


@pytest.mark.parametrize(
    ("data", "begun", "words"),
    [
        (torch.randn(5, 2), True, "lower the learning rate or clip the gradient"),
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
    assert invoke("train", "mine.py", *options, "41", "--out", "r2").exit_code == 0
