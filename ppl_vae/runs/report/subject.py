"""What the report of a run is about: its measurements, read where they are stored and made where they are missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from torch import Tensor

from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.images import pixels
from ppl_vae.data.inputs import Batch, documents
from ppl_vae.data.source import SplitName
from ppl_vae.diagnostics.gap.gap import Gap
from ppl_vae.evidence.methods.enumeration import Enumeration
from ppl_vae.evidence.plan import plan
from ppl_vae.evidence.results import Evidence
from ppl_vae.nn.modes import evaluating
from ppl_vae.programs.flops import Flops
from ppl_vae.programs.log_weight import log_weight
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.runs.digests import method_digests
from ppl_vae.runs.open import Run
from ppl_vae.runs.report.reasons import reason
from ppl_vae.runs.stored import evidence_of, gap_of, names_of_stored, stored_measurement
from ppl_vae.runs.summary import Summary
from ppl_vae.training.progress import log

__all__ = ["Subject", "Values"]

CELLS = 2**21
"""Joint states times data up to which all data are measured, within seconds."""

EVALUATIONS = 600 * 8 * 3
"""Evaluations of a pair for a datum in a gradient ascent: its steps, starts, and a gradient for two evaluations."""

WORK = 5e11
"""Multiplications and additions that take about a minute."""

SAMPLE = 100
"""Number of data measured where all would take minutes."""

R = TypeVar("R")

Values = tuple[dict[str, Any], dict[str, Tensor]]
"""JSON of a stored measurement, and its values per datum."""


@dataclass
class Subject:
    """A run with its measurements on one split.

    Arguments:
        run: The run.
        split: Name of the split.
        asked: Number of data, drawn at random, on which what is missing is measured; 0 for all; None for all where that
            takes seconds, else a hundred.
        measure: Whether to measure what is missing.

    Beside its arguments it has ``missing``, why a measurement by this name is not there; and of a gap that is split
    ``check``, how far its best members are from the best, and ``is_split_doubtful``, whether some were missed.
    """

    run: Run
    split: SplitName
    asked: int | None = None
    measure: bool = True

    def __post_init__(self) -> None:
        self.run.split(self.split)  # refused if there is none
        self.missing: dict[str, str] = {}
        self.check: dict[str, Any] | None = None
        self.is_split_doubtful = False

    @cached_property
    def count(self) -> int:
        """Number of data on which what is missing is measured; 0 for all."""
        if self.asked is not None:
            return self.asked if self.asked < len(self.data) else 0
        chosen = plan(self.run.model, self.data)
        few = isinstance(chosen.method, Enumeration) and chosen.cells <= CELLS
        return 0 if few or len(self.data) <= SAMPLE else SAMPLE

    @cached_property
    def summary(self) -> Summary | None:
        """The final table of the training; None of one that is not finished."""
        return self.run.summary

    @cached_property
    def final(self) -> dict[str, Evidence]:
        """The measurements of the final table by split, each knowing of which sample it is (``--evidence-data``)."""
        splits = self.summary.splits if self.summary is not None else {}
        return {name: each.measurement.of_sample(each.sample, each.split_size) for name, each in splits.items()}

    @cached_property
    def evidence(self) -> Evidence | None:
        """ELBO, evidence and gap: those of the summary, or a stored measurement that is better."""
        found = []
        if self.split in self.final:
            found.append(self.final[self.split])
        names = names_of_stored(self.run.run, f"evidence-{self.split}-", self.run.state)
        for content, values in filter(None, map(self._stored, names)):
            result = evidence_of(content, values)
            found.append(result.of_sample(values.get("rows"), content.get("split_size")))
        if not found:
            return self._measured("evidence", lambda: self.run.evidence(split=self.split, data=self.count))
        return max(found, key=_quality)

    @cached_property
    def gap(self) -> Gap | None:
        """The gap in its two parts."""

        def measured() -> Gap:
            if self.asked is None and self._ascent_work() > WORK:
                command = f"ppl-vae gap {self.run.folder} --split {self.split} --data 20"
                raise ValueError(f"it takes minutes by gradient ascent; begin with a few data, {command}")
            result = self.run.gap(split=self.split, data=self.count)
            assert isinstance(result, Gap)
            return result

        name = f"gap-{self.split}"
        # Also read again after it is measured: what was stored is the same every time.
        stored = self._stored(name) or (self._measured("gap", measured) and self._stored(name)) or None
        if stored is None:
            return None
        content, values = stored
        result = gap_of(content, values).of_sample(values.get("rows"), content.get("split_size"))
        self.check = content.get("search_check")
        self.is_split_doubtful = any("best member" in line for line in content["warnings"])
        return result

    def _ascent_work(self) -> float:
        """Multiplications and additions of a gradient ascent for as many data; 0 where the code is enumerated."""
        if isinstance(plan(self.run.model, self.data).method, Enumeration):
            return 0.0
        with evaluating(self.run.model, self.run.guide), fork_random_state(), Flops() as counter:
            log_weight(self.run.model, self.run.guide, self.data[:2])
        return counter.flops / 2 * EVALUATIONS * (self.count or len(self.data))

    @cached_property
    def information(self) -> Values | None:
        """What ``ppl-vae information`` stores."""
        name = f"information-{self.split}"
        if (stored := self._stored(name)) is None:
            self._measured("information", lambda: self.run.information(split=self.split, data=self.count))
        return stored or self._stored(name)

    @cached_property
    def ladder(self) -> Values | None:
        """What ``ppl-vae gap --ladder`` stores; fits of hours are not made for a report."""
        return self._stored(f"ladder-{self.split}")

    def _measured(self, name: str, compute: Callable[[], R]) -> R | None:
        if not self.measure:
            self.missing[name] = f"not measured yet; ppl-vae {name} {self.run.folder} --split {self.split} does"
            return None
        try:
            return compute()
        except Exception as error:  # the page says what it lacks
            self.missing[name] = reason(error)
            log(f"note: {name} is not in the report: {self.missing[name]}")
            return None

    def _stored(self, name: str) -> Values | None:
        """A measurement of this state of the run, of all data of the split or of a sample."""
        found = stored_measurement(self.run.run, name, self.run.state)
        # What a user's own method has measured is taken while its file is as it was.
        if found is None or not found[1].state.get("digests", {}).items() <= method_digests("auto").items():
            return None
        return found[0], found[1].tensors

    @property
    def data(self) -> Batch:
        """The data of the split."""
        return self.run.data[self.split]

    @property
    def texts(self) -> PackedCounts | None:
        """The data of the split if they are documents."""
        return self.data if isinstance(self.data, PackedCounts) else None

    @property
    def images(self) -> Tensor | None:
        """The data of the split if they are images with values in [0, 1]."""
        x = self.data
        return x if isinstance(x, Tensor) and pixels(x) is not None else None

    @property
    def noun(self) -> str:
        """What one datum is."""
        return "document" if documents(self.data) is not None else "image" if self.images is not None else "datum"

    @property
    def nouns(self) -> str:
        """What the data are."""
        return {"datum": "data"}.get(self.noun, f"{self.noun}s")

    def sized(self, count: int) -> str:
        """A number of data of the split in words."""
        of = f" of {len(self.data):,}" if count < len(self.data) else ""
        return f"{count:,}{of} {self.split} {self.nouns}{', drawn at random' if of else ''}"

    def rows(self, sample: Tensor | None) -> list[int]:
        """Positions in the split of the data of a measurement."""
        return list(range(len(self.data))) if sample is None else sample.tolist()

    def name_of(self, row: int) -> str:
        """The title of a datum, or its number."""
        titles = self.run.titles(self.split)
        return titles[row] if titles else f"{self.noun} {row}"


def _quality(result: Evidence) -> tuple[bool, int, float]:
    """Exact numbers are better than bounds, all data better than a sample, and then the highest bound."""
    estimate = result.evidence
    rank = {"exact": 2, "lower": 1}.get(estimate.bound, 0)
    return result.sample is None, rank, estimate.mean
