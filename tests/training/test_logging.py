"""Loggers are told each epoch once, go on after an interruption, and never end a training."""

import csv
import json
import sys
from pathlib import Path

import pytest
import torch

import ppl_vae as pv
from ppl_vae.plugins.extras import install
from ppl_vae.training.logging import CSVLogger
from tests.support.cli import invoke, succeed

ARGS = ("gmm", "mean_field", "gaussians")
OPTIONS = {"epochs": 2, "evidence_data": 10, "bits": 2, "batch_size": 3000}


def metrics(folder: Path) -> list[dict]:
    """The metrics that the run itself keeps."""
    return [json.loads(line) for line in (folder / "train-metrics.jsonl").read_text().splitlines()]


class Recorder:
    """Keeps what it is told, and fails where it is asked to."""

    def __init__(self, fails_at=0):
        self.begun, self.rows, self.fails_at = [], [], fails_at

    def begin(self, folder, name, rows):
        self.begun.append((name, len(rows)))

    def log(self, row):
        if row["epoch"] == self.fails_at:
            raise ConnectionError("nobody answers")
        self.rows.append(dict(row))


def test_an_object_is_told_every_epoch_of_a_training_and_of_its_continuation(folder, capsys):
    logger = Recorder()
    pv.train(*ARGS, out="run", loggers=[logger], **OPTIONS)
    assert logger.begun == [("train", 0)] and logger.rows == metrics(Path("run"))
    pv.resume("run", epochs=3, loggers=[logger])
    assert logger.begun[1:] == [("train", 2)]
    assert [row["epoch"] for row in logger.rows] == [1, 2, 3] and logger.rows == metrics(Path("run"))


def test_a_logger_that_fails_is_left_out_with_a_note_and_the_training_is_the_same(folder, capsys):
    failing, other = Recorder(fails_at=1), Recorder()
    one = pv.train(*ARGS, out="one", loggers=[failing, other], **OPTIONS)
    assert "Recorder is left out from here on (ConnectionError: nobody answers)" in capsys.readouterr().err
    assert failing.rows == [] and len(other.rows) == 2
    two = pv.train(*ARGS, out="two", **OPTIONS)
    assert one.summary.splits["test"].measurement.elbo.mean == two.summary.splits["test"].measurement.elbo.mean


def test_csv_has_a_row_an_epoch_and_a_column_a_metric(folder):
    succeed("train", "gmm", "--corpus", "gaussians", "--guide", "mean_field", "--bits", "2", "--epochs", "2",
            "--evidence-data", "10", "--batch-size", "3000", "--loggers", "csv", "--out", "run")  # fmt: skip
    succeed("train", "--resume", "run", "--epochs", "3", "--loggers", "csv")
    rows = list(csv.DictReader(Path("run/train.csv").read_text().splitlines()))
    kept = metrics(Path("run"))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3]
    assert [float(row["validation_elbo"]) for row in rows] == [row["validation_elbo"] for row in kept]
    assert set(rows[0]) == {name for row in kept for name in row}


def test_tensorboard_is_named_where_it_is_missing(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    pv.train(*ARGS, out="run", loggers=["tensorboard"], **OPTIONS)
    assert install("tensorboard") in capsys.readouterr().err


def test_tensorboard_shows_the_metrics_of_each_epoch(folder):
    events = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="tensorboard is an extra"
    )
    pv.train(*ARGS, out="run", loggers=["tensorboard"], **OPTIONS)
    shown = events.EventAccumulator("run/tensorboard/train").Reload().Scalars("validation_elbo")
    assert [event.step for event in shown] == [1, 2]
    expected = torch.tensor([row["validation_elbo"] for row in metrics(Path("run"))])
    torch.testing.assert_close(torch.tensor([event.value for event in shown]), expected)


def test_an_unknown_logger_is_refused_before_training(folder):
    with pytest.raises(ValueError, match="there is no logger 'wandb'; take csv or tensorboard, or an object"):
        pv.train(*ARGS, out="run", loggers=["wandb"], **OPTIONS)
    assert not Path("run").exists()
    result = invoke("train", "gmm", "--loggers", "cvs")
    assert result.exit_code == 2 and "did you mean csv?" in result.output


def test_a_table_does_not_make_the_folder_of_a_run_that_is_gone(tmp_path):
    logger = CSVLogger()
    logger.begin(tmp_path / "gone", "train", [])
    with pytest.raises(FileNotFoundError, match="gone is gone"):
        logger.log({"epoch": 1})
    assert not (tmp_path / "gone").exists()
