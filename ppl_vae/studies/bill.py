"""What an experiment costs: its cells and their core-hours, told beforehand and compared with what it took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ppl_vae.evidence.tables import text_table
from ppl_vae.runs.check.costs import in_words
from ppl_vae.training.progress import log
from ppl_vae.training.run_folder import RunFolder

__all__ = ["Bill", "add_up"]

HOUR = 3600.0


@dataclass(frozen=True)
class Bill:
    """The cells of an experiment and what they cost, as ``--dry-run`` tells it.

    Arguments:
        title: Name and preset of the experiment.
        cells: Seconds of processors, or of a GPU, by the name of the cell.
        rest: Seconds of what is computed beside the cells.
        measured: Seconds that telling this took.
        stored: Number of further cells that are stored already.
        notes: What is not in it.
    """

    title: str
    cells: Mapping[str, float]
    rest: float
    measured: float
    stored: int = 0
    notes: tuple[str, ...] = ()

    @property
    def hours(self) -> float:
        """Core-hours of all."""
        return (sum(self.cells.values()) + self.rest) / HOUR

    def to_json(self) -> dict[str, Any]:
        """The bill as JSON holds it, times in seconds."""
        seconds = {"cells": dict(self.cells), "rest": self.rest, "measured": self.measured}
        return {"title": self.title, "core_hours": self.hours, "stored": self.stored} | {
            "seconds": seconds,
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        rows = [(name, in_words(seconds)) for name, seconds in self.cells.items()]
        table = text_table(self.title, ("cell", "processor time"), [*rows, ("beside the cells", in_words(self.rest))])
        known = f", {self.stored} more are stored already" if self.stored else ""
        lines = [
            f"{len(self.cells)} cells{known}: {self.hours:.3g} core-hours, {in_words(self.hours * HOUR)} of one core; "
            f"told from {in_words(self.measured)} of steps and measurements",
            *(f"note: {note}" for note in self.notes),
        ]
        return "\n".join([table, *lines])

    __repr__ = __str__


def add_up(run: RunFolder, cells: Mapping[str, float], rest: float) -> None:
    """Adds what cells took to ``took.json``, beside what the bill said of them, and says how far that was off.

    Arguments:
        run: Folder of the experiment.
        cells: Seconds of the cells that were computed now.
        rest: Seconds beside them.
    """
    known = run.read_json("took.json")["seconds"]["cells"] if (run.folder / "took.json").exists() else {}
    took: dict[str, Any] = {"cells": known | dict(cells), "rest": rest}
    if (run.folder / "bill.json").exists():
        bill = run.read_json("bill.json")["seconds"]
        both = bill["cells"].keys() & took["cells"].keys()
        if both:
            said, was = (sum(seconds["cells"][name] for name in both) for seconds in (bill, took))
            took |= {"billed": said + bill["rest"], "took": was + rest}
            log(
                f"{len(both)} cells took {took['took'] / HOUR:.3g} core-hours; the bill said "
                f"{took['billed'] / HOUR:.3g}, {took['billed'] / max(took['took'], 1e-9):.2f} times that"
            )
    run.write_json("took.json", {"seconds": took})
