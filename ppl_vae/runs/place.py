"""What workers on other machines have in common with the process that sends them work, and how they prepare for it."""

from __future__ import annotations

import contextlib
import os
import platform
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TypeVar

import torch

from ppl_vae.data.files import atomic_write
from ppl_vae.runs.package_digest import package_digest
from ppl_vae.training.process import prepare

__all__ = ["Place", "Refusal", "TaskError", "at_place"]

T = TypeVar("T")

DATA = "PPL_VAE_DATA"
"""Environment variable that names the folder of data."""

_ONE_AT_A_TIME = threading.RLock()
"""Random numbers are a process's: tasks in threads of one worker wait for each other."""


@dataclass(frozen=True)
class Refusal:
    """Stands for the result of a task that would be refused again: no engine tries it once more.

    Arguments:
        reason: Why, and what to do.
        unfit: Whether it is the worker that cannot compute any task.
    """

    reason: str
    unfit: bool = False


class TaskError(Exception):
    """An error of another kind than a refusal, in words: its own class may not be known elsewhere."""


@dataclass(frozen=True)
class Place:
    """The folder that results are written into, and what else a worker needs to compute the same numbers.

    Arguments:
        folder: The folder, absolute; a file system must share it between all machines.
        mark: Name of a file in it, by which it is known.
        content: Content of that file.
        working: The working folder, from which files of users are named.
        data: The folder of data, if one is set.
        code: Digest of the package.
        threads: Number of threads of a task; None leaves it as it is.
    """

    folder: Path
    mark: str
    content: bytes
    working: Path
    data: str | None
    code: str
    threads: int | None = None

    @classmethod
    def here(cls, folder: Path, mark: str) -> Place:
        """The place of this process."""
        content = (folder / mark).read_bytes()
        return cls(folder.resolve(), mark, content, Path.cwd(), os.environ.get(DATA), package_digest())

    def obstacle(self) -> str:
        """Why this process cannot compute here; empty if it can."""
        host = f"the worker on {platform.node()} (process {os.getpid()})"
        try:
            found = (self.folder / self.mark).read_bytes()
        except OSError:
            return (
                f"{host} does not see {self.folder}: results are written into a folder that all machines share (NFS, "
                "say) under one path; choose such a folder by --out"
            )
        if found != self.content:
            return f"{host} sees another {self.folder / self.mark} than this process; choose a shared folder by --out"
        if package_digest() != self.code:
            return f"{host} has another version of ppl-vae than this process; install the same one on all machines"
        return ""

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Works as the process that sent the work: from its folder, on its data, on so many threads."""
        threads = torch.get_num_threads()
        prepare()
        with contextlib.ExitStack() as stack:
            if self.working.is_dir():
                stack.enter_context(contextlib.chdir(self.working))
            if self.data is not None:
                os.environ.setdefault(DATA, self.data)
            if self.threads is not None:
                torch.set_num_threads(self.threads)
                stack.callback(torch.set_num_threads, threads)
            yield


def at_place(place: Place, name: str, task: Callable[[], T]) -> T | Refusal:
    """Computes a task in a worker; what it says goes to ``logs/NAME.log`` of the folder.

    Raises:
        TaskError: If it fails by anything but a refusal: an engine may try it again.
    """
    with _ONE_AT_A_TIME:
        if reason := place.obstacle():
            return Refusal(reason, unfit=True)
        said = StringIO()
        try:
            with place.entered(), contextlib.redirect_stderr(said):
                return task()
        except ValueError as error:
            return Refusal(str(error))
        except Exception as error:
            traceback.print_exc(file=said)
            raise TaskError(f"{type(error).__name__}: {error}") from None
        finally:
            if text := said.getvalue():
                atomic_write(place.folder / "logs" / f"{name}.log", text.encode())
