"""Blocks measured elsewhere: the numbers of one process, partial results kept, and what workers must have."""

from dataclasses import replace
from pathlib import Path
from shutil import rmtree
from types import SimpleNamespace

import pytest

from ppl_vae.runs import gap as gap_runs
from ppl_vae.runs.engines.base import Engine
from ppl_vae.runs.open import open_run
from tests.support.cli import flat, invoke, json_of

EVIDENCE = ("evidence", "r", "--method", "importance", "--draws", "20", "--check")
GAP = ("gap", "r", "--method", "ascent", "--steps", "20", "--draws", "10")


class Elsewhere(Engine):
    """Begins with the last block; one may be lost."""

    lost = -1

    def results(self, tasks, folder):
        for at in reversed(range(len(tasks))):
            yield at, RuntimeError("gone") if at == self.lost else tasks[at]()


@pytest.fixture
def elsewhere(trained, monkeypatch):
    """A run whose splits have several blocks, and an engine that computes them in any order."""
    monkeypatch.setattr("ppl_vae.evidence.methods.base.data_block", lambda x, draws=1: 15)
    monkeypatch.setattr(gap_runs, "BLOCK", 15)
    engine = Elsewhere()
    for module in ("evidence", "gap"):
        monkeypatch.setattr(f"ppl_vae.runs.{module}.make_engine", lambda **options: engine)
    return engine


@pytest.mark.parametrize("command", [EVIDENCE, GAP], ids=["evidence", "gap"])
def test_blocks_of_another_process_make_the_same_measurement(elsewhere, monkeypatch, command):
    sent = json_of(*command)
    stored = Path("r", f"{command[0]}-test{'-importance' if command is EVIDENCE else ''}.safetensors").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(Elsewhere, "alone", True)
        assert json_of(*command) == sent
    assert (
        Path("r", f"{command[0]}-test{'-importance' if command is EVIDENCE else ''}.safetensors").read_bytes() == stored
    )
    assert not list(Path("r", "partial").glob("*"))


def test_a_block_that_fails_costs_no_other(elsewhere, monkeypatch):
    monkeypatch.setattr(Elsewhere, "lost", 1)
    failed = invoke(*EVIDENCE)
    assert failed.exit_code == 1
    words = "1 of 3 blocks failed (evidence-test-importance-15: gone); the others are stored, and the same command"
    assert words in flat(failed.output)
    assert len(list(Path("r", "partial").rglob("*.safetensors"))) == 2
    monkeypatch.setattr(Elsewhere, "lost", -1)
    assert "2 blocks are measured already" in invoke(*EVIDENCE).output


def test_a_worker_that_opens_another_state_is_refused(elsewhere, monkeypatch):
    opened = open_run(Path("r"))
    other = replace(opened.state, checkpoint="0")
    monkeypatch.setattr("ppl_vae.runs.shards.open_run", lambda folder: SimpleNamespace(state=other))
    with pytest.raises(ValueError, match="a worker opens .* with other code or another state"):
        opened.evidence("importance", draws=20)


def test_guides_of_a_ladder_are_fitted_by_an_engine_as_in_one_process(elsewhere, monkeypatch):
    command = ("gap", "r", "--ladder", "linear_frequencies,linear_counts", "--epochs", "2", "--data", "10")
    sent = json_of(*command)
    rmtree("r/ladder")
    with monkeypatch.context() as patch:
        patch.setattr(Elsewhere, "alone", True)
        assert json_of(*command) == sent
    rmtree("r/ladder")
    monkeypatch.setattr(Elsewhere, "lost", 1)
    words = "1 of 2 fits failed (linear_counts: gone); the others are stored, and the same command continues"
    assert words in flat(invoke(*command).output)
    assert [len(list(path.rglob("*.safetensors"))) > 0 for path in Path("r/ladder").iterdir()].count(True) == 1
