"""Which stored evidence of several runs is compared: by one method, with one number of draws."""

import hashlib
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

import ppl_vae as pv
from benchmarks.faults import differences, tree
from ppl_vae.data.files import PREFIX
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.results import Evidence
from ppl_vae.nn.checkpoint import Checkpoint
from ppl_vae.runs import stored
from ppl_vae.runs.measure import measure_in_blocks
from ppl_vae.runs.state import RunState
from ppl_vae.runs.stored import _Measured, measurements
from ppl_vae.training.run_folder import RunFolder
from tests.support.killed import Killed, killed_at


@dataclass(frozen=True)
class Folder:
    folder: Path


@dataclass(frozen=True)
class Config:
    evidence_draws: int = 100


def found(method: str, mean: float, draws: int, bound: str = "lower", requested: str = "auto") -> _Measured:
    """A measurement of two data."""
    evidence = Estimate(torch.full((2,), float(mean)), f"{method}, {draws} draws", bound, draws)
    elbo = Estimate(torch.full((2,), mean - 1.0), "draws", "unbiased", draws)
    return _Measured(Evidence(elbo, evidence, evidence.minus(elbo)), requested)


@pytest.fixture
def chosen(monkeypatch):
    """Chooses among measurements by run; what is measured again is listed."""
    again = []

    def choose(**runs):
        monkeypatch.setattr(stored, "_all_stored", lambda run, split, state: list(runs[run.folder.name]))
        monkeypatch.setattr(stored, "state_of", lambda run, opened: None)
        monkeypatch.setattr(stored, "open_run", lambda folder: folder.name)
        monkeypatch.setattr(stored.RunConfig, "of", lambda run: Config())

        def measure(run, split, method, draws):
            again.append((run, method, draws))
            return found("importance", -7, draws).evidence

        monkeypatch.setattr(stored, "measure_evidence", measure)
        folders = [Folder(Path(name)) for name in runs]
        evidences, notes = measurements(folders, [None] * len(folders), "test")
        return [each.evidence.method for each in evidences], notes, again

    return choose


def test_exact_evidence_is_taken_however_it_was_measured(chosen):
    exact = found("enumeration", -9, 0, "exact")
    methods, notes, again = chosen(a=[found("importance", -8, 100), exact], b=[found("quadrature", -9, 0, "exact")])
    assert methods == ["enumeration, 0 draws", "quadrature, 0 draws"]
    assert (notes, again) == ([], [])


def test_the_best_that_all_have_is_taken_and_a_better_one_named(chosen):
    common = [found("importance", -8, 100)]
    better = found("annealing", -7, 16, requested="annealing")
    methods, notes, again = chosen(a=[*common, better], b=common)
    assert methods == ["importance, 100 draws"] * 2
    assert len(notes) == 1 and "a also has the evidence by annealing, 16 draws, which is not taken" in notes[0]
    assert again == []
    assert chosen(a=[*common, better], b=[*common, better])[0] == ["annealing, 16 draws"] * 2


def test_runs_with_fewer_draws_are_measured_again(chosen):
    methods, _, again = chosen(a=[found("importance", -8, 100)], b=[found("importance", -8, 1000)], c=[])
    assert methods == ["importance, 1000 draws"] * 3
    assert again == [("c", "auto", 1000), ("a", "auto", 1000)]


def test_one_sampled_run_beside_exact_ones_is_taken_as_it_is(chosen):
    methods, notes, again = chosen(a=[found("enumeration", -9, 0, "exact")], b=[found("importance", -8, 100)])
    assert methods == ["enumeration, 0 draws", "importance, 100 draws"]
    assert (notes, again) == ([], [])


def test_files_of_two_measurements_are_none(tmp_path):
    """A kill between a measurement's two files leaves the first of one and the second of another."""
    run = RunFolder.create(tmp_path, {})
    Checkpoint({}, {"epoch": 1}).write(run.checkpoint("train-best"))
    run.write_json("evidence-test-auto.json", {"draws": 10})
    digest = hashlib.sha256((tmp_path / "evidence-test-auto.json").read_bytes()).hexdigest()
    of = RunState(*run.best_state())
    state = {"of": of.key, "digests": {}, "json": digest}
    run.write_tensors("evidence-test-auto", Checkpoint({"elbo": torch.zeros(2)}, state))
    content, values = stored.read_stored(run, "evidence-test-auto", of)
    assert content == {"draws": 10} and torch.equal(values["elbo"], torch.zeros(2))
    run.write_json("evidence-test-auto.json", {"draws": 20})
    assert stored.read_stored(run, "evidence-test-auto", of) is None


def test_a_measurement_killed_at_any_change_of_a_file_ends_as_one_never_killed(trained, monkeypatch):
    run = pv.load_run("r")
    known = {data: pv.measure(run.model, run.guide, run.split("test", data)) for data in (3, 9)}

    def measure(folder, data):
        opened = replace(run, run=RunFolder.open(Path(folder)))
        measure_in_blocks(opened, "evidence-test-auto", "test", data, {}, Evidence, block)

    def block(pair, x, blocks, progress):
        return blocks.setdefault(0, known[len(x)])

    def drawn(run, name, result, title):
        run.write(f"figures/{name}.png", str(len(result.elbo.pointwise)).encode())

    monkeypatch.setattr("ppl_vae.runs.measure.save_figure", drawn)
    measure("r", 3)  # by other options before
    shutil.copytree("r", "whole")
    measure("whole", 9)
    whole, seen, stages = files("whole"), list[dict[str, bytes]](), set()
    for operation in range(200):
        shutil.rmtree("killed", ignore_errors=True)
        shutil.copytree("r", "killed")
        try:
            with killed_at(operation) as done:
                measure("killed", 9)
            break
        except Killed:
            pass
        if (left := files("killed")) in seen:
            continue
        seen.append(left)
        has_blocks = any(Path("killed/partial").rglob("*.safetensors"))
        read = stored.stored_measurement(RunFolder(Path("killed")), "evidence-test-auto", run.state)
        if read is not None:  # it is not measured again, and all that belongs to it is there
            data = len(read[1].tensors["elbo"])
            assert data in (3, 9) and Path("killed/figures/evidence-test-auto.png").read_bytes() == b"%d" % data
            assert data == 3 or differences(files("killed"), whole) == []
            assert data == 9 or has_blocks == any(Path("killed/partial").rglob("*.safetensors"))
        stages.add((0 if read is None else data, has_blocks))
        measure("killed", 9)
        assert differences(files("killed"), whole) == []
    assert operation > 20 and len(done) == operation
    assert stages == {(3, False), (3, True), (0, True), (9, True), (9, False)}


def files(folder):
    """The files of a run; a temporary one is left by what seems killed in a process that goes on."""
    return {name: content for name, content in tree(Path(folder)).items() if PREFIX not in name}
