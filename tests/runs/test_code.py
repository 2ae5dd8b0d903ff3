"""Runs that are kept and sent: copies of the user's files, code of others, data that moved, more epochs, lists."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import ppl_vae as pv
from ppl_vae.plugins import trust
from ppl_vae.training.lock import locked
from tests.support.cli import flat, invoke, json_of, succeed
from tests.support.pair_files import WITH_NEIGHBOUR

MODEL = WITH_NEIGHBOUR.format(neighbour="helpers")


@pytest.fixture
def line(tmp_path, monkeypatch):
    """A working folder with a model in two files and its data."""
    monkeypatch.chdir(tmp_path)
    Path("code").mkdir()
    Path("code/line.py").write_text(MODEL)
    Path("code/helpers.py").write_text("SCALE = 1.0\n")
    np.save("x.npy", np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32))
    return tmp_path


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """Another machine: nothing was run there yet."""

    def begin():
        monkeypatch.setattr(trust, "_trusted", set())
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "other-state"))

    return begin


def trained(epochs=1, **options):
    return pv.train("code/line.py", "mean_field", "x.npy", out="r", epochs=epochs, patience=0, **options)


def exact_evidence(run, scale):
    """The mean evidence of a linear Gaussian model in NumPy."""
    tensors = load_file(run / "checkpoints/train-best.safetensors")
    w, b = (tensors[f"model.decoder.{name}"].double().numpy() for name in ("weight", "bias"))
    x = pv.load_run(run).data["test"].double().numpy()
    cov = w @ w.T + scale**2 * np.eye(2)
    centred = x - b
    return np.mean(
        -0.5 * (np.einsum("ni,ij,nj->n", centred, np.linalg.inv(cov), centred) + np.linalg.slogdet(2 * np.pi * cov)[1])
    )


@pytest.mark.parametrize("changed", ["line.py", "helpers.py", "both gone"])
def test_a_changed_or_removed_file_is_replaced_by_the_copy_in_the_run_which_measures_the_same(line, changed, capsys):
    before = trained().evidence().evidence.mean
    if changed == "both gone":
        shutil.rmtree("code")
    else:
        Path("code", changed).write_text(Path("code", changed).read_text() + "open('was-run', 'w').close()  # new\n")
    capsys.readouterr()
    assert pv.load_run("r").evidence().evidence.mean == before
    said = flat(capsys.readouterr().err)
    assert not Path("was-run").exists()
    if changed == "both gone":
        assert "line.py is gone: the copy in r is taken" in said
    else:
        assert "has changed since the run began: the copy in r is taken (--code current takes the file)" in said
        assert f"now/{changed}" in said and "+open('was-run'" in said


def test_the_file_as_it_is_now_is_taken_on_request_and_what_it_measures_is_kept_apart(line):
    trained().evidence()
    Path("code/helpers.py").write_text("SCALE = 2.0\n")
    with pytest.raises(ValueError, match="this machine has not run before"):
        pv.load_run("r", code="current")
    now = pv.load_run("r", code="current", trust=True).evidence().evidence
    assert now.mean == pytest.approx(exact_evidence(line / "r", 2.0), abs=1e-5)
    with_copy = json_of("evidence", "r")["evidence"]
    assert with_copy["mean"] == pytest.approx(exact_evidence(line / "r", 1.0), abs=1e-5)
    assert json_of("evidence", "r", "--code", "current")["evidence"]["mean"] == now.mean


def test_a_run_without_a_copy_of_a_changed_file_is_refused(line):
    trained()
    Path("code/line.py").write_text(MODEL + "\n# new\n")
    next(Path("r/code").glob("*/helpers.py")).write_text("open('was-run', 'w').close()\n")
    refused = flat(invoke("gap", "r").stderr)
    assert "line.py has changed since the run began, and r holds no copy of it" in refused
    assert "--code current" in refused and not Path("was-run").exists()


def test_code_that_someone_sent_runs_only_if_trusted_which_is_remembered(line, elsewhere):
    trained()
    elsewhere()
    shutil.rmtree("code")
    refused = invoke("evidence", "r")
    assert refused.exit_code == 1
    assert "which this machine has not run before; read it, and if you trust it, add --trust" in flat(refused.stderr)
    with pytest.raises(ValueError, match="this machine has not run before"):
        pv.load_run("r")
    succeed("evidence", "r", "--trust")
    trust._trusted.clear()  # as in the next process
    succeed("evidence", "r")


def test_the_estimator_of_a_run_that_someone_sent_runs_only_if_trusted(line, elsewhere):
    Path("est.py").write_text(
        "from ppl_vae.estimators.loo import ReinforceLOO\nopen('was-run', 'w').close()\nclass Est(ReinforceLOO): pass\n"
    )
    options = {"epochs": 1, "guide_width": 4, "estimator": "est.py"}
    pv.train("gmm", "mean_field", "x.npy", out="r", **options)
    succeed("evidence", "r")
    elsewhere()
    Path("was-run").unlink()
    refused = invoke("train", "--resume", "r", "--epochs", "2")
    assert "est.py, which this machine has not run before" in flat(refused.stderr) and not Path("was-run").exists()
    succeed("train", "--resume", "r", "--epochs", "2", "--trust")


def test_a_shipped_pair_needs_no_trust(trained, elsewhere):
    elsewhere()
    succeed("evidence", "r")


def test_data_are_found_beside_a_run_that_moved_or_where_the_user_says(line, capsys):
    mean = trained().evidence().evidence.mean
    Path("moved").mkdir()
    shutil.move("r", "moved/r")
    shutil.move("x.npy", "moved/x.npy")
    assert pv.load_run("moved/r").evidence().evidence.mean == mean
    assert "x.npy is gone: the data are read from" in flat(capsys.readouterr().err)
    shutil.move("moved/x.npy", "y.npy")
    assert "x.npy, the data of moved/r, is gone; say where it lies now (--corpus" in flat(
        invoke("gap", "moved/r").stderr
    )
    assert json_of("evidence", "moved/r", "--corpus", "y.npy")["evidence"]["mean"] == mean
    np.save("y.npy", np.zeros((60, 2), np.float32))
    assert "has changed since the run began" in flat(invoke("evidence", "moved/r", "--corpus", "y.npy").stderr)


def test_more_epochs_end_as_a_longer_training_does(line):
    trained(2)
    whole = pv.train("code/line.py", "mean_field", "x.npy", out="whole", epochs=5, patience=0)
    assert "r has done 2 epochs already; give more than 2 in all" in flat(
        invoke("train", "--resume", "r", "--epochs", "2").stderr
    )
    content = json_of("train", "--resume", "r", "--epochs", "5")
    assert content["splits"] == whole.summary.to_json()["splits"] and content["epochs"] == 5
    for name in ("train-best", "train-last"):
        ours, theirs = (load_file(f"{run}/checkpoints/{name}.safetensors") for run in ("r", "whole"))
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
    again = pv.resume("r", epochs="5x1,2x3")
    assert again.summary.epochs == 7
    refused = flat(invoke("train", "--resume", "r", "--epochs", "4x1,5x2").stderr)
    assert "epoch 5 was trained with 1 draws per datum, and '4x1,5x2' has 2" in refused


def test_a_run_that_patience_ended_needs_more_patience_too(line):
    pv.train("code/line.py", "mean_field", "x.npy", out="r", epochs=50, patience=1, learning_rate=3.0)
    done = pv.load_run("r").summary.epochs
    assert done < 50
    assert "had not improved for 1 epochs; give more patience, too" in flat(
        invoke("train", "--resume", "r", "--epochs", "60").stderr
    )
    assert json_of("train", "--resume", "r", "--epochs", str(done + 2), "--patience", "0")["epochs"] == done + 2


def test_runs_are_listed_and_removed(line):
    assert "there is no folder runs" in flat(invoke("runs").stderr)
    trained()
    shutil.copytree("r", "runs/a")
    shutil.copytree("r", "runs/study/runs/b")
    Path("runs/study/runs/b/summary.json").unlink()
    shutil.copytree("r", "runs/c")
    Path("runs/c/config.json").write_text("{")
    listed = json_of("runs")
    assert {run["folder"] for run in listed["runs"]} == {"runs/a", "runs/study/runs/b"}
    assert "runs/c/config.json cannot be read" in listed["broken"][0]
    by_name = {run["folder"]: run for run in listed["runs"]}
    expected = pv.load_run("r").summary.splits["test"].measurement
    assert by_name["runs/a"]["elbo"] == expected.elbo.mean and by_name["runs/a"]["evidence"] == expected.evidence.mean
    assert by_name["runs/study/runs/b"]["epochs"] is None
    assert "unfinished" in succeed("runs").output
    assert [run["folder"] for run in json_of("runs", "--sort", "elbo")["runs"]][0] == "runs/a"
    assert json_of("runs", "--guide", "full")["runs"] == []
    assert "nobody is there to ask; add --yes" in flat(invoke("runs", "remove", "runs/a").stderr)
    assert "runs is not a run folder" in flat(invoke("runs", "remove", "runs/a", "runs", "--yes").stderr)
    assert Path("runs/a").exists()
    succeed("runs", "remove", "runs/a", "--yes")
    assert not Path("runs/a").exists() and Path("r").exists()


@pytest.fixture
def many(line):
    """Two runs, and what is none."""
    trained()
    shutil.copytree("r", "s")
    Path("hugging").mkdir()
    Path("hugging/config.json").write_text('{"architectures": ["LlamaForCausalLM"], "model_type": "llama"}')
    Path("hugging/model.safetensors").write_bytes(b"weights")
    Path("link").symlink_to("s")
    shutil.copytree("r", "mixed")
    Path("mixed/figures/notes.txt").write_text("mine")
    shutil.copytree("r", "beside")
    shutil.copy("x.npy", "beside/codes.npz")
    Path("beside/table.csv").write_text("1,2")
    shutil.copytree("r", "project")
    Path("project/.git").mkdir()
    Path("project/.git/HEAD").write_text("ref")
    shutil.copytree("r", "linked")
    Path("linked/data.npz").symlink_to("../x.npy")
    shutil.copytree("r", "damaged")
    Path("damaged/config.json").write_text(Path("r/config.json").read_text().replace('"seed": 0', '"seed": "zero"'))
    shutil.copytree("r", "named")
    Path("named/config.json").write_text('{"model": "gpt2", "guide": "none", "generator": {}}')
    return line


NOT_REMOVED = {
    "hugging": "hugging is not removed: it is no run, or a damaged one",
    "named": "named is not removed: it is no run, or a damaged one",
    "damaged": "damaged is not removed: it is no run, or a damaged one (damaged/config.json: corpus.seed is 'zero'",
    "link": "link is a link to s; give that folder to remove the run, or remove the link",
    "mixed": "mixed is not removed: it holds figures/notes.txt, which no run writes",
    "beside": "beside is not removed: it holds table.csv, which no run writes",
    "project": "project is not removed: it holds .git, which no run writes",
    "linked": "linked is not removed: it holds data.npz, which no run writes",
    "code": "code is not a run folder: it has no config.json",
    "gone": "gone is not a run folder",
}


def test_what_is_no_run_is_not_removed_nor_are_the_runs_named_with_it(many):
    before = sorted(many.rglob("*"))
    for folder, words in NOT_REMOVED.items():
        refused = invoke("runs", "remove", "r", folder, "--yes")
        assert refused.exit_code == 1 and words in flat(refused.stderr) and "Traceback" not in refused.output
        with pytest.raises(ValueError, match=folder):
            pv.remove_runs("r", folder)
    assert sorted(many.rglob("*")) == before


def test_runs_are_locked_before_any_is_removed_and_a_run_named_twice_is_removed_once(many, monkeypatch):
    with (
        locked(Path("s"), "trains there"),
        pytest.raises(ValueError, match=r"s is in use: process \d+ .* trains there"),
    ):
        pv.remove_runs("r", "s")
    assert Path("r/config.json").exists() and Path("s/config.json").exists()

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied", "s")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", refuse)
        assert "s is not removed, or not all of it: [Errno 13]" in flat(invoke("runs", "remove", "s", "--yes").stderr)
    shutil.copytree("r", "r/ladder/full")
    pv.remove_runs("r", "./r", "s", "r/ladder/full")
    assert not Path("r").exists() and not Path("s").exists()


def test_a_comparison_names_what_differs_between_the_runs(line):
    trained()
    pv.train("code/line.py", "full", "x.npy", out="other", epochs=2, patience=0)
    notes = " ".join(pv.compare("r", "other").to_json()["warnings"])
    assert "guide.name (mean_field | full)" in notes and "settings.schedule ([(1, 1)] | [(2, 1)])" in notes
