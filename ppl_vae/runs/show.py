"""The course of a training, drawn in the terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppl_vae.runs.uses import Positive
from ppl_vae.training.lock import holder
from ppl_vae.training.run_folder import RunFolder

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

__all__ = ["Course", "show"]

PREFIXES = ("train", "validation")
DEFAULT = ("elbo", "evidence", "conditional", "rate")
IN_NATS = ("elbo", "evidence", "conditional", "rate", "distortion")
UNITS = {"seconds": ", seconds per epoch", "data_per_second": ", data/s"} | dict.fromkeys(IN_NATS, ", nats per datum")
SECONDS = 2.0
"""Time between two drawings of a training that is followed."""
LOWEST, HIGHEST = 8, 16
"""Lines of a chart in the terminal."""
SKIPPED = 10
"""One in so many epochs, the first ones, is left out of a chart: their values would flatten all others."""

TICKS = 4
"""Parts of the axis of epochs between labels, at the most."""


def _wholes(metric: str) -> dict[str, None]:
    """The names by which a metric may be kept, in order."""
    return dict.fromkeys([metric, *(f"{prefix}_{metric}" for prefix in PREFIXES)])


def _in_words(name: str) -> str:
    return name.replace("_", " ").replace("elbo", "ELBO")


@dataclass(frozen=True)
class Course:
    """Metrics of the epochs of a training so far.

    Prints as charts of the chosen metrics against epochs, in training and in validation.

    Arguments:
        folder: The run folder.
        rows: Metrics of each epoch by name, the first epoch first.
        metrics: Names of the metrics that are drawn, without ``train_`` and ``validation_``.
        process: The process that trains in the folder, in words; None if there is none.
    """

    folder: Path
    rows: Sequence[dict[str, Any]]
    metrics: Sequence[str]
    process: str | None

    def __str__(self) -> str:
        return self.drawn()

    def drawn(self, width: int = 80, height: int = 16, colour: bool = False) -> str:
        """The charts, so many characters wide and each so many lines high."""
        parts = [self.headline]
        parts += [self._chart(metric, width, height, colour) for metric in self.metrics if self._curves(metric)]
        return "\n".join(parts)

    def __rich_console__(self, console: Console, options: object) -> Iterator[Text]:
        """As large as the terminal allows, in its colours."""
        from rich.text import Text

        lines = max(LOWEST, min(HIGHEST, console.height // max(1, len(self.metrics)) - 2))
        headline, _, charts = self.drawn(console.width, lines, colour=console.color_system is not None).partition("\n")
        yield Text(headline)
        yield Text.from_ansi(charts, no_wrap=True, overflow="crop")

    @property
    def headline(self) -> str:
        """The epochs so far, with the last values of the metrics, and whether training goes on."""
        if not self.rows:
            return f"{self.folder}: no epoch has ended yet"
        last = {name: points[-1][1] for metric in self.metrics for name, points in self._curves(metric).items()}
        values = ", ".join(f"{_in_words(name)} {value:.5g}" for name, value in last.items())
        state = f"trained by {self.process}" if self.process else "no process trains here"
        return f"{self.folder}: epoch {self.rows[-1]['epoch']}, {values}; {state}"

    def to_json(self) -> dict[str, Any]:
        """The epochs, and the process that trains."""
        return {"folder": str(self.folder), "process": self.process, "epochs": list(self.rows)}

    def _curves(self, metric: str) -> dict[str, list[tuple[int, float]]]:
        """Epochs and values by the whole name of a metric, those that are not known left out."""
        known = {
            name: [(row["epoch"], row[name]) for row in self.rows if isinstance(row.get(name), int | float)]
            for name in _wholes(metric)
        }
        return {name: points for name, points in known.items() if points}

    def _chart(self, metric: str, width: int, height: int, colour: bool) -> str:
        import plotext

        curves = self._curves(metric)
        first = 1 + (len(self.rows) // SKIPPED if self.rows[0]["epoch"] == 1 else 0)
        plotext.clear_figure()
        plotext.theme("clear")
        plotext.plot_size(width, height)
        for (name, points), marker, hue in zip(curves.items(), ("dot", "braille"), ("orange", "blue"), strict=False):
            shown = [point for point in points if point[0] >= self.rows[first - 1]["epoch"]]
            paint = {"color": hue} if colour else {}
            plotext.plot(*zip(*shown, strict=True), label=_in_words(name), marker=marker, **paint)
        begin, end = self.rows[first - 1]["epoch"], self.rows[-1]["epoch"]
        plotext.xticks(sorted({round(begin + part * (end - begin) / TICKS) for part in range(TICKS + 1)}))
        plotext.title(f"{_in_words(metric)}{UNITS.get(metric, '')}{f', from epoch {begin}' if begin > 1 else ''}")
        plotext.xlabel("epoch")
        text: str = plotext.build()
        return text if colour else plotext.uncolorize(text)


def show(run: str | Path, *, metrics: str | None = None, last: Positive | None = None, follow: bool = False) -> Course:
    """Draw the course of a training in the terminal, also while it goes on.

    The bound and the rate of each epoch, of training and validation data, in nats per datum.

    Arguments:
        run: The run folder.
        metrics: Names of metrics, separated by commas, such as elbo, rate, distortion, evidence, learning_rate,
            data_per_second, or any other of train-metrics.jsonl; by default the bound that is trained, and the rate.
        last: Number of the last epochs to draw; by default all but the first tenth.
        follow: Draw again every two seconds until no process trains in the run any more; ctrl-C ends this, and not the
            training.

    Raises:
        ValueError: If the folder is no run, or no epoch has a metric of this name, naming those there are.
    """
    if follow:
        _follow(lambda: show(run, metrics=metrics, last=last))
    folder = RunFolder.open(Path(run))
    rows = folder.metrics("train-metrics")
    known = dict.fromkeys(name for row in rows for name in row)
    given = metrics.split(",") if metrics else [name for name in DEFAULT if known.keys() & _wholes(name).keys()]
    chosen = [name.strip() for name in given]
    for name in chosen:
        if rows and not known.keys() & _wholes(name).keys():
            raise ValueError(f"no metric of {run} is called {name!r}; there are {', '.join(known)}")
    return Course(folder.folder, rows[-last:] if last else rows, chosen, holder(folder.folder))


def _follow(look: Callable[[], Course]) -> None:
    from rich.console import Console
    from rich.live import Live

    console = Console()
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while (course := look()).process:
            if console.is_terminal:
                live.update(course, refresh=True)
            time.sleep(SECONDS)
