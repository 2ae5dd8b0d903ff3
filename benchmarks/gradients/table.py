"""z-scores of the mean gradients of all estimators, and their distribution."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
import pyro
import torch
from scipy import stats

from benchmarks.gradients.pairs import DATA, Pair
from ppl_vae.estimators.base.estimator import Estimator
from ppl_vae.objectives.choice import make_estimator, refusal
from ppl_vae.objectives.elbo import DiscreteELBO
from ppl_vae.plugins.discovery import available
from ppl_vae.programs.sites import GuideSite, PairSites

__all__ = ["Scores", "estimators", "markdown", "score"]


SUSPECT, AGAIN = 3.0, 30
"""z-score from which a model is looked at again, with more estimates: of few skewed ones z is not normal."""


@dataclass
class Scores:
    """What was found of one estimator.

    Arguments:
        name: Its name, with its control variate.
        models: Number of models.
        guide: z-score of the guide's gradient in a random direction, one for every model where it has noise.
        model: The same of the model's gradient.
        again: z-scores from fresh estimates, many more, where one of the others is above :data:`SUSPECT`.
        error: Largest relative error of gradients without noise.
        copies: Number of estimates in a mean.
    """

    name: str
    copies: int
    models: int = 0
    guide: list[float] = field(default_factory=list)
    model: list[float] = field(default_factory=list)
    again: list[float] = field(default_factory=list)
    error: float = 0.0

    def summary(self) -> dict[str, Any]:
        """Models, worst z-scores with their limit, and p-values of Kolmogorov-Smirnov and chi-square tests."""
        law = stats.t(self.copies - 1)
        row: dict[str, Any] = {"estimator": self.name, "models": self.models, "error_without_noise": self.error}
        for name, values in (("guide", self.guide), ("model", self.model)):
            if not values:
                continue
            number, normal = len(values), stats.norm.ppf(law.cdf(values))
            row[name] = {
                "count": number,
                "worst": float(np.abs(values).max()),
                "limit": float(law.isf(0.05 / 2 / number)),
                "ks_p": float(stats.kstest(values, law.cdf).pvalue),
                "chi2_p": float(stats.chi2.sf((normal**2).sum(), number)),
            }
        if self.again:
            limit = float(stats.norm.isf(0.05 / 2 / len(self.again)))
            row["again"] = {"count": len(self.again), "worst": float(np.abs(self.again).max()), "limit": limit}
        return row


def estimators(names: Collection[str] = ()) -> Iterator[Estimator]:
    """Every shipped estimator that is unbiased, or those named, without and with the control variate."""
    for name in names or available("estimators", own=False):
        plain = make_estimator(name, False)
        if plain.bias is not None:
            continue
        yield plain
        if plain.no_control is None:
            yield make_estimator(name, True)


def sampled(estimator: Estimator, pair: Pair, copies: int) -> dict[str, torch.Tensor]:
    """Independent estimates of the gradient by parameter, ``(copies, numbers)``."""
    leaves = {n: p.expand(copies, *p.shape).clone().requires_grad_() for n, p in pair.values.items()}
    rows = {n: leaf[:, None].expand(-1, DATA, *leaf.shape[1:]).flatten(0, 1) for n, leaf in leaves.items()}
    model, guide = pair.programs(rows, copies)
    objective = DiscreteELBO(estimator, draws=max(2, estimator.least_draws), beta=pair.beta)
    objective.loss_and_grads(model, guide, pair.x.repeat(copies, 1), pair.at.repeat(copies, 1))
    return {n: torch.zeros(copies, p[0].numel()) if p.grad is None else p.grad.flatten(1) for n, p in leaves.items()}


def sites_of(pair: Pair) -> list[GuideSite]:
    """How the guide of a pair samples its latents."""
    rows = {n: p.expand(DATA, *p.shape) for n, p in pair.values.items()}
    return PairSites.learn(*pair.programs(rows, 1), (pair.x, pair.at), {}).sites


def score(found: Scores, estimator: Estimator, pair: Pair, exact: dict[str, torch.Tensor]) -> None:
    """Adds the z-scores of a pair that the estimator serves; what looks wrong is looked at again."""
    without_noise = estimator.exact and not pair.normal
    gradients = sampled(estimator, pair, 2 if without_noise else found.copies)
    parts = {"guide": pair.guided, "model": [n for n in gradients if n not in pair.guided]}
    for part, names in parts.items():
        whole = torch.cat([exact[n].flatten() for n in names])
        direction = torch.randn(len(whole))
        size = 1 + whole.norm().item() * direction.norm().item()

        def along(estimates: dict[str, torch.Tensor], of: list[str] = names, at: torch.Tensor = direction) -> Any:
            return torch.cat([estimates[n] - exact[n].flatten() for n in of], 1) @ at

        values = along(gradients)
        if values.std().item() / len(values) ** 0.5 <= 1e-9 * size:
            found.error = max(found.error, abs(values[0].item()) / size)
            continue
        z = _z(values)
        getattr(found, part).append(z)
        if abs(z) > SUSPECT:
            found.again.append(_z(along(sampled(estimator, pair, AGAIN * found.copies))))
    found.models += 1


def _z(values: torch.Tensor) -> float:
    return float(values.mean() / values.std() * len(values) ** 0.5)


def run(
    models: int,
    copies: int,
    after: Callable[[int, list[Scores]], bool] | None = None,
    names: Collection[str] = (),
) -> list[Scores]:
    """Scores of so many models per estimator.

    Arguments:
        models: Number of models that each estimator serves.
        copies: Number of gradient estimates per model.
        after: Called after each random model with its number and the scores so far; ends the run by returning True.
        names: Of the estimators; all by default.
    """
    torch.set_default_dtype(torch.float64)
    kinds = list(estimators(names))
    found = [Scores(kind.name, copies) for kind in kinds]
    with warnings.catch_warnings(), pyro.validation_enabled(False):
        warnings.simplefilter("ignore")
        for seed in count():
            missing = [(s, kind) for s, kind in zip(found, kinds, strict=True) if s.models < models]
            if not missing:
                break
            pair = Pair(seed)
            exact = pair.gradient()
            sites = sites_of(pair)
            for scores, kind in missing:
                if refusal(kind, sites) is None:
                    score(scores, kind, pair, exact)
            if after is not None and after(seed, found):
                break
    return found


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table of the docs."""
    lines = [
        "| estimator | models | guide: worst z | KS p | chi2 p | model: worst z | KS p | chi2 p | again | error |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [f"`{row['estimator']}`", str(row["models"])]
        for name in ("guide", "model"):
            found = row.get(name)
            cells += _cells(found) if found else [""] * 3
        again = row.get("again")
        cells.append(f"{again['count']}: {again['worst']:.2f} ({again['limit']:.2f})" if again else "")
        cells.append(f"{row['error_without_noise']:.0e}" if row["error_without_noise"] else "")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _cells(found: dict[str, float]) -> list[str]:
    worst = f"{found['worst']:.2f} ({found['limit']:.2f})"
    return [worst, f"{found['ks_p']:.2f}", f"{found['chi2_p']:.2f}"]
