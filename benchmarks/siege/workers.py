"""Forked processes that read damaged files, watched from outside: they may crash, hang or fill the memory."""

from __future__ import annotations

import os
import resource
import signal
import tempfile
import time
from collections.abc import Iterator
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from benchmarks.siege.case import Form, made
from benchmarks.siege.judge import Outcome, judged
from ppl_vae.data import sizes

__all__ = ["besieged", "limited"]

BUDGET = 2**26
"""Memory that a file may take, in bytes, as the readers are told."""

HEADROOM = 2**30
"""Address space of a process beyond what it has before it reads, in bytes: the readers' own copies fit into it."""

SECONDS = 20.0
"""Longest processor time for one file; the readers take milliseconds."""

WAIT = 300.0
"""Longest time for one file in all, on a machine that is busy with others."""

_CHUNK = 50


def limited() -> None:
    """Gives readers a small budget and this process little memory beyond what it has."""
    sizes.memory_budget = lambda: BUDGET  # type: ignore[assignment]
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + HEADROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def besieged(form: Form, seed: int, numbers: range, jobs: int) -> Iterator[Outcome]:
    """Outcomes of the files of a form, in no order.

    Arguments:
        form: The form.
        seed: Seed of the files.
        numbers: Numbers of the files.
        jobs: Number of processes.
    """
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        pending = [numbers[start : start + _CHUNK] for start in range(0, len(numbers), _CHUNK)][::-1]
        workers = [_Worker(form, seed, Path(folder, str(job))) for job in range(jobs)]
        try:
            while pending or any(worker.left for worker in workers):
                for worker in workers:
                    if not worker.left and pending:
                        worker.give(pending.pop())
                busy = [worker for worker in workers if worker.left]
                ready = wait([worker.pipe for worker in busy], timeout=1.0)
                for worker in busy:
                    outcome = worker.outcome(worker.pipe in ready)
                    if outcome is not None:
                        yield outcome
        finally:
            for worker in workers:
                worker.end()


class _Worker:
    """A process that reads files one after the other, started again where one of them ended it."""

    process: BaseProcess
    pipe: Connection

    def __init__(self, form: Form, seed: int, folder: Path) -> None:
        self.form, self.seed, self.folder = form, seed, folder
        self.left = range(0)
        self.since = self.worked = 0.0
        self._start()

    def _start(self) -> None:
        context = get_context("fork")
        self.pipe, other = context.Pipe()
        arguments = (self.form, self.seed, self.folder, other)
        self.process = context.Process(target=_read, args=arguments, daemon=True)
        self.process.start()
        other.close()

    def give(self, numbers: range) -> None:
        """Files to read."""
        self.left, self.since, self.worked = numbers, time.monotonic(), _processor_time(self.process)
        self.pipe.send(numbers)

    def outcome(self, ready: bool) -> Outcome | None:
        """What became of the next file; None while it is being read."""
        if not ready:
            waited, worked = time.monotonic() - self.since, _processor_time(self.process) - self.worked
            if waited < WAIT and worked < SECONDS:
                return None
            return self._lost(Outcome(self.left[0], "hang", f"not read after {waited:.0f} s, {worked:.0f} s of work"))
        try:
            outcome: Outcome = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            code = self.process.exitcode or 0
            reason = signal.Signals(-code).name if code < 0 else f"exit {code}"
            return self._lost(Outcome(self.left[0], "crash", reason))
        self.left, self.since, self.worked = self.left[1:], time.monotonic(), _processor_time(self.process)
        return outcome

    def _lost(self, outcome: Outcome) -> Outcome:
        left = self.left[1:]
        self.end()
        self._start()
        self.left = range(0)
        if left:
            self.give(left)
        return outcome

    def end(self) -> None:
        """Ends the process."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


def _processor_time(process: BaseProcess) -> float:
    """Seconds that a process has computed; 0 of one that has ended."""
    try:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _read(form: Form, seed: int, folder: Path, pipe: Connection) -> None:
    torch.set_num_threads(1)
    devnull = os.open(os.devnull, os.O_RDWR)
    for stream in (1, 2):
        os.dup2(devnull, stream)
    limited()
    while True:
        try:
            numbers: range = pipe.recv()
        except EOFError:
            return
        for number in numbers:
            pipe.send(judged(form, made(form, seed, number), folder, number))
