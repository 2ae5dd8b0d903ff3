"""Dask: the workers of a scheduler that runs already, or processes of this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from ppl_vae.runs.engines.base import Engine

__all__ = ["Dask"]

T = TypeVar("T")


class Dask(Engine):
    """Dask: workers of a scheduler that runs already (``--address tcp://HOST:8786``), or processes of this machine.

    The scheduler gives tasks of a lost worker to others, up to ``distributed.scheduler.allowed-failures`` times (3).
    Workers compute one task at a time: ``dask worker --nthreads 1``; those that share GPUs are started with
    ``--resources GPU=1``.
    """

    usual_threads: ClassVar[int | None] = 1

    def results(self, tasks: Sequence[Callable[[], T]], folder: Path) -> Iterator[tuple[int, T | Exception]]:
        try:
            from distributed import as_completed
        except ImportError as error:
            self.missing(error)
        share: dict[str, Any] = {"resources": {"GPU": self.gpus}} if self.gpus else {}
        with ExitStack() as stack:
            client = stack.enter_context(self._client(stack))
            several = [name for name, count in client.nthreads().items() if count > 1]
            if several:
                raise ValueError(
                    f"the Dask worker {several[0]} has several threads, and tasks in one process wait for each other; "
                    "start workers with --nthreads 1, and as many as the machine has cores by --nworkers"
                )
            futures = [client.submit(task, pure=False, retries=self.retry or 0, **share) for task in tasks]
            places = {future.key: at for at, future in enumerate(futures)}
            for future in as_completed(futures, raise_errors=False):
                failed = future.exception()
                yield places[future.key], future.result() if failed is None else failed

    def _client(self, stack: ExitStack) -> Any:
        from dask import config
        from distributed import Client, LocalCluster

        if self.address is not None:
            try:
                return Client(self.address, timeout=30)
            except OSError as error:
                raise ValueError(f"no Dask scheduler answers at {self.address} ({error}); start one there") from error
        if self.retry is not None:
            stack.enter_context(config.set({"distributed.scheduler.allowed-failures": self.retry}))
        cluster = LocalCluster(
            n_workers=self.jobs,
            threads_per_worker=1,
            resources={"GPU": 1.0} if self.gpus else None,
            dashboard_address=":0",  # any port
        )
        return Client(stack.enter_context(cluster))
