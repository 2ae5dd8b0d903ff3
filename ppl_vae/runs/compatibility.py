"""Which models, guides and estimators go together: declared for those of this package, built for others.

``compatibility.json`` declares it for the shipped files; ``python -m ppl_vae.runs.compatibility`` writes it. Other
files are built with all partners, and need no declaration.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.files import atomic_write
from ppl_vae.data.inputs import Batch
from ppl_vae.estimators import Estimator
from ppl_vae.objectives.choice import refusal
from ppl_vae.programs.building import build_guide, build_model
from ppl_vae.programs.loading import Definition, check_fit
from ppl_vae.programs.sites import guide_sites

__all__ = ["Compatibility"]

FILE = Path(__file__).with_suffix(".json")

_CPU = torch.device("cpu")

SHAPES: tuple[tuple[int, ...], ...] = ((2,), (16,), (28, 28), (1, 28, 28))
"""Shapes of a datum that models of tensors are tried on: a point, a vector, images without and with a channel."""


class Compatibility:
    """Which guides fit each model, and which guides each estimator supports.

    Arguments:
        guides: Guides by model.
        estimators: Guides by estimator.
        broken: Files of models that cannot be built, with the reason.
    """

    def __init__(
        self,
        guides: Mapping[str, list[str]],
        estimators: Mapping[str, list[str]],
        broken: Mapping[str, str] | None = None,
    ) -> None:
        self.guides, self.estimators, self.broken = guides, estimators, broken or {}

    @classmethod
    def declared(cls) -> Compatibility:
        """Returns the declared compatibility of the shipped files."""
        content = json.loads(FILE.read_text())
        return cls(content["guides"], content["estimators"])

    @classmethod
    def of(
        cls,
        models: Sequence[Definition],
        guides: Sequence[Definition],
        estimators: Mapping[str, Estimator],
        declared: Compatibility | None = None,
    ) -> Compatibility:
        """Builds every pair that is not declared, on two small data points.

        Arguments:
            models: The models.
            guides: The guides.
            estimators: The estimators by name, without control variate.
            declared: Pairs of shipped files that need not be built; None builds all.
        """
        known = declared or cls({}, {})
        if not known.estimators.keys() >= estimators.keys():
            known = cls({}, {})  # which guides a user's estimator supports is found out on every pair
        known_guides = {guide for partners in known.guides.values() for guide in partners}
        partners: dict[str, list[str]] = {}
        supported: dict[str, list[str]] = {name: list(known.estimators.get(name, ())) for name in estimators}
        broken: dict[str, str] = {}
        for model in models:
            partners[model.name], built = [], None
            for guide in guides:
                if model.shipped and guide.shipped and model.name in known.guides and guide.name in known_guides:
                    if guide.name in known.guides[model.name]:
                        partners[model.name].append(guide.name)
                    continue
                if built is None:
                    try:
                        built = _built(model)
                    except ValueError as error:
                        broken[str(model.file)] = str(error)
                        del partners[model.name]
                        break
                try:
                    sites = guide_sites(build_guide(guide, built[0], {}, built[1], _CPU), (built[1],))
                except Exception:  # noqa: S112  (a pair that does not fit; a user's own code may fail in any way)
                    continue
                partners[model.name].append(guide.name)
                for name, estimator in estimators.items():
                    if guide.name not in supported[name] and refusal(estimator, sites) is None:
                        supported[name].append(guide.name)
        order = {guide.name: place for place, guide in enumerate(guides)}
        listed = {n: sorted((g for g in names if g in order), key=order.__getitem__) for n, names in supported.items()}
        return cls(partners, listed, broken)

    def check(self, declared: Compatibility) -> None:
        """Compares with the declaration.

        Raises:
            ValueError: Naming the differences, with the remedy.
        """
        faults = [
            f"{name}: declared {', '.join(listed)}, found {', '.join(now.get(name, ['nothing']))}"
            for now, before in ((self.guides, declared.guides), (self.estimators, declared.estimators))
            for name, listed in before.items()
            if now.get(name) != listed
        ]
        if faults:
            raise ValueError(
                f"{FILE.name} is out of date ({'; '.join(faults)}); write it again by python -m {__name__}"
            )


def _built(model: Definition) -> tuple[torch.nn.Module, Batch]:
    """A model with its default options and the first example that it accepts; a ValueError says why there is none."""
    reasons: dict[str, None] = {}
    for example in _examples(model):
        try:
            built = build_model(model, {}, example, _CPU)
            check_fit(built, example)
        except Exception as error:  # a user's own code may fail in any way
            reasons[f"{type(error).__name__}: {error}"] = None
        else:
            return built, example
    raise ValueError(" / ".join(reasons))


def _examples(model: Definition) -> list[Batch]:
    """Two small data points of each shape: one-hot vectors, which are real, binary and one-hot at once."""
    if model.data is PackedCounts:
        return [PackedCounts.from_dense([[1, 2], [1, 0]])]
    return [torch.eye(2, math.prod(shape)).reshape(2, *shape) for shape in SHAPES]


def _write() -> None:
    from ppl_vae.programs.loading import available
    from ppl_vae.runs.catalogue import working_estimators

    models, guides = ([d for d in available(kind)[0] if d.shipped] for kind in ("models", "guides"))
    built = Compatibility.of(models, guides, working_estimators({}, own=False))
    content = json.dumps({"guides": built.guides, "estimators": built.estimators}, indent=2) + "\n"
    atomic_write(FILE, content.encode())


if __name__ == "__main__":
    _write()
