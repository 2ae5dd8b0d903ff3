"""Every command on models of tensors, with bits and with normals as latents."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from ppl_vae.cli.main import main
from ppl_vae.nn.checkpoint import Checkpoint
from ppl_vae.programs.loading import find
from ppl_vae.training.trainer import Trainer

BITS = '''
import pyro, pyro.distributions as dist, torch
from pyro.nn import PyroModule

class Bits(PyroModule):
    """Bits explain bits."""
    corpus = "bits.npz"

    def __init__(self, shape, codes: int = 3):
        super().__init__()
        self.out = torch.nn.Linear(codes, shape[0])

    def forward(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(logits=self.out.bias.new_zeros(self.out.in_features)).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=self.out(z)).to_event(1), obs=x)
'''
NORMALS = '''
import pyro, pyro.distributions as dist, torch
from pyro.nn import PyroModule

class Normals(PyroModule):
    """Normals explain points."""

    def __init__(self, shape: tuple[int, ...], size: int = 2):
        super().__init__()
        self.out = torch.nn.Linear(size, shape[0])
        self.noise = torch.nn.Parameter(torch.zeros(()))

    def forward(self, x: torch.Tensor):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(self.out.bias.new_zeros(self.out.in_features), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.out(z), self.noise.exp()).to_event(1), obs=x)
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a model of binary vectors, a model of points, and data for both."""
    rng = np.random.default_rng(0)
    monkeypatch.chdir(tmp_path)
    bits = (rng.random((200, 1)) < 0.5) ^ (rng.random((200, 6)) < 0.1)
    np.savez("bits.npz", train=bits[:150], test=bits[150:])
    np.save("points.npy", rng.standard_normal((200, 2)) @ np.array([[2.0, 0.5], [0.0, 0.3]]))
    Path("bits.py").write_text(BITS)
    Path("normals.py").write_text(NORMALS)
    return tmp_path


def invoke(*args: str):
    result = CliRunner().invoke(main, args)
    assert "Traceback" not in result.output
    return result


def done(*args: str) -> dict:
    result = invoke(*args, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def words(*args: str) -> str:
    return " ".join(invoke(*args).output.split())


SMALL = ("--guide", "linear_counts", "--epochs", "3", "--batch-size", "40", "--learning-rate", "0.02")
PAIRS = {"bits": ("train", "bits.py", *SMALL), "normals": ("train", "normals.py", "--corpus", "points.npy", *SMALL)}
pairs = pytest.mark.parametrize("model", list(PAIRS))


@pairs
def test_training_ends_in_a_table_without_deviance(folder, model):
    result = invoke(*PAIRS[model], "--out", "r")
    assert result.exit_code == 0, result.output
    assert f"{model} with linear_counts" in result.stdout
    assert "deviance" not in result.output
    splits = json.loads(Path("r/summary.json").read_text())["splits"]
    assert list(splits) == ["train", "validation", "test"]
    assert splits["test"]["evidence"]["bound"] == "exact"
    assert splits["test"]["elbo"]["mean"] < splits["test"]["evidence"]["mean"]
    config = json.loads(Path("r/config.json").read_text())
    assert "vocabulary" not in config["corpus"]["options"]
    assert config["corpus"]["name"] == str(Path("bits.npz" if model == "bits" else "points.npy").resolve())
    assert Path("r/figures/training.png").exists()
    assert ("reparameterised draws" in result.output) == (model == "normals")


@pairs
@pytest.mark.parametrize("stop", [5, 17], ids=["train", "retrain"])
def test_an_interrupted_training_ends_as_if_never_interrupted(folder, monkeypatch, model, stop):
    options = (*PAIRS[model], "--decay", "cosine", "--retrain", "--patience", "0")
    whole = done(*options, "--out", "whole")
    assert whole["splits"]["train"]["data"] == (150 if model == "bits" else 180)
    assert "validation" not in whole["splits"]
    rows = [json.loads(line) for line in Path("whole/retrain-metrics.jsonl").read_text().splitlines()]
    assert [row["learning_rate"] for row in rows] == pytest.approx([0.02, 0.015, 0.005][: len(rows)])
    step, count = Trainer.step, iter(range(10**6))

    def interrupted(self, x):
        if next(count) == stop:
            raise KeyboardInterrupt
        return step(self, x)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "step", interrupted)
        assert invoke(*options, "--out", "stopped").exit_code == 130
    assert done("train", "--resume", "stopped")["splits"] == whole["splits"]
    for name in ("train-last", "retrain-last"):
        one, two = (Checkpoint.read(Path(run, "checkpoints", f"{name}.safetensors")) for run in ("whole", "stopped"))
        assert all(torch.equal(tensor, two.tensors[key]) for key, tensor in one.tensors.items())
    # Measured again, on training and validation data together.
    assert done("evidence", "stopped", "--split", "train")["evidence"]["mean"] == pytest.approx(
        whole["splits"]["train"]["evidence"]["mean"], abs=1e-4
    )


@pairs
def test_every_measurement_of_a_run(folder, model):
    expected = done(*PAIRS[model][:-1], "0.002", "--out", "r")["splits"]["test"]
    sampled = done("evidence", "r", "--method", "importance", "--draws", "500")
    assert sampled["evidence"]["mean"] <= expected["evidence"]["mean"] + 6 * sampled["evidence"]["se"] + 1e-4
    annealed = ("--method", "annealing", "--draws", "4", "--temperatures", "5", "--data", "10")
    assert done("evidence", "r", *annealed)["evidence"]["bound"] == "lower"
    gap = done("gap", "r", "--data", "10", "--steps", "20", "--draws", "20")
    assert gap["family_gap"]["mean"] + gap["amortisation_gap"]["mean"] == pytest.approx(
        gap["evidence"]["mean"] - gap["elbo"]["mean"], abs=1e-3
    )
    told = done("information", "r")
    assert told["elbo"]["mean"] == pytest.approx(expected["elbo"]["mean"], abs=6 * told["elbo"]["se"] + 6e-3)
    assert done("sandwich", "r", "--data", "10", "--temperatures", "5", "--draws", "4")["data"] == 10
    assert done("tightness", "r", "--data", "10")["status"]
    ladder = done("gap", "r", "--ladder", "linear_counts,mean_field", "--data", "10", "--epochs", "1", "--steps", "20")
    assert list(ladder["families"]) == ["linear_counts", "mean_field"]
    exported = done("export", "r", "--draws", "5")
    assert exported["groups"]["observed_data"] == ["x"]
    for name in ("gap-test", "information-test", "evidence-test-importance", "ladder-test", "tightness-test"):
        assert Path("r/figures", f"{name}.png").exists()


@pairs
def test_runs_are_compared(folder, model):
    done(*PAIRS[model], "--out", "a")
    done(*PAIRS[model], "--objective", "likelihood", "--draws", "4", "--out", "b")
    content = done("compare", "a", "b")
    assert [content[run]["objective"] for run in "AB"] == ["elbo", "likelihood"]
    assert all(content[run]["deviance"] is None for run in "AB")
    assert "deviance" not in invoke("compare", "a", "b").output
    Path("a/summary.json").unlink()
    assert any("A: training is not finished" in line for line in done("compare", "a", "b")["warnings"])
    done(*PAIRS[model], "--seed", "1", "--out", "c")
    told = words("compare", "b", "c")
    assert "were trained on different data or splits" in told
    assert "vocabulary 10000" not in told


def test_data_of_the_wrong_kind_are_refused_unloaded(folder, monkeypatch):
    monkeypatch.setattr("ppl_vae.runs.config.load_corpus", lambda **_: pytest.fail("loaded"))
    told = words("train", "normals.py", "--corpus", "docstrings")
    assert "model normals reads tensors, but docstrings holds documents (--corpus); choose a corpus of tensors" in told
    assert "choose a corpus of tensors: bars, binarized_mnist, channel, gaussians, manifold, mnist" in told
    assert "if the model reads documents, annotate x of its forward in normals.py as PackedCounts" in told
    told = words("train", "text", "--corpus", "bits.npz")
    assert "model text reads documents, but bits.npz holds tensors" in told
    assert "choose a corpus of documents: docstrings, 20news" in told
    assert "'nowhere' is neither a corpus nor a file or folder" in words("train", "bits.py", "--corpus", "nowhere")
    assert not Path("runs").exists()


def test_data_of_a_shape_that_broadcasts_are_refused(folder):
    np.savez("images.npz", train=np.ones((20, 6, 6)))
    told = words("train", "bits.py", "--corpus", "images.npz", "--batch-size", "6")
    assert "data of shape (6, 6) do not fit the model (" in told
    assert "site 'x' observes values of shape (6, 6), but its distribution has shape (6,)" in told
    assert "choose data of its shape (--corpus)" in told
    assert not Path("runs").exists()


def test_data_that_the_model_cannot_have_made_are_refused(folder):
    data = np.load("bits.npz")["train"].astype(float)
    data[100] = 0.5
    np.savez("grey.npz", train=data, test=data[:2])
    told = words("train", "bits.py", "--corpus", "grey.npz")
    assert "site 'x' is Bernoulli and takes zeros and ones, but the train data have 0.5 in datum" in told
    assert not Path("runs").exists()


def test_nothing_to_train_leaves_no_run(folder):
    assert "there is nothing to train" in words("train", "gmm", "--guide", "posterior")
    assert not Path("runs").exists()


def test_words_mean_nothing_to_tensors(folder):
    result = invoke(*PAIRS["bits"], "--vocabulary", "100", "--out", "r")
    assert result.exit_code == 0, result.output
    assert "note: --vocabulary belongs to documents: bits.npz holds tensors, which have no words" in result.stderr


def test_a_model_names_its_data(folder):
    assert find("models", "bits.py").corpus == "bits.npz"
    assert find("models", "normals.py").corpus == "gaussians"
    assert find("models", "text").corpus == "docstrings"
    content = done("train", "normals.py", "--guide", "linear_counts", "--epochs", "1", "--out", "r")
    assert content["splits"]["test"]["data"] == 2000
    assert "gaussians for models of tensors" in words("train", "--help")


def test_list_shows_what_reads_what(folder):
    Path("models").mkdir()
    for name in ("bits.py", "normals.py"):
        Path(name).rename(Path("models", name))
    Path("models/images.py").write_text(BITS.replace("Bits", "Images").replace("shape[0]", "shape[0] * shape[2]"))
    content = done("list")
    readers = {row["name"]: row["goes_with"] for row in content["corpora"]}
    assert {"bits", "normals"} <= set(readers["gaussians"])
    assert "text" not in readers["mnist"]
    assert "text" in readers["docstrings"]
    assert not {"bits", "normals"} & set(readers["20news"])
    guides = {row["name"]: row["goes_with"] for row in content["models"]}
    assert {"linear_counts", "mean_field", "full"} <= set(guides["bits"]) & set(guides["normals"])
    (broken,) = content["broken"]
    assert "IndexError: tuple index out of range / " in broken["summary"]
    assert "ValueError: data of shape (1, 28, 28) do not fit the model (" in broken["summary"]
