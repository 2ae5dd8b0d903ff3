"""``ppl-vae show``: charts of a training, also while it goes on."""

import json
import os
import platform

import pytest

import ppl_vae as pv
from ppl_vae.runs import show as command
from ppl_vae.runs.show import show
from ppl_vae.training.lock import LOCK, locked
from ppl_vae.training.run_folder import RunFolder
from tests.support.cli import invoke, json_of


def rows(epochs):
    return [
        {"epoch": n, "train_elbo": -300 - 500 / n, "validation_elbo": -310 - 500 / n, "learning_rate": 0.001}
        for n in range(1, epochs + 1)
    ]


@pytest.fixture
def run(tmp_path):
    run = RunFolder.create(tmp_path / "run", {})
    run.write_metrics(rows(40), "train-metrics")
    return tmp_path / "run"


def test_a_chart_has_both_curves_and_leaves_out_the_first_epochs(run):
    text = str(show(run, metrics="elbo"))
    assert "epoch 40, train ELBO -312.5, validation ELBO -322.5; no process trains here" in text
    assert "ELBO, nats per datum, from epoch 5" in text and "•• train ELBO" in text
    assert "-800" not in text and "\x1b" not in text
    whole = str(show(run, metrics="elbo", last=40))
    assert "from epoch" in whole
    assert "from epoch 31" in str(show(run, metrics="elbo", last=10))
    assert "learning rate" in str(pv.show(run, metrics="learning_rate"))


def test_the_height_of_curves_is_that_of_their_values(run):
    lines = str(show(run)).replace("•• train ELBO", "             ").splitlines()
    dots = [(column, row) for row, line in enumerate(lines) for column, mark in enumerate(line) if mark == "•"]
    rows_from_left = [row for _, row in sorted(dots)]
    assert len(dots) > 40
    assert rows_from_left == sorted(rows_from_left, reverse=True)  # the curve rises with every epoch


def test_json_is_the_metrics(run):
    content = json_of("show", str(run))
    assert content["epochs"] == rows(40) and content["process"] is None


def test_a_run_that_is_training_names_its_process_and_is_followed_to_its_end(run, monkeypatch):
    assert "no epoch has ended yet" in str(show(RunFolder.create(run.parent / "new", {}).folder))

    def end(seconds):
        (run / LOCK).unlink()
        RunFolder(run).write_metrics(rows(41), "train-metrics")

    monkeypatch.setattr(command.time, "sleep", end)
    with locked(run, "trains here"):
        assert f"trained by process {os.getpid()} on {platform.node()}" in str(show(run))
        result = invoke("show", str(run), "--follow", "--metrics", "elbo")
    assert result.exit_code == 0 and "epoch 41" in result.output and "epoch 40" not in result.output


def test_the_lock_of_a_process_that_has_ended_is_none(run):
    (run / LOCK).write_text(json.dumps({"process": 2**22 + 1, "host": platform.node(), "since": "2026"}))
    assert show(run).process is None


def test_wrong_names_are_answered_by_those_there_are(run, tmp_path):
    result = invoke("show", str(run), "--metrics", "loss")
    assert result.exit_code == 1 and "is called 'loss'; there are epoch, train_elbo, validation_elbo" in result.output
    assert "is not a run folder" in invoke("show", str(tmp_path)).output
