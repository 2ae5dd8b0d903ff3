"""Steps on the CPU that are recorded and replayed."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from guides.mean_field import MeanField
from models.gmm import Gmm
from models.ppca import Ppca
from ppl_vae.objectives.elbo import DiscreteELBO
from ppl_vae.objectives.importance_weighted import ImportanceWeightedELBO
from ppl_vae.objectives.rate_cost import RateCost
from ppl_vae.training.recorded_steps import as_recorded, recorded
from ppl_vae.training.run_folder import RunFolder
from ppl_vae.training.settings import Settings
from ppl_vae.training.trainer import Trainer

DATA = 30


class Bits(nn.Module):
    """A pair of few bits, whose guide may do what a replay cannot."""

    def __init__(self, does=None):
        super().__init__()
        self.decoder, self.encoder = nn.Linear(3, 2), nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
        self.does, self.steps = does, 0

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.5 * torch.ones(3)).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), torch.tensor(0.5)).to_event(1), obs=x)

    def guide(self, x):
        self.steps += self.training
        logits = self.encoder(x)
        if self.does == "read" and logits.sum() > 1e6:
            logits = -logits
        if self.does == "count":
            logits = logits / self.steps
        if self.does == "change" and self.steps > 8:
            logits = 2 * logits
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(logits=logits).to_event(1))


class Program(nn.Module):
    """One of the two programs of a pair."""

    def __init__(self, pair, name):
        super().__init__()
        self.pair, self.name = pair, name

    def forward(self, x):
        getattr(self.pair, self.name)(x)


def bits(does=None):
    pair = Bits(does)
    return Program(pair, "model"), Program(pair, "guide")


def normals():
    model = Ppca(2, 2)
    return model, MeanField(model, torch.randn(DATA, 2), width=4)


def mixture():
    model = Gmm(2)
    return model, MeanField(model, torch.randn(DATA, 2), width=4)


def trainer_of(folder, pair, objective, replay, epochs=3):
    torch.manual_seed(0)
    x = torch.randn(DATA, 2)
    model, guide = pair()
    settings = Settings([(epochs, objective.draws)], batch_size=10, learning_rate=0.05, replay=replay)
    trainer = Trainer(model, guide, objective, RunFolder(folder / str(replay)), settings)
    torch.manual_seed(1)
    return trainer, x


def rows_of(trainer):
    timed = ("seconds", "data_per_second")
    return [{k: v for k, v in row.items() if k not in timed} for row in trainer.rows]


def trained(folder, pair, objective, replay, epochs=3):
    trainer, x = trainer_of(folder, pair, objective, replay, epochs)
    trainer.fit(x, x[:5])
    return rows_of(trainer), trainer


@pytest.mark.parametrize(
    ("pair", "objective"),
    [
        (bits, lambda: DiscreteELBO("enumerate")),
        (bits, lambda: DiscreteELBO("disarm", draws=2)),
        (bits, lambda: DiscreteELBO("loo", draws=2)),
        (bits, lambda: ImportanceWeightedELBO(draws=3, most_bits=0)),
        (normals, DiscreteELBO),
        (mixture, lambda: DiscreteELBO("arm")),
    ],
)
def test_replayed_training_is_the_same_training(tmp_path, capsys, pair, objective):
    plain, _ = trained(tmp_path, pair, objective(), replay=False)
    replayed, trainer = trained(tmp_path, pair, objective(), replay=True)
    assert [row.keys() for row in replayed] == [row.keys() for row in plain]
    assert replayed == [pytest.approx(row, rel=1e-5, abs=1e-6) for row in plain]
    (shape,) = trainer._steps._graphed.shapes.values()
    told = capsys.readouterr().err
    assert shape.checked and "note" not in told
    assert told.count("steps of 10 data are recorded and replayed: the first replay gave the numbers of the step") == 1


@pytest.mark.parametrize(
    ("does", "reason"),
    [
        ("read", "the step reads a value, or has sizes that depend on values"),
        ("count", "a replay did not give what the work itself gives"),
        ("change", "a replay did not give what the work itself gives"),
    ],
)
def test_programs_that_decide_in_python_are_run_as_they_are_written(tmp_path, capsys, does, reason):
    _, trainer = trained(tmp_path, lambda: bits(does), DiscreteELBO("loo", draws=2), replay=True, epochs=9)
    assert reason in trainer._steps._graphed.given_up
    assert capsys.readouterr().err.count("run as they are written, since they cannot be replayed") == 1
    if does == "read":  # the others have counted the runs of the recording, or were replayed until the next comparison
        plain, _ = trained(tmp_path, lambda: bits(does), DiscreteELBO("loo", draws=2), replay=False, epochs=9)
        assert trainer.rows[-1]["train_elbo"] == pytest.approx(plain[-1]["train_elbo"], rel=1e-5)


def test_a_training_by_replays_resumes_as_if_never_interrupted(tmp_path):
    whole, _ = trained(tmp_path / "whole", mixture, DiscreteELBO("arm"), replay=True)
    trainer, x = trainer_of(tmp_path / "parts", mixture, DiscreteELBO("arm"), replay=True)
    trainer.fit(x, x[:5], epochs=2)
    resumed, _ = trainer_of(tmp_path / "parts", mixture, DiscreteELBO("arm"), replay=True)
    assert resumed.resume() and resumed.epoch == 2
    resumed.fit(x, x[:5])
    assert rows_of(resumed) == whole


def test_a_cost_that_changes_is_not_replayed_and_that_is_said(tmp_path, capsys):
    objective = DiscreteELBO("enumerate", beta=RateCost(anneal="linear:2"))
    _, trainer = trained(tmp_path, bits, objective, replay=True, epochs=1)
    assert trainer._steps._graphed is None and "--replay (replay) takes steps" in capsys.readouterr().err


def test_a_replay_computes_what_was_recorded_from_the_numbers_of_now():
    x, weight = torch.arange(3.0), torch.ones(3, requires_grad=True)

    def work():
        weight.grad = None
        one = torch.tensor(1.0)
        one += 1  # a number of this step, not of all
        unused = (x * 7).exp()
        noisy = x + torch.rand(3).sort()[0] * one
        ((noisy * weight).prod() + 0 * unused[0].detach()).backward()
        return {"sum": noisy.sum()}

    values, replay = recorded([weight], work)
    held = weight.grad
    for shift in (0.0, 4.0):
        x += shift
        torch.manual_seed(7)
        replay()
        found = values["sum"].clone(), held.clone()
        torch.manual_seed(7)
        expected = as_recorded(work)()
        assert torch.equal(found[0], expected["sum"]) and torch.equal(found[1], weight.grad)


@pytest.mark.parametrize("read", [lambda x: x.item(), lambda x: x[x > 0], lambda x: x.nonzero(), lambda x: bool(x)])
def test_values_are_not_read(read):
    def work():
        read(torch.ones(1) + 1)
        return {}

    with pytest.raises(RuntimeError, match="the step reads a value, or has sizes that depend on values"):
        recorded([], work)
