"""Timing side by side: every competitor in a process of its own, a block of steps at a time, by turns."""

from __future__ import annotations

import multiprocessing
import os
import resource
import statistics
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

from benchmarks.setting import Setting
from benchmarks.workloads import Size

__all__ = ["Entry", "Result", "race"]


@dataclass(frozen=True)
class Entry:
    """A competitor.

    Arguments:
        name: Under which it is reported.
        peer: What :func:`benchmarks.peers.load` takes.
        setting: What it trains.
        corpus: File that :func:`benchmarks.setting.keep_corpus` wrote, where there is one.
        threads: How many cores it may use; 0 is as many as the race says.
    """

    name: str
    peer: str
    setting: Setting | Size
    corpus: Path
    threads: int = 0


@dataclass(frozen=True)
class Result:
    """What was measured of a competitor.

    Arguments:
        entry: The competitor.
        seconds: Of a step, one number a block.
        busy: Of those, seconds of processors: what is left of noise where a neighbour takes the cores away.
        batch: Documents of a step, fewer than asked for where the corpus has fewer.
        peak: Largest resident memory of its process once the data were loaded, bytes.
        start: The same with packages and data loaded and before the first step.
        skipped: Why it did not take part; empty if it did.
    """

    entry: Entry
    seconds: tuple[float, ...] = ()
    busy: tuple[float, ...] = ()
    batch: int = 0
    peak: int = 0
    start: int = 0
    skipped: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def busy_median(self) -> float:
        return statistics.median(self.busy)

    def ratio(self, other: Result) -> tuple[float, float, float]:
        """Median, smallest and largest over blocks of how many times the other's time this one takes."""
        return _spread(self.seconds, other.seconds)

    def busy_ratio(self, other: Result) -> tuple[float, float, float]:
        """The same for the processors' time."""
        return _spread(self.busy, other.busy)

    def to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {"name": self.entry.name, "peer": self.entry.peer, **vars(self.entry.setting)}
        if self.skipped:
            return found | {"skipped": self.skipped}
        seconds = {"seconds_per_step": self.median, "seconds_by_block": list(self.seconds)}
        seconds |= {"cpu_seconds_per_step": self.busy_median}
        rates = {"steps_per_second": 1 / self.median, "documents_per_second": self.batch / self.median}
        return found | {"batch": self.batch} | seconds | rates | {"peak_bytes": self.peak, "start_bytes": self.start}


def _spread(ours: tuple[float, ...], theirs: tuple[float, ...]) -> tuple[float, float, float]:
    ratios = [mine / its for mine, its in zip(ours, theirs, strict=True)]
    return statistics.median(ratios), min(ratios), max(ratios)


def _peak() -> int:
    status = Path("/proc/self/status")
    if status.exists():
        # Of this process alone: getrusage begins with what the parent held.
        found = next((line for line in status.read_text().splitlines() if line.startswith("VmHWM")), None)
        if found is not None:
            return int(found.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _busy() -> float:
    """Seconds of processors, those of processes that have ended included."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime


def _forget_peak() -> None:
    """Loading the data may have taken more than the steps will."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _work(pipe: Connection, entry: Entry, threads: int, precision: str) -> None:
    """A competitor's process: builds, then takes as many steps as it is told, and answers with the seconds."""
    try:
        import ppl_vae.cli.main  # noqa: F401, I001
        import pyro
        import torch

        from benchmarks.peers import load

        if threads:
            torch.set_num_threads(threads)
        pyro.enable_validation(False)  # as our training has it
        torch.manual_seed(0)
        kind = load(entry.peer)  # before the setting: it may choose another
        torch.set_float32_matmul_precision(precision)
        # The one bound that all the packages keep to. JAX counts its cores when it first computes, not when imported.
        if threads and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])
        x: Any = entry.setting.read(entry.corpus)
        _forget_peak()
        start = _peak()
        peer = kind(entry.setting, x)
        batch = min(entry.setting.batch, len(x))
        order: list[torch.Tensor] = []
        pipe.send(batch)
        while True:
            count = pipe.recv()
            if count is None:
                pipe.send((_peak(), start))
                return
            begun, busy, units = time.perf_counter(), _busy(), 0
            for _ in range(count):
                # Whole batches only: compiled peers would compile once more for the last one.
                order = order or list(torch.randperm(len(x)).split(batch))[: len(x) // batch]
                peer.step(x[order.pop()])
                units += peer.units
            pipe.send((time.perf_counter() - begun, _busy() - busy, units))
    except Exception as error:
        pipe.send(error if isinstance(error, ValueError) else ValueError(f"{type(error).__name__}: {error}"))


def _context() -> BaseContext:
    """Where it can be, a process is forked from one that has imported the packages: it starts in no time."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ppl_vae.cli.main", "pyro", "ppl_vae.training.trainer"])
    return context


class _Worker:
    """A competitor's process as seen from outside."""

    def __init__(self, entry: Entry, threads: int, precision: str) -> None:
        context = _context()
        self.entry, self.skipped = entry, ""
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(
            target=_work, args=(theirs, entry, entry.threads or threads, precision), daemon=True
        )
        self.process.start()
        theirs.close()
        self.blocks: list[tuple[float, float]] = []
        self.steps, self.batch = 1, 0

    def ask(self, count: int | None) -> Any:
        self.pipe.send(count)
        return self.answer()

    def answer(self) -> Any:
        try:
            found = self.pipe.recv()
        except EOFError:
            found = ValueError("its process ended without a word (out of memory?)")
        if isinstance(found, ValueError):
            self.skipped = str(found)
        return found

    def result(self) -> Result:
        peak, start = (0, 0) if self.skipped else self.ask(None)
        self.process.join(10)
        seconds, busy = zip(*self.blocks, strict=True) if self.blocks else ((), ())
        return Result(self.entry, seconds, busy, self.batch, peak, start, self.skipped)


def race(
    entries: list[Entry], *, blocks: int = 5, seconds: float = 0.5, threads: int = 0, precision: str = "highest"
) -> list[Result]:
    """Times competitors by turns, so that what disturbs the machine disturbs them all.

    Arguments:
        entries: The competitors.
        blocks: Turns of each.
        seconds: About how long a turn lasts; at least one step.
        threads: How many cores each may use; 0 is all.
        precision: Of PyTorch's float32 products: ``"highest"``, ``"high"`` or ``"medium"``.

    Returns:
        One result an entry, in their order; those whose packages are missing say so.
    """
    workers = [_Worker(entry, threads, precision) for entry in entries]
    for worker in workers:
        worker.batch = worker.answer()
    running = [worker for worker in workers if not worker.skipped]
    for worker in running:
        for _ in range(2):  # the first steps compile, probe and make the optimiser's state
            if not worker.skipped:
                worker.ask(1)
        if not worker.skipped:
            taken = worker.ask(1)
            worker.steps = 1 if worker.skipped else max(1, round(seconds / taken[0]))
    for turn in range(blocks):
        for at in range(len(running)):
            worker = running[(at + turn) % len(running)]
            if not worker.skipped:
                taken = worker.ask(worker.steps)
                if not worker.skipped:
                    worker.blocks.append((taken[0] / taken[2], taken[1] / taken[2]))
    return [worker.result() for worker in workers]
