"""Runs of models of several arguments, from the command line."""

from pathlib import Path

import numpy as np

import ppl_vae as pv
from tests.support.cli import invoke, succeed

MODEL = '''
import pyro, pyro.distributions as dist, torch
from pyro.nn import PyroModule


class Conditional(PyroModule):
    """Points given a class.

    Arguments:
        shape: Shape of a datum.
        y_classes: Number of classes.
    """

    def __init__(self, shape: tuple[int, ...], y_classes: int):
        super().__init__()
        self.classes = y_classes
        self.decoder = torch.nn.Linear(1 + y_classes, shape[0])

    def forward(self, x, y):
        label = torch.nn.functional.one_hot(y, self.classes).to(x.dtype)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(1), 1.0).to_event(1))
            both = torch.cat([z, label.expand(*z.shape[:-1], -1)], -1)
            pyro.sample("x", dist.Normal(self.decoder(both), 0.5).to_event(1), obs=x)
'''


def test_a_conditional_model_is_trained_and_measured(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("cvae.py").write_text(MODEL)
    random = np.random.default_rng(0)
    y = random.integers(3, size=120)
    x = (random.normal(size=(120, 4)) + 3 * np.eye(3, 4)[y]).astype(np.float32)
    np.savez("data.npz", x=x, y=y, other=y)
    small = ["--epochs", "2", "--guide-width", "8"]
    told = succeed("train", "cvae.py", "--corpus", "data.npz", "--out", "run", *small).output
    assert "other of" in told and "not read: the model does not take" in " ".join(told.split())
    for command in (["gap", "run", "--steps", "4"], ["evidence", "run"], ["export", "run", "--draws", "3"]):
        succeed(*command)
    run = pv.load_run("run")
    from_fields = pv.measure(run.model, run.guide, *run.data["test"].kwargs.values())
    from_batch = pv.measure(run.model, run.guide, run.data["test"])
    assert from_fields.evidence.mean == from_batch.evidence.mean == run.summary.splits["test"].measurement.evidence.mean


def test_a_model_that_needs_another_field_says_so(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("cvae.py").write_text(MODEL.replace("y_classes: int", "y_classes: int = 3"))
    np.savez("data.npz", x=np.zeros((30, 4)), z=np.zeros(30))
    result = invoke("train", "cvae.py", "--corpus", "data.npz")
    assert result.exit_code != 0 and "takes x, y, but the data are one field" in " ".join(result.output.split())
