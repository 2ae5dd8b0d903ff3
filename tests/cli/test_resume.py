"""Killed, interrupted and terminated runs end bit for bit as if nothing had happened; changed ones are refused."""

import os
import signal
import time
from pathlib import Path

import pytest
import scipy.sparse

from tests.support.cli import SMALL, flat, invoke, metrics, start, succeed, summary


def wait(process, path: str, rows: int) -> None:
    """Waits until a process that trains has logged at least so many epochs in the file."""
    deadline = time.monotonic() + 180
    while not (Path(path).exists() and len(Path(path).read_text().splitlines()) >= rows):
        assert time.monotonic() < deadline, "the training never got that far"
        assert process.is_alive(), "the training ended before it could be stopped"
        time.sleep(0.002)


def send(process, number: signal.Signals) -> None:
    """Sends a signal to a process and waits for its end."""
    os.kill(process.pid, number)
    process.join(120)
    if process.exitcode is None:
        process.kill()  # it would train on beside the other tests


@pytest.mark.parametrize("extra", [(), ("--retrain",)], ids=["train", "retrain"])
def test_killed_in_mid_epoch_and_resumed_ends_as_if_never_killed(folder, extra):
    options = ("train", *SMALL, "--epochs", "8x1,8x2", "--learning-rate", "0.01", "--patience", "0", *extra)
    succeed(*options, "--out", "whole")
    # There is a checkpoint after every epoch, so that the kill falls between two of them.
    process = start(*options, "--out", "killed", checkpoint_seconds=0)
    wait(process, f"killed/{'retrain' if extra else 'train'}-metrics.jsonl", rows=3)
    send(process, signal.SIGKILL)
    assert process.exitcode == -signal.SIGKILL
    assert not Path("killed/summary.json").exists()
    assert "taking up the training after epoch" in flat(succeed("train", "--resume", "killed").stderr)
    assert summary("killed") == summary("whole")
    # A finished run may be taken up too, and says the same.
    succeed("train", "--resume", "killed", "--json")
    assert summary("killed") == summary("whole")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"])
def test_interrupt_and_termination_save_the_best_state_and_say_how_to_go_on(folder, number, code):
    process = start("train", *SMALL, "--epochs", "100000", "--patience", "0", "--out", "r")
    wait(process, "r/train-metrics.jsonl", rows=1)
    time.sleep(1)  # some epochs, after the one saved at once
    send(process, number)
    assert process.exitcode == code
    assert Path("stdout").read_text() == ""
    errors = Path("stderr").read_text()
    assert "continue with ppl-vae train --resume r" in flat(errors)
    assert "Traceback" not in errors
    assert len(metrics("r")) > 1  # saved at the signal
    assert Path("r/checkpoints/train-best.safetensors").exists()
    assert Path("r/checkpoints/train-last.safetensors").exists()


def test_three_interrupts_still_end_as_if_there_were_none(folder, monkeypatch, interrupt):
    monkeypatch.setattr("ppl_vae.training.saving.CHECKPOINT_SECONDS", 1e9)
    options = ("train", *SMALL, "--epochs", "6", "--patience", "0", "--learning-rate", "0.01")
    succeed(*options, "--out", "whole")
    interrupt(14, 20, 21)
    assert invoke(*options, "--out", "stopped").exit_code == 130
    assert invoke("train", "--resume", "stopped").exit_code == 130
    assert invoke("train", "--resume", "stopped").exit_code == 130
    succeed("train", "--resume", "stopped")
    assert summary("stopped") == summary("whole")


def test_interrupted_training_on_the_likelihood_ends_the_same(folder, interrupt):
    options = ("train", *SMALL[:-4], "--bits", "12", "--epochs", "6", "--objective", "likelihood", "--retrain")
    succeed(*options, "--out", "whole")
    interrupt(16)  # while training again
    assert invoke(*options, "--out", "stopped").exit_code == 130
    succeed("train", "--resume", "stopped")
    assert summary("stopped") == summary("whole")


def test_changed_data_are_refused_on_resuming(folder):
    succeed("train", *SMALL, "--epochs", "1", "--out", "r")
    rows = scipy.sparse.load_npz("topics.npz")
    scipy.sparse.save_npz("topics.npz", rows[:-1])
    done = invoke("train", "--resume", "r")
    assert done.exit_code == 1
    assert "has changed since the run began" in flat(done.stderr)


def test_damage_to_a_checkpoint_is_found(trained):
    path = Path("r/checkpoints/train-best.safetensors")
    content = bytearray(path.read_bytes())
    content[-9] ^= 64
    path.write_bytes(content)
    result = invoke("train", "--resume", "r")
    assert result.exit_code == 1
    assert "train-best.safetensors is not a readable checkpoint (its checksum is wrong)" in result.output


def test_a_second_process_is_told_who_trains_and_a_moved_run_ends(folder, monkeypatch):
    from ppl_vae.training.trainer import Trainer

    step, told = Trainer.step, []

    def meanwhile(self, x):
        if self.epoch == 2 and not told:
            told.append(invoke("train", "--resume", "r"))
            told.append(invoke("train", "--resume", "r", "--epochs", "9"))  # must not change the configuration
            Path("r").rename("moved")
        return step(self, x)

    monkeypatch.setattr("ppl_vae.training.saving.CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(Trainer, "step", meanwhile)
    done = invoke("train", *SMALL, "--epochs", "5", "--out", "r")
    for each in told:
        assert each.exit_code == 1
        assert f"r is in use: process {os.getpid()} on" in flat(each.stderr)
    assert done.exit_code == 1 and "r was moved to" in flat(done.stderr) and "moved while ppl-vae" in flat(done.stderr)
    assert not Path("r").exists() and not Path("moved/.lock").exists()
    succeed("train", "--resume", "moved")
    assert len(metrics("moved")) == 5
