"""Loggers: what is told the metrics of each epoch while a training goes on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Literal, Protocol, get_args

from ppl_vae.data.files import atomic_write
from ppl_vae.plugins.extras import install
from ppl_vae.training.progress import log

__all__ = ["CSVLogger", "Logger", "LoggerName", "TensorBoardLogger", "Tracker", "logged_to"]

LoggerName = Literal["csv", "tensorboard"]

Row = Mapping[str, object]


class Logger(Protocol):
    """Takes the metrics of each epoch, such as a service that draws them; any object with these two methods.

    An error of a logger is printed once and the logger is left out from then on: the training goes on.

    Example:
        >>> class Printer:
        ...     def begin(self, folder, name, rows):
        ...         print(f"{name}: {len(rows)} epochs before")
        ...     def log(self, row):
        ...         print(row["epoch"], row["bound"])
    """

    def begin(self, folder: Path, name: str, rows: Sequence[Row]) -> None:
        """Called when a training begins, or goes on.

        Arguments:
            folder: The run folder.
            name: ``"train"``, or ``"retrain"`` for the second training of ``--retrain``.
            rows: Metrics of the epochs before. After a kill this may be fewer than were logged: the others come again,
                with the same numbers.
        """
        ...

    def log(self, row: Row) -> None:
        """Called after each epoch with its metrics by name, in nats per datum, as in ``train-metrics.jsonl``."""
        ...


class CSVLogger:
    """Writes ``train.csv`` into the run folder: a row an epoch, a column a metric."""

    def begin(self, folder: Path, name: str, rows: Sequence[Row]) -> None:
        self.path, self.rows = folder / f"{name}.csv", list(rows)

    def log(self, row: Row) -> None:
        import csv
        import io

        self.rows.append(row)
        names = dict.fromkeys(name for each in self.rows for name in each)
        text = io.StringIO()
        writer = csv.DictWriter(text, list(names), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        if not self.path.parent.is_dir():  # a file would make the folder of a run that was moved or removed anew
            raise FileNotFoundError(f"{self.path.parent} is gone")
        atomic_write(self.path, text.getvalue().encode())


class TensorBoardLogger:
    """Writes event files into ``tensorboard`` of the run folder; ``tensorboard --logdir RUN`` draws them."""

    def begin(self, folder: Path, name: str, rows: Sequence[Row]) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ImportError(f"{error}; {install('tensorboard')}") from error
        # What a killed process wrote of epochs that come again is not drawn.
        self.writer = SummaryWriter(str(folder / "tensorboard" / name), purge_step=len(rows) + 1)  # type: ignore[no-untyped-call]

    def log(self, row: Row) -> None:
        for name, value in row.items():
            if isinstance(value, int | float) and name != "epoch":
                self.writer.add_scalar(name, value, row["epoch"])  # type: ignore[no-untyped-call]
        self.writer.flush()  # type: ignore[no-untyped-call]


BUILT_IN: dict[str, type[Logger]] = {"csv": CSVLogger, "tensorboard": TensorBoardLogger}

_LOGGERS: ContextVar[tuple[Logger, ...]] = ContextVar("loggers", default=())


@contextmanager
def logged_to(*loggers: Logger | str) -> Iterator[None]:
    """Trainings inside tell the loggers, objects or names, of each epoch.

    Raises:
        ValueError: If there is no logger of a name.
    """
    for logger in loggers:
        if isinstance(logger, str) and logger not in BUILT_IN:
            raise ValueError(
                f"there is no logger {logger!r}; take {' or '.join(get_args(LoggerName))}, or an object with the "
                "methods begin and log"
            )
    token = _LOGGERS.set(tuple(BUILT_IN[each]() if isinstance(each, str) else each for each in loggers))
    try:
        yield
    finally:
        _LOGGERS.reset(token)


class Tracker:
    """Tells the loggers of one training.

    Arguments:
        folder: The run folder.
        name: Name of the training.
        rows: Metrics of the epochs before.
    """

    def __init__(self, folder: Path, name: str, rows: Sequence[Row]) -> None:
        self.loggers = list(_LOGGERS.get())
        self._tell("begin", folder, name, rows)

    def log(self, row: Row) -> None:
        """Passes on the metrics of an epoch."""
        self._tell("log", row)

    def _tell(self, method: str, *args: object) -> None:
        for logger in list(self.loggers):
            try:
                getattr(logger, method)(*args)
            except Exception as error:  # a service may raise whatever it likes
                self.loggers.remove(logger)
                log(f"note: {type(logger).__name__} is left out from here on ({type(error).__name__}: {error})")
