"""One cell of a sweep: a training and its measurements on test data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ppl_vae.data import corpora
from ppl_vae.data.images import image_shape
from ppl_vae.data.text_file import unquoted
from ppl_vae.nn.modes import evaluating
from ppl_vae.programs.log_weight import log_terms
from ppl_vae.programs.simulate import simulate
from ppl_vae.runs.config import RunConfig
from ppl_vae.runs.open import Run, open_run
from ppl_vae.studies.study import Study

__all__ = ["Measure", "measured_cell"]

SHEET = 8
"""Number of images of each kind stored for each cell."""


@dataclass(frozen=True)
class Measure:
    """Options of the measurements of a cell, besides the final table of its training.

    Arguments:
        data: Number of test data for the information.
        draws: Number of draws from the guide per datum.
        codes: Maximum number of codes compared with all data.
        curve: Number of test data for the decoder's own rate-distortion curve; 0 for no curve.
        curve_betas: Weights of the rate on that curve.
        chains: Number of annealed chains per datum, where codes cannot be enumerated.
        temperatures: Number of temperatures of annealing.

    Raises:
        ValueError: If a value has the wrong type or is out of range.
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
    def from_table(cls, table: Mapping[str, object]) -> Measure:
        """The table ``[measure]`` of a file; a ValueError names an unknown or wrong entry."""
        names = [field.name for field in fields(cls)]
        if unknown := sorted(set(table) - set(names)):
            raise ValueError(f"[measure] has no {unquoted(', '.join(unknown))}; it has {', '.join(names)}")
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in table.items()}
        return cls(**values)  # type: ignore[arg-type]


def measured_cell(study: Study, name: str, config: RunConfig, measure: Measure) -> dict[str, Tensor | float]:
    """Trains a cell and measures it on test data; returns numbers by name, with standard errors as ``"NAME se"``.

    Raises:
        ValueError: If its final table is not finite.
    """
    summary = study.finished(name, config)
    opened = open_run(study.folder / "runs" / name)
    test = summary["splits"]["test"]
    values: dict[str, Tensor | float] = {}
    for key in ("rate", "distortion", "elbo", "evidence"):
        if test[key]["mean"] is None:
            raise ValueError(f"its final {key} is not finite; change its training options")
        values[key], values[f"{key} se"] = test[key]["mean"], test[key]["se"] or 0.0
    informed = partial(opened.information, draws=measure.draws, codes=measure.codes)
    rows = study.of_data(lambda count: informed(data=count), min(measure.data, len(opened.data["test"]))).rows()
    for row, key in (("rate", "rate"), ("information", "information"), ("entropy of the data", "entropy")):
        values[f"measured {key}"], values[f"measured {key} se"] = rows[row].mean, rows[row].se or 0.0
    reader = corpora().get(opened.corpus.name)
    if reader is not None and reader.log_density is not None:
        points = opened.tensor("test", measure.data).cpu().double().numpy()
        surprisal = -torch.from_numpy(reader.log_density(points))
        values["true entropy"] = surprisal.mean().item()
        values["true entropy se"] = (surprisal.std() / len(surprisal) ** 0.5).item()
    if measure.curve:
        values |= _curve(study, opened, measure)
    examples = opened.split("test", SHEET)
    if isinstance(examples, Tensor) and examples.ndim in (3, 4) and image_shape(examples.shape[1:])[0] in (1, 3):
        values |= _sheet(opened, examples)
    return values


def _curve(study: Study, opened: Run, measure: Measure) -> dict[str, Tensor | float]:
    """The rate-distortion curve of the decoder, and the excess of the guide above it."""
    options: dict[str, Any] = {"chains": measure.chains, "temperatures": measure.temperatures, "draws": measure.draws}
    drawn = partial(opened.curve, betas=measure.curve_betas, **options)
    curve = study.of_data(lambda count: drawn(data=count), min(measure.curve, len(opened.data["test"])))
    excess = curve.excess()
    columns = {
        "curve beta": list(curve.betas),
        "curve rate": [e.mean for e in curve.rate],
        "curve distortion": [e.mean for e in curve.distortion],
        "curve guide": [curve.guide_rate.mean, curve.guide_distortion.mean],
        "curve data": [curve.guide_rate.pointwise.numel()],
        "lost": [e.mean for e in excess],
        "lost se": [e.se or 0.0 for e in excess],
    }
    return {key: torch.tensor(values, dtype=torch.float64) for key, values in columns.items()}


def _sheet(opened: Run, x: Tensor) -> dict[str, Tensor | float]:
    """Images, their reconstructions by the pair, and samples of the model."""
    model, guide = opened.pair.model, opened.pair.guide
    with evaluating(model, guide):
        codes = {k: v[0] for k, v in log_terms(model, guide, x).values.items()}
    return {"images": x, "reconstructions": simulate(model, x, codes)[1], "samples": simulate(model, x)[1]}
