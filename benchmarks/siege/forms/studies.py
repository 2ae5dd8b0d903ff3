"""Files of experiments: the identity of a folder, and sweeps."""

from __future__ import annotations

import json
import tomllib
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.siege.case import Case, Form
from benchmarks.siege.forms.run import as_floats, plain
from benchmarks.siege.sources import Invalid, pick
from ppl_vae.plugins.discovery import summary_of
from ppl_vae.studies.study import Study
from ppl_vae.studies.sweep import Sweep

IDENTITY = {"experiment": "gmm", "preset": "smoke", "device": "cpu", "code": "0123", "settings": {"epochs": 3}}


def make_experiment(rng: np.random.Generator) -> Case:
    return Case({"experiment.json": json.dumps(IDENTITY | {"versions": {"python": "3"}}, indent=2).encode()})


def read_experiment(path: Path) -> object:
    Study(path, IDENTITY)
    return as_floats(IDENTITY)


def parse_experiment(path: Path) -> object:
    content = plain((path / "experiment.json").read_bytes())
    return {name: content[name] for name in IDENTITY}


SWEEPS = (
    """about = "Rates of two families."
title = "Small"
seeds = 2

[train]
model = "gmm"
epochs = 3

[families.first]
guide = "mean_field"

[families.second]
guide = "full"
measure = {draws = 50}

[grid]
beta = [0.5, 1, 2.0]
bits = [3, 4]

[presets.smoke]
seeds = 1
only = ["first"]

[presets.smoke.train]
epochs = 1

[presets.paper.grid]
beta = [1.0]
""",
    """about = 'One'
[families."a b"]
model = "ppca"
[grid]
learning-rate = [1e-3]
""",
)


def make_sweep(rng: np.random.Generator) -> Case:
    return Case({"s.toml": pick(rng, SWEEPS).encode()}, "s.toml")


def read_sweep(path: Path) -> object:
    summary_of(path)
    sweep = Sweep.read(path)
    presets: dict[str, Any] = {}
    for name, preset in sweep.presets.items():
        presets[name] = [preset.seeds, [[c.family, dict(c.at), dict(c.options)] for c in preset.cells]]
    smoke = sweep.presets["smoke"]
    if len(smoke.cells) * smoke.seeds < 20:
        try:
            sweep.configs(smoke, "cpu")
        except ValueError as error:
            if type(error) is not ValueError or str(path) not in str(error):
                raise
    return as_floats({"about": sweep.about, "title": sweep.title, "presets": presets})


def merged(first: Any, second: Any) -> Any:
    """Tables, of which the second wins."""
    if not isinstance(first, dict) or not isinstance(second, dict):
        return second
    return first | {key: merged(first.get(key), value) for key, value in second.items()}


def named(table: dict[str, Any]) -> dict[str, Any]:
    """Options whose dashes are underscores, but those of measurements."""
    return {key.replace("-", "_"): value for key, value in table.items() if key != "measure"}


def parse_sweep(path: Path) -> object:
    content = tomllib.loads(path.read_text())
    about, title = (str(content.pop(name, "s")) for name in ("about", "title"))
    tables = content.pop("presets", {})
    presets = {}
    for name in dict.fromkeys(("smoke", "cpu", "paper", *tables)):
        preset = merged(content, tables.get(name, {}))
        grid = preset.get("grid", {})
        cells = []
        for family in preset.get("only", preset["families"]):
            for values in product(*grid.values()):
                at = named(dict(zip(grid, values, strict=True)))
                options = named(preset.get("train", {})) | named(preset["families"][family]) | at
                cells.append([family, at, options])
        seeds = preset.get("seeds", 1)
        if len(cells) * seeds > 10_000:
            raise Invalid("too many")
        presets[name] = [seeds, cells]
    return as_floats({"about": about, "title": title, "presets": presets})


FORMS = (
    Form("experiment.json", make_experiment, read_experiment, parse_experiment),
    Form("sweep.toml", make_sweep, read_sweep, parse_sweep),
)
