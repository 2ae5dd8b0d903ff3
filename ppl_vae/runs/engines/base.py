"""What engines have in common: tasks that wait for no other are computed somewhere, and come back as they end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import ClassVar, Never, TypeVar

from joblib import wrap_non_picklable_objects

from ppl_vae.plugins.discovery import find
from ppl_vae.plugins.extras import install
from ppl_vae.runs.place import Place, Refusal, at_place
from ppl_vae.training.progress import Reporter

__all__ = ["Engine", "make_engine"]

T = TypeVar("T")


@dataclass(frozen=True)
class Engine(ABC):
    """Computes tasks somewhere; an engine is a file of ``engines/`` with one subclass.

    Scheduling, retries and the replacement of lost workers are those of the library that a subclass adapts.

    Arguments:
        jobs: Number of tasks at once, where the engine starts its own workers on this machine.
        address: Address of a cluster that runs already.
        threads: Number of threads of a task.
        gpus: Share of a GPU that a task has, or number of GPUs.
        retry: How often a task is tried again that failed by anything but a refusal, or lost its worker; None is the
            engine's own rule.
    """

    jobs: int = 1
    address: str | None = None
    threads: int | None = None
    gpus: float | None = None
    retry: int | None = None

    takes: ClassVar[frozenset[str]] = frozenset({"jobs", "address", "threads", "gpus", "retry"})
    """The options that have a meaning for it."""
    usual_threads: ClassVar[int | None] = None
    """Number of threads of a task if nothing is said; None is what the worker has."""

    @property
    def alone(self) -> bool:
        """Whether tasks are computed one after the other in this process, where they show their own progress."""
        return False

    def __post_init__(self) -> None:
        defaults = {each.name: each.default for each in fields(self)}
        given = [name for name, value in defaults.items() if getattr(self, name) != value]
        if refused := [name for name in given if name not in self.takes]:
            raise ValueError(
                f"the engine {type(self).__name__.lower()} takes no {refused[0]} (--{refused[0]}); leave it out, or "
                "take --engine dask or ray, which run on this machine, too"
            )

    @abstractmethod
    def results(self, tasks: Sequence[Callable[[], T]], folder: Path) -> Iterator[tuple[int, T | Exception]]:
        """Yields the position of each task as it ends, with its result, or the error that it failed by.

        Arguments:
            tasks: Functions without arguments, which pickle by themselves, in the order in which they should begin.
            folder: Where temporary files may be written.
        """

    def compute(
        self, title: str, tasks: Mapping[str, Callable[[], T]], place: Place
    ) -> Iterator[tuple[str, T | Exception]]:
        """Yields the name of each task as it ends with its result, or its error, and shows how many are done.

        Arguments:
            title: What the tasks are, in the plural, for the progress: ``"cells"``.
            tasks: Functions by name, which may be closures and functions of a user's own file.
            place: What workers must have in common with this process.

        Raises:
            ValueError: If a worker is unfit: it does not see the folder, or has other code.
        """
        names = list(tasks)
        if self.alone:
            yield from ((names[at], result) for at, result in self.results([*tasks.values()], place.folder))
            return
        place = replace(place, threads=self.threads or self.usual_threads)
        sent = [wrap_non_picklable_objects(partial(at_place, place, name, task)) for name, task in tasks.items()]
        failed = 0
        with Reporter(title, len(sent)) as reporter:
            for done, (at, result) in enumerate(self.results(sent, place.folder), 1):
                if isinstance(result, Refusal):
                    if result.unfit:
                        raise ValueError(result.reason)
                    result = ValueError(result.reason)
                failed += isinstance(result, Exception)
                reporter.advance(1, f"{done} of {len(sent)} {title}" + (f", {failed} failed" if failed else ""))
                yield names[at], result

    def missing(self, error: ImportError) -> Never:
        """Refuses for want of a package, naming the extra."""
        name = type(self).__name__.lower()
        raise ValueError(f"the engine {name} needs more packages ({error}): {install(name)}") from error


def make_engine(name: str = "local", **options: object) -> Engine:
    """An engine by name, or path of a user's file.

    Arguments:
        name: Name of the engine.
        options: Those of :class:`Engine`.

    Raises:
        ValueError: If there is no such engine, or it does not take an option.
    """
    return find("engines", name).load_class(Engine)(**options)  # type: ignore[arg-type, type-abstract]
