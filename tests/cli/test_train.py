"""The command line as a user meets it, in processes of its own where killing or streams are at stake."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch
from click.testing import CliRunner

from ppl_vae.cli.main import main
from ppl_vae.estimators import ESTIMATORS
from ppl_vae.evidence.ais import AIS
from ppl_vae.nn.checkpoint import Checkpoint
from ppl_vae.runs import gap as gap_runs
from ppl_vae.runs.measure import measure_tightness
from ppl_vae.training.settings import Settings, parse_schedule
from ppl_vae.training.trainer import Trainer

ROOT = str(Path(__file__).parents[2])


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
        "pointwise.safetensors",
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


def test_two_trainings_of_one_second_have_folders_of_their_own(folder, monkeypatch):
    monkeypatch.setattr("time.strftime", lambda *args: "20260102-030405")
    for _ in range(3):
        assert invoke("train", *SMALL, "--epochs", "1").exit_code == 0
    name = "text-linear_counts-20260102-030405"
    assert sorted(path.name for path in Path("runs").iterdir()) == [name, f"{name}-2", f"{name}-3"]


def test_same_seed_same_numbers_and_another_seed_others(folder):
    for run, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert call("train", *SMALL, "--epochs", "3", "--seed", seed, "--out", run).returncode == 0
    assert summary("a") == summary("b") != summary("c")


@pytest.mark.parametrize("extra", [(), ("--retrain",)], ids=["train", "retrain"])
def test_killed_in_mid_epoch_and_resumed_ends_as_if_never_killed(folder, extra):
    options = (*SMALL, "--epochs", "60x1,60x2", "--learning-rate", "0.01", "--patience", "0", *extra)
    assert call("train", *options, "--out", "whole").returncode == 0
    # Checkpoints after every epoch, so that the kill falls between two of them.
    code = "import ppl_vae.training as t; t.CHECKPOINT_SECONDS = 0; from ppl_vae.cli.main import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "train", *options, "--out", "killed"],
        env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    stage = "retrain" if extra else "train"
    metrics, deadline = Path("killed") / f"{stage}-metrics.jsonl", time.time() + 180
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
    deadline = time.time() + 180
    while not Path("r/checkpoints/train-last.safetensors").exists():
        assert time.time() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert out == ""
    assert "go on with ppl-vae train --resume r" in err
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
    assert "evidence_k_hat_worst" in test


@pytest.mark.parametrize("control", ["first_order", "none"])
@pytest.mark.parametrize("estimator", list(ESTIMATORS))
def test_every_estimator_trains(folder, estimator, control):
    if estimator == "auto":
        estimator = "disarm"  # what auto is with either answer
    if estimator in ("enumerate", "local", "double"):
        control = "none"
    result = invoke("train", *SMALL, "--epochs", "1", "--estimator", estimator, "--control", control, "--out", "r")
    assert result.exit_code == 0, result.output
    assert json.loads(Path("r/summary.json").read_text())["estimator"].startswith(estimator)


def test_what_cannot_be_known_is_null_in_json_and_said_in_words(folder):
    options = (*SMALL[:-4], "--bits", "20", "--epochs", "1", "--evidence-draws", "10")
    done = call("train", *options, "--out", "r", "--json")
    content = json.loads(done.stdout, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert content["splits"]["test"]["evidence_k_hat_worst"] is None
    assert "too few different draws" in content["splits"]["test"]["evidence_warnings"][0]
    assert "note: test: " in call("train", *options, "--out", "s").stdout


@pytest.mark.parametrize(("bits", "line"), [("3", "using enumerate"), ("14", "using loo")])
def test_guides_that_rule_the_estimator_out_get_another_with_a_line(folder, bits, line):
    done = call(
        "train", "text", "--guide", "full", "--corpus", "topics.npz", "--bits", bits, "--epochs", "1",
        "--estimator", "disarm", "--evidence-draws", "4", "--guide-width", "16", "--out", "r",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert line in done.stderr


def test_a_users_own_model_trains_outside_any_checkout(folder):
    Path("mine.py").write_text(
        '''
import pyro, pyro.distributions as dist, torch
from pyro.nn import PyroModule
from torch import nn
from ppl_vae.data.counts import PackedCounts
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
        (("train", "text", "--estimator", "amr"), "'amr' is not one of 'auto', 'local', 'disarm', 'arm', "),
        (("train", "text", "--corpus", "20nws"), "20nws"),
        (("train", "text", "--epochs", "many"), "epochs are a number or phases such as 1000x1,500x10"),
        (("train", "text", "--optimizer", "Adm"), "unknown optimizer 'Adm'; choose from"),
        (("train", "text", "--bits", "0", "--corpus", "topics.npz"), "bits must be at least 1, got 0"),
        (("train", "text", "--bits", "two"), "'two' is not a valid integer"),
        (("train", "text", "--resume", "nowhere"), "leave out"),
        (("train", "--resume", "nowhere"), "is not a run folder"),
        (("train", "text", "--batch-size", "0"), "batch size must be at least 1"),
        (("train", "text", "--learning-rate", "-1"), "learning rate must be positive"),
        (("train", "text", "--decay", "slow"), "'slow' is not one of 'none', 'linear', 'cosine'"),
        (("train", "text", "--corpus", "gaussians"), "model text reads documents, but gaussians holds tensors"),
        (("train", "text", "--clip", "-1"), "must not be negative, got -1"),
        (("train", "text", "--seed", "99999999999999999999"), "the seed must lie in"),
        (("train", "text", "--evidence-draws", "1"), "1 is not in the range x>=2"),
        (("train", "text", "--draws", "0"), "0 is not in the range x>=1"),
        (("train", "text", "--estimator", "enumerate", "--control", "first_order"), "it takes no control variate"),
        (("train", "text", "--optimizer", "SparseAdam"), "unknown optimizer 'SparseAdam'"),
        (("train", "models/txt.py"), "there is no file models/txt.py"),
        (("train", "text", "--corpus", "topics.npz", "--out", "topics.npz"), "choose another --out"),
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


def test_a_full_device_is_told_with_the_remedy(folder, monkeypatch):
    def full(**_):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB. See the documentation")

    monkeypatch.setattr("ppl_vae.runs.config.load_corpus", full)
    result = invoke("train", *SMALL, "--out", "r")
    assert result.exit_code == 1
    words = "the device's memory is full (CUDA out of memory); take a smaller --batch-size, or --device cpu"
    assert words in " ".join(result.output.split())


def test_changed_data_are_refused_on_resuming(folder):
    assert call("train", *SMALL, "--epochs", "1", "--out", "r").returncode == 0
    rows = scipy.sparse.load_npz("topics.npz")
    scipy.sparse.save_npz("topics.npz", rows[:-1])
    done = call("train", "--resume", "r")
    assert done.returncode == 1
    assert "has changed since the run began" in done.stderr


OWN = """
import pyro, pyro.distributions as dist, torch
from pyro.nn import PyroModule, PyroParam
from ppl_vae.data.counts import PackedCounts
from ppl_vae.distributions import PackedMultinomial
print("hello from a user's file")

class Mine(PyroModule):
    def __init__(self, vocabulary: int, codes: int = 2):
        super().__init__()
        self.words = torch.nn.Linear(codes, vocabulary)
        self.scale = PyroParam(torch.tensor(FACTOR))

    def forward(self, x: PackedCounts):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(logits=self.words.bias.new_zeros(self.words.in_features)).to_event(1))
            f = {"hidden": self.scale * z, "weight": self.words.weight, "bias": self.words.bias}
            pyro.sample("x", PackedMultinomial(x.lengths, **f), obs=x)
"""


def test_a_model_changed_since_is_refused_on_resuming(folder):
    Path("mine.py").write_text(OWN.replace("FACTOR", "3.0"))
    options = ("train", "mine.py", "--corpus", "topics.npz", "--epochs", "1", "--out", "r", "--json")
    assert json.loads(call(*options).stdout)["epochs"] == 1
    Path("mine.py").write_text(OWN.replace("FACTOR", "4.0"))
    done = call("train", "--resume", "r")
    assert done.returncode == 1
    assert "mine.py has changed since the run began" in done.stderr


def test_parameters_of_pyro_start_afresh_on_retraining(folder):
    """PyroParam lives in the global store unless told otherwise; a second training must not start from the first."""
    Path("mine.py").write_text(OWN.replace("FACTOR", "3.0"))
    options = ("train", "mine.py", "--corpus", "topics.npz", "--patience", "0", "--batch-size", "400")
    done = call(*options, "--epochs", "30", "--learning-rate", "0.1", "--retrain", "--out", "a")
    assert done.returncode == 0, done.stderr
    first, again = (
        [json.loads(line)["train_elbo"] for line in Path(f"a/{stage}-metrics.jsonl").read_text().splitlines()]
        for stage in ("train", "retrain")
    )
    assert abs(again[0] - first[0]) < 0.1 * abs(first[0] - first[-1])


def test_two_interrupts_still_end_as_if_there_were_none(folder, monkeypatch):
    monkeypatch.setattr("ppl_vae.training.trainer.CHECKPOINT_SECONDS", 1e9)
    options = ("train", *SMALL, "--epochs", "6", "--patience", "0", "--learning-rate", "0.01")
    assert invoke(*options, "--out", "whole").exit_code == 0
    step, count, stops = Trainer.step, iter(range(10_000)), [14, 20, 21]

    def interrupted(self, x):
        if next(count) in stops:
            raise KeyboardInterrupt
        return step(self, x)

    monkeypatch.setattr(Trainer, "step", interrupted)
    assert invoke(*options, "--out", "stopped").exit_code == 130
    assert invoke("train", "--resume", "stopped").exit_code == 130
    assert invoke("train", "--resume", "stopped").exit_code == 130
    assert invoke("train", "--resume", "stopped").exit_code == 0
    assert summary("stopped") == summary("whole")


def test_damage_to_a_checkpoint_is_found(folder):
    assert invoke("train", *SMALL, "--epochs", "2", "--out", "r").exit_code == 0
    path = Path("r/checkpoints/train-best.safetensors")
    content = bytearray(path.read_bytes())
    content[-9] ^= 64
    path.write_bytes(content)
    result = invoke("train", "--resume", "r")
    assert result.exit_code == 1
    assert "train-best.safetensors is not a readable checkpoint (its checksum is wrong)" in result.output


def test_termination_saves_as_an_interrupt_does(folder):
    process = subprocess.Popen(
        command("train", *SMALL, "--epochs", "100000", "--patience", "0", "--out", "r"),
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.time() + 180
    while not Path("r/train-metrics.jsonl").exists():
        assert time.time() < deadline
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 143
    assert "go on with ppl-vae train --resume r" in err
    assert len(Path("r/train-metrics.jsonl").read_text().splitlines()) > 1


def test_the_gap_of_a_run_is_split(folder):
    assert invoke("train", *SMALL, "--epochs", "3", "--out", "r").exit_code == 0
    content = json.loads(call("gap", "r", "--json").stdout)
    expected = summary("r")["splits"]["test"]
    assert content["evidence"]["mean"] == pytest.approx(expected["evidence"], abs=1e-4)
    assert content["elbo"]["mean"] == pytest.approx(expected["elbo"], abs=1e-4)
    parts = content["family_gap"]["mean"] + content["amortisation_gap"]["mean"]
    assert parts == pytest.approx(expected["gap"], abs=1e-4)
    for name in ("gap-test.json", "gap-test.safetensors", "figures/gap-test.png"):
        assert Path("r", name).exists()
    assert "amortisation gap" in invoke("gap", "r", "--split", "train").output


def test_evidence_is_measured_again_by_another_method(folder):
    assert invoke("train", *SMALL, "--epochs", "3", "--out", "r").exit_code == 0
    exact = json.loads(call("evidence", "r", "--json").stdout)
    assert exact["evidence"]["mean"] == pytest.approx(summary("r")["splits"]["test"]["evidence"], abs=1e-4)
    sampled = json.loads(call("evidence", "r", "--method", "importance", "--draws", "2000", "--json").stdout)
    assert sampled["evidence"]["bound"] == "lower"
    assert abs(sampled["elbo"]["mean"] - exact["elbo"]["mean"]) < 6 * sampled["elbo"]["se"]
    assert Path("r/evidence-test-importance.safetensors").exists()


def test_evidence_by_annealing_agrees_and_is_taken_up_after_an_interruption(folder, monkeypatch):
    assert invoke("train", *SMALL, "--epochs", "3", "--out", "r").exit_code == 0
    exact = json.loads(invoke("evidence", "r", "--data", "30", "--json").stdout)
    assert exact["why"] == "the discrete latents have 8 joint states"
    monkeypatch.setattr("ppl_vae.evidence.measure.CHAINS", 80)
    command = (
        "evidence",
        "r",
        "--method",
        "annealing",
        "--data",
        "30",
        "--temperatures",
        "60",
        "--draws",
        "8",
        "--json",
    )
    whole = json.loads(invoke(*command).stdout)
    assert whole["evidence"]["method"] == "annealing, 60 temperatures, 8 chains"
    assert abs(whole["evidence"]["mean"] - exact["evidence"]["mean"]) < 6 * whole["evidence"]["se"] + 0.02
    walk, calls = AIS.forward, []

    def second_time_stops(self, *args):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return walk(self, *args)

    with monkeypatch.context() as patched:
        patched.setattr(AIS, "forward", second_time_stops)
        stopped = invoke(*command)
    assert stopped.exit_code == 130
    assert "1 measured blocks are kept; the same command goes on from there" in stopped.stderr
    again = invoke(*command)
    assert "taking up evidence-test-annealing: 1 blocks are measured already" in again.stderr
    assert json.loads(again.stdout) == whole
    assert not Path("r/partial/evidence-test-annealing").exists()


def test_a_gap_is_taken_up_after_an_interruption(folder, monkeypatch):
    assert invoke("train", *SMALL, "--epochs", "1", "--out", "r").exit_code == 0
    monkeypatch.setattr(gap_runs, "BLOCK", 15)
    options = ("--method", "ascent", "--steps", "20", "--draws", "10", "--json")
    whole = json.loads(invoke("gap", "r", *options).stdout)
    calls, split_gap = [], gap_runs.split_gap

    def second_time_stops(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return split_gap(*args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(gap_runs, "split_gap", second_time_stops)
        stopped = invoke("gap", "r", *options)
    assert stopped.exit_code == 130
    assert "1 measured blocks are kept" in stopped.stderr
    assert json.loads(invoke("gap", "r", *options).stdout) == whole
    assert not Path("r/partial/gap-test").exists()


def test_a_sandwich_of_simulated_data(folder):
    assert invoke("train", *SMALL, "--epochs", "2", "--out", "r").exit_code == 0
    found = json.loads(invoke("sandwich", "r", "--data", "20", "--temperatures", "50", "--json").stdout)
    assert found["data"] == 20
    assert found["lower"]["mean"] - 6 * found["lower"]["se"] < found["upper"]["mean"] + 6 * found["upper"]["se"]
    assert Path("r/figures/sandwich-test.png").exists()


def test_the_information_of_a_run_is_measured(folder):
    assert invoke("train", *SMALL, "--epochs", "3", "--out", "r").exit_code == 0
    content = json.loads(call("information", "r", "--json").stdout)
    assert content["elbo"]["mean"] == pytest.approx(summary("r")["splits"]["test"]["elbo"], abs=1e-4)
    assert content["elbo"]["mean"] == pytest.approx(-content["rate"]["mean"] - content["distortion"]["mean"])
    assert len(content["units"]) == 3
    for name in ("information-test.json", "information-test.safetensors", "figures/information-test.png"):
        assert Path("r", name).exists()
    assert "active units" in invoke("information", "r", "--split", "train", "--data", "30").output


def test_the_curve_of_a_run_is_drawn_with_its_guide_above(folder):
    assert invoke("train", *SMALL, "--epochs", "3", "--out", "r").exit_code == 0
    content = json.loads(call("curve", "r", "--betas", "0.5,1,2", "--json").stdout)
    assert [point["beta"] for point in content["points"]] == [2, 1, 0.5]
    assert content["points"][1]["lost"]["mean"] == pytest.approx(summary("r")["splits"]["test"]["gap"], abs=1e-4)
    assert Path("r/figures/curve-test.png").exists()
    told = invoke("curve", "r", "--method", "annealing", "--data", "4", "--chains", "4", "--temperatures", "5")
    assert "annealing, 5 temperatures, 4 chains" in " ".join(told.output.split())
    assert "weights are positive numbers, got '1,-2'" in invoke("curve", "r", "--betas", "1,-2").output
    assert "weights are numbers such as 4,2,1,0.5, got 'one'" in invoke("curve", "r", "--betas", "one").output


def test_tightness_of_a_run_is_tested(folder):
    assert invoke("train", *SMALL, "--epochs", "3", "--out", "r").exit_code == 0
    content = json.loads(call("tightness", "r", "--json").stdout)
    assert (content["status"], content["method"]) == ("outside", "enumeration of 8 states")
    gap = json.loads(call("gap", "r", "--json").stdout)
    assert content["family_gap"]["mean"] == pytest.approx(gap["family_gap"]["mean"], abs=1e-5)
    assert 0 < content["guide"]["affine"]["share"] < 0.5
    for name in ("tightness-test.json", "tightness-test.safetensors", "figures/tightness-test.png"):
        assert Path("r", name).exists()
    result = invoke("tightness", "r", "--split", "train", "--data", "50")
    assert "outside the family, by" in " ".join(result.output.split())
    assert "furthest from affine" in result.output
    for name in ("tightness", "gap"):  # data are numbered by their split
        found = json.loads(call(name, "r", "--split", "train", "--data", "50", "--json").stdout)
        kept = Checkpoint.read(Path("r", f"{name}-train.safetensors")).tensors
        gap = kept["guide_residual"] if name == "tightness" else kept["evidence"] - kept["elbo"]
        assert found["worst"][0] == int(kept["rows"][gap.argmax()])
    tested = measure_tightness(Path("r"), "train", count=50)
    assert tested.examples[1].datum == tested.to_json()["worst"][0] == int(tested.sample[tested.worst(1)[0]])


def test_the_gap_of_long_codes_is_split_by_ascent(folder):
    assert invoke("train", *SMALL[:-4], "--bits", "20", "--epochs", "2", "--out", "r").exit_code == 0
    result = invoke("gap", "r", "--data", "10", "--steps", "10", "--draws", "30", "--json")
    assert result.exit_code == 0, result.output
    content = json.loads(Path("r/gap-test.json").read_text())
    assert content["best_of_family"]["method"] == "ascent of 10 steps from 4 starts"
    assert content["family_gap"]["bound"] == "between"
    assert content["optimisation"]["gained_in_the_second_round_of_the_ascent"]["se"] > 0
    assert "widest gaps" in result.stderr
    few = invoke("gap", "r", "--data", "10", "--method", "enumeration")
    assert "the latents have 1048576 joint states, more than 2^16; use the method 'ascent'" in " ".join(
        few.output.split()
    )


LADDER = ("gap", "r", "--ladder", "linear_counts, mean_field, full", "--data", "30", "--epochs")


def test_a_ladder_of_guides_is_fitted_to_the_model_of_a_run(folder):
    assert invoke("train", *SMALL, "--epochs", "3", "--learning-rate", "0.01", "--out", "r").exit_code == 0
    before = Path("r/checkpoints/train-best.safetensors").read_bytes()
    result = invoke(*LADDER, "3", "--json")
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    assert list(content["rungs"]) == ["linear_counts", "mean_field", "full"]
    full, evidence = content["rungs"]["full"], content["evidence"]
    assert evidence["bound"] == "exact"
    assert full["family_gap"]["mean"] == 0
    steps = sum(content["rungs"][name]["step"]["mean"] for name in ("mean_field", "full"))
    total = full["elbo"]["mean"] - content["rungs"]["linear_counts"]["elbo"]["mean"]
    assert steps == pytest.approx(total, abs=1e-4)
    for name in ("ladder-test.json", "ladder-test.safetensors", "figures/ladder-test.png"):
        assert Path("r", name).exists()
    assert Path("r/checkpoints/train-best.safetensors").read_bytes() == before
    assert "step up" in invoke(*LADDER, "3").output  # the fits are there already
    # Another state of the model: the fits no longer belong to it.
    assert invoke("train", *SMALL, "--epochs", "3", "--seed", "1", "--out", "s").exit_code == 0
    Path("s/ladder").symlink_to(Path("r/ladder").resolve())
    assert "belongs to another state of the run's model" in " ".join(
        invoke("gap", "s", *LADDER[2:], "3").output.split()
    )


def test_an_interrupted_ladder_is_taken_up(folder, monkeypatch):
    assert invoke("train", *SMALL, "--epochs", "3", "--out", "r").exit_code == 0
    shutil.copytree("r", "whole")
    assert invoke("gap", "whole", *LADDER[2:], "3").exit_code == 0
    step, count = Trainer.step, iter(range(10_000))

    def interrupted(self, x):
        if next(count) == 45:  # nine steps an epoch: in the second guide
            raise KeyboardInterrupt
        return step(self, x)

    monkeypatch.setattr(Trainer, "step", interrupted)
    stopped = invoke(*LADDER, "3")
    assert stopped.exit_code == 130
    assert "the same command goes on from there" in stopped.output
    assert Path("r/ladder/linear_counts").exists()
    assert invoke(*LADDER, "3").exit_code == 0
    assert Path("r/ladder-test.json").read_text() == Path("whole/ladder-test.json").read_text()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--ladder", "linear_counts,linear_counts"), "each guide of a ladder is named once"),
        (("--ladder", "linear"), "there is no guide 'linear'; choose from"),
        (("--epochs", "3"), "name them with --ladder"),
        (("--ladder", "full", "--epochs", "x"), "epochs are a number or phases"),
        (("--steps", "1"), "1 is not in the range x>=4"),
    ],
)
def test_mistakes_with_ladders_are_answered_in_words(folder, args, words):
    assert invoke("train", *SMALL, "--epochs", "1", "--out", "r").exit_code == 0
    result = invoke("gap", "r", *args)
    assert result.exit_code in (1, 2)
    assert words in " ".join(result.output.split()), result.output


def test_gaps_that_cannot_be_split_are_named(folder):
    assert invoke("train", *SMALL, "--epochs", "1", "--retrain", "--out", "r").exit_code == 0
    assert "has no validation data; choose from train, test" in invoke("gap", "r", "--split", "validation").output
    assert invoke("gap", "r", "--split", "train").exit_code == 0
    assert "is not a run folder" in invoke("gap", "nowhere").output
    for path in Path("r/checkpoints").iterdir():
        path.unlink()
    assert "has no trained state yet; finish it with" in " ".join(invoke("gap", "r").output.split())


def test_list_survives_files_that_are_no_models(folder):
    Path("models").mkdir()
    Path("models/helpers.py").write_text("x = 1")
    Path("models/mine.py").write_text(OWN.replace("FACTOR", "3.0").replace("codes: int = 2", "codes: int"))
    done = call("list", "--json")
    content = json.loads(done.stdout)
    broken = {row["name"]: row["summary"] for row in content["broken"]}
    assert "it defines none" in broken["models/helpers.py"]
    assert any("missing 1 required" in reason for reason in broken.values())
    assert "text" in {row["name"] for row in content["models"]}


def test_errors_in_a_users_model_name_its_line(folder):
    Path("mine.py").write_text(
        "import pyro\nfrom pyro.nn import PyroModule\nfrom ppl_vae.data.counts import PackedCounts\n"
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
    assert {"text", "gmm", "ppca", "rbm"} <= set(guides["full"]["goes_with"])
    estimators = {row["name"]: row["goes_with"] for row in content["estimators"]}
    assert {"full", "tree"} <= set(estimators["loo"])
    assert "tree" not in estimators["disarm"]
    assert all(row["summary"] for rows in content.values() for row in rows)
    assert "linear_counts" in invoke("list").output


@pytest.mark.parametrize("decay", ["linear", "cosine"])
def test_the_learning_rate_falls_from_the_whole_to_almost_nothing(decay):
    settings = Settings(schedule=[(10, 1), (90, 3)], learning_rate=0.2, decay=decay)
    rates = [settings.rate(epoch) for epoch in range(1, 101)]
    assert rates[0] == 0.2
    assert rates == sorted(rates, reverse=True)
    assert rates[50] == pytest.approx(0.1)
    assert rates[-1] == pytest.approx(0.2 * {"linear": 0.01, "cosine": (1 - np.cos(np.pi / 100)) / 2}[decay])
    assert {Settings(schedule=[(100, 1)]).rate(epoch) for epoch in (1, 50, 100)} == {1e-3}
    with pytest.raises(ValueError, match="unknown decay 'slow'; choose from none, linear, cosine"):
        Settings(decay="slow")


def test_schedules():
    settings = Settings(schedule=parse_schedule("2x1,3x10"))
    assert [settings.draws(epoch) for epoch in range(1, 6)] == [1, 1, 10, 10, 10]
    assert settings.epochs == 5
    for wrong in ("", "0", "3x0", "3x", "x3", "-1", "1.5"):
        with pytest.raises(ValueError, match="epochs are a number|at least one draw"):
            parse_schedule(wrong)


def test_a_run_trained_on_the_likelihood(folder):
    done = call(
        "train",
        *SMALL,
        "--epochs",
        "4x1,4x3",
        "--objective",
        "likelihood",
        "--estimator",
        "arm",
        "--out",
        "r",
        "--json",
    )
    assert done.returncode == 0, done.stderr
    assert "note: --estimator belong" in done.stderr
    content = json.loads(done.stdout)
    assert (content["objective"], content["estimator"]) == ("likelihood", "enumeration of 8 states")
    assert json.loads(Path("r/config.json").read_text())["objective"] == "likelihood"
    rows = [json.loads(line) for line in Path("r/train-metrics.jsonl").read_text().splitlines()]
    assert "train_evidence" in rows[0]
    assert "validation_elbo" not in rows[0]
    # The epoch was chosen by the evidence, exactly what is measured in the end.
    best = max(row["validation_evidence"] for row in rows)
    assert content["splits"]["validation"]["evidence"] == pytest.approx(best, abs=1e-4)


def test_the_likelihood_of_long_codes_is_sampled(folder):
    options = (*SMALL[:-4], "--bits", "12", "--epochs", "1", "--objective", "likelihood")
    assert invoke("train", *options, "--out", "a").exit_code == 0
    assert json.loads(Path("a/train-metrics.jsonl").read_text())["draws"] == 16
    assert json.loads(Path("a/summary.json").read_text())["estimator"] == "importance weights"
    done = call("train", *options, "--draws", "1", "--out", "b")
    assert "note: the importance-weighted bound of a single draw is the ELBO: take --draws 16 or more" in done.stderr


def test_interrupted_training_on_the_likelihood_ends_the_same(folder, monkeypatch):
    options = ("train", *SMALL[:-4], "--bits", "12", "--epochs", "6", "--objective", "likelihood", "--retrain")
    assert invoke(*options, "--out", "whole").exit_code == 0
    step, count = Trainer.step, iter(range(10**6))

    def interrupted(self, x):
        if next(count) == 16:  # while training again
            raise KeyboardInterrupt
        return step(self, x)

    monkeypatch.setattr(Trainer, "step", interrupted)
    assert invoke(*options, "--out", "stopped").exit_code == 130
    assert invoke("train", "--resume", "stopped").exit_code == 0
    assert summary("stopped") == summary("whole")


@pytest.fixture
def trained(folder, monkeypatch):
    """Two runs of one model, on the bound and on the likelihood, measured once."""
    for name, objective in (("bound", "elbo"), ("best", "likelihood")):
        options = ("--epochs", "30", "--learning-rate", "0.02", "--objective", objective)
        assert invoke("train", *SMALL, *options, "--out", name).exit_code == 0
    return folder


def test_runs_are_compared_from_what_was_measured_before(trained, monkeypatch):
    # Runs of before there were objectives climbed the ELBO.
    config = json.loads(Path("bound/config.json").read_text())
    del config["objective"]
    Path("bound/config.json").write_text(json.dumps(config))
    done = call("compare", "bound", "best", "--json")
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    bound, best = content["runs"]
    assert (bound["objective"], best["objective"], bound["optimum"]) == ("elbo", "likelihood", "best")
    for row, run in ((bound, "bound"), (best, "best")):
        expected = summary(run)["splits"]["test"]
        for number in ("elbo", "evidence", "gap"):
            assert row[number]["mean"] == pytest.approx(expected[number], abs=1e-6)
        assert row["deviance"] == pytest.approx(expected["deviance"], abs=1e-6)
        parts = row["family_gap"]["mean"] + row["amortisation_gap"]["mean"]
        assert parts == pytest.approx(expected["gap"], abs=1e-4)
    for split in ("train", "test"):
        difference = summary("best")["splits"][split]["evidence"] - summary("bound")["splits"][split]["evidence"]
        assert bound["approximation_error"][split]["mean"] == pytest.approx(difference, abs=1e-5)
        assert bound["approximation_error"][split]["se"] > 0
    assert Path("bound/compare-test.json").exists()
    assert Path("bound/figures/compare-test.png").exists()

    def measure_again(*args, **kwargs):
        raise AssertionError("measured again")

    monkeypatch.setattr("ppl_vae.runs.compare.measured", measure_again)
    monkeypatch.setattr("ppl_vae.runs.compare.measure_evidence", measure_again)
    monkeypatch.setattr("ppl_vae.runs.compare.open_run", measure_again)
    result = invoke("compare", "bound", "best")
    assert result.exit_code == 0, result.output
    assert "approximation error, train" in result.output
    # Another state than that of the run is measured afresh.
    path = Path("bound/checkpoints/train-best.safetensors")
    path.write_bytes(Path("best/checkpoints/train-best.safetensors").read_bytes())
    assert "measured again" in invoke("compare", "bound", "best").output


def test_unfinished_runs_are_measured_for_a_comparison(trained):
    Path("bound/summary.json").unlink()
    content = json.loads(call("compare", "best", "bound", "--json").stdout)
    assert any("B: not finished" in note for note in content["notes"])
    assert content["runs"][1]["deviance"] is not None
    assert Path("bound/evidence-test-auto.safetensors").exists()
    assert Path("bound/evidence-train-auto.safetensors").exists()


def test_runs_that_cannot_be_compared_are_named(trained):
    assert invoke("train", *SMALL, "--epochs", "1", "--vocabulary", "30", "--out", "fewer").exit_code == 0
    assert invoke("train", *SMALL, "--epochs", "1", "--retrain", "--out", "again").exit_code == 0

    def words(*args):
        result = invoke("compare", *args)
        assert "Traceback" not in result.output
        return " ".join(result.output.split())

    assert "bound and fewer were trained on different data, or split otherwise" in words("bound", "fewer")
    assert "vocabulary 30" in words("bound", "fewer")
    assert "a comparison takes 2 to 26 runs, got 1" in words("bound")
    assert "is not a run folder" in words("bound", "nowhere")
    assert "compare on test" in words("bound", "again", "--split", "train")
    assert "no comparison on training data" in words("bound", "again")
    assert "again has no validation data" in words("again", "bound", "--split", "validation")
