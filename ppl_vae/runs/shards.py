"""Blocks of a measurement that other processes and machines compute; the measurement then finds them done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pyro

from ppl_vae.data.inputs import Batch
from ppl_vae.evidence.results import Result
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.types import Progress
from ppl_vae.runs.engines.base import Engine
from ppl_vae.runs.open import Run, open_run
from ppl_vae.runs.pair import Pair
from ppl_vae.runs.place import Place

__all__ = ["compute_blocks", "open_as", "send"]

B = TypeVar("B", bound=Result)

Compute = Callable[[Pair, Batch, MutableMapping[int, B], Progress], B]


class _StoredError(Exception):
    """The block of this process is stored."""


class _OneBlock(MutableMapping[int, B]):
    """Blocks of which all but one are done: what measures them stops once that one is stored.

    Arguments:
        blocks: Where it is stored.
        start: The position of its first datum.
    """

    def __init__(self, blocks: MutableMapping[int, B], start: int) -> None:
        self.blocks, self.start = blocks, start

    def __contains__(self, start: object) -> bool:
        return start != self.start

    def __getitem__(self, start: int) -> B:
        return None  # type: ignore[return-value]  # blocks are joined by the process that has all of them

    def __setitem__(self, start: int, result: B) -> None:
        self.blocks[start] = result
        raise _StoredError

    def __delitem__(self, start: int) -> None:
        raise KeyError(start)

    def __iter__(self) -> Iterator[int]:
        return iter(())

    def __len__(self) -> int:
        return 0


def compute_blocks(
    opened: Run,
    engine: Engine,
    name: str,
    split: str,
    count: int,
    starts: Sequence[int],
    compute: Compute[B],
    store: Callable[[Run], MutableMapping[int, B]],
) -> None:
    """Computes blocks by an engine, as one process after the other would: random numbers depend on the block alone.

    Arguments:
        opened: The run, which workers open by its folder.
        engine: The engine.
        name: Name of the measurement.
        split: Name of the split.
        count: Size of a random sample of the data; 0 for all.
        starts: Positions of the first data of the blocks.
        compute: Measures the blocks that its third argument lacks.
        store: Where blocks of a run are stored.

    Raises:
        ValueError: If a worker cannot open the run as it is here, or a block fails; the others are stored.
    """
    block = partial(_block, split=split, count=count, compute=compute, store=store)
    send(opened, engine, "blocks", {f"{name}-{at}": partial(block, start=at) for at in starts})


def send(opened: Run, engine: Engine, what: str, tasks: Mapping[str, Callable[[Path, str], None]]) -> None:
    """Computes parts of the work on a run by an engine, which store what they compute in its folder.

    Arguments:
        opened: The run, which workers open by its folder.
        engine: The engine.
        what: What the tasks are, in the plural.
        tasks: Functions by name, of the folder of the run and the key of its state, as :func:`open_as` takes them.

    Raises:
        ValueError: If the run is one of objects, a worker cannot open it as it is here, or a task fails.
    """
    if opened.config.is_of_objects:
        raise ValueError("a run of objects is measured in its own process: workers have only its folder")
    place = Place.here(opened.folder, "config.json")
    sent = {name: partial(task, place.folder, opened.state.key) for name, task in tasks.items()}
    computed = engine.compute(what, sent, place)
    failed = [f"{name}: {result}" for name, result in computed if isinstance(result, Exception)]
    if failed:
        raise ValueError(
            f"{len(failed)} of {len(tasks)} {what} failed ({'; '.join(failed)}); the others are stored, and the same "
            "command continues"
        )


def open_as(folder: Path, key: str) -> Run:
    """The run of a worker, which is that of the process that sends the work.

    Raises:
        ValueError: If its code or state is another one.
    """
    opened = open_run(folder)
    if opened.state.key != key:
        raise ValueError(f"a worker opens {folder} with other code or another state; leave out --code and --engine")
    return opened


def _block(
    folder: Path,
    key: str,
    split: str,
    count: int,
    compute: Compute[Any],
    store: Callable[[Run], MutableMapping[int, Any]],
    start: int,
) -> None:
    opened = open_as(folder, key)
    x, pair = opened.split(split, count), opened.pair
    with fork_random_state(opened.config.settings.seed), pyro.validation_enabled(False):
        try:
            compute(pair, x, _OneBlock(store(opened), start), lambda cells: None)
        except _StoredError:
            return
