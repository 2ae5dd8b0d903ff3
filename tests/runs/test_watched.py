"""The progress of pv.measure and pv.split_gap: shown where somebody watches, counted to its total."""

import inspect

import pyro
import pyro.distributions as dist
import pytest
import torch

import ppl_vae as pv
from ppl_vae.runs import watched
from ppl_vae.runs.open import Run

X = torch.linspace(-1, 1, 5)


def model(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Bernoulli(0.3 * torch.ones(2)).to_event(1))
        pyro.sample("x", dist.Normal(z.sum(-1), 1.0), obs=x)


def guide(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Bernoulli(0.5 * torch.ones(2)).to_event(1))


class Recorder(watched.Reporter):
    made: list["Recorder"] = []

    def __init__(self, *args):
        super().__init__(*args)
        self.made.append(self)


@pytest.mark.parametrize(
    "name, options", [("measure", {}), ("measure", {"method": "annealing", "temperatures": 4}), ("split_gap", {})]
)
def test_progress_is_counted_to_its_total_on_a_terminal_alone(name, options, monkeypatch, capsys):
    monkeypatch.setattr(watched, "Reporter", Recorder)
    monkeypatch.setattr(Recorder, "made", [])
    measurement = getattr(pv, name)
    unwatched = measurement(model, guide, X, **options)
    assert not Recorder.made and capsys.readouterr().err == ""
    monkeypatch.setattr(watched, "is_terminal", lambda stream: True)
    seen = measurement(model, guide, X, **options)
    (reporter,) = Recorder.made
    assert reporter.done == reporter.total > 0
    assert type(seen) is type(unwatched)
    measurement(model, guide, X, progress=lambda cells: None, **options)
    with pytest.raises(ValueError, match="unknown method|no 'nosuch'|nosuch"):
        measurement(model, guide, X, method="nosuch")
    assert len(Recorder.made) <= 2


def test_python_and_command_take_as_many_draws_by_default():
    defaults = [inspect.signature(each).parameters["draws"].default for each in (pv.measure, Run.evidence)]
    assert defaults == [None, None]
    assert pv.measure(model, guide, X, method="annealing", temperatures=4).evidence.draws == 16
    assert pv.measure(model, guide, X, method="importance").evidence.draws == 1000
