"""Rankings of a database by codes or scores, with their precision and recall."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ppl_vae.diagnostics.retrieval.codes import Codes
from ppl_vae.diagnostics.retrieval.hamming import CELLS, distance_blocks
from ppl_vae.evidence.estimate import finite

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Ranking", "by_codes", "by_scores", "draw_curves", "expected_distances", "precision_at"]

RADIUS = 2
"""Hamming radius within which semantic hashing looks up codes, marked in the figure."""


@dataclass(frozen=True, eq=False)
class Ranking:
    """Precision and recall of one order of the database for each query.

    Arguments:
        precision: Share of the query's class among the k nearest, in expectation over
            the order of ties, ``(queries,)``.
        retrieved: Number of documents within each Hamming radius, all queries together, ``(bits + 1,)``; None without
            codes.
        hits: Number of those of the query's class.
        distinct: Number of distinct codes in the database; None without codes.
    """

    precision: Tensor
    retrieved: Tensor | None = None
    hits: Tensor | None = None
    distinct: int | None = None

    @property
    def mean(self) -> float:
        """Mean precision over the queries."""
        return self.precision.mean().item()

    @property
    def se(self) -> float:
        """Standard error of the mean precision over the queries."""
        return (self.precision.std() / len(self.precision) ** 0.5).item() if len(self.precision) > 1 else float("nan")

    @cached_property
    def curve(self) -> dict[str, list[float | None]] | None:
        """Recall and precision within each radius, pooled over the queries; None where nothing lies within it."""
        if self.retrieved is None or self.hits is None:
            return None
        ratios = {"recall": self.hits / self.hits[-1], "precision": self.hits / self.retrieved}
        return {name: [finite(value) for value in ratio.tolist()] for name, ratio in ratios.items()}

    def to_json(self) -> dict[str, Any]:
        return {"mean": self.mean, "se": finite(self.se), "distinct_codes": self.distinct, "curve": self.curve}


def draw_curves(axes: Axes, rankings: dict[str, Ranking], colours: dict[str, str]) -> None:
    """Draws precision against recall as the Hamming radius grows, with a dot at radius 2."""
    for name, ranking in rankings.items():
        assert ranking.curve is not None
        recall, precision = (np.array(ranking.curve[axis], dtype=float) for axis in ("recall", "precision"))
        axes.plot(recall, precision, color=colours[name], label=name)
        if len(recall) > RADIUS and np.isfinite(precision[RADIUS]):
            axes.plot(recall[RADIUS], precision[RADIUS], "o", color=colours[name])
    axes.set(xlabel=f"recall within the radius (dot: radius {RADIUS})", ylabel="precision within the radius")
    axes.margins(y=0.08)
    axes.set(xlim=(0, 1), ylim=(0, None))
    axes.legend(frameon=False)


def by_codes(queries: Codes, database: Codes, labels: Tensor, database_labels: Tensor, k: int) -> Ranking:
    """Returns the ranking of a database by Hamming distance.

    Arguments:
        queries: Codes of the queries.
        database: Codes of the database.
        labels: Classes of the queries.
        database_labels: Classes of the database.
        k: Number of documents retrieved.

    Raises:
        ValueError: If the database has fewer than k codes, or codes differ in length.
    """
    sizes, hits = (np.zeros((len(queries), queries.bits + 1), dtype=np.int64) for _ in range(2))
    query_classes, classes = labels.cpu().numpy(), database_labels.cpu().numpy()
    for rows, block in distance_blocks(queries, database):
        shape = (len(block), queries.bits + 1)
        # Queries side by side: one count of numbers for the whole block.
        place = block + shape[1] * np.arange(len(block))[:, None]
        same = query_classes[rows, None] == classes
        sizes[rows] = np.bincount(place.ravel(), minlength=shape[0] * shape[1]).reshape(shape)
        hits[rows] = np.bincount(place[same], minlength=shape[0] * shape[1]).reshape(shape)
    within = [torch.from_numpy(counts.sum(0).cumsum()) for counts in (sizes, hits)]
    return Ranking(torch.from_numpy(precision_at(k, sizes, hits)), within[0], within[1], database.distinct)


def precision_at(k: int, sizes: NDArray[np.int64], hits: NDArray[np.int64]) -> NDArray[np.float64]:
    """Returns the expected share of hits among the first k when each group of ties is in random order.

    Arguments:
        k: Number of documents retrieved, at most the number of documents.
        sizes: Number of documents in each group of ties, ``(queries, groups)``.
        hits: Number of hits in each group, ``(queries, groups)``.

    Example:
        >>> precision_at(2, np.array([[1, 4]]), np.array([[1, 2]])).tolist()
        [0.75]
    """
    most = sizes.sum(1).min()
    if not 1 <= k <= most:
        raise ValueError(f"the {k} nearest of {most} documents cannot be retrieved; choose k from 1 to {most}")
    taken = np.clip(k - (sizes.cumsum(1) - sizes), 0, sizes)
    precision: NDArray[np.float64] = (taken * hits / np.maximum(sizes, 1)).sum(1) / k
    return precision


def by_scores(blocks: Iterable[tuple[slice, NDArray[Any]]], labels: Tensor, database_labels: Tensor, k: int) -> Ranking:
    """Returns the ranking of a database by scores, highest first.

    Arguments:
        blocks: Slices of the queries, each with its scores, ``(queries of the block, data)``.
        labels: Classes of the queries.
        database_labels: Classes of the database.
        k: Number of documents retrieved.
    """
    precision = np.zeros(len(labels))
    query_classes, classes = labels.cpu().numpy(), database_labels.cpu().numpy()
    for rows, block in blocks:
        last = np.partition(block, -k, axis=1)[:, [-k]]
        groups = [block > last, block == last]
        same = query_classes[rows, None] == classes
        sizes = [np.stack([(group & relevant).sum(1) for group in groups], 1) for relevant in (True, same)]
        precision[rows] = precision_at(k, *sizes)
    return Ranking(torch.from_numpy(precision))


def expected_distances(odds: Tensor, database: Codes) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    r"""Yields minus the expected Hamming distance between a code of each query, under the guide, and stored codes.

    .. math:: \mathbb{E}_{q(z \mid x)} \sum_j |z_j - z'_j| = \sum_j p_j + \sum_j z'_j (1 - 2 p_j)

    (Gordo, Perronnin, Gong and Lazebnik 2014, with the probabilities of the query.)

    Arguments:
        odds: Log-odds of the queries' bits, ``(queries, bits)``.
        database: Codes of the database.
    """
    probabilities, bits = odds.double().sigmoid().numpy(), database.unpack().astype(np.float64).T
    step = max(1, CELLS // len(database))
    for start in range(0, len(odds), step):
        rows = slice(start, min(start + step, len(odds)))
        part = probabilities[rows]
        yield rows, (2 * part - 1) @ bits - part.sum(1, keepdims=True)
