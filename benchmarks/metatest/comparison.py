"""Measurements of random programs compared with the interpreter's numbers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy.stats import norm

from benchmarks.metatest.description import Description
from benchmarks.metatest.oracle import evidence_and_bound
from benchmarks.metatest.programs import data_of, pair_of
from ppl_vae.evidence.measure import measure
from ppl_vae.evidence.methods.base import EvidenceMethod
from ppl_vae.evidence.plan import obstacle_of
from ppl_vae.evidence.results import Evidence
from ppl_vae.nn.modes import evaluating
from ppl_vae.plugins.discovery import available
from ppl_vae.programs.sites import guide_sites

__all__ = ["EXACT", "Comparison"]

EXACT = 1e-3
"""Largest error of a number called exact: a unit of the last digit that tables show, in nats."""

OPTIONS: dict[str, dict[str, Any]] = {
    "importance": {"draws": 200},
    "psis": {"draws": 200},
    "mixed_importance": {"draws": 200},
    "annealing": {"draws": 16, "temperatures": 20, "pilot": 0.1},
}
"""Options of the methods that sample."""

SLOW = ("annealing", "best_member")
"""Methods that are compared on some programs only."""

UNSEEN = 3.2
"""A state that the guide draws with probability u is missed by all S samples with probability exp(-u S), when the mean
weight may be too high by a factor of 1 / (1 - u) and its error too small: at five standard deviations u S is 16, so
that an error of 3.2 / S is added to the one that is stated."""


@dataclass
class Comparison:
    """What the measurements of many programs were, beside the truth.

    Arguments:
        annealed: Every how many programs the slow ones are among the methods; 0 for never.
        others: Every how many programs the methods are compared that ``auto`` does not choose.
    """

    annealed: int = 10
    others: int = 1
    programs: int = 0
    structures: Counter[str] = field(default_factory=Counter)
    methods: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    scores: list[tuple[float, str]] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)

    def add(self, description: Description) -> None:
        """Measures one program by the automatic choice and every method that applies."""
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float32 if description.single else torch.float64)
        try:
            self._measure(description)
        finally:
            torch.set_default_dtype(before)

    def _measure(self, description: Description) -> None:
        position, self.programs = self.programs, self.programs + 1
        self.structures[description.structure] += 1
        model, guide = pair_of(description)
        x = data_of(description)
        truth, bound = evidence_and_bound(description, x.double().numpy())
        torch.manual_seed(position)
        try:
            automatic = measure(model, guide, x, draws=200)
        except ValueError as error:
            self.refused[str(error)[:120]] += 1
            return
        self._compare("auto", automatic, truth, bound, description)
        if self.others and position % self.others == 0:
            with evaluating(model):
                sites = guide_sites(model, (x[:2],))
            for name, plugin in available("evidence").items():
                if name in SLOW and not (self.annealed and position % self.annealed == 0):
                    continue
                method = plugin.load_class(EvidenceMethod)(**OPTIONS.get(name, {}))  # type: ignore[type-abstract]
                with evaluating(model):
                    if obstacle_of(method, model, x, sites) or method.too_costly(model, x, sites):
                        continue
                try:
                    found = measure(model, guide, x, method=name, **{"draws": 200, **OPTIONS.get(name, {})})
                except ValueError as error:
                    self.refused[f"{name}: {str(error)[:100]}"] += 1
                    continue
                self._compare(name, found, truth, bound, description)

    def _compare(
        self, name: str, found: Evidence, truth: np.ndarray, bound: np.ndarray | None, description: Description
    ) -> None:
        evidence = found.evidence
        difference = evidence.pointwise.double().numpy() - truth
        self.methods[f"{name}: {evidence.bound}"] += 1
        if evidence.bound == "exact":
            self._exact(f"{name}, {evidence.method}", difference, description)
        elif evidence.bound == "lower":
            assert evidence.pointwise_se is not None
            se = np.hypot(evidence.pointwise_se.double().numpy(), UNSEEN / evidence.draws)
            where = f"{name} {difference} +- {se}: {description}"
            self.scores.extend((score, where) for score in (difference / se).tolist())
            if name.endswith("importance"):
                self.ratios.extend(np.exp(difference).tolist())
        if bound is not None and found.elbo.bound == "exact":
            self._exact(f"{name}, ELBO", found.elbo.pointwise.double().numpy() - bound, description)

    def _exact(self, name: str, difference: np.ndarray, description: Description) -> None:
        worst = float(np.abs(difference).max())
        self.errors.append(worst)
        if not worst <= EXACT:
            self.wrong.append(f"{name} is off by {difference}: {description}")

    @property
    def worst(self) -> tuple[float, str]:
        """The largest score of a lower bound above the truth, and where."""
        return max(self.scores)

    @property
    def limit(self) -> float:
        """The score that a true bound exceeds with a probability of 0.1% over all comparisons (Holm's first step)."""
        return float(norm.isf(1e-3 / len(self.scores)))

    def summary(self) -> dict[str, Any]:
        """Counts and worst values, as JSON."""
        ratios = np.array(self.ratios)
        return {
            "programs": self.programs,
            "comparisons": sum(self.methods.values()),
            "structures": dict(self.structures.most_common()),
            "methods": dict(self.methods.most_common()),
            "refused": dict(self.refused.most_common()),
            "exact": len(self.errors),
            "largest_error_of_exact": max(self.errors),
            "wrong": self.wrong,
            "bounds": len(self.scores),
            "worst_z": self.worst[0],
            "worst_z_of": self.worst[1],
            "limit_of_z": self.limit,
            "mean_ratio": float(ratios.mean()),
            "mean_ratio_se": float(ratios.std() / len(ratios) ** 0.5),
        }
