"""Everything that is chosen by name, and which models, guides, estimators and corpora go together."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, Literal

import torch

from ppl_vae.data import corpora
from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.load import broken_readers
from ppl_vae.estimators import Estimator
from ppl_vae.evidence.tables import text_table
from ppl_vae.objectives.choice import Auto, make_estimator
from ppl_vae.plugins.discovery import available
from ppl_vae.programs.loading import available as programs
from ppl_vae.runs.compatibility import Compatibility

__all__ = ["Catalogue", "catalogue", "working_estimators"]

Chosen = Literal["models", "guides", "estimators", "corpora", "evidence", "experiments", "engines"]


@dataclass(frozen=True)
class Catalogue:
    """Models, guides, estimators, corpora, evidence methods and experiments by name, with summaries and partners.

    Arguments:
        sections: Rows of name, summary and compatible partners by title of the section.
        with_partners: Whether the table shows the partners.
    """

    sections: dict[str, list[tuple[str, str, list[str]]]]
    with_partners: bool = True

    def to_json(self) -> dict[str, Any]:
        return {
            title.split(" ")[0]: [{"name": n, "summary": s, "goes_with": w} for n, s, w in rows]
            for title, rows in self.sections.items()
        }

    def __str__(self) -> str:
        tables = []
        for title, rows in self.sections.items():
            columns = ("name", "description", "goes with")[: 2 + (self.with_partners and any(row[2] for row in rows))]
            lines = [(name, summary, ", ".join(partners))[: len(columns)] for name, summary, partners in rows]
            tables.append(text_table(title, columns, lines, left=columns, boxed=False))
        if not self.with_partners:
            tables.append("ppl-vae list KIND, such as ppl-vae list guides, shows what fits together.")
        return "\n\n".join(tables)

    __repr__ = __str__


def catalogue(kind: Chosen | None = None, *, check: bool = False) -> Catalogue:
    """Lists what is chosen by name, files of the working folder included, and which of it fits together.

    Arguments:
        kind: What to list; None for everything.
        check: Whether to build every pair and compare it with the declaration in ``compatibility.json``.

    Raises:
        ValueError: If a declaration is wrong.
    """
    (models, no_models), (guides, no_guides) = programs("models"), programs("guides")
    broken = no_models | no_guides
    estimators = working_estimators(broken)
    declared = Compatibility.declared()
    fits = Compatibility.of(models, guides, estimators, None if check else declared)
    if check:
        fits.check(declared)
    broken |= fits.broken
    lines = {name: plugin.summary for name, plugin in available("estimators").items()}
    lines["auto"] = (inspect.getdoc(Auto) or "").split("\n")[0]
    models = [model for model in models if model.name in fits.guides]
    sections: dict[str, list[tuple[str, str, list[str]]]] = {
        "models (guides by their default options)": [(m.name, m.summary, fits.guides[m.name]) for m in models],
        "guides": [(g.name, g.summary, [m.name for m in models if g.name in fits.guides[m.name]]) for g in guides],
        "estimators": [(name, lines[name], fits.estimators[name]) for name in estimators],
        "corpora (models of their kind of data, documents or tensors; the shape must fit, too)": [
            (reader.name, reader.line, [model.name for model in models if model.data is kind])
            for kind in (PackedCounts, torch.Tensor)
            for reader in corpora(kind).values()
        ],
        "evidence methods": [(name, plugin.summary, []) for name, plugin in available("evidence").items()],
        "experiments": [(name, plugin.summary, []) for name, plugin in available("experiments").items()],
        "engines": [(name, plugin.summary, []) for name, plugin in available("engines").items()],
    }
    broken |= broken_readers()
    if broken:
        sections["broken"] = [(file, reason, []) for file, reason in broken.items()]
    if kind is not None:
        sections = {title: rows for title, rows in sections.items() if title.split(" ")[0] in (kind, "broken")}
    return Catalogue(sections, with_partners=kind is not None)


def working_estimators(broken: dict[str, str], *, own: bool = True) -> dict[str, Estimator]:
    """Returns all estimators by name, without control variate, ``auto`` first.

    Arguments:
        broken: Dictionary to which files that do not load are added, with the reason.
        own: Whether to include those of the working folder.
    """
    estimators: dict[str, Estimator] = {"auto": Auto()}
    for name, plugin in available("estimators", own=own).items():
        try:
            estimators[name] = make_estimator(name, control=False)
        except ValueError as error:
            broken[str(plugin.file)] = str(error)
        else:
            estimators[name].most_bits = None  # the model's default length of a code says nothing of others
    return estimators
