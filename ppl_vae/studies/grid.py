"""The cells of an experiment: one for each condition and seed, computed once and kept by name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import partial
from typing import Generic, TypeVar

import torch
from torch import Tensor

from ppl_vae.studies.study import Study

__all__ = ["Cells", "Grid", "slug"]

Condition = TypeVar("Condition", bound=Hashable)


class Cells(dict[Condition, list[dict[str, Tensor]]]):
    """What a grid computed: for each condition one dictionary of tensors per seed."""

    def means(self, condition: Condition, key: str) -> list[float]:
        """Returns the mean of a tensor (over the data, if it is pointwise), one per seed."""
        return [cell[key].double().mean().item() for cell in self[condition]]

    def stacked(self, condition: Condition, key: str) -> Tensor:
        """Returns a tensor of every seed, ``(seeds, ...)``."""
        return torch.stack([cell[key] for cell in self[condition]])

    def differences(self, first: Condition, second: Condition, key: str) -> list[float]:
        """Returns mean differences of two conditions, first minus second, one per seed, paired by seed and datum."""
        pairs = zip(self[first], self[second], strict=True)
        return [(one[key].double() - other[key].double()).mean().item() for one, other in pairs]


class Grid(Generic[Condition]):
    """Conditions times seeds, each a cell that waits for no other.

    Cells that need what others trained belong to a second grid.

    Arguments:
        study: Where cells are kept; its engine says how many are computed at once.
        conditions: Names, or tuples of names and numbers, in the order of computation: with several jobs the longest
            ones go first, or they are waited for at the end.
        seeds: Number of repetitions of each condition.

    Raises:
        ValueError: If two conditions have the same name in a file system.

    Example:
        >>> import tempfile, pathlib
        >>> study = Study(pathlib.Path(tempfile.mkdtemp()), {})
        >>> cells = Grid(study, ["one", "two"], seeds=3).compute(lambda name, seed: {"x": len(name) + seed})
        >>> cells.means("two", "x")
        [3.0, 4.0, 5.0]
    """

    def __init__(self, study: Study, conditions: Iterable[Condition], seeds: int) -> None:
        self.study, self.conditions, self.seeds = study, list(conditions), seeds
        name, count = max(Counter(map(slug, self.conditions)).items(), key=lambda item: item[1], default=("", 1))
        if count > 1:
            raise ValueError(f"{count} conditions have the name {name!r}; give them names that differ")

    def compute(self, cell: Callable[[Condition, int], Mapping[str, Tensor | float]]) -> Cells[Condition]:
        """Computes every cell that is not kept from an earlier run, one seed after the other.

        What a cell draws depends on its name alone. A report with fewer seeds can be had before all are done.

        Arguments:
            cell: Computes tensors by name from a condition and a seed; it must be a function other processes can load.

        Raises:
            ValueError: Naming the cells that failed, once all others are stored.
        """
        names = {(c, seed): f"{slug(c)}-{seed}" for seed in range(self.seeds) for c in self.conditions}
        labels = {name: {"condition": slug(condition), "seed": seed} for (condition, seed), name in names.items()}
        values = self.study.together({name: partial(cell, *place) for place, name in names.items()}, labels)
        return Cells({c: [values[names[c, seed]] for seed in range(self.seeds)] for c in self.conditions})


def slug(condition: Hashable) -> str:
    """Returns a condition as part of a file's name.

    Example:
        >>> slug(("free prior, deep guide", 8))
        'free-prior-deep-guide-8'
    """
    parts = condition if isinstance(condition, tuple) else (condition,)
    text = "-".join(str(part) for part in parts).replace(",", "").replace("*", "star")
    return re.sub(r"[^\w.=]+", "-", text).strip("-")
