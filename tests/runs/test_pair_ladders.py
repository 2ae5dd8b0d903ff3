"""Ladders of guides under the model of a class with methods ``model`` and ``guide``, of a file and of a session."""

import json
import math
from pathlib import Path

import numpy as np
import pyro
import pytest
import torch
from scipy.stats import multivariate_normal

import ppl_vae as pv
from tests.support.cli import succeed
from tests.support.pair_files import METHODS


@pytest.fixture
def x(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draws = np.random.default_rng(0)
    x = draws.normal(size=(120, 2)) @ [[2.0, -1.0, 0.5], [0.0, 1.0, 1.0]] + 0.5 * draws.normal(size=(120, 3))
    np.save("x.npy", x.astype(np.float32))
    Path("methods.py").write_text(METHODS)
    with pyro.get_param_store().scope():  # a shipped guide built in a session registers there
        yield x.astype(np.float32)


def evidence(run, x):
    """Log-density of data under the linear Gaussian model of a run, whichever guide it was trained with."""
    state = {name: value.double().numpy() for name, value in run.model.state_dict().items()}
    covariance = state["dec.weight"] @ state["dec.weight"].T + math.exp(state["pyro_parameters.sigma"]) ** 2 * np.eye(3)
    return multivariate_normal(state["dec.bias"], covariance).logpdf(x.double().numpy())


@pytest.mark.parametrize(
    "given, rungs", [((), "methods.py,full"), (("--guide", "mean_field"), "mean_field,methods.py")]
)
def test_other_guides_are_fitted_to_the_model_of_a_file_alone(x, given, rungs):
    """Networks of the guide's half of the class are no part of the model."""
    small = ("--corpus", "x.npy", "--epochs", "1", "--evidence-draws", "2", "--out", "a")
    succeed("train", "methods.py", *given, *small)
    succeed("gap", "a", "--ladder", rungs, "--epochs", "1", "--data", "6", "--steps", "4")
    content, run = json.loads(Path("a/ladder-test.json").read_text()), pv.load_run("a")
    assert list(content["families"]) == [name.removesuffix(".py") for name in rungs.split(",")]
    assert content["evidence"]["mean"] == pytest.approx(evidence(run, run.split("test", 6)).mean(), rel=1e-5)


def test_the_guide_of_a_session_is_a_rung_as_it_is(x):
    namespace = {"__name__": "session"}
    exec(METHODS, namespace)
    vae = namespace["VAE"](3)
    run = pv.train(vae.model, vae.guide, x, out="a", epochs=3, learning_rate=0.05, evidence_draws=2)
    before = {name: value.clone() for part in (run.model, run.guide) for name, value in part.state_dict().items()}
    expected = pv.measure(run.model, run.guide, run.data["test"]).elbo.mean
    found = [run.gap(ladder=[own, "mean_field"], epochs="1", steps=4) for own in (run.guide, vae.guide, "VAE")]
    for each in found:
        assert list(each.rungs) == ["VAE", "mean_field"]
        assert each.rungs["VAE"].elbo.mean == pytest.approx(expected, abs=0.5)
        for rung, value in each.rungs.items():
            assert torch.equal(value.elbo.pointwise, found[0].rungs[rung].elbo.pointwise)
        np.testing.assert_allclose(each.evidence.pointwise.numpy(), evidence(run, run.data["test"]), rtol=1e-5)
    after = {name: value for part in (run.model, run.guide) for name, value in part.state_dict().items()}
    assert after.keys() == before.keys() and all(torch.equal(value, before[name]) for name, value in after.items())
