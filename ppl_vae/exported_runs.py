"""Runs turned into the files of other programs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyro

from ppl_vae.opened_runs import open_run
from ppl_vae.progress import Reporter, say
from ppl_vae.randomness import kept_random_state

__all__ = ["Exported", "export_arviz"]


@dataclass(frozen=True)
class Exported:
    """A file for another program.

    Arguments:
        file: Its path.
        data: How many.
        draws: A datum.
        groups: Variables by group.
    """

    file: Path
    data: int
    draws: int
    groups: dict[str, list[str]]

    def to_json(self) -> dict[str, Any]:
        return {"file": str(self.file), "data": self.data, "draws": self.draws, "groups": self.groups}

    def __str__(self) -> str:
        lines = [f"  {group}: {', '.join(variables)}" for group, variables in self.groups.items()]
        head = f"{self.file}: {self.draws} draws of the guide for each of {self.data} data; read it with"
        return "\n".join([head, f"  arviz.from_netcdf({str(self.file)!r})", "Groups:", *lines])


def export_arviz(folder: Path, split: str, draws: int, count: int = 0, predictive: int = 5) -> Exported:
    """Writes draws, weights, likelihoods and data of one split of a run for ArviZ, ``arviz-SPLIT.nc``."""
    from ppl_vae.arviz_data import save, to_arviz

    opened = open_run(folder)
    x, pair, path = opened.data(split, count), opened.pair, folder / f"arviz-{split}.nc"
    predictive = min(predictive, draws)
    with (
        Reporter(path.name, len(x) * (draws + predictive)) as reporter,
        kept_random_state(opened.run.config["settings"]["seed"]),
        pyro.validation_enabled(False),
    ):
        found = to_arviz(
            pair.model,
            pair.guide,
            x,
            draws=draws,
            predictive=predictive,
            positions=opened.chosen(split, count),
            progress=reporter.advance,
        )
        say(f"writing {path}")
        save(found, path)
    return Exported(path, len(x), draws, {name: [str(key) for key in found[name].data_vars] for name in found.groups()})
