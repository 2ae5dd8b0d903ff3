"""One cell of a sweep: a training, and what is measured of it on test data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from ppl_vae.data import corpora
from ppl_vae.data.images import image_shape
from ppl_vae.nn.modes import evaluating
from ppl_vae.programs.log_weight import log_terms
from ppl_vae.programs.simulate import simulate
from ppl_vae.runs.measure import measure_curve, measure_information
from ppl_vae.runs.open import TrainedRun, open_run
from ppl_vae.studies.study import Study

__all__ = ["Measure", "measured_cell"]

SHEET = 8
"""Images of a kind that are kept of each cell."""


@dataclass(frozen=True)
class Measure:
    """How a cell is measured, besides the table that its training ends with.

    Arguments:
        data: Test data of the information.
        draws: Of the guide, a datum.
        codes: Most of them that are compared with all the data.
        curve: Test data of the decoder's own rate-distortion curve, met at the weights of ``curve_betas``; 0 is none.
        curve_betas: Weights of the rate.
        chains: Annealed chains a datum, where codes cannot be listed.
        temperatures: Of annealing.

    Raises:
        ValueError: If a number is no number, or out of range.
    """

    data: int = 1000
    draws: int = 10
    codes: int = 1000
    curve: int = 0
    curve_betas: tuple[float, ...] = (4.0, 2.0, 1.0, 0.5)
    chains: int = 8
    temperatures: int = 200

    def __post_init__(self) -> None:
        least = {"data": 2, "draws": 2, "codes": 2, "curve": 0, "chains": 2, "temperatures": 1}
        for name, low in least.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < low:
                raise ValueError(f"[measure] has {name} = {value!r}; give a whole number from {low}")
        betas = self.curve_betas
        numbers = isinstance(betas, tuple) and all(isinstance(b, (int, float)) and 0 < b < math.inf for b in betas)
        if not numbers or not betas:
            raise ValueError(f"[measure] has curve_betas = {betas!r}; give a list of positive numbers")

    @classmethod
    def told(cls, values: Mapping[str, Any]) -> Measure:
        """From what a file says."""
        if unknown := sorted(set(values) - set(asdict(cls()))):
            raise ValueError(f"[measure] has no {', '.join(unknown)}; it has {', '.join(asdict(cls()))}")
        told: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**told)


def measured_cell(study: Study, name: str, config: dict[str, Any], how: dict[str, Any]) -> dict[str, Tensor | float]:
    """Trains a cell, and measures it on test data; errors are standard errors.

    Raises:
        ValueError: If what it ended with is not finite.
    """
    summary = study.finished(name, config)
    opened, measure = open_run(study.folder / "runs" / name), Measure.told(how)
    test = summary["splits"]["test"]
    found: dict[str, Tensor | float] = {}
    for key in ("rate", "distortion", "elbo", "evidence"):
        if test[key]["mean"] is None:
            raise ValueError(f"the {key} it ended with is not finite; train it otherwise")
        found[key], found[f"{key} se"] = test[key]["mean"], test[key]["se"] or 0.0
    known = measure_information(opened, "test", measure.draws, measure.codes, measure.data)
    rows = known.rows()
    for key in ("rate", "information", "entropy of the data"):
        found[f"here {key}"], found[f"here {key} se"] = rows[key].mean, rows[key].se or 0.0
    reader = corpora().get(opened.corpus.name)
    if reader is not None and reader.log_density is not None:
        law = -torch.from_numpy(reader.log_density(opened.data("test", measure.data).cpu().double().numpy()))
        found["here law"], found["here law se"] = law.mean().item(), (law.std() / len(law) ** 0.5).item()
    if measure.curve:
        found |= _curve(opened, measure)
    x = opened.data("test", SHEET)
    if isinstance(x, Tensor) and x.ndim in (3, 4) and image_shape(x.shape[1:])[0] in (1, 3):
        found |= _sheet(opened, x)
    return found


def _curve(opened: TrainedRun, measure: Measure) -> dict[str, Tensor | float]:
    """The decoder's own curve, and what the guide is above it."""
    curve = measure_curve(
        opened,
        "test",
        measure.curve,
        betas=measure.curve_betas,
        chains=measure.chains,
        temperatures=measure.temperatures,
        draws=measure.draws,
    )
    excess = curve.excess()
    columns = {
        "curve beta": list(curve.betas),
        "curve rate": [e.mean for e in curve.rate],
        "curve distortion": [e.mean for e in curve.distortion],
        "curve guide": [curve.guide_rate.mean, curve.guide_distortion.mean],
        "lost": [e.mean for e in excess],
        "lost se": [e.se or 0.0 for e in excess],
    }
    return {key: torch.tensor(values, dtype=torch.float64) for key, values in columns.items()}


def _sheet(opened: TrainedRun, x: Tensor) -> dict[str, Tensor | float]:
    """Images, what the pair makes of them, and images of its own."""
    model, guide = opened.pair.model, opened.pair.guide
    with evaluating(model, guide):
        codes = {k: v[0] for k, v in log_terms(model, guide, x).values.items()}
    return {"images": x, "reconstructions": simulate(model, x, codes)[1], "samples": simulate(model, x)[1]}
