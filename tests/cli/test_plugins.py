"""A model and a guide that are found in the working folder because their files are there."""

from pathlib import Path

import pytest

from tests.support.cli import flat, invoke, json_of

MODEL = '''
import pyro, pyro.distributions as dist, torch
from pyro.nn import PyroModule
from ppl_vae.data.counts import PackedCounts
from ppl_vae.distributions import PackedMultinomial

class OneTopic(PyroModule):
    """Few bits choose the words of a document.

    Arguments:
        vocabulary: Number of words.
        switches: Number of bits.
    """

    def __init__(self, vocabulary: int, switches: int = 2):
        super().__init__()
        self.words = torch.nn.Linear(switches, vocabulary)

    def forward(self, x: PackedCounts):
        weight, bias = self.words.weight, self.words.bias
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(logits=bias.new_zeros(weight.shape[1])).to_event(1))
            pyro.sample("x", PackedMultinomial(x.lengths, hidden=z, weight=weight, bias=bias), obs=x)
'''
GUIDE = '''
import pyro, pyro.distributions as dist, torch
from pyro.nn import PyroModule

class SameForAll(PyroModule):
    """One probability per bit, the same for all data.

    Arguments:
        model: The model.
        x: Training data.
        start: Probability of each bit at first.
    """

    def __init__(self, model, x, start: float = 0.5):
        super().__init__()
        self.logits = torch.nn.Parameter(torch.full((model.words.in_features,), start).logit())

    def forward(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(logits=self.logits).to_event(1))
'''


@pytest.fixture
def plugins(folder: Path) -> Path:
    """A working folder with a model and a guide of one's own."""
    for name, text in (("models/one_topic.py", MODEL), ("guides/same_for_all.py", GUIDE)):
        Path(name).parent.mkdir()
        Path(name).write_text(text)
    return folder


def test_both_are_listed_by_the_first_line_of_their_docstrings(plugins):
    content = json_of("list")
    assert not content.get("broken")
    for kind, name, line in (
        ("models", "one_topic", "Few bits choose the words of a document."),
        ("guides", "same_for_all", "One probability per bit, the same for all data."),
    ):
        (row,) = (row for row in content[kind] if row["name"] == name)
        assert row["summary"] == line


def test_their_arguments_are_options(plugins):
    text = flat(invoke("train", "one_topic", "--guide", "same_for_all", "--help").output)
    for part in ("--switches", "Number of bits.", "--guide-start", "Probability of each bit at first."):
        assert part in text


def test_both_train_and_are_measured(plugins):
    options = ("--switches", "3", "--guide-start", "0.4", "--corpus", "topics.npz", "--epochs", "2", "--out", "r")
    test = json_of("train", "one_topic", "--guide", "same_for_all", *options)["splits"]["test"]
    gap = json_of("gap", "r")
    assert gap["evidence"]["bound"] == "exact"
    assert gap["evidence"]["mean"] == pytest.approx(test["evidence"]["mean"], abs=1e-4)
    parts = gap["family_gap"]["mean"] + gap["amortisation_gap"]["mean"]
    assert parts == pytest.approx(test["gap"]["mean"], abs=1e-4)
    assert json_of("information", "r")["rate"]["mean"] > 0
