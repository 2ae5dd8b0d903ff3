"""Sweeps: many trainings described by a small file, each a command line of ``ppl-vae train``, and their plane.

A file has, in TOML,

- ``about``, a sentence, and ``seeds``;
- ``[train]``, options of ``ppl-vae train`` by their names, and ``model`` and ``guide``;
- ``[families.NAME]``, options that make one family of models and guides;
- ``[grid]``, options with a list of values each: every combination of them is a cell of every family;
- ``[measure]``, how cells are measured (:class:`Measure`), also as ``[families.NAME.measure]``;
- ``[presets.PRESET]``, the same again, wherever it differs, and ``only``, a list of families.

Without presets the file is the preset of every name.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ppl_vae.convolutions import picture
from ppl_vae.log_weight import log_terms
from ppl_vae.measured_runs import measure_curve, measure_information
from ppl_vae.modes import evaluating
from ppl_vae.opened_runs import Opened, open_run
from ppl_vae.plane import Point, report_of
from ppl_vae.report import Report
from ppl_vae.simulate import simulate
from ppl_vae.study import Study
from ppl_vae.training_command import configuration

__all__ = ["Measure", "Sweep"]

SHEET = 8
"""Pictures of a kind that are kept of each cell."""
PRESETS = ("smoke", "cpu", "paper")


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
    """

    data: int = 1000
    draws: int = 10
    codes: int = 1000
    curve: int = 0
    curve_betas: tuple[float, ...] = (4.0, 2.0, 1.0, 0.5)
    chains: int = 8
    temperatures: int = 200


@dataclass(frozen=True)
class Sweep:
    """A sweep as its file describes it.

    Arguments:
        file: Where it came from.
        about: What it shows, a sentence.
        presets: Settings of :meth:`run` by name.
    """

    file: Path
    about: str
    presets: dict[str, dict[str, Any]]

    @classmethod
    def read(cls, file: Path) -> Sweep:
        """Reads a sweep.

        Raises:
            ValueError: If the file is no TOML, or says something else than a sweep has.
        """
        try:
            content = tomllib.loads(file.read_text())
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ValueError(f"{file} cannot be read as TOML: {error}") from error
        about, presets = str(content.pop("about", file.stem)), content.pop("presets", dict.fromkeys(PRESETS, {}))
        if not isinstance(presets, dict):
            raise ValueError(f"{file}: presets are tables, [presets.cpu] and so on, got {presets!r}")
        return cls(file, about, {name: _settled(file, content, changes) for name, changes in presets.items()})

    def run(self, study: Study, seeds: int, cells: list[dict[str, Any]], title: str) -> Report:
        """Trains and measures every cell, those that fail apart, and draws the plane."""
        made = {
            f"{cell['name']}-{seed}": (cell, seed, _configuration(self.file, cell, seed, study.device.type))
            for cell in cells
            for seed in range(seeds)
        }
        found, failed = study.attempted(
            {
                name: partial(measured_cell, study, name, config, cell["measure"])
                for name, (cell, _, config) in made.items()
            }
        )
        points = [Point(made[n][0]["family"], made[n][0]["at"], made[n][1], values) for n, values in found.items()]
        if not points:
            raise ValueError(f"all {len(failed)} cells failed: {'; '.join(f'{n}: {w}' for n, w in failed.items())}")
        corpora = {config["corpus"]["name"] for _, _, config in made.values()}
        return report_of(study, points, title, tuple(f"failed: {n}: {w}" for n, w in failed.items()), corpora)


def _settled(file: Path, content: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of one preset: its cells, each with all its options."""
    whole = _merged(content, changes)
    only = whole.pop("only", None)
    known = {"seeds", "title", "train", "grid", "families", "measure"}
    if unknown := sorted(set(whole) - known):
        raise ValueError(
            f"{file}: a sweep has no {', '.join(unknown)}; it has about, presets, {', '.join(sorted(known))}"
        )
    families, grid = whole.get("families", {}), whole.get("grid", {})
    if not families or not all(isinstance(family, dict) for family in families.values()):
        raise ValueError(f"{file}: a sweep needs at least one table [families.NAME] with options of ppl-vae train")
    if absent := [name for name in only or () if name not in families]:
        raise ValueError(f"{file}: there is no family {absent[0]!r}; there are {', '.join(families)}")
    for option, values in grid.items():
        if not isinstance(values, list) or not values:
            raise ValueError(f"{file}: grid has {option} = {values!r}; give a list of values")
    cells = []
    for family, own in families.items():
        if only is not None and family not in only:
            continue
        measure = _measure(file, {**whole.get("measure", {}), **own.get("measure", {})})
        for values in product(*grid.values()):
            at = dict(zip(grid, values, strict=True))
            options = {**whole.get("train", {}), **{k: v for k, v in own.items() if k != "measure"}, **at}
            words = " ".join([family, *(f"{k} {v}" for k, v in at.items())])
            name = re.sub(r"[^\w.=-]+", "-", words)
            cells.append({"name": name, "family": family, "at": at, "options": options, "measure": asdict(measure)})
    if len({cell["name"] for cell in cells}) < len(cells):
        raise ValueError(f"{file}: two cells have one name; give families names that differ in letters and digits")
    return {"seeds": whole.get("seeds", 1), "cells": cells, "title": str(content.get("title", file.stem))}


def _merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Tables in tables: where both say something, the second counts."""
    found = dict(first)
    for key, value in second.items():
        both = isinstance(value, dict) and isinstance(found.get(key), dict)
        found[key] = _merged(found[key], value) if both else value
    return found


def _measure(file: Path, told: dict[str, Any]) -> Measure:
    try:
        betas = {"curve_betas": tuple(told["curve_betas"])} if "curve_betas" in told else {}
        return Measure(**{**told, **betas})
    except TypeError as error:
        raise ValueError(f"{file}: measure takes {', '.join(asdict(Measure()))}, got {told}") from error


def _configuration(file: Path, cell: dict[str, Any], seed: int, device: str) -> dict[str, Any]:
    """What one cell trains, from its options as the command line would take them."""
    options = {str(key).replace("_", "-"): value for key, value in cell["options"].items()}
    args = [str(options.pop("model", ""))]
    for key, value in (options | {"seed": seed, "device": device}).items():
        if value is not False:
            args += [f"--{key}"] if value is True else [f"--{key}", str(value)]
    try:
        return configuration([arg for arg in args if arg])
    except ValueError as error:
        raise ValueError(f"{file}, cell {cell['name']}: {error}") from error


def measured_cell(study: Study, name: str, config: dict[str, Any], how: dict[str, Any]) -> dict[str, Tensor | float]:
    """Trains a cell, and measures it on test data; errors are standard errors."""
    summary = study.finished(name, config)
    opened, measure = open_run(study.folder / "runs" / name), Measure(**how)
    test = summary["splits"]["test"]
    found: dict[str, Tensor | float] = {}
    for key in ("rate", "distortion", "elbo", "evidence"):
        found[key] = test[key]
        found[f"{key} se"] = test[f"{key}_se"] or 0.0
    known = measure_information(opened, "test", measure.draws, measure.codes, measure.data)
    for key, value in known.rows().items():
        found[f"here {key}"], found[f"here {key} se"] = value.mean, value.se or 0.0
    if measure.curve:
        found |= _curve(opened, measure)
    x = opened.data("test", SHEET)
    if isinstance(x, Tensor) and x.ndim in (3, 4) and picture(x.shape[1:])[0] in (1, 3):
        found |= _sheet(opened, x)
    return found


def _curve(opened: Opened, measure: Measure) -> dict[str, Tensor]:
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
    lost = [curve.lost(place) for place in range(len(curve.betas))]
    columns = {
        "curve beta": list(curve.betas),
        "curve rate": [e.mean for e in curve.rate],
        "curve distortion": [e.mean for e in curve.distortion],
        "curve guide": [curve.guide_rate.mean, curve.guide_distortion.mean],
        "lost": [e.mean for e in lost],
        "lost se": [e.se or 0.0 for e in lost],
    }
    return {key: torch.tensor(values, dtype=torch.float64) for key, values in columns.items()}


def _sheet(opened: Opened, x: Tensor) -> dict[str, Tensor]:
    """Pictures, what the pair makes of them, and pictures of its own."""
    with evaluating(opened.pair.model, opened.pair.guide):
        codes = {k: v[0] for k, v in log_terms(opened.pair.model, opened.pair.guide, x).values.items()}
    again, new = simulate(opened.pair.model, x, codes)[1], simulate(opened.pair.model, x)[1]
    return {"pictures": x, "reconstructions": again, "samples": new}
