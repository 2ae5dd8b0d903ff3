"""Ray: the nodes of a cluster that runs already, or processes of this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from ppl_vae.runs.engines.base import Engine

__all__ = ["Ray"]

T = TypeVar("T")

LOST = 3
"""How often Ray begins the task of a lost worker again, if nothing else is said."""


class Ray(Engine):
    """Ray: nodes of a cluster that runs already (``--address HOST:6379``, or ``auto``), or processes of this machine.

    A task has ``--threads`` cores of its node and ``--gpus`` of its GPUs, which may be a fraction. Ray gives the task
    of a lost worker to another one, up to three times.
    """

    usual_threads: ClassVar[int | None] = 1

    def results(self, tasks: Sequence[Callable[[], T]], folder: Path) -> Iterator[tuple[int, T | Exception]]:
        try:
            import ray
        except ImportError as error:
            self.missing(error)
        from ray.exceptions import RayError, RayTaskError

        cores, begun = self.threads or 1, not ray.is_initialized()
        if begun:
            self._join(ray, cores)
        try:
            remote = ray.remote(_called).options(
                num_cpus=cores,
                num_gpus=self.gpus or 0,
                max_retries=LOST if self.retry is None else self.retry,
                retry_exceptions=bool(self.retry),
            )
            waiting = {remote.remote(task): at for at, task in enumerate(tasks)}
            while waiting:
                (ready,), _ = ray.wait(list(waiting), num_returns=1)
                at = waiting.pop(ready)
                try:
                    yield at, ray.get(ready)
                except RayTaskError as error:
                    yield at, error.cause
                except RayError as error:
                    yield at, error
        finally:
            if begun:
                ray.shutdown()

    def _join(self, ray: Any, cores: int) -> None:
        quiet = {"log_to_driver": False, "logging_level": "ERROR"}
        if self.address is None:
            gpus = {} if self.gpus is None else {"num_gpus": max(1, round(self.gpus * self.jobs))}
            ray.init(num_cpus=self.jobs * cores, include_dashboard=False, **gpus, **quiet)
            return
        try:
            ray.init(address=self.address, **quiet)
        except ConnectionError as error:
            raise ValueError(
                f"no Ray cluster answers at {self.address} ({error}); start one: ray start --head"
            ) from error


def _called(task: Callable[[], T]) -> T:
    return task()
