"""The command line as a user meets it, in processes of its own where killing or streams are at stake."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from click.testing import CliRunner

from ppl_vae.cli import main
from ppl_vae.training import Settings, parse_schedule

ROOT = str(Path(__file__).parent.parent)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with a small corpus of two topics."""
    rng = np.random.default_rng(0)
    topics = rng.dirichlet(0.1 * np.ones(40), size=2)
    rows = [rng.multinomial(30, topics[i % 2]) for i in range(400)]
    scipy.sparse.save_npz(tmp_path / "topics.npz", scipy.sparse.csr_matrix(np.array(rows)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "ppl_vae", *args]


def environment() -> dict[str, str]:
    paths = [ROOT, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "COLUMNS": "100"}


def call(*args: str, **kwargs) -> subprocess.CompletedProcess:
    return subprocess.run(command(*args), env=environment(), capture_output=True, text=True, timeout=120, **kwargs)


def invoke(*args: str):
    return CliRunner().invoke(main, args)


SMALL = ("models/text.py", "--guide", "linear_counts", "--corpus", "topics.npz", "--bits", "3", "--batch-size", "37")


def summary(run: str) -> dict:
    content = json.loads(Path(run, "summary.json").read_text())
    return {key: value for key, value in content.items() if key != "run"}


def test_train_ends_in_a_table_and_a_run_folder(folder):
    done = call("train", *SMALL, "--epochs", "4", "--out", "r")
    assert done.returncode == 0, done.stderr
    assert "text with linear_counts" in done.stdout
    for word in ("ELBO", "evidence", "gap", "deviance", "validation", "exact"):
        assert word in done.stdout
    files = {str(p.relative_to("r")) for p in Path("r").rglob("*") if p.is_file()}
    assert files == {
        "config.json",
        "summary.json",
        "train-metrics.jsonl",
        "checkpoints/train-best.safetensors",
        "checkpoints/train-last.safetensors",
        "figures/training.png",
    }
    rows = [json.loads(line) for line in Path("r/train-metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    config = json.loads(Path("r/config.json").read_text())
    assert config["model"]["options"]["bits"] == 3
    assert len(config["fingerprint"]) == 64
    assert "torch" in config["versions"]


def test_json_alone_is_on_stdout_and_numbers_add_up(folder):
    done = call("train", *SMALL, "--epochs", "2", "--out", "r", "--json")
    content = json.loads(done.stdout)
    assert content["run"] == "r"
    assert set(content["splits"]) == {"train", "validation", "test"}
    for split in content["splits"].values():
        assert split["evidence_method"] == "enumeration of 8 states"
        assert split["elbo"] <= split["evidence"] < 0
        assert split["gap"] == pytest.approx(split["evidence"] - split["elbo"], abs=1e-6)
        assert split["elbo_se"] == split["evidence_se"] == 0
        assert split["deviance"] > split["evidence_deviance"] > 0
    assert summary("r")["splits"] == content["splits"]


def test_same_seed_same_numbers_and_another_seed_others(folder):
    for run, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert call("train", *SMALL, "--epochs", "3", "--seed", seed, "--out", run).returncode == 0
    assert summary("a") == summary("b") != summary("c")


@pytest.mark.parametrize("extra", [(), ("--retrain",)], ids=["train", "retrain"])
def test_killed_in_mid_epoch_and_resumed_ends_as_if_never_killed(folder, extra):
    options = (*SMALL, "--epochs", "60x1,60x2", "--learning-rate", "0.01", "--patience", "0", *extra)
    assert call("train", *options, "--out", "whole").returncode == 0
    # Checkpoints after every epoch, so that the kill falls between two of them.
    code = "import ppl_vae.training as t; t.CHECKPOINT_SECONDS = 0; from ppl_vae.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "train", *options, "--out", "killed"],
        env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    stage = "retrain" if extra else "train"
    metrics, deadline = Path("killed") / f"{stage}-metrics.jsonl", time.time() + 60
    while not (metrics.exists() and len(metrics.read_text().splitlines()) > 10):
        assert time.time() < deadline, "the training never got that far"
        assert process.poll() is None, "the training ended before it could be killed"
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not Path("killed/summary.json").exists()
    done = call("train", "--resume", "killed")
    assert done.returncode == 0, done.stderr
    assert "taking up the training after epoch" in done.stderr
    assert summary("killed") == summary("whole")
    # A finished run may be taken up too, and says the same.
    assert call("train", "--resume", "killed", "--json").returncode == 0
    assert summary("killed") == summary("whole")


def test_interrupt_saves_the_best_state_and_says_how_to_go_on(folder):
    process = subprocess.Popen(
        command("train", *SMALL, "--epochs", "100000", "--patience", "0", "--out", "r"),
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.time() + 60
    while not Path("r/config.json").exists():
        assert time.time() < deadline
        time.sleep(0.05)
    time.sleep(3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out == ""
    assert "go on with ppl-vae train --resume RUN" in err
    assert "Traceback" not in err
    assert Path("r/checkpoints/train-best.safetensors").exists()
    assert Path("r/checkpoints/train-last.safetensors").exists()


def test_a_divergence_names_site_and_batch_and_keeps_the_last_good_state(folder):
    done = call("train", *SMALL, "--epochs", "50", "--learning-rate", "3e38", "--optimizer", "SGD", "--out", "r")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "epoch 1, batch" in done.stderr
    assert "is not finite" in done.stderr
    assert "the state of epoch 0 is kept" in done.stderr
    assert Path("r/checkpoints/train-last.safetensors").exists()


def test_best_epoch_is_chosen_on_validation_and_training_stops_early(folder):
    done = call(
        "train", *SMALL, "--epochs", "500", "--learning-rate", "0.05", "--patience", "5", "--out", "r", "--json"
    )
    rows = [json.loads(line) for line in Path("r/train-metrics.jsonl").read_text().splitlines()]
    bounds = [row["validation_elbo"] for row in rows]
    content = json.loads(done.stdout)
    assert content["best_epoch"] == 1 + int(np.argmax(bounds)) == len(rows) - 5
    assert content["epochs"] == len(rows) < 500


def test_retraining_uses_validation_data_for_training(folder):
    content = json.loads(call("train", *SMALL, "--epochs", "3", "--retrain", "--out", "r", "--json").stdout)
    assert content["splits"]["train"]["data"] == 360
    assert "validation" not in content["splits"]
    assert "trained again" in content["notes"][0]


def test_long_codes_get_importance_weights(folder):
    done = call("train", *SMALL[:-4], "--bits", "20", "--epochs", "2", "--evidence-draws", "30", "--out", "r", "--json")
    test = json.loads(done.stdout)["splits"]["test"]
    assert (test["evidence_method"], test["evidence_bound"]) == ("importance, 30 draws", "lower")
    assert test["elbo_se"] > 0
    assert test["gap_se"] > 0
    assert "k_hat_worst" in test


@pytest.mark.parametrize(("guide", "bits", "line"), [("full", "3", "using enumerate"), ("full", "14", "using loo")])
def test_guides_that_rule_the_estimator_out_get_another_with_a_line(folder, guide, bits, line):
    done = call(
        "train", "text", "--guide", guide, "--corpus", "topics.npz", "--bits", bits, "--epochs", "1",
        "--evidence-draws", "4", "--guide-width", "16", "--out", "r",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert line in done.stderr


def test_a_users_own_model_trains_outside_any_checkout(folder):
    Path("mine.py").write_text(
        '''
import pyro, pyro.distributions as dist, torch
from pyro.nn import PyroModule
from torch import nn
from ppl_vae.batches import PackedCounts
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
    )
    done = call(
        "train", "mine.py", "--guide", "mean_field", "--codes", "3", "--corpus", "topics.npz", "--epochs", "2", "--json"
    )
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    assert content["splits"]["test"]["evidence_method"] == "enumeration of 64 states"
    assert "codes=3" in content["pair"]


def test_help_shows_the_options_of_model_and_guide():
    base = invoke("train", "--help").output
    assert "--bits" not in base
    full = invoke("train", "models/text.py", "--guide", "mean_field", "--help").output
    for words in (
        "Options of model text",
        "--bits",
        "Length m of the code",
        "Options of guide mean_field",
        "--guide-layers",
    ):
        assert words in full
    assert "--guide-layers" not in invoke("train", "text", "--guide", "linear_counts", "--help").output
    # Options before the model are understood as well.
    assert "--bits" in invoke("train", "--guide=mean_field", "--epochs", "3", "text", "--help").output


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("train",), "name a model, such as models/text.py"),
        (("train", "txet"), "there is no model 'txet'; choose from"),
        (("train", "text", "--guide", "e1"), "there is no guide 'e1'; choose from"),
        (("train", "text", "--estimator", "amr"), "'amr' is not one of 'disarm', 'arm', 'loo', 'enumerate'"),
        (("train", "text", "--corpus", "20nws"), "20nws"),
        (("train", "text", "--epochs", "many"), "epochs are a number or phases such as 1000x1,500x10"),
        (("train", "text", "--optimizer", "Adm"), "unknown optimizer 'Adm'; choose from"),
        (("train", "text", "--bits", "0", "--corpus", "topics.npz"), "bits >= 1"),
        (("train", "text", "--bits", "two"), "'two' is not a valid integer"),
        (("train", "text", "--resume", "nowhere"), "leave out"),
        (("train", "--resume", "nowhere"), "is not a run folder"),
        (("train", "text", "--batch-size", "0"), "batch size must be at least 1"),
        (("train", "text", "--learning-rate", "-1"), "learning rate must be positive"),
        (("tain",), "No such command 'tain'"),
    ],
)
def test_mistakes_are_answered_in_words(folder, args, words):
    result = invoke(*args)
    assert result.exit_code in (1, 2)
    assert words in " ".join(result.output.split()), result.output
    assert "Traceback" not in result.output
    assert not Path("runs").exists()


def test_absent_devices_are_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    result = invoke("train", "text", "--device", "cuda")
    assert result.exit_code == 2
    assert "has no cuda; use --device cpu" in result.output


def test_changed_data_are_refused_on_resuming(folder):
    assert call("train", *SMALL, "--epochs", "1", "--out", "r").returncode == 0
    rows = scipy.sparse.load_npz("topics.npz")
    scipy.sparse.save_npz("topics.npz", rows[:-1])
    done = call("train", "--resume", "r")
    assert done.returncode == 1
    assert "has changed since the run began" in done.stderr


def test_errors_in_a_users_model_name_its_line(folder):
    Path("mine.py").write_text(
        "import pyro\nfrom pyro.nn import PyroModule\nfrom ppl_vae.batches import PackedCounts\n"
        "class Mine(PyroModule):\n    def forward(self, x: PackedCounts):\n        raise KeyError('oh')\n"
    )
    done = call("train", "mine.py", "--corpus", "topics.npz", "--epochs", "1")
    assert done.returncode == 1
    assert "KeyError: 'oh'" in done.stderr
    assert "mine.py, line 6" in done.stderr


def test_list_tells_what_goes_with_what(folder):
    content = json.loads(invoke("list", "--json").output)
    guides = {row["name"]: row for row in content["guides"]}
    assert {"linear_counts", "deep_frequencies", "linear_frequencies", "mean_field", "full"} <= set(guides)
    assert guides["full"]["goes_with"] == ["text"]
    estimators = {row["name"]: row["goes_with"] for row in content["estimators"]}
    assert "full" in estimators["loo"]
    assert "full" not in estimators["disarm"]
    assert all(row["summary"] for rows in content.values() for row in rows)
    assert "linear_counts" in invoke("list").output


def test_schedules():
    settings = Settings(schedule=parse_schedule("2x1,3x10"))
    assert [settings.draws(epoch) for epoch in range(1, 6)] == [1, 1, 10, 10, 10]
    assert settings.epochs == 5
    for wrong in ("", "0", "3x0", "3x", "x3", "-1", "1.5"):
        with pytest.raises(ValueError, match="epochs are a number|at least one draw"):
            parse_schedule(wrong)
