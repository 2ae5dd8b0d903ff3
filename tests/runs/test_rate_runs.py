"""Trainings by the costs of a rate: what they log, what chooses the epoch, how they are taken up."""

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from ppl_vae.guides.linear_counts import LinearCounts
from ppl_vae.models.text import Text

from ppl_vae.cli.main import main
from ppl_vae.objectives.elbo import DiscreteELBO
from ppl_vae.objectives.rate_cost import RateCost
from ppl_vae.runs import fit
from ppl_vae.runs.config import RunConfig
from ppl_vae.runs.pair import Pair, make_objective
from ppl_vae.training.run_folder import RunFolder
from ppl_vae.training.settings import Settings
from ppl_vae.training.trainer import Trainer
from tests.support.small_pairs import documents

SMALL = ("train", "gmm", "--guide", "mean_field", "--guide-width", "8", "--batch-size", "1000", "--device", "cpu")


def invoke(*args):
    return CliRunner().invoke(main, args)


def trained(*options, epochs=3):
    done = invoke(*SMALL, "--epochs", str(epochs), "--out", "r", "--json", *options)
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in Path("r/train-metrics.jsonl").read_text().splitlines()]
    return json.loads(done.stdout), rows


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_rate_and_distortion_are_logged_and_reported_whatever_the_objective():
    found, rows = trained()
    for row in rows:
        assert -row["train_elbo"] == pytest.approx(row["train_rate"] + row["train_distortion"], rel=1e-5)
        assert -row["validation_elbo"] == pytest.approx(row["validation_rate"] + row["validation_distortion"])
        assert 0 < row["train_rate_se"] < row["train_distortion_se"] < 1
        assert "beta" not in row
    for split in found["splits"].values():
        elbo, rate, distortion = (split[name]["mean"] for name in ("elbo", "rate", "distortion"))
        assert elbo == pytest.approx(-rate - distortion)
        assert split["rate"]["se"] == split["distortion"]["se"] == 0
    assert (found["objective"], found["chosen_by"]) == ("elbo", "elbo")
    likelihood = invoke(*SMALL, "--epochs", "1", "--out", "l", "--objective", "likelihood")
    assert "rate" in likelihood.stdout
    assert "distortion" in likelihood.stdout


def test_a_rate_by_draws_of_its_own_is_told():
    done = invoke("train", "ppca", "--guide", "low_rank", "--epochs", "1", "--evidence-data", "200", "--out", "r")
    assert done.exit_code == 0, done.output
    found = json.loads(Path("r/summary.json").read_text())["splits"]
    parts = ("elbo", "rate", "distortion")
    apart = {name: sum(split[part]["mean"] for part in parts) for name, split in found.items()}
    drawn = ", ".join(f"{value:+.3g} ({name})" for name, value in apart.items() if abs(value) > 1e-3)
    assert drawn and "note: rate and distortion come from other draws than the ELBO: their sum" in done.stdout
    assert f"the ELBO add up to {drawn} nats instead of 0" in done.stdout


def test_another_beta_chooses_its_epoch_by_what_it_minimises():
    found, rows = trained("--beta", "3", "--anneal", "linear:2", epochs=4)
    assert [row["beta"] for row in rows] == pytest.approx([3 * 0.25 * 8 / 9, 3 * (0.5 + 0.25 * 8 / 9), 3, 3], rel=0.1)
    for row in rows:
        minimised = row["validation_distortion"] + 3 * row["validation_rate"]
        assert -row["validation_objective"] == pytest.approx(minimised)
        assert -row["train_elbo"] == pytest.approx(row["train_rate"] + row["train_distortion"], rel=1e-5)
    best = max(rows, key=lambda row: row["validation_objective"])["epoch"]
    assert (found["best_epoch"], found["chosen_by"]) == (best, "objective")
    assert found["objective"] == "D + 3 R, annealed (linear:2)"
    # Evidence and gap are the model's own.
    assert all(
        s["gap"]["mean"] == pytest.approx(s["evidence"]["mean"] - s["elbo"]["mean"]) for s in found["splits"].values()
    )


def test_the_lagrangian_form_ends_with_its_last_epoch():
    found, _ = trained("--rate", "0.3", "--lagrangian", "--patience", "1", epochs=4)
    assert (found["best_epoch"], found["epochs"], found["chosen_by"]) == (4, 4, None)
    done = invoke("train", "--resume", "r")
    assert "validation did not choose" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--rate", "3", "--free-bits", "1"), "contradict each other"),
        (("--lagrangian",), "needs a rate to aim at; give one (--rate)"),
        (("--anneal", "linear"), "annealing is none, linear:EPOCHS or cyclic:EPOCHS, got 'linear'"),
        (("--beta", "-1"), "beta must be a number that is not negative"),
        (("--objective", "likelihood", "--beta", "2"), "--beta weighs the rate, and the likelihood has none"),
    ],
)
def test_contradictions_end_in_a_line(options, words):
    done = invoke(*SMALL, "--out", "r", *options)
    assert done.exit_code != 0
    assert words in " ".join(done.output.split())
    assert "Traceback" not in done.output
    assert not Path("r").exists()


def test_a_run_keeps_its_cost_but_other_guides_are_fitted_to_it_by_the_elbo(monkeypatch):
    trained("--beta", "3", epochs=1)
    config = RunConfig.of(RunFolder.open(Path("r")))
    x = config.load_corpus().train.values[:4]
    pair, settings, seen = Pair.from_config(config, x), Settings(), []
    assert make_objective(config, pair, settings, x)[0].cost == RateCost(3.0)

    def spy(*args):
        seen.append(make_objective(*args)[0].cost)
        return make_objective(*args)

    monkeypatch.setattr(fit, "make_objective", spy)
    done = invoke("gap", "r", "--ladder", "mean_field", "--epochs", "1", "--data", "20")
    assert done.exit_code == 0, done.output
    assert seen == [RateCost()]


@pytest.mark.parametrize(
    "cost", [RateCost(anneal="linear:4"), RateCost(anneal="cyclic:3"), RateCost(rate=1.0, lagrangian=True)], ids=str
)
def test_resumed_ends_as_if_never_interrupted(cost, tmp_path):
    def trainer(folder):
        torch.manual_seed(0)
        x, model = documents(40, 9), Text(9, bits=3)
        made = Trainer(
            model, LinearCounts(model, x), DiscreteELBO("disarm", beta=cost), RunFolder(tmp_path / folder), SETTINGS
        )
        return made, x

    whole, x = trainer("whole")
    torch.manual_seed(1)
    whole.fit(x, None)
    torch.manual_seed(1)
    part, x = trainer("parts")
    torch.manual_seed(1)
    part.fit(x, None, epochs=2)
    rest, x = trainer("parts")
    assert rest.resume()
    rest.fit(x, None)
    assert all(torch.equal(whole.parameters[name], value) for name, value in rest.parameters.items())
    assert rest.objective.state == whole.objective.state
    keep = {"train_elbo", "train_rate", "train_distortion", "beta"}
    assert [{k: row[k] for k in keep} for row in rest.rows] == [{k: row[k] for k in keep} for row in whole.rows]


SETTINGS = Settings([(6, 1)], batch_size=16, learning_rate=0.05)


def test_patience_waits_for_the_end_of_annealing(tmp_path):
    x, model = documents(20, 9), Text(9, bits=3)
    settings = Settings([(9, 1)], learning_rate=1e-12, patience=2)
    objective = DiscreteELBO("enumerate", beta=RateCost(anneal="linear:4"))
    trainer = Trainer(model, LinearCounts(model, x), objective, RunFolder(tmp_path), settings)
    trainer.keep_start(x)
    trainer.best += 1
    trainer.fit(x, x)
    assert trainer.epoch == 6


def test_a_table_may_be_of_a_sample_and_comparisons_are_still_of_all():
    whole, _ = trained()
    done = invoke(*SMALL, "--epochs", "3", "--out", "s", "--json", "--evidence-data", "150")
    assert done.exit_code == 0, done.output
    part = json.loads(done.stdout)
    assert [split["data"] for split in part["splits"].values()] == [150, 150, 150]
    assert "test is measured on 150 of 2,000 data, drawn at random" in part["notes"]
    assert part["splits"]["test"]["evidence"] != whole["splits"]["test"]["evidence"]
    compared = json.loads(invoke("compare", "r", "s", "--json").stdout)
    assert compared["A"]["evidence"]["mean"] == pytest.approx(whole["splits"]["test"]["evidence"]["mean"])
    assert compared["A"]["evidence"] == compared["B"]["evidence"]
