"""Models that a user wrote, outside any checkout."""

import json
from pathlib import Path

import pytest

from tests.support.cli import flat, invoke, json_of, metrics, succeed

TWO_CODES = '''
import pyro, pyro.distributions as dist, torch
from pyro.nn import PyroModule
from torch import nn
from ppl_vae.data.counts import PackedCounts
from ppl_vae.distributions import PackedMultinomial

class Mine(PyroModule):
    """Two codes at once."""
    def __init__(self, vocabulary: int, codes: int = 2):
        super().__init__()
        self.codes, self.words = codes, nn.Linear(2 * codes, vocabulary)

    def forward(self, x: PackedCounts):
        with pyro.plate("data", len(x)):
            prior = self.words.bias.new_zeros(self.codes)
            a = pyro.sample("a", dist.Bernoulli(logits=prior).to_event(1))
            b = pyro.sample("b", dist.Bernoulli(logits=prior).to_event(1))
            f = {"hidden": torch.cat([a, b], -1), "weight": self.words.weight, "bias": self.words.bias}
            pyro.sample("x", PackedMultinomial(x.lengths, **f), obs=x)
'''
SCALED = """
import pyro, pyro.distributions as dist, torch
from pyro.nn import PyroModule, PyroParam
from ppl_vae.data.counts import PackedCounts
from ppl_vae.distributions import PackedMultinomial
print("hello from a user's file")

class Mine(PyroModule):
    def __init__(self, vocabulary: int, codes: int = 2):
        super().__init__()
        self.words = torch.nn.Linear(codes, vocabulary)
        self.scale = PyroParam(torch.tensor(FACTOR))

    def forward(self, x: PackedCounts):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(logits=self.words.bias.new_zeros(self.words.in_features)).to_event(1))
            f = {"hidden": self.scale * z, "weight": self.words.weight, "bias": self.words.bias}
            pyro.sample("x", PackedMultinomial(x.lengths, **f), obs=x)
"""
FAULTY = """
import pyro
from pyro.nn import PyroModule
from ppl_vae.data.counts import PackedCounts

class Mine(PyroModule):
    def forward(self, x: PackedCounts):
        raise KeyError('oh')
"""


@pytest.fixture
def scaled(folder: Path) -> Path:
    """A model file with a parameter of Pyro, which prints as it is read."""
    Path("mine.py").write_text(SCALED.replace("FACTOR", "3.0"))
    return folder


def test_a_users_own_model_trains_outside_any_checkout(folder):
    Path("mine.py").write_text(TWO_CODES)
    options = ("--guide", "mean_field", "--codes", "3", "--corpus", "topics.npz", "--epochs", "2")
    content = json_of("train", "mine.py", *options)
    assert content["splits"]["test"]["evidence"]["method"] == "enumeration of 64 states"
    assert "codes=3" in content["pair"]


def test_errors_in_a_users_model_name_its_line(folder):
    Path("mine.py").write_text(FAULTY)
    done = invoke("train", "mine.py", "--corpus", "topics.npz", "--epochs", "1")
    assert done.exit_code == 1
    assert "KeyError: 'oh'" in done.stderr
    assert "mine.py, line 8" in done.stderr


def test_what_a_model_prints_does_not_mix_with_json_and_a_changed_model_resumes_with_the_copy_in_the_run(scaled):
    options = ("train", "mine.py", "--corpus", "topics.npz", "--epochs", "1", "--out", "r")
    first = json_of(*options)
    assert first["epochs"] == 1
    Path("mine.py").write_text(SCALED.replace("FACTOR", "4.0"))
    done = invoke("train", "--resume", "r", "--json")
    assert json.loads(done.stdout) == first
    assert "mine.py has changed since the run began: the copy in r is taken" in flat(done.stderr)


def test_parameters_of_pyro_start_afresh_on_retraining(scaled):
    """PyroParam lives in the global store unless set otherwise; a second training must not start from the first."""
    options = ("train", "mine.py", "--corpus", "topics.npz", "--patience", "0", "--batch-size", "400")
    succeed(*options, "--epochs", "30", "--learning-rate", "0.1", "--retrain", "--out", "a")
    first, again = ([row["train_elbo"] for row in metrics("a", stage)] for stage in ("train", "retrain"))
    assert abs(again[0] - first[0]) < 0.1 * abs(first[0] - first[-1])


def test_list_survives_files_that_are_no_models(folder):
    Path("models").mkdir()
    Path("models/helpers.py").write_text("x = 1")
    Path("models/mine.py").write_text(SCALED.replace("FACTOR", "3.0").replace("codes: int = 2", "codes: int"))
    content = json_of("list")
    broken = {row["name"]: row["summary"] for row in content["broken"]}
    assert "it defines none" in broken["models/helpers.py"]
    assert any("missing a required argument" in reason for reason in broken.values())
    assert "text" in {row["name"] for row in content["models"]}
