"""The bias of the estimators that have one: ``python -m benchmarks.gradients.bias``."""

from __future__ import annotations

from typing import Any

import click
import numpy as np
import pyro
import torch

from benchmarks.gradients.pairs import Pair
from benchmarks.gradients.table import sampled, sites_of
from benchmarks.stored import keep
from ppl_vae.objectives.choice import make_estimator, refusal
from ppl_vae.plugins.discovery import available

__all__ = ["biases", "markdown"]


def biases(models: int, copies: int) -> list[dict[str, Any]]:
    """Of each biased estimator the distance of its mean gradient from the gradient, over random models.

    The distance is relative to the gradient of the guide's parameters, its square less the variance of the mean.

    Arguments:
        models: Number of random models.
        copies: Number of gradient estimates per model.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    kinds = [make_estimator(name, False) for name in available("estimators", own=False)]
    kinds = [kind for kind in kinds if kind.bias is not None]
    found: dict[str, list[float]] = {kind.name: [] for kind in kinds}
    try:
        with pyro.validation_enabled(False):
            for seed in range(models):
                pair = Pair(seed)
                sites, exact = sites_of(pair), pair.gradient()
                for kind in kinds:
                    if refusal(kind, sites) is not None:
                        continue
                    estimates = sampled(kind, pair, copies)
                    off, noise, size = 0.0, 0.0, 0.0
                    for name in pair.guided:
                        true = exact[name].flatten()
                        off += (estimates[name].mean(0) - true).square().sum().item()
                        noise += (estimates[name].var(0) / copies).sum().item()
                        size += true.square().sum().item()
                    if size:  # not all is masked
                        found[kind.name].append((max(0.0, off - noise) / size) ** 0.5)
    finally:
        torch.set_default_dtype(before)
    return [
        {
            "estimator": name,
            "models": len(values),
            "copies": copies,
            **{f"{share}%": float(np.quantile(values, share / 100)) for share in (10, 50, 90)},
        }
        for name, values in found.items()
    ]


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table of the docs."""
    lines = ["| estimator | models | a tenth below | median | a tenth above |", "|---|---|---|---|---|"]
    for row in rows:
        cells = [f"`{row['estimator']}`", str(row["models"]), *(f"{row[f'{share}%']:.0%}" for share in (10, 50, 90))]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


@click.command()
@click.option("--models", default=300, show_default=True, help="Random models.")
@click.option("--copies", default=2000, show_default=True, help="Gradient estimates per model.")
def main(models: int, copies: int) -> None:
    """Measures how far mean gradients of biased estimators are from the gradient, and stores it."""
    rows = biases(models, copies)
    keep("bias", rows)
    print(markdown(rows))


if __name__ == "__main__":
    main()
