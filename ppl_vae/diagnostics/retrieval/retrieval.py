"""How well binary codes retrieve documents of the same class: precision of the nearest, and against recall."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ppl_vae.data.counts import Batch, PackedCounts
from ppl_vae.diagnostics.retrieval.codes import Codes, draw_codes, log_odds
from ppl_vae.diagnostics.retrieval.hamming import CELLS, distance_blocks
from ppl_vae.diagnostics.retrieval.tfidf import TfIdf
from ppl_vae.evidence.estimate import finite
from ppl_vae.evidence.figures import OKABE_ITO
from ppl_vae.evidence.tables import text_table
from ppl_vae.programs.types import Program, Progress

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Ranking", "Retrieval", "by_codes", "by_scores", "expected_distances", "retrieval"]

COLOURS = {
    "mean-sign": OKABE_ITO.blue,
    "median": OKABE_ITO.orange,
    "sampled": OKABE_ITO.green,
    "asymmetric": OKABE_ITO.sky_blue,
}

RADIUS = 2
"""Of the ball that semantic hashing looks codes up in, marked in the figure."""


@dataclass(frozen=True, eq=False)
class Ranking:
    """What one order of the database is worth to each query.

    Arguments:
        precision: Share of the query's class among the k nearest, expected where equally near ones are in random
            order, ``(queries,)``.
        found: Documents within each Hamming radius, all queries together, ``(bits + 1,)``; None without codes.
        hits: Those of the query's class among them.
        distinct: Different codes in the database; None without codes.
    """

    precision: Tensor
    found: Tensor | None = None
    hits: Tensor | None = None
    distinct: int | None = None

    @property
    def mean(self) -> float:
        """Mean precision over the queries."""
        return self.precision.mean().item()

    @property
    def se(self) -> float:
        """Its standard error over the queries."""
        return (self.precision.std() / len(self.precision) ** 0.5).item() if len(self.precision) > 1 else float("nan")

    @cached_property
    def curve(self) -> dict[str, list[float | None]] | None:
        """Recall and precision within each radius, pooled over the queries; None where nothing lies within it."""
        if self.found is None or self.hits is None:
            return None
        ratios = {"recall": self.hits / self.hits[-1], "precision": self.hits / self.found}
        return {name: [finite(value) for value in ratio.tolist()] for name, ratio in ratios.items()}

    def to_json(self) -> dict[str, Any]:
        return {"mean": self.mean, "se": finite(self.se), "distinct_codes": self.distinct, "curve": self.curve}


@dataclass(frozen=True, eq=False)
class Retrieval:
    """Precision at k of the codes of a guide, and of what they are held against.

    Arguments:
        k: How many documents are retrieved.
        bits: Length of a code.
        database: How many documents there are to retrieve.
        rankings: By name: ``mean-sign``, ``median``, ``sampled``, ``asymmetric``, ``tf-idf`` (documents only) and
            ``chance``.
        labels: Class of each query, ``(queries,)``.
        label_names: Name of each class.
    """

    k: int
    bits: int
    database: int
    rankings: dict[str, Ranking]
    labels: Tensor
    label_names: tuple[str, ...]

    @property
    def by_label(self) -> dict[str, float]:
        """Precision of the signs for the queries of each class, worst first."""
        precision = self.rankings["mean-sign"].precision
        means = {int(label): precision[self.labels == label].mean().item() for label in self.labels.unique()}
        return {self.label_names[label]: mean for label, mean in sorted(means.items(), key=lambda item: item[1])}

    def to_json(self) -> dict[str, Any]:
        return {
            "k": self.k,
            "bits": self.bits,
            "queries": len(self.labels),
            "database": self.database,
            "precision": {name: ranking.to_json() for name, ranking in self.rankings.items()},
            "by_label": self.by_label,
        }

    def pointwise(self) -> dict[str, Tensor]:
        """Precision of every query by ranking."""
        return {name.replace("-", "_"): ranking.precision for name, ranking in self.rankings.items()}

    def __str__(self) -> str:
        rows = []
        for name, ranking in self.rankings.items():
            order = name if name in ("tf-idf", "chance") else f"{self.bits} bits, {name}"
            rows.append((order, f"{ranking.mean:.4f}", f"{ranking.se:.4f}", f"{ranking.distinct or ''}"))
        table = text_table(
            f"precision@{self.k} of {len(self.labels)} queries among {self.database} documents",
            ("nearest by", "mean", "se", "different codes"),
            rows,
            left=("nearest by",),
            caption="share of the query's class among the nearest, equally near ones in random order",
        )
        worst = ", ".join(f"{name} ({mean:.2f})" for name, mean in list(self.by_label.items())[:3])
        return f"{table}\nhardest classes: {worst}"

    def draw(self, figure: Figure, title: str) -> None:
        """Precision of each ranking, and of the codes precision against recall as the radius grows."""
        bars, curves = figure.subplots(1, 2, width_ratios=[2, 3])
        for name, ranking in self.rankings.items():
            bars.bar(name, ranking.mean, yerr=finite(ranking.se), capsize=3, color=COLOURS.get(name, "0.75"))
            bars.annotate(f"{ranking.mean:.3f}", (name, ranking.mean), (0, 7), textcoords="offset points", ha="center")
        bars.tick_params(axis="x", labelrotation=25)
        for words in bars.get_xticklabels():
            words.set(ha="right", rotation_mode="anchor")
        bars.margins(y=0.15)
        bars.set(ylabel=f"precision@{self.k}", title=f"{len(self.labels)} queries, {self.database} documents")
        draw_curves(curves, {name: r for name, r in self.rankings.items() if r.curve}, COLOURS)
        curves.set_title(f"{self.bits} bits, radius 0 to {self.bits}")
        figure.suptitle(title)


def draw_curves(axes: Axes, rankings: dict[str, Ranking], colours: dict[str, str]) -> None:
    """Precision against recall as the Hamming radius grows, with a dot at radius 2."""
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


def by_codes(queries: Codes, database: Codes, labels: Tensor, known: Tensor, k: int) -> Ranking:
    """The ranking of a database by Hamming distance.

    Arguments:
        queries: Codes.
        database: Codes.
        labels: Classes of the queries.
        known: Classes of the database.
        k: How many are retrieved.

    Raises:
        ValueError: If the database has fewer than k codes, or codes differ in length.
    """
    sizes, hits = (np.zeros((len(queries), queries.bits + 1), dtype=np.int64) for _ in range(2))
    wanted, there = labels.cpu().numpy(), known.cpu().numpy()
    for rows, block in distance_blocks(queries, database):
        shape = (len(block), queries.bits + 1)
        # Queries side by side: one count of numbers for the whole block.
        place = block + shape[1] * np.arange(len(block))[:, None]
        same = wanted[rows, None] == there
        sizes[rows] = np.bincount(place.ravel(), minlength=shape[0] * shape[1]).reshape(shape)
        hits[rows] = np.bincount(place[same], minlength=shape[0] * shape[1]).reshape(shape)
    within = [torch.from_numpy(counts.sum(0).cumsum()) for counts in (sizes, hits)]
    return Ranking(torch.from_numpy(precision_at(k, sizes, hits)), within[0], within[1], database.distinct)


def precision_at(k: int, sizes: NDArray[np.int64], hits: NDArray[np.int64]) -> NDArray[np.float64]:
    """Expected share of hits among the first k when groups of ties come one after the other, each in random order.

    Arguments:
        k: At most as many as there are.
        sizes: Number of documents in each group, ``(queries, groups)``.
        hits: Hits in each.

    Example:
        >>> precision_at(2, np.array([[1, 4]]), np.array([[1, 2]])).tolist()
        [0.75]
    """
    if k < 1 or k > sizes.sum(1).min():
        raise ValueError(f"the nearest {k} were asked for of {sizes.sum(1).min()} documents; choose a k up to that")
    taken = np.clip(k - (sizes.cumsum(1) - sizes), 0, sizes)
    precision: NDArray[np.float64] = (taken * hits / np.maximum(sizes, 1)).sum(1) / k
    return precision


def by_scores(blocks: Iterable[tuple[slice, NDArray[Any]]], labels: Tensor, known: Tensor, k: int) -> Ranking:
    """The ranking of a database by scores, highest first, from places and blocks ``(queries of the block, data)``."""
    precision = np.zeros(len(labels))
    wanted, there = labels.cpu().numpy(), known.cpu().numpy()
    for rows, block in blocks:
        last = np.partition(block, -k, axis=1)[:, [-k]]
        groups = [block > last, block == last]
        same = wanted[rows, None] == there
        sizes = [np.stack([(group & who).sum(1) for group in groups], 1) for who in (True, same)]
        precision[rows] = precision_at(k, *sizes)
    return Ranking(torch.from_numpy(precision))


def expected_distances(odds: Tensor, database: Codes) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    r"""Minus the Hamming distance of stored codes from a code of each query, expected under the guide.

    .. math:: \mathbb{E}_{q(z \mid x)} \sum_j |z_j - z'_j| = \sum_j p_j + \sum_j z'_j (1 - 2 p_j)

    (Gordo, Perronnin, Gong and Lazebnik 2014, for a query that is left as probabilities.)

    Arguments:
        odds: Log-odds of the queries' bits, ``(queries, bits)``.
        database: Codes.
    """
    probabilities, bits = odds.double().sigmoid().numpy(), database.unpack().astype(np.float64).T
    step = max(1, CELLS // len(database))
    for start in range(0, len(odds), step):
        rows = slice(start, min(start + step, len(odds)))
        part = probabilities[rows]
        yield rows, (2 * part - 1) @ bits - part.sum(1, keepdims=True)


def retrieval(
    model: Program,
    guide: Program,
    queries: Batch,
    database: Batch,
    labels: Tensor,
    known: Tensor,
    *,
    k: int = 100,
    label_names: tuple[str, ...] | None = None,
    progress: Progress | None = None,
) -> Retrieval:
    r"""Precision@k of the codes of a pair, and of what they are held against.

    For each query, the share of its class among the k documents of the database that are nearest to it by Hamming
    distance (Chaidaroon and Fang 2017). Codes have few distances, so most lists end among equally near
    documents: their order is random, and the expectation over it is what is given. Codes are

    - ``mean-sign``: each bit as the guide more probably draws it;
    - ``median``: each bit by the side of the median of its log-odds over the database, so that it halves it;
    - ``sampled``: one draw of the guide for each query and document;
    - ``asymmetric``: the signs of the documents, and of the query the probabilities, by the expected distance.

    Beside them stand the cosine of weighted words (``tf-idf``) and ``chance``: any order of the database that knows
    nothing of the query, as random codes have.

    Arguments:
        model: With latent bits.
        guide: Its guide.
        queries: Data.
        database: Data to retrieve, others than the queries.
        labels: Class of each query.
        known: Class of each datum of the database.
        k: How many are retrieved.
        label_names: Name of each class; by default its number.
        progress: Called with the number of data coded: twice all of them, in the end.

    Raises:
        ValueError: If the database has fewer than k data, or the model has no bits.
    """
    if not 1 <= k <= len(database):
        raise ValueError(f"the nearest {k} of {len(database)} documents were asked for; choose k between 1 and those")
    odds = [log_odds(model, guide, x, progress=progress) for x in (queries, database)]
    drawn = [draw_codes(model, guide, x, progress=progress) for x in (queries, database)]
    middle = odds[1].median(0).values
    pairs = {
        "mean-sign": [Codes.pack(each > 0) for each in odds],
        "median": [Codes.pack(each > middle) for each in odds],
        "sampled": drawn,
    }
    rankings = {name: by_codes(asked, there, labels, known, k) for name, (asked, there) in pairs.items()}
    rankings["asymmetric"] = by_scores(expected_distances(odds[0], pairs["mean-sign"][1]), labels, known, k)
    if isinstance(queries, PackedCounts) and isinstance(database, PackedCounts):
        rankings["tf-idf"] = by_scores(TfIdf(database).similarities(queries), labels, known, k)
    names = label_names or tuple(str(label) for label in range(int(torch.cat([labels, known]).max()) + 1))
    shares = torch.bincount(known.cpu(), minlength=len(names)).double() / len(known)
    rankings["chance"] = Ranking(shares[labels.cpu()])
    return Retrieval(k, odds[0].shape[1], len(database), rankings, labels.cpu(), names)
