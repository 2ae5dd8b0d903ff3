"""The digests of a user's own files besides model and guide: kept with a run, and told where they have changed."""

from pathlib import Path

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.nn import PyroModule

import ppl_vae as pv
from tests.support.added_method import ADDED_METHOD
from tests.support.cli import SMALL, flat, invoke, json_of, succeed, summary

ESTIMATOR = '''
from ppl_vae.estimators.loo import ReinforceLOO


class Mine(ReinforceLOO):
    """Leave-one-out under another name."""
'''


@pytest.fixture
def files(folder):
    """An estimator and an evidence method of the working folder."""
    for kind, text in (("estimators", ESTIMATOR), ("evidence", ADDED_METHOD)):
        Path(kind).mkdir()
        Path(kind, "mine.py").write_text(text)
    return folder


def test_a_run_keeps_the_digests_of_ones_own_files_and_tells_when_they_change(files, interrupt):
    interrupt(12)
    assert invoke("train", *SMALL, "--estimator", "mine", "--epochs", "3", "--out", "r").exit_code == 130
    assert set(pv.load_run("r").config.digests) == {"estimator mine", "evidence method mine"}
    Path("estimators/mine.py").write_text(f"{ESTIMATOR}\n# changed\n")
    refused = flat(invoke("train", "--resume", "r").output)
    assert "estimator mine has changed since the run began, or is gone; restore it, or start a new run" in refused
    Path("estimators/mine.py").write_text(ESTIMATOR)
    succeed("train", "--resume", "r")
    assert "has changed" not in succeed("gap", "r").output
    Path("evidence/mine.py").unlink()
    assert "note: evidence method mine has changed since the run began, or is gone" in succeed("gap", "r").output


def test_what_another_version_of_a_method_measured_is_not_compared(folder):
    for name in "ab":
        succeed("train", *SMALL, "--epochs", "1", "--evidence-draws", "4", "--out", name)
    trained = summary("a")["splits"]["test"]["evidence"]["mean"]
    Path("evidence").mkdir()
    file = Path("evidence/mine.py")
    file.write_text(ADDED_METHOD.replace("logsumexp(0)", "logsumexp(0) + 1"))  # too high
    wrong = json_of("evidence", "a", "--method", "mine")["evidence"]["mean"]
    assert wrong == pytest.approx(trained + 1, abs=1e-4)
    assert json_of("compare", "a", "b")["A"]["evidence"]["mean"] == wrong
    file.write_text(ADDED_METHOD)
    assert json_of("compare", "a", "b")["A"]["evidence"]["mean"] == pytest.approx(trained, abs=1e-4)


def changed():
    """Another class of the same name, with another prior."""

    class Line(PyroModule):
        def __init__(self, shape=(2,)):
            super().__init__()
            self.out = torch.nn.Linear(3, shape[0])

        def forward(self, x):
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Bernoulli(x.new_full((3,), 0.3)).to_event(1))
                pyro.sample("x", dist.Normal(self.out(z), 0.5).to_event(1), obs=x)

    return Line


class Line(PyroModule):
    """Points around the corners of a box."""

    def __init__(self, shape=(2,)):
        super().__init__()
        self.out = torch.nn.Linear(3, shape[0])

    def forward(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(x.new_full((3,), 0.5)).to_event(1))
            pyro.sample("x", dist.Normal(self.out(z), 0.5).to_event(1), obs=x)


def test_runs_of_objects_are_compared_by_what_they_are_and_their_gaps_are_split(folder, capsys):
    x = torch.randn(80, 2)
    settings = {"epochs": 2, "guide_width": 8}
    first = pv.train(Line, "mean_field", x, out="first", **settings)
    best = pv.train(Line, "mean_field", x, out="best", objective="likelihood", **settings)
    other = pv.train(changed(), "mean_field", x, out="other", **settings)
    shown = pv.compare(first, best, other)
    assert shown.optimum(shown.runs[0]).name == "best"
    assert shown.optimum(shown.runs[2]) is None  # of the same name, and of another source
    for run in shown.runs:
        whole = run.gap.family_gap.mean + run.gap.amortisation_gap.mean
        assert whole == pytest.approx(run.measurement.gap.mean, abs=1e-4)
    capsys.readouterr()
    pv.load_run("first", Line, "mean_field", x)
    assert "source of Line" not in capsys.readouterr().err
    pv.load_run("first", changed(), "mean_field", x)
    assert "note: the source of Line has changed since the run began" in capsys.readouterr().err
