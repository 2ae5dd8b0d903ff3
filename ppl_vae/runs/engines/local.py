"""This machine: one task after the other, or several processes at once, each on its share of the cores (joblib)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar, TypeVar

import torch
from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky.process_executor import TerminatedWorkerError

from ppl_vae.runs.engines.base import Engine
from ppl_vae.runs.watching import end_with

__all__ = ["Local"]

T = TypeVar("T")

LOST = ValueError("a process was killed, perhaps for lack of memory; repeat the command with fewer --jobs")


class Local(Engine):
    """This machine: one task after the other, or several processes at once, each on its share of the cores."""

    takes: ClassVar[frozenset[str]] = frozenset({"jobs", "threads"})

    @property
    def alone(self) -> bool:
        return self.jobs == 1

    def results(self, tasks: Sequence[Callable[[], T]], folder: Path) -> Iterator[tuple[int, T | Exception]]:
        """A killed process costs all tasks that have not ended: the same command computes the rest."""
        if self.alone:
            before = torch.get_num_threads()
            torch.set_num_threads(self.threads or before)
            try:
                yield from ((at, _caught(task)) for at, task in enumerate(tasks))
            finally:
                torch.set_num_threads(before)
            return
        share = self.threads or max(1, (os.cpu_count() or 1) // self.jobs)
        ended = set[int]()
        watched = {"initializer": end_with, "initargs": (os.getpid(),)}
        no_arrays = {"temp_folder": str(folder), "max_nbytes": None}  # a kill leaves those in /dev/shm
        with parallel_config(backend="loky", inner_max_num_threads=share, **watched, **no_arrays):
            pool = Parallel(n_jobs=self.jobs, return_as="generator_unordered")
            try:
                for at, result in pool(delayed(_numbered)(at, task) for at, task in enumerate(tasks)):
                    ended.add(at)
                    yield at, result
            except TerminatedWorkerError:
                yield from ((at, LOST) for at in range(len(tasks)) if at not in ended)


def _caught(task: Callable[[], T]) -> T | Exception:
    try:
        return task()
    except Exception as error:  # of any kind: one task must not stop the others
        return error


def _numbered(at: int, task: Callable[[], T]) -> tuple[int, T | Exception]:
    return at, _caught(task)
