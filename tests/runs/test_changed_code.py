"""A model file that changes after its run began: whose numbers count for what, and kills while a run takes it up."""

import json
import shutil
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from safetensors.torch import load_file

import ppl_vae as pv
from ppl_vae.runs import train as training
from ppl_vae.runs.code import Opening, config_of, opening
from ppl_vae.runs.more_epochs import change_config
from ppl_vae.training.run_folder import RunFolder
from tests.support.cli import flat, invoke, json_of, succeed
from tests.support.killed import Killed, killed_at
from tests.support.pair_files import WITH_NEIGHBOUR

MODEL = WITH_NEIGHBOUR.format(neighbour="noise")


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A folder with a model in two files, its data, and a run of two epochs whose evidence is stored."""
    folder = tmp_path_factory.mktemp("begun")
    (folder / "line.py").write_text(MODEL)
    (folder / "noise.py").write_text("SCALE = 1.0\n")
    np.save(folder / "x.npy", np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        pv.train("line.py", "mean_field", "x.npy", out="r", epochs=2, patience=0).evidence()
    return folder


@pytest.fixture
def line(begun, monkeypatch):
    """The folder as it was left."""
    monkeypatch.chdir(begun)
    kept = begun.with_name("kept")
    shutil.copytree(begun, kept)
    yield begun
    for path in begun.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(kept, begun, dirs_exist_ok=True)
    shutil.rmtree(kept)


def change():
    Path("noise.py").write_text("SCALE = 2.0\n")


def exact_evidence(scale, run="r"):
    """The mean evidence of a linear Gaussian model in NumPy."""
    tensors = load_file(f"{run}/checkpoints/train-best.safetensors")
    w, b = (tensors[f"model.decoder.{name}"].double().numpy() for name in ("weight", "bias"))
    x = pv.load_run(run).data["test"].double().numpy()
    cov = w @ w.T + scale**2 * np.eye(2)
    squares = np.einsum("ni,ij,nj->n", x - b, np.linalg.inv(cov), x - b)
    return pytest.approx(np.mean(-0.5 * (squares + np.linalg.slogdet(2 * np.pi * cov)[1])), abs=1e-5)


def test_a_configuration_that_someone_sent_lends_no_trust(line):
    config = json.loads(Path("r/config.json").read_text())
    Path("sent.py").write_text("open('was-run', 'w').close()\n" + MODEL)
    config["model"]["name"] = str(Path("sent.py").resolve())  # under the digest of a file that was run here
    Path("r/config.json").write_text(json.dumps(config))
    refused = invoke("evidence", "r", "--code", "current")
    assert refused.exit_code == 1 and "which this machine has not run before" in flat(refused.stderr)
    assert not Path("was-run").exists()


def test_comparisons_and_reports_of_changed_files_are_of_them_and_leave_those_of_the_run(line):
    shutil.copytree("r", "other")
    before = {path: path.read_bytes() for path in Path("r").rglob("*") if path.is_file()}
    compared = json_of("compare", "r", "other")
    assert [compared[run]["evidence"]["mean"] for run in "AB"] == [exact_evidence(1.0)] * 2
    own = Path("r/compare-test.json").read_bytes()
    change()
    compared = json_of("compare", "r", "other", "--code", "current", "--trust")
    assert [compared[run]["evidence"]["mean"] for run in "AB"] == [exact_evidence(2.0)] * 2
    run = pv.load_run("r", code="current")
    assert run.summary is None
    with pytest.raises(ValueError, match=r"r is opened with code that it was not trained with.*pv.load_run\('r'\)"):
        run.plot()
    assert "-current-" in run.report(measure=False).file.name and not Path("r/report.html").exists()
    assert {path: path.read_bytes() for path in before} == before and Path("r/compare-test.json").read_bytes() == own
    assert json_of("compare", "r", "other")["A"]["evidence"]["mean"] == exact_evidence(1.0)


def test_what_the_code_before_has_measured_is_not_of_a_run_that_goes_on_with_another(line):
    shutil.copytree("r", "other")
    best = Path("r/checkpoints/train-best.safetensors").read_bytes()
    change()
    succeed("train", "--resume", "r", "--code", "current", "--trust")  # finished: no epoch is left
    assert Path("r/checkpoints/train-best.safetensors").read_bytes() == best
    Path("noise.py").write_text("SCALE = 3.0\n")  # from now on the copies are taken
    compared = json_of("compare", "r", "other")
    assert [compared[run]["evidence"]["mean"] for run in "AB"] == [exact_evidence(2.0), exact_evidence(1.0)]
    assert pv.load_run("r").summary.splits["test"].measurement.evidence.mean == exact_evidence(2.0)


def test_a_run_killed_while_it_is_given_other_code_and_more_epochs_resumes_to_the_right_end(line):
    change()
    shutil.copytree("r", "whole")
    succeed("train", "--resume", "whole", "--code", "current", "--epochs", "4", "--trust")
    end, earlier = (Path(run, "summary.json").read_text().replace(run, "r") for run in ("whole", "r"))
    states = set()
    for operation in range(100):
        shutil.rmtree("killed", ignore_errors=True)
        shutil.copytree("r", "killed")
        run = RunFolder.open(Path("killed"))
        with opening(Opening("current")):
            config = config_of(run)
        config = replace(config, settings=replace(config.settings, schedule=[(4, 1)]))
        try:
            with killed_at(operation) as done:
                change_config(run, config)
            break
        except Killed:
            pass
        is_finished, is_changed = (Path("killed", "summary.json").exists(), run.config != RunFolder(Path("r")).config)
        assert not (is_finished and is_changed)  # it would never be trained further
        if (is_finished, is_changed) in states:
            continue
        states.add((is_finished, is_changed))
        if not is_finished:
            succeed("train", "--resume", "killed")
            ended = Path("killed/summary.json").read_text().replace("killed", "r")
            assert ended == (end if is_changed else earlier)
        if not is_changed:
            succeed("train", "--resume", "killed", "--code", "current", "--epochs", "4")
            assert Path("killed/summary.json").read_text().replace("killed", "r") == end
    assert operation > 5 and len(done) == operation
    assert states == {(True, False), (False, False), (False, True)}


def test_a_run_that_another_process_has_just_changed_goes_on_as_it_is_then(line, monkeypatch):
    lock = training.locked

    @contextmanager
    def late(folder, doing):
        config = json.loads(Path(folder, "config.json").read_text())
        config["settings"]["schedule"] = [[3, 1]]
        Path(folder, "config.json").write_text(json.dumps(config))
        Path(folder, "summary.json").unlink(missing_ok=True)
        with lock(folder, doing):
            yield

    monkeypatch.setattr(training, "locked", late)
    assert pv.resume("r").summary.epochs == 3
    assert "r has done 3 epochs already" in flat(invoke("train", "--resume", "r", "--epochs", "3").stderr)


def test_a_file_that_changes_while_a_training_begins_is_not_kept_under_the_digest_of_another(line, monkeypatch):
    before = training.check_pair

    def meanwhile(*args):
        change()
        return before(*args)

    monkeypatch.setattr(training, "check_pair", meanwhile)
    with pytest.raises(ValueError, match="line.py has changed while it was run; repeat the command"):
        pv.train("line.py", "mean_field", "x.npy", out="new", epochs=1)
    assert not Path("new/config.json").exists() and not list(Path("new").rglob("*.py"))


class Points(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.shift = torch.nn.Parameter(torch.zeros(2))

    def forward(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z + self.shift, 1.0).to_event(1), obs=x)


class Wider(Points):
    def forward(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 2.0).to_event(1))
            pyro.sample("x", dist.Normal(z + self.shift, 1.0).to_event(1), obs=x)


def test_what_another_class_measures_is_not_of_the_run(tmp_path):
    x, out = torch.randn(60, 2), tmp_path / "r"
    run = pv.train(Points, "mean_field", x, out=out, epochs=1)
    own = run.evidence().evidence.mean
    other = pv.load_run(out, Wider, "mean_field", x)
    assert other.summary is None and other.evidence().evidence.mean != own
    again = pv.load_run(out, Points, "mean_field", x)
    assert again.summary is not None
    assert json.loads((out / "evidence-test-auto.json").read_text())["evidence"]["mean"] == own
