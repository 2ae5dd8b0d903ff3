"""The states of a training on disk: the newest ones, and those before until the newest are proved readable."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

from ppl_vae.data.files import NotWrittenError, atomic_write
from ppl_vae.nn.checkpoint import Checkpoint
from ppl_vae.training.progress import log
from ppl_vae.training.run_folder import GoneError, RunFolder

__all__ = ["SavedStates"]

CHECKPOINT_SECONDS = 15.0
"""Minimum time between two saves, in seconds."""


class SavedStates:
    """Saves the last and the best state of a training, and finds the newest ones that are whole.

    A disk that is full for a while loses nothing: what could not be saved is tried again after each epoch.

    Arguments:
        run: Folder for checkpoints and metrics.
        name: Prefix of the checkpoints and metrics.
    """

    def __init__(self, run: RunFolder, name: str) -> None:
        self.run, self.name = run, name
        self._written: dict[str, Checkpoint] = {}
        self._error: NotWrittenError | None = None
        self._belong_together = True  # the best state on disk is that of the last one; else the one before is
        self._saved_at = -math.inf  # the first epoch is saved at once, the others now and then

    def offer(self, last: Checkpoint, best: Checkpoint | None, rows: list[dict[str, Any]]) -> None:
        """Saves states now and then, and after a failure as soon as it can.

        Arguments:
            last: The state after the last whole epoch.
            best: The best state; None where it is that of the disk, or there is none.
            rows: Metrics of each epoch.
        """
        if self._error is None and time.monotonic() - self._saved_at <= CHECKPOINT_SECONDS:
            return
        before = self._error
        self._save(last, best, rows)
        if self._error is not None and before is None:
            log(f"note: {self._error}; training goes on, and saving is tried again after each epoch")
        elif before is not None and self._error is None:
            log(f"note: {before.path} can be written again; the state of epoch {last.state['epoch']} is saved")
        self._saved_at = time.monotonic()

    def finish(self, last: Checkpoint, best: Checkpoint | None, rows: list[dict[str, Any]]) -> None:
        """Saves the states at the end of a training, also one that an error ends.

        Raises:
            NotWrittenError: If they cannot be saved, saying which epochs are lost.
        """
        ended_by = sys.exception()
        self._save(last, best, rows)
        if self._error is None:
            if ended_by is None:
                self._settle()
            return
        saved = self._written["last"].state["epoch"] if "last" in self._written else 0
        reason = f"{ended_by}; moreover, the training" if isinstance(ended_by, Exception) else "the training"
        raise ValueError(
            f"{reason} cannot be saved, and its epochs from {saved + 1} to {last.state['epoch']} are lost: "
            f"{self._error}; make room, then {'continue it' if saved else 'train again'}"
        ) from self._error

    def load(self) -> Checkpoint | None:
        """The newest last state on disk whose best state is there, too; None if there is none.

        A damaged file is replaced by the one before it, with a note.

        Raises:
            ValueError: If no last state is whole together with its best one, naming the file that is damaged.
        """
        newest, before = self._path("last"), self._before("last")
        errors: list[ValueError] = []
        for path in (path for path in (newest, before) if path.exists()):
            try:
                last = Checkpoint.read(path)
                self._take_best(last)
            except ValueError as error:
                errors.append(error)
                continue
            if errors:
                log(f"note: {errors[0]}: the state of epoch {last.state['epoch']} before it is taken")
            if path == before:
                self._take_before("last")
            self._written["last"] = last
            return last
        if errors:
            raise errors[0]
        return None

    def best(self, epoch: int) -> Checkpoint:
        """The best state on disk.

        Raises:
            ValueError: If it is damaged, or not that of the epoch that was chosen.
        """
        best = Checkpoint.read(self._path("best"))
        if best.state["epoch"] != epoch:
            raise _other_epoch(self._path("best"), best.state["epoch"], epoch)
        return best

    def _take_best(self, last: Checkpoint) -> None:
        """Finds the best state that belongs to a last one, if need be the one before.

        Raises:
            ValueError: If there is none.
        """
        if last.state.get("best", -math.inf) == -math.inf:
            return
        path, before = self._path("best"), self._before("best")
        epochs, errors = dict[Path, int](), list[ValueError]()
        for each in (path, before) if before.exists() else (path,):
            try:
                epochs[each] = Checkpoint.read(each).state["epoch"]
            except ValueError as error:
                errors.append(error)
            if epochs.get(each) == last.state["best_epoch"]:
                break
        else:
            if not epochs:
                raise errors[0]
            # A later one, written shortly before a kill, is found again on the way from the last state.
            each, epoch = max(epochs.items(), key=lambda item: item[1])
            if epoch <= last.state["epoch"]:
                raise _other_epoch(each, epoch, last.state["best_epoch"])
        if each == before:
            if errors:
                log(f"note: {path} is damaged: the state before it is taken")
            self._take_before("best")

    def _take_before(self, name: str) -> None:
        """Puts the state before in the place of the newest, on a full disk, too; the newest is never kept as good."""
        path = self._path(name)
        try:
            os.replace(self._before(name), path)
        except OSError as error:
            raise NotWrittenError(path, error.strerror or str(error)) from error

    def _save(self, last: Checkpoint, best: Checkpoint | None, rows: list[dict[str, Any]]) -> None:
        """Writes what is not written yet; a failure is kept for the next time."""
        try:
            # The best state first: a last one without its best could not end as if never interrupted.
            if best is not None:
                self._write("best", best)
            if self._written.get("last") is not last:
                self.run.write_metrics(rows[: last.state["epoch"]], f"{self.name}-metrics")
                self._write("last", last)
        except GoneError:
            raise
        except NotWrittenError as error:
            self._error = error
        else:
            self._error = None

    def _write(self, name: str, state: Checkpoint) -> None:
        if self._written.get(name) is state:
            return
        self.run.check_present()
        path, before = self._path(name), self._before(name)
        if path.exists() and (name == "last" or self._belong_together):
            try:
                before.unlink(missing_ok=True)
                os.link(path, before)
            except OSError:  # a file system without links, or a full disk
                atomic_write(before, path.read_bytes())
        self.run.write_tensors(f"checkpoints/{path.stem}", state)
        self._written[name] = state
        self._belong_together = name == "last"

    def _settle(self) -> None:
        """Proves the newest states readable, and removes those before."""
        for name in ("best", "last"):
            before = self._before(name)
            if before.exists():
                try:
                    Checkpoint.read(self._path(name))
                except ValueError as error:
                    log(f"note: {error}; the state before it is kept")
                else:
                    with contextlib.suppress(OSError):
                        before.unlink()

    def _path(self, name: str) -> Path:
        return self.run.checkpoint(f"{self.name}-{name}")

    def _before(self, name: str) -> Path:
        return self.run.checkpoint(f"{self.name}-{name}.previous")


def _other_epoch(path: Path, epoch: int, best: int) -> ValueError:
    return ValueError(
        f"{path} is of epoch {epoch}, but the best one is {best}; restore it, or delete the checkpoints to train again"
    )
