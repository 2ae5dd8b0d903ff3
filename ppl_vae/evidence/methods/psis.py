"""Evidence by Pareto-smoothed importance sampling from the guide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ppl_vae.evidence.methods.importance import Importance

__all__ = ["PSIS"]


@dataclass(frozen=True)
class PSIS(Importance):
    """An estimate for any pair, no bound: importance sampling with Pareto-smoothed weights, which is less noisy.

    The largest weights are replaced by the quantiles of a Pareto distribution (Vehtari, Simpson, Gelman, Yao and Gabry
    2024): closer where k-hat is low, too low where the guide is poor.

    Arguments:
        draws: Samples per datum.
    """

    priority: ClassVar[int] = 20
    smooth: ClassVar[bool] = True
