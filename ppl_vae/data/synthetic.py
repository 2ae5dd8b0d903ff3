"""Data drawn from known distributions, always the same ones: what a model of them can reach at best is known too."""

from __future__ import annotations

import numpy as np

from ppl_vae.data.source import Source, SourceSplit

__all__ = ["SEED", "SIZE", "fixed_sample"]

_TRAIN, _TEST = 10_000, 2_000

SIZE = _TRAIN + _TEST
"""Number of data of a synthetic corpus."""

SEED = 20_210_517
"""Seed that the data of every synthetic corpus are drawn by."""


def fixed_sample(values: np.ndarray, labels: np.ndarray | None = None, label_names: tuple[str, ...] = ()) -> Source:
    """10,000 training and 2,000 test data, in the order they were drawn in.

    Arguments:
        values: Of all data, ``(SIZE, *shape)``.
        labels: Class of each datum, ``(SIZE,)``, or ``None``.
        label_names: Name of each class.
    """
    whole = SourceSplit(values.astype(np.float32), None if labels is None else labels.astype(np.int64))
    rows = np.arange(len(whole))
    return Source({"train": whole.take(rows[:_TRAIN]), "test": whole.take(rows[_TRAIN:])}, label_names=label_names)
