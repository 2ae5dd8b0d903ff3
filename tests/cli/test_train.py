"""``ppl-vae train``: what it prints, what it keeps, and which numbers these are."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from ppl_vae.objectives.choice import make_estimator
from ppl_vae.plugins.discovery import available
from tests.support.cli import SMALL, call, flat, invoke, json_of, metrics, succeed, summary


def test_train_ends_in_a_table_and_a_run_folder(trained):
    done = call("train", *SMALL, "--epochs", "3", "--out", "alone")
    assert done.returncode == 0, done.stderr
    assert "text with linear_counts" in done.stdout
    for word in ("ELBO", "evidence", "gap", "deviance", "validation", "exact"):
        assert word in done.stdout
    files = {str(p.relative_to("alone")) for p in Path("alone").rglob("*") if p.is_file()}
    assert files == {
        "README.md",
        "config.json",
        "summary.json",
        "train-metrics.jsonl",
        "checkpoints/train-best.safetensors",
        "checkpoints/train-last.safetensors",
        "pointwise.safetensors",
        "figures/training.png",
    }
    assert [row["epoch"] for row in metrics("alone")] == [1, 2, 3]
    config = json.loads(Path("alone/config.json").read_text())
    assert config["model"]["options"]["bits"] == 3
    assert len(config["fingerprint"]) == 64
    assert "torch" in config["versions"]
    # Another process, with another order of sets, has trained the same.
    assert summary("alone") == summary("r")


def test_json_alone_is_on_stdout_and_numbers_add_up(folder):
    content = json_of("train", *SMALL, "--epochs", "2", "--out", "r")
    assert content["run"] == "r"
    assert set(content["splits"]) == {"train", "validation", "test"}
    for split in content["splits"].values():
        assert split["evidence"]["method"] == "enumeration of 8 states"
        elbo, evidence, gap = (split[name]["mean"] for name in ("elbo", "evidence", "gap"))
        assert elbo <= evidence < 0
        assert gap == pytest.approx(evidence - elbo, abs=1e-6)
        assert split["elbo"]["se"] == split["evidence"]["se"] == 0
        assert split["deviance"] > split["evidence_deviance"] > 0
    assert summary("r")["splits"] == content["splits"]


def test_two_trainings_of_one_second_have_folders_of_their_own(folder, monkeypatch):
    monkeypatch.setattr("time.strftime", lambda *args: "20260102-030405")
    for _ in range(3):
        succeed("train", *SMALL, "--epochs", "1")
    name = "text-linear_counts-20260102-030405"
    assert sorted(path.name for path in Path("runs").iterdir()) == [name, f"{name}-2", f"{name}-3"]


def test_same_seed_same_numbers_and_another_seed_others(folder):
    for run, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        succeed("train", *SMALL, "--epochs", "3", "--seed", seed, "--out", run)
    assert summary("a") == summary("b") != summary("c")


def test_a_divergence_names_site_and_batch_and_keeps_the_last_good_state(folder):
    done = invoke("train", *SMALL, "--epochs", "50", "--learning-rate", "3e38", "--optimizer", "SGD", "--out", "r")
    assert done.exit_code == 1
    assert "Traceback" not in done.stderr
    words = flat(done.stderr)
    assert "epoch 1, batch" in words
    assert "is not finite" in words
    assert "the state of epoch 0 is kept" in words
    assert Path("r/checkpoints/train-last.safetensors").exists()


def test_best_epoch_is_chosen_on_validation_and_training_stops_early(folder):
    options = ("--epochs", "500", "--learning-rate", "0.05", "--patience", "5", "--out", "r")
    result = succeed("train", *SMALL, *options)
    content = json.loads(Path("r/summary.json").read_text())
    bounds = [row["validation_elbo"] for row in metrics("r")]
    assert content["best_epoch"] == 1 + int(np.argmax(bounds)) == len(bounds) - 5
    assert content["epochs"] == len(bounds) < 500
    assert f"stopped by patience after epoch {len(bounds)} of 500: validation is best in epoch {len(bounds) - 5}," in (
        flat(result.stderr)
    )
    assert f"epoch {len(bounds) - 5} of {len(bounds)}, the best on validation data" in flat(result.stdout)
    assert result.stderr.endswith("and what its network does)\n") and "next: ppl-vae gap r " in result.stderr
    assert "next:" not in result.stdout


def test_retraining_uses_validation_data_for_training(folder):
    content = json_of("train", *SMALL, "--epochs", "3", "--retrain", "--out", "r")
    assert content["splits"]["train"]["data"] == 360
    assert "validation" not in content["splits"]
    assert "trained again" in content["notes"][0]


def test_long_codes_get_importance_weights(folder):
    options = ("--bits", "20", "--epochs", "2", "--evidence-draws", "30", "--out", "r")
    test = json_of("train", *SMALL[:-4], *options)["splits"]["test"]
    assert (test["evidence"]["method"], test["evidence"]["bound"]) == (
        "importance, 30 draws and 3 of the prior",
        "lower",
    )
    assert test["elbo"]["se"] > 0
    assert test["gap"]["se"] > 0
    assert "k_hat_worst" in test["evidence"]


CONTROLS = [
    (estimator, control)
    for estimator in available("estimators", own=False)
    for control in ("first_order", "none")
    if control == "none" or make_estimator(estimator, control=False).no_control is None
]


@pytest.mark.parametrize(("estimator", "control"), CONTROLS)
def test_every_estimator_trains(folder, estimator, control):
    succeed("train", *SMALL, "--epochs", "1", "--estimator", estimator, "--control", control, "--out", "r")
    assert summary("r")["estimator"].startswith(estimator)


def test_what_cannot_be_known_is_null_in_json_and_named_in_the_table(folder):
    options = ("train", *SMALL[:-4], "--bits", "20", "--epochs", "1", "--evidence-draws", "10")
    printed = succeed(*options, "--out", "r", "--json").stdout
    content = json.loads(printed, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert content["splits"]["test"]["evidence"]["k_hat_worst"] is None
    assert any("too few different draws" in line for line in content["splits"]["test"]["warnings"])
    table = flat(succeed(*options, "--out", "s").stdout)
    assert table.count("too few different draws") == 1
    assert re.search(r"note: train \(likewise validation: (\d+) of \1, test: (\d+) of \2\): (\d+) of \3 data", table)


@pytest.mark.parametrize(("bits", "line"), [("3", "using enumerate"), ("14", "using loo")])
def test_guides_that_rule_the_estimator_out_get_another_with_a_line(folder, bits, line):
    done = succeed(
        "train", "text", "--guide", "full", "--corpus", "topics.npz", "--bits", bits, "--epochs", "1",
        "--estimator", "disarm", "--evidence-draws", "4", "--guide-width", "16", "--out", "r",
    )  # fmt: skip
    assert line in done.stderr


def test_a_run_trained_on_the_likelihood(folder):
    options = ("--epochs", "4x1,4x3", "--objective", "likelihood", "--estimator", "arm", "--out", "r")
    done = succeed("train", *SMALL, *options, "--json")
    assert "note: --estimator belong" in done.stderr
    content = json.loads(done.stdout)
    assert (content["objective"], content["estimator"]) == ("likelihood", "enumeration of 8 states")
    assert json.loads(Path("r/config.json").read_text())["objective"] == "likelihood"
    rows = metrics("r")
    assert "train_evidence" in rows[0]
    assert "validation_elbo" not in rows[0]
    # The epoch was chosen by the evidence, exactly what is measured in the end.
    best = max(row["validation_evidence"] for row in rows)
    assert content["splits"]["validation"]["evidence"]["mean"] == pytest.approx(best, abs=1e-4)


def test_the_likelihood_of_long_codes_is_sampled(folder):
    options = ("train", *SMALL[:-4], "--bits", "12", "--epochs", "1", "--objective", "likelihood")
    succeed(*options, "--out", "a")
    assert metrics("a")[0]["draws"] == 16
    assert summary("a")["estimator"] == "importance weights"
    done = succeed(*options, "--draws", "1", "--out", "b")
    note = "note: the importance-weighted bound of a single draw is the ELBO: take --draws 16 or more"
    assert note in flat(done.stderr)
