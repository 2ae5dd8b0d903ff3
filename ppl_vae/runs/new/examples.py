"""Small data sets, always the same, that lie beside new files until the user's own take their place."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np

__all__ = ["EXAMPLES"]

ROWS = 4000


def _counts() -> bytes:
    """Counts of 20 features in data of three kinds, overdispersed."""
    rng = np.random.default_rng(0)
    rates = rng.gamma(1.0, 4.0, size=(3, 20))
    means = rates[rng.integers(3, size=ROWS)] * rng.lognormal(0.0, 0.3, size=(ROWS, 1))
    return _npy(rng.poisson(rng.gamma(2.0, means / 2.0)).astype(np.float32))


def _table() -> bytes:
    """Standardised incomes, owners and regions of rows of two kinds."""
    rng = np.random.default_rng(0)
    kind = rng.integers(2, size=ROWS)
    income = rng.normal(np.where(kind, 0.9, -0.9), 0.5)
    owner = rng.random(ROWS) < np.where(kind, 0.8, 0.2)
    region = np.where(rng.random(ROWS) < 0.7, kind, rng.integers(4, size=ROWS))
    file = io.BytesIO()
    np.savez(file, income=(income - income.mean()) / income.std(), owner=owner.astype(float), region=region)
    return file.getvalue()


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


EXAMPLES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "counts": ("counts.npy", _counts),
    "table": ("table.npz", _table),
}
"""Name of the file, and its content, by kind of data; kinds that are not here have a corpus of the package."""
