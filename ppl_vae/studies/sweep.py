"""Sweeps: many trainings described by a small file, each a command line of ``ppl-vae train``, and their plane.

A file has, in TOML,

- ``about``, a sentence, and ``title``;
- ``seeds``, how many;
- ``[train]``, options of ``ppl-vae train`` by their names, and ``model`` and ``guide``;
- ``[families.NAME]``, options that make one family of models and guides;
- ``[grid]``, options with a list of values each: every combination of them is a cell of every family;
- ``[measure]``, how cells are measured (:class:`~ppl_vae.studies.sweep_cell.Measure`), also as
``[families.NAME.measure]``;
- ``[presets.PRESET]``, the same again, wherever it differs, and ``only``, a list of families. A preset without a table
  is the file as it is.
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

from ppl_vae.cli.train import Switch, configuration, flags
from ppl_vae.studies.rate_distortion_plane import TrainedPair
from ppl_vae.studies.report import Report
from ppl_vae.studies.study import Study, digest
from ppl_vae.studies.sweep_cell import Measure, measured_cell
from ppl_vae.studies.sweep_report import report_of

__all__ = ["Sweep"]

PRESETS = ("smoke", "cpu", "paper")

OURS = ("seed", "device", "out", "resume", "json", "help")
"""Options that a sweep gives itself, or that are none of a training."""


@dataclass(frozen=True)
class Sweep:
    """A sweep as its file describes it.

    Arguments:
        file: Where it came from.
        about: What it shows, a sentence.
        title: Of its report.
        presets: Settings by name: ``seeds``, and ``cells``, each with all its options.
    """

    file: Path
    about: str
    title: str
    presets: dict[str, dict[str, Any]]

    @classmethod
    def read(cls, file: Path) -> Sweep:
        """Reads a sweep.

        Raises:
            ValueError: If the file is no TOML, or says something else than a sweep has, naming it.
        """
        try:
            content = tomllib.loads(file.read_text())
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ValueError(f"{file} cannot be read as TOML: {error}") from error
        try:
            about, title = (str(content.pop(name, file.stem)) for name in ("about", "title"))
            presets = dict.fromkeys(PRESETS, {}) | _table(content.pop("presets", {}), "presets")
            settled = {
                name: _settled(_merged(content, _table(own, f"presets.{name}"))) for name, own in presets.items()
            }
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error
        return cls(file, about, title, settled)

    def configurations(self, cells: list[dict[str, Any]], seeds: int, device: str) -> dict[str, dict[str, Any]]:
        """What every cell trains, by its name with the seed behind it.

        Raises:
            ValueError: If an option is wrong, naming the cell.
        """
        found, switches = {}, flags()
        for cell, seed in product(cells, range(seeds)):
            options = cell["options"] | {"seed": seed, "device": device}
            try:
                found[f"{cell['name']}-{seed}"] = _configuration(options, switches)
            except ValueError as error:
                raise ValueError(f"{self.file}, cell {cell['name']}: {error}") from error
        return found

    def run(
        self, study: Study, seeds: int, cells: list[dict[str, Any]], configs: Mapping[str, dict[str, Any]]
    ) -> Report:
        """Trains and measures every cell, names those that fail, and draws the plane.

        Arguments:
            study: Where all is kept.
            seeds: How many.
            cells: Of one of the presets.
            configs: What :meth:`configurations` gives for them.

        Raises:
            ValueError: If a cell was begun with other options, or none could be measured.
        """
        asked, points = {}, {}
        for cell, seed in product(cells, range(seeds)):
            name = f"{cell['name']}-{seed}"
            study.check(name, configs[name])
            # Measured otherwise, it is measured again; its training is kept.
            kept = f"{name}-{digest(cell['measure'])}"
            asked[kept] = partial(measured_cell, study, name, configs[name], cell["measure"])
            points[kept] = partial(
                TrainedPair, cell["family"], cell["at"], float(cell["options"].get("beta", 1.0)), seed
            )
        found, failed = study.attempted(asked)
        lines = tuple(f"failed: {name}: {words}" for name, words in failed.items())
        if not found:
            raise ValueError(f"all {len(failed)} cells failed; {'; '.join(lines)}")
        corpora = {config["corpus"]["name"] for config in configs.values()}
        made = [points[name](values) for name, values in found.items()]
        return report_of(study, made, self.title, lines, corpora.pop() if len(corpora) == 1 else "")


def _table(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"[{name}] must be a table, got {value!r}")
    return value


def _options(value: Any, name: str) -> dict[str, Any]:
    """Options by their names on the command line."""
    found: dict[str, Any] = {}
    for key, own in _table(value, name).items():
        option = key.replace("_", "-")
        if option in OURS or option in found:
            why = "a sweep gives it itself, or cannot use it" if option in OURS else "it stands there twice"
            raise ValueError(f"[{name}] has {key}: {why}; leave it out")
        if not isinstance(own, (str, int, float)) or (option == "beta" and isinstance(own, (str, bool))):
            raise ValueError(f"[{name}] has {key} = {own!r}; give {'a number' if option == 'beta' else 'one value'}")
        found[option] = own
    return found


def _settled(whole: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of one preset: its cells, each with all its options."""
    known = ("seeds", "train", "grid", "families", "measure", "only")
    if unknown := sorted(set(whole) - set(known)):
        raise ValueError(f"a sweep has no {', '.join(unknown)}; it has about, title, presets, {', '.join(known)}")
    seeds, only = whole.get("seeds", 1), whole.get("only")
    if not isinstance(seeds, int) or isinstance(seeds, bool) or seeds < 1:
        raise ValueError(f"seeds is how many, from 1, got {seeds!r}")
    families = {
        name: _table(own, f"families.{name}") for name, own in _table(whole.get("families"), "families").items()
    }
    if only is not None and (not isinstance(only, list) or not only or not all(isinstance(n, str) for n in only)):
        raise ValueError(f"only is a list of names of families, got {only!r}")
    if absent := [name for name in only or () if name not in families]:
        raise ValueError(f"there is no family {absent[0]!r}; there are {', '.join(families)}")
    shared, grid = _options(whole.get("train", {}), "train"), _table(whole.get("grid", {}), "grid")
    for option, values in grid.items():
        if not isinstance(values, list) or not values:
            raise ValueError(f"[grid] has {option} = {values!r}; give a list of values")
    measures = _table(whole.get("measure", {}), "measure")
    cells = []
    for family in only or families:
        options = dict(families[family])
        measure = Measure.told(_merged(measures, _table(options.pop("measure", {}), f"families.{family}.measure")))
        options = shared | _options(options, f"families.{family}")
        for values in product(*grid.values()):
            at = _options(dict(zip(grid, values, strict=True)), "grid")
            name = re.sub(r"[^\w.=-]+", "-", " ".join([family, *(f"{k} {v}" for k, v in at.items())]))
            cells.append(
                {"name": name, "family": family, "at": at, "options": options | at, "measure": asdict(measure)}
            )
    if not cells:
        raise ValueError("a sweep needs at least one table [families.NAME], with options of ppl-vae train")
    if len({cell["name"] for cell in cells}) < len(cells):
        raise ValueError("two cells have one name; give families names that differ in letters and digits")
    return {"seeds": seeds, "cells": cells}


def _merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Tables in tables: where both say something, the second counts."""
    found = dict(first)
    for key, value in second.items():
        both = isinstance(value, dict) and isinstance(found.get(key), dict)
        found[key] = _merged(found[key], value) if both else value
    return found


def _configuration(options: dict[str, Any], switches: Mapping[str, Switch]) -> dict[str, Any]:
    """What one cell trains, from its options as the command line takes them."""
    options = dict(options)
    args = [str(options.pop("model"))] if "model" in options else []
    for key, value in options.items():
        if key in switches:
            args += switches[key](value)
        else:
            args += [f"--{key}", str(value).lower() if isinstance(value, bool) else str(value)]
    return configuration(args)
