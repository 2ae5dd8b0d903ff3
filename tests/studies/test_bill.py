"""The bill of an experiment: seconds by exact clocks, cells that cost the same told once, and what they took beside."""

import json
from pathlib import Path

import pytest
import torch
from ppl_vae.guides.mean_field import MeanField
from ppl_vae.models.gmm import Gmm

from ppl_vae.objectives.elbo import DiscreteELBO
from ppl_vae.runs.rates import measurement_seconds, training_seconds
from ppl_vae.studies.bill import Bill, add_up
from ppl_vae.studies.rehearsal import Rehearsal
from ppl_vae.training.run_folder import RunFolder
from ppl_vae.training.settings import Settings
from ppl_vae.training.trainer import Trainer
from tests.support.cli import flat, json_of, succeed

SWEEP = """
[train]
model = "gmm"
corpus = "gaussians"
epochs = "2"
guide_width = 4
evidence_data = 20
batch_size = 3000
[grid]
beta = [0.5, 4]
[families.factorised]
[measure]
data = 20
draws = 2
codes = 20
"""


class Clock:
    """Seconds that pass when they are told to."""

    now = 0.0

    def __call__(self):
        return self.now

    def passes(self, seconds):
        self.now += seconds


@pytest.mark.parametrize("data", [3, 50, 120, 10_000])
def test_seconds_of_a_measurement_lie_on_a_line(data):
    clock = Clock()

    def measured(count):
        clock.passes(2 + 3 * count)
        return count

    assert measurement_seconds(measured, data, clock) == (min(data, 50), 2 + 3 * data)


def test_seconds_of_a_training_are_those_of_all_steps_of_its_schedule(tmp_path, monkeypatch):
    clock, x = Clock(), torch.randn(100, 2)
    model = Gmm(learn_centres=True)
    settings = Settings(schedule=[(10, 1), (5, 4)], batch_size=30)
    trainer = Trainer(model, MeanField(model, x[:2], layers=1, width=4), DiscreteELBO(), RunFolder(tmp_path), settings)
    monkeypatch.setattr(Trainer, "step", lambda self, x: clock.passes(0.5 * self.objective.draws))
    assert training_seconds(trainer, x, None, clock) == 4 * (10 * 0.5 + 5 * 2.0)
    monkeypatch.setattr(DiscreteELBO, "validate", lambda self, model, guide, x: clock.passes(0.25 * len(x)))
    assert training_seconds(trainer, x, x[:80], clock) == 60 + 15 * 0.25 * 80


def test_cells_that_cost_the_same_are_rehearsed_once_and_stored_ones_are_free(tmp_path):
    computed = []
    study = Rehearsal(tmp_path / "r", "cpu", lambda name: name == "b-1")
    study.clock = clock = Clock()

    def cell(name, seconds):
        computed.append(name)
        clock.passes(seconds)
        return {"x": 1.0}

    cells = {name: lambda name=name, s=s: cell(name, s) for name, s in (("a-0", 3.0), ("a-1", 9.0), ("b-1", 5.0))}
    labels = {name: {"family": name[0], "beta": int(name[-1]), "seed": 0} for name in cells}
    done, failed = study.attempted(cells, labels)
    assert computed == ["a-0", "a-0", "b-1"] and list(done) == list(cells) and not failed
    assert study.cells == {"a-0": 3.0, "a-1": 3.0} and study.known == 1


def test_what_cells_took_is_compared_with_their_bill(tmp_path, capsys):
    run = RunFolder(tmp_path)
    bill = Bill("t", {"a": 3600.0, "b": 7200.0}, rest=0.0, measured=1.0, stored=2, notes=("at most this",))
    assert "2 cells, 2 more are stored already: 3 core-hours, 3 h of one core" in str(bill)
    assert str(bill).endswith("note: at most this")
    run.write_json("bill.json", bill.to_json())
    add_up(run, {"a": 1800.0}, rest=0.0)
    add_up(run, {"b": 3600.0}, rest=1800.0)
    assert "2 cells took 2 core-hours; the bill said 3, 1.50 times that" in capsys.readouterr().err
    took = json.loads(Path(tmp_path, "took.json").read_text())["seconds"]
    assert took == {"cells": {"a": 1800.0, "b": 3600.0}, "rest": 1800.0, "billed": 10800.0, "took": 7200.0}


def test_a_dry_run_names_the_cells_that_the_sweep_computes(folder):
    Path("small.toml").write_text(SWEEP)
    bill = json_of("experiment", "small.toml", "--dry-run")
    assert not Path("runs/small-smoke/values").exists()
    assert "patience" in bill["notes"][0]
    said = succeed("experiment", "small.toml")
    assert "2 cells took" in flat(said.stderr)
    took = json.loads(Path("runs/small-smoke/took.json").read_text())["seconds"]
    assert took["cells"].keys() == bill["seconds"]["cells"].keys() and all(s > 0 for s in took["cells"].values())
    again = json_of("experiment", "small.toml", "--dry-run")
    assert (again["stored"], again["seconds"]["cells"]) == (2, {})


def test_what_cannot_be_rehearsed_is_tried_once_and_named_once(tmp_path):
    study, tried = Rehearsal(tmp_path / "r", "cpu", lambda name: False), []

    def fail(name):
        tried.append(name)
        raise ValueError("no such corpus")

    cells = {f"a-{seed}": lambda seed=seed: fail(f"a-{seed}") for seed in range(5)} | {"b-0": lambda: {"x": 1.0}}
    assert list(study.attempted(cells)[0]) == ["b-0"] and tried == ["a-0"]
    assert list(study.notes) == ["not in it, since they cannot be rehearsed: a-0, a-1, a-2 and 2 more: no such corpus"]


def test_cells_that_follow_others_find_their_runs(tmp_path):
    study = Rehearsal(tmp_path / "r", "cpu", lambda name: False)

    def leaves(name):
        (study.folder / "runs" / name).mkdir(parents=True)
        return {"x": 1.0}

    study.attempted({"first-0": lambda: leaves("first-0"), "first-1": lambda: leaves("first-1")})
    study.attempted({"second-0": lambda: {"there": float((study.folder / "runs" / "first-0").is_dir())}})
    assert study.values("second-0", dict)["there"] == 1.0
