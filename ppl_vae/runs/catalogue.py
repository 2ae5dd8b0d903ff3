"""What there is to choose from, and what goes with what."""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from ppl_vae.data import corpora
from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.load import broken_readers
from ppl_vae.estimators import Estimator
from ppl_vae.objectives.choice import Auto, make_estimator, refusal
from ppl_vae.plugins.discovery import available
from ppl_vae.programs.loading import Definition, check_fit
from ppl_vae.programs.sites import guide_sites

__all__ = ["Catalogue"]


@dataclass(frozen=True)
class Catalogue:
    """Models, guides, estimators and corpora by name, each with a line and what it goes with.

    Arguments:
        sections: By title, rows of name, line and companions.
    """

    sections: dict[str, list[tuple[str, str, list[str]]]]

    @classmethod
    def take(cls, models: list[Definition], guides: list[Definition], broken: dict[str, str]) -> Catalogue:
        """Builds every pair on two small data, and asks it: what is listed was tried.

        Arguments:
            models: To list.
            guides: To list.
            broken: Files that do not load, with the reason.
        """
        serves: dict[str, list[str]] = {guide.name: [] for guide in guides}
        lines = {"auto": (inspect.getdoc(Auto) or "").split("\n")[0]}
        estimators: dict[str, Estimator] = {"auto": Auto()}
        for name, plugin in available("estimators").items():
            try:
                estimators[name] = make_estimator(name, control=False)
            except ValueError as error:
                broken[str(plugin.file)] = str(error)
            else:
                lines[name] = plugin.summary
                estimators[name].most_bits = None  # the model's default length of a code says nothing of others
        fits: dict[str, list[str]] = {name: [] for name in estimators}
        rows = []
        for model in models:
            try:
                built, example = _built(model)
            except ValueError as error:
                broken[str(model.file)] = str(error)
                continue
            partners = []
            for guide in guides:
                try:
                    sites = guide_sites(guide.target(built, example), (example,))
                except Exception:  # a pair that does not fit; a user's own code may fail in any way
                    continue
                partners.append(guide.name)
                serves[guide.name].append(model.name)
                for name, estimator in estimators.items():
                    if guide.name not in fits[name] and refusal(estimator, sites) is None:
                        fits[name].append(guide.name)
            rows.append((model.name, model.summary, partners))
        takers: dict[type, list[str]] = {PackedCounts: [], torch.Tensor: []}
        for model in models:
            takers[model.data].append(model.name)
        sections = {
            "models (with guides, all built by default)": rows,
            "guides (with models)": [(g.name, g.summary, serves[g.name]) for g in guides],
            "estimators (with guides)": [(n, line, fits[n]) for n, line in lines.items()],
            "corpora (with models)": [
                (reader.name, reader.line, takers[kind])
                for kind in (PackedCounts, torch.Tensor)
                for reader in corpora(kind).values()
            ],
        }
        broken |= broken_readers()
        if broken:
            sections["broken"] = [(file, reason, []) for file, reason in broken.items()]
        return cls(sections)

    def to_json(self) -> dict[str, Any]:
        return {
            title.split(" ")[0]: [{"name": n, "summary": s, "goes_with": w} for n, s, w in rows]
            for title, rows in self.sections.items()
        }

    def __str__(self) -> str:
        console = Console()
        with console.capture() as captured:
            for title, rows in self.sections.items():
                table = Table(title=title, title_justify="left", box=None, padding=(0, 2))
                for column in ("name", "what it is", "goes with"):
                    table.add_column(column, overflow="fold")
                for name, summary, partners in rows:
                    table.add_row(name, summary, ", ".join(partners))
                console.print(table)
                console.print()
        return captured.get().rstrip()


SHAPES: tuple[tuple[int, ...], ...] = ((2,), (16,), (28, 28), (1, 28, 28))
"""Of the data that models of tensors are tried on: a point, a vector, images without and with a channel."""


def _examples(model: Definition) -> list[Any]:
    """Two small data, of each shape: a single one among zeros, which is real, binary and one-hot alike."""
    if model.data is PackedCounts:
        return [PackedCounts.from_dense([[1, 2], [1, 0]])]
    return [torch.eye(2, math.prod(shape)).reshape(2, *shape) for shape in SHAPES]


def _built(model: Definition) -> tuple[Any, Any]:
    """A model with its default options, and the first example that it reads; a ValueError says why it reads none."""
    reasons: dict[str, None] = {}
    for example in _examples(model):
        try:
            built = model.target(**model.facts(example))
            check_fit(built, example)
        except Exception as error:  # a user's own code may fail in any way
            reasons[f"{type(error).__name__}: {error}"] = None
        else:
            return built, example
    raise ValueError(" / ".join(reasons))
