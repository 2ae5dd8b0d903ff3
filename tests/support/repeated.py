"""One measurement made many times, as for tests of means and errors."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.measure import measure
from ppl_vae.evidence.results import Evidence


def measured(
    count: int, model: Callable[..., Any], guide: Callable[..., Any], x: Any, **options: Any
) -> list[Evidence]:
    """So many measurements: parts of one of the data so many times over, each with draws of its own."""
    whole = measure(model, guide, x[torch.arange(len(x)).repeat(count)], check=False, **options)
    return [
        replace(whole, **{name: _part(getattr(whole, name), place, count) for name in ("elbo", "evidence", "gap")})
        for place in range(count)
    ]


def _part(estimate: Estimate, place: int, count: int) -> Estimate:
    values = {name: getattr(estimate, name) for name in ("pointwise", "pointwise_se", "k_hat")}
    parts = {name: None if value is None else value.chunk(count)[place] for name, value in values.items()}
    return replace(estimate, **parts, upper=None, lower=None, raised=None)
