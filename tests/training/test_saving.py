"""States on disk: the newest that is whole; full disks and folders that vanish while a training runs."""

import errno
import os
import shutil

import pytest
import torch

from ppl_vae.data.files import NotWrittenError
from ppl_vae.nn.checkpoint import Checkpoint
from ppl_vae.training.run_folder import GoneError, RunFolder
from ppl_vae.training.saving import SavedStates


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr("ppl_vae.training.saving.CHECKPOINT_SECONDS", 0.0)
    return RunFolder.create(tmp_path / "r", {})


@pytest.fixture
def full(monkeypatch):
    """A disk on which nothing can be written while the set holds something."""
    state, write = set(), os.write

    def written(handle, content):
        if state:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(handle, content)

    monkeypatch.setattr(os, "write", written)
    return state


def state(epoch, best_epoch):
    tensors = {"w": torch.full((4,), float(epoch))}
    return Checkpoint(tensors, {"epoch": epoch, "best": float(best_epoch), "best_epoch": best_epoch})


def rows(epochs):
    return [{"epoch": epoch} for epoch in range(1, epochs + 1)]


def damage(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def begun(run, epochs, best=None):
    """A training killed after so many epochs, with the best ones by epoch."""
    saved = SavedStates(run, "train")
    for epoch in range(1, epochs + 1):
        best_epoch = max(each for each in best or range(1, epochs + 1) if each <= epoch)
        saved.offer(state(epoch, best_epoch), state(epoch, epoch) if best_epoch == epoch else None, rows(epoch))
    return saved


def test_the_state_before_is_taken_where_the_newest_is_damaged(run, capsys):
    begun(run, 3)
    damage(run.checkpoint("train-last"))
    found = SavedStates(run, "train").load()
    assert found.state["epoch"] == 2 and torch.equal(found.tensors["w"], torch.full((4,), 2.0))
    assert "train-last.safetensors is not a readable checkpoint" in capsys.readouterr().err
    damage(run.checkpoint("train-last"))  # where the state before is now
    with pytest.raises(ValueError, match="train-last.safetensors is not a readable checkpoint"):
        SavedStates(run, "train").load()


def test_a_last_state_is_taken_with_its_own_best_one(run):
    begun(run, 4, best=(1, 2))
    # The best state before, of epoch 1, belongs to neither of the last ones.
    damage(run.checkpoint("train-best"))
    with pytest.raises(ValueError, match="train-best.previous.safetensors is of epoch 1, but the best one is 2"):
        SavedStates(run, "train").load()


def test_a_best_state_that_comes_again_may_be_damaged(run):
    begun(run, 4, best=(1, 4))
    damage(run.checkpoint("train-best"))
    found = SavedStates(run, "train").load()
    assert found.state["epoch"] == 3  # the training from there finds epoch 4 again
    assert Checkpoint.read(run.checkpoint("train-best")).state["epoch"] == 1


def test_a_finished_training_keeps_its_newest_states_alone(run):
    saved = begun(run, 3)
    assert {path.name for path in (run.folder / "checkpoints").iterdir()} == {
        f"train-{name}{before}.safetensors" for name in ("best", "last") for before in ("", ".previous")
    }
    saved.finish(state(4, 4), state(4, 4), rows(4))
    assert {path.name for path in (run.folder / "checkpoints").iterdir()} == {
        f"train-{name}.safetensors" for name in ("best", "last")
    }
    assert SavedStates(run, "train").load().state["epoch"] == 4


def test_a_disk_that_is_full_for_a_while_costs_nothing(run, full, capsys):
    saved = begun(run, 1)
    full.add("now")
    saved.offer(state(2, 2), state(2, 2), rows(2))
    assert "cannot write" in (told := capsys.readouterr().err) and "tried again after each epoch" in told
    saved.offer(state(3, 2), None, rows(3))
    assert capsys.readouterr().err == ""  # said once
    assert SavedStates(run, "train").load().state["epoch"] == 1
    full.clear()
    saved.offer(state(4, 2), state(2, 2), rows(4))
    assert "can be written again; the state of epoch 4 is saved" in " ".join(capsys.readouterr().err.split())
    assert run.metrics("train-metrics", 4) == rows(4)


def test_a_disk_that_stays_full_says_what_is_lost(run, full):
    saved = begun(run, 2)
    full.add("now")
    saved.offer(state(3, 3), state(3, 3), rows(3))
    with pytest.raises(ValueError, match="its epochs from 3 to 5 are lost: cannot write .*: No space left on device"):
        saved.finish(state(5, 5), state(5, 5), rows(5))
    assert SavedStates(run, "train").load().state["epoch"] == 2


@pytest.mark.parametrize("vanish", [shutil.rmtree, lambda folder: folder.rename(folder.with_name("moved"))])
def test_nothing_is_scattered_where_a_run_was(run, vanish):
    saved = begun(run, 1)
    vanish(run.folder)
    for write in (
        lambda: saved.offer(state(2, 2), state(2, 2), rows(2)),
        lambda: run.write_json("summary.json", {}),
        lambda: run.figure("f", lambda figure: None, (1, 1)),
    ):
        with pytest.raises(GoneError, match="r was moved or removed while ppl-vae worked in it; what was not saved"):
            write()
    assert not run.folder.exists()


def test_another_format_is_named(run, monkeypatch):
    monkeypatch.setattr("ppl_vae.nn.checkpoint.FORMAT", "2")
    state(1, 1).write(run.checkpoint("train-last"))
    monkeypatch.undo()
    words = "train-last.safetensors is not a readable checkpoint .its format is 2, and this version of ppl-vae reads 1"
    with pytest.raises(ValueError, match=words):
        SavedStates(run, "train").load()


def test_a_figure_that_cannot_be_drawn_is_a_note(run, monkeypatch, capsys):
    monkeypatch.undo()  # in tests it is an error

    def draw(figure):
        raise RuntimeError("no fonts")

    run.figure("training", draw, (2, 2))
    words = "note: the figure training is missing (RuntimeError: no fonts); the results are stored without it"
    assert words in " ".join(capsys.readouterr().err.split())
    assert not (run.folder / "figures").exists()


def test_a_damaged_state_never_takes_the_place_of_the_good_one_before_it(run):
    begun(run, 3)
    damage(run.checkpoint("train-last"))
    again = SavedStates(run, "train")
    assert again.load().state["epoch"] == 2
    again.offer(state(3, 3), state(3, 3), rows(3))
    for name in ("train-last", "train-last.previous"):
        Checkpoint.read(run.checkpoint(name))
    damage(run.checkpoint("train-last"))  # as a kill while the next one is written could leave it
    assert SavedStates(run, "train").load().state["epoch"] == 2


def test_the_best_state_of_the_last_one_is_taken_where_a_later_best_one_was_written_before_a_kill(run):
    """Another schedule may not find the later one again."""
    saved = begun(run, 3, best=(1,))
    saved._write("best", state(4, 4))
    found = SavedStates(run, "train").load()
    assert (found.state["epoch"], found.state["best_epoch"]) == (3, 1)
    assert Checkpoint.read(run.checkpoint("train-best")).state["epoch"] == 1


def test_the_best_state_of_the_last_one_outlives_saves_that_fail_half_way(run, monkeypatch):
    saved = begun(run, 3, best=(1,))
    write = RunFolder.write_tensors

    def failing(self, name, content):
        if name.endswith("last"):
            raise NotWrittenError(self.folder / name, "no space")
        write(self, name, content)

    monkeypatch.setattr(RunFolder, "write_tensors", failing)
    saved.offer(state(4, 4), state(4, 4), rows(4))
    saved.offer(state(5, 5), state(5, 5), rows(5))
    found = SavedStates(run, "train").load()
    assert (found.state["epoch"], found.state["best_epoch"]) == (3, 1)
    assert Checkpoint.read(run.checkpoint("train-best")).state["epoch"] == 1
