"""Whether a training ended while its validation metric still rose."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["undertrained"]

FEWEST = 5
"""Number of epochs that a line is fitted to, at the least; shorter trainings are not judged."""

CERTAIN = 2.0
"""Standard errors by which the rise must exceed zero."""

NAMES = {"elbo": "ELBO", "evidence": "evidence"}


def undertrained(
    rows: Sequence[Mapping[str, Any]],
    metric: str,
    best_epoch: int,
    schedule: Sequence[tuple[int, int]],
    least: float = 0.01,
) -> tuple[float, str] | None:
    r"""Says so if the best epoch is among the last tenth (at least five), in which the validation metric still rises.

    A line is fitted to the metric over these n epochs by least squares. It rises if :math:`(n - 1)` times its slope is
    over ``least`` nats and over twice its standard error, from the residuals.

    Arguments:
        rows: Metrics by epoch.
        metric: Name of the metric that chooses the epoch; empty if none does.
        best_epoch: The chosen epoch.
        schedule: Phases (epochs, draws) of the training; one that ended early is not undertrained.
        least: Rise in nats per datum below which it does not matter.

    Returns:
        The rise, and the finding with the remedy; or None.

    Example:
        >>> rows = [{"epoch": e, "validation_elbo": 0.5 * e} for e in range(1, 11)]
        >>> print(undertrained(rows, "elbo", 10, [(10, 1)])[1].split(":")[0])
        the validation ELBO still rises (by 2 +- 0 nats per datum in the last 5 of 10 epochs)
    """
    epochs, key = sum(phase for phase, _ in schedule), f"validation_{metric}"
    count = max(FEWEST, math.ceil(epochs / 10))
    last = [row[key] for row in rows[-count:] if key in row]
    if len(rows) < epochs or len(last) < count or best_epoch <= epochs - count:
        return None
    x = np.arange(count) - (count - 1) / 2
    y = np.array(last) - np.mean(last)
    slope = x @ y / (x @ x)
    residuals = y - slope * x
    error = (count - 1) * math.sqrt(residuals @ residuals / (count - 2) / (x @ x))
    rise = (count - 1) * slope
    if not rise > max(CERTAIN * error, least):
        return None
    longer = f"{2 * epochs}" if len(schedule) == 1 else ",".join(f"{2 * phase}x{draws}" for phase, draws in schedule)
    return rise, (
        f"the validation {NAMES.get(metric, 'objective')} still rises (by {rise:.2g} +- {error:.1g} nats per datum in "
        f"the last {count} of {epochs} epochs): train longer, such as by --epochs {longer} (epochs="
        f"{longer if len(schedule) == 1 else repr(longer)} in Python)"
    )
