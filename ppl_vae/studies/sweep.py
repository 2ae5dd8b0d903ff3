"""Sweeps: many trainings described by a TOML file, and their rate-distortion plane.

A file has

- ``about``, a sentence, and ``title``;
- ``seeds``, their number;
- ``[train]``, options of :func:`~ppl_vae.runs.options.run_config` by name, and ``model`` and ``guide``;
- ``[families.NAME]``, options that make one family of models and guides;
- ``[grid]``, options with a list of values each: every combination of them is a cell of every family;
- ``[measure]``, how cells are measured (:class:`~ppl_vae.studies.sweep_cell.Measure`), also as
  ``[families.NAME.measure]``;
- ``[presets.PRESET]``, the same tables again, with what differs, and ``only``, a list of families. A preset without a
  table is the file as it is.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import product
from math import prod
from pathlib import Path

from ppl_vae.data.text_file import reason, shown, unquoted
from ppl_vae.plugins.options import Value
from ppl_vae.runs.config import RunConfig
from ppl_vae.runs.options import run_config
from ppl_vae.studies.cell_table import reasons
from ppl_vae.studies.rate_distortion_plane import TrainedPair
from ppl_vae.studies.report import Report
from ppl_vae.studies.study import Study, digest
from ppl_vae.studies.sweep_cell import Measure, measured_cell
from ppl_vae.studies.sweep_report import report_of

__all__ = ["Sweep", "SweepCell", "SweepPreset", "tuning_cells"]

MOST = 10_000
"""Most trainings of a preset."""

LONGEST = 200
"""Most bytes of a cell's name, which begins the names of its files."""

PRESETS = ("smoke", "cpu", "paper")

RESERVED = ("seed", "device", "out", "resume", "json", "help")
"""Options that a sweep sets itself, or that belong to the command alone."""

Table = Mapping[str, object]
"""A table of a TOML file."""


@dataclass(frozen=True)
class SweepCell:
    """One combination of a family and the values of the grid.

    Arguments:
        family: Name of the family.
        at: Values of the grid by option.
        options: All options of :func:`~ppl_vae.runs.options.run_config`.
        measure: Options of the measurements.
    """

    family: str
    at: dict[str, Value]
    options: dict[str, Value]
    measure: Measure = field(default_factory=Measure)

    @property
    def name(self) -> str:
        """Name of the cell and of its files."""
        return re.sub(r"[^\w.=-]+", "-", " ".join([self.family, *(f"{k} {v}" for k, v in self.at.items())]))

    @classmethod
    def from_table(cls, family: str, table: Table, shared: Table, measure: Table, at: Table) -> SweepCell:
        """Returns a cell from the tables of a file.

        Arguments:
            family: Name of the family.
            table: ``[families.NAME]``.
            shared: ``[train]``.
            measure: ``[measure]``.
            at: Values of the grid.

        Raises:
            ValueError: If an entry is unknown or has a wrong type, naming its table.
        """
        family_table = dict(table)
        measures = _merged(measure, _table(family_table.pop("measure", {}), f"families.{family}.measure"))
        grid = _options(at, "grid")
        options = _options(shared, "train") | _options(family_table, f"families.{family}") | grid
        return cls(family, grid, options, Measure.from_table(measures))

    def config(self, seed: int, device: str) -> RunConfig:
        """Returns the configuration of its training; a ValueError names a wrong option."""
        options = dict(self.options) | {"seed": seed, "device": device}
        for name in ("model", "guide", "corpus"):
            if not isinstance(options.get(name, ""), str):
                raise ValueError(f"{name} is {shown(options[name])}; give a name or a file")
        if "model" not in options:
            raise ValueError("model is missing; name one, such as text, in [train] or its family")
        return run_config(**options)  # type: ignore[arg-type]


@dataclass(frozen=True)
class SweepPreset:
    """The cells of a sweep at one preset.

    Arguments:
        seeds: How many trainings each cell has.
        cells: The cells.
    """

    seeds: int
    cells: tuple[SweepCell, ...]

    @classmethod
    def from_table(cls, content: Table) -> SweepPreset:
        """A preset from the merged tables of its file.

        Raises:
            ValueError: If an entry is unknown or has a wrong type, naming its table.
        """
        known = ("seeds", "train", "grid", "families", "measure", "only")
        if unknown := sorted(set(content) - set(known)):
            raise ValueError(
                f"a sweep has no {unquoted(', '.join(unknown))}; it has about, title, presets, {', '.join(known)}"
            )
        seeds, only = content.get("seeds", 1), content.get("only")
        if not isinstance(seeds, int) or isinstance(seeds, bool) or seeds < 1:
            raise ValueError(f"seeds is a whole number from 1, got {shown(seeds)}; give how many trainings a cell has")
        families = {
            name: _table(table, f"families.{name}")
            for name, table in _table(content.get("families"), "families").items()
        }
        if only is not None and (not isinstance(only, list) or not only or not all(isinstance(n, str) for n in only)):
            raise ValueError(f"only is a list of names of families, got {shown(only)}; name at least one")
        if absent := [name for name in only or () if name not in families]:
            raise ValueError(f"there is no family {shown(absent[0])}; there are {', '.join(families)}")
        grid = _table(content.get("grid", {}), "grid")
        axes: dict[str, list[object]] = {}
        for option, values in grid.items():
            if not isinstance(values, list) or not values:
                raise ValueError(f"[grid] has {unquoted(option)} = {shown(values)}; give a list of values")
            axes[option] = values
        _check_size(seeds * len(only or families) * prod(map(len, axes.values())))
        shared, measure = (_table(content.get(name, {}), name) for name in ("train", "measure"))
        cells = tuple(
            SweepCell.from_table(family, families[family], shared, measure, dict(zip(axes, values, strict=True)))
            for family in only or families
            for values in product(*axes.values())
        )
        if not cells:
            raise ValueError("a sweep needs at least one table [families.NAME], with options of ppl-vae train")
        if long := next((cell.name for cell in cells if len(cell.name.encode()) > LONGEST), None):
            raise ValueError(f"a cell is called {shown(long)}, over {LONGEST} bytes; give its family a shorter name")
        if len({cell.name for cell in cells}) < len(cells):
            raise ValueError("two cells have one name; give families names that differ in letters and digits")
        return cls(seeds, cells)


@dataclass(frozen=True)
class Sweep:
    """A sweep as its file describes it.

    Arguments:
        file: The file.
        about: What it shows, a sentence.
        title: Title of its report.
        presets: Its cells by preset.
    """

    file: Path
    about: str
    title: str
    presets: dict[str, SweepPreset]

    @classmethod
    def read(cls, file: Path) -> Sweep:
        """Reads a sweep.

        Raises:
            ValueError: If the file is no TOML, or holds anything but a sweep, naming it.
        """
        try:
            content = tomllib.loads(file.read_text())
        except (OSError, ValueError, RecursionError) as error:
            raise ValueError(f"{file} cannot be read as TOML: {reason(error)}; mend it there") from error
        try:
            about, title = (str(content.pop(name, file.stem)) for name in ("about", "title"))
            tables = dict.fromkeys(PRESETS, {}) | _table(content.pop("presets", {}), "presets")
            presets = {
                name: SweepPreset.from_table(_merged(content, _table(table, f"presets.{name}")))
                for name, table in tables.items()
            }
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error
        return cls(file, about, title, presets)

    def configs(self, preset: SweepPreset, device: str) -> dict[str, RunConfig]:
        """The configurations of all trainings of a preset by the name of their cell with its seed.

        Raises:
            ValueError: If an option is wrong, naming file, cell and option.
        """
        _check_size(preset.seeds * len(preset.cells))
        configs = {}
        for cell, seed in product(preset.cells, range(preset.seeds)):
            try:
                configs[f"{cell.name}-{seed}"] = cell.config(seed, device)
            except ValueError as error:
                raise ValueError(f"{self.file}, cell {cell.name}: {error}") from error
        return configs

    def run(self, study: Study, preset: SweepPreset, configs: Mapping[str, RunConfig]) -> Report:
        """Trains and measures every cell, names those that fail, and draws the plane.

        Arguments:
            study: Folder of the results.
            preset: The cells.
            configs: The configurations of their trainings.

        Raises:
            ValueError: If a cell was started with other options, or none could be measured.
        """
        computations, points, labels = {}, {}, {}
        for cell, seed in product(preset.cells, range(preset.seeds)):
            name = f"{cell.name}-{seed}"
            study.check(name, configs[name])
            # With other options of measurement it is measured again, but not trained again.
            key = f"{name}-{digest(asdict(cell.measure))}"
            computations[key] = partial(measured_cell, study, name, configs[name], cell.measure)
            labels[key] = {"family": cell.family, **cell.at, "seed": seed}
            points[key] = partial(TrainedPair, cell.family, cell.at, configs[name].rate_cost.beta, seed)
        results, failed = study.attempted(computations, labels)
        if not results:
            raise ValueError(f"all {len(failed)} cells failed: {'; '.join(reasons(failed))}")
        lines = tuple(f"failed: {line}" for line in reasons(failed))
        corpora = {config.corpus.name for config in configs.values()}
        measured = [points[name](values) for name, values in results.items()]
        return report_of(study, measured, self.title, lines, corpora.pop() if len(corpora) == 1 else "")


def tuning_cells(
    preset: SweepPreset, configs: Mapping[str, RunConfig]
) -> dict[str, tuple[RunConfig, dict[str, object]]]:
    """The cells of a preset's first seed by name, each with its configuration and what it is of."""
    return {f"{c.name}-0": (configs[f"{c.name}-0"], {"family": c.family, **c.at}) for c in preset.cells}


def _check_size(trainings: int) -> None:
    if trainings > MOST:
        raise ValueError(
            f"a sweep trains at most {MOST:,} pairs, and this one {trainings:,}; take fewer seeds or values of the grid"
        )


def _table(value: object, name: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ValueError(f"[{name}] must be a table, got {shown(value)}; write [{name}]")
    return value


def _options(table: Table, name: str) -> dict[str, Value]:
    """Options by name; dashes in names are underscores."""
    options: dict[str, Value] = {}
    for key, value in table.items():
        option = key.replace("-", "_")
        if option in RESERVED or option in options:
            reason = "a sweep sets it itself or cannot use it" if option in RESERVED else "it is given twice"
            raise ValueError(f"[{name}] has {key}: {reason}; leave it out")
        if not isinstance(value, (str, int, float)):
            raise ValueError(f"[{name}] has {unquoted(key)} = {shown(value)}; give one value")
        options[option] = value
    return options


def _merged(first: Table, second: Table) -> dict[str, object]:
    """Merges nested tables; where both have an entry, the second wins."""
    merged = dict(first)
    for key, value in second.items():
        before = merged.get(key)
        merged[key] = _merged(before, value) if isinstance(value, dict) and isinstance(before, dict) else value
    return merged
