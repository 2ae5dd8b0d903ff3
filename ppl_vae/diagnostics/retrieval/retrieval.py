"""Precision of binary codes in retrieving documents of the query's class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.inputs import Batch
from ppl_vae.diagnostics.retrieval.codes import Codes, draw_codes, log_odds
from ppl_vae.diagnostics.retrieval.ranking import Ranking, by_codes, by_scores, draw_curves, expected_distances
from ppl_vae.diagnostics.retrieval.tfidf import TfIdf
from ppl_vae.evidence.drawable import Drawable
from ppl_vae.evidence.estimate import finite
from ppl_vae.evidence.figures import OKABE_ITO
from ppl_vae.evidence.tables import html_table, text_table
from ppl_vae.programs.types import Program, Progress

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Retrieval", "retrieval"]

COLOURS = {
    "mean-sign": OKABE_ITO.blue,
    "median": OKABE_ITO.orange,
    "sampled": OKABE_ITO.green,
    "asymmetric": OKABE_ITO.sky_blue,
}


@dataclass(frozen=True, eq=False)
class Retrieval(Drawable):
    """Precision at k of the codes of a guide, and of baselines.

    Arguments:
        k: Number of documents retrieved.
        bits: Length of a code.
        database: Number of documents in the database.
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
        """Precision of the codes by sign for the queries of each class, worst first."""
        precision = self.rankings["mean-sign"].precision
        means = {int(label): precision[self.labels == label].mean().item() for label in self.labels.unique()}
        return {self.label_names[label]: mean for label, mean in sorted(means.items(), key=lambda item: item[1])}

    def to_json(self) -> dict[str, Any]:
        return {
            "k": self.k,
            "bits": self.bits,
            "queries": len(self.labels),
            "database": self.database,
            "se_of": "the mean over the queries, for this database and this training alone",
            "precision": {name: ranking.to_json() for name, ranking in self.rankings.items()},
            "by_label": self.by_label,
        }

    def pointwise(self) -> dict[str, Tensor]:
        """Precision of each query by ranking."""
        return {name.replace("-", "_"): ranking.precision for name, ranking in self.rankings.items()}

    def __repr__(self) -> str:
        return str(self)

    @property
    def _table(self) -> tuple[str, tuple[str, ...], list[tuple[str, ...]]]:
        rows: list[tuple[str, ...]] = []
        for name, ranking in self.rankings.items():
            order = name if name in ("tf-idf", "chance") else f"{self.bits} bits, {name}"
            rows.append((order, f"{ranking.mean:.4f}", f"{ranking.se:.4f}", f"{ranking.distinct or ''}"))
        title = f"precision@{self.k} of {len(self.labels)} queries among {self.database} documents"
        return title, ("nearest by", "mean", "se", "distinct codes"), rows

    def _repr_html_(self) -> str:
        return html_table(*self._table)

    def __str__(self) -> str:
        table = text_table(
            *self._table,
            left=("nearest by",),
            caption=(
                "share of the query's class among the nearest, with ties in random order; se: of the mean over the "
                "queries, for this database and this training: trainings that differ by their seed alone differ by "
                "more, so that two models are told apart by several seeds of each"
            ),
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
        for label in bars.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")
        bars.margins(y=0.15)
        bars.set(ylabel=f"precision@{self.k}", title=f"{len(self.labels)} queries, {self.database} documents")
        draw_curves(curves, {name: r for name, r in self.rankings.items() if r.curve}, COLOURS)
        curves.set_title(f"{self.bits} bits, radius 0 to {self.bits}")
        figure.suptitle(title)


def retrieval(
    model: Program,
    guide: Program,
    queries: Batch,
    database: Batch,
    labels: Tensor,
    database_labels: Tensor,
    *,
    k: int = 100,
    label_names: tuple[str, ...] | None = None,
    progress: Progress | None = None,
) -> Retrieval:
    r"""Returns the precision@k of the codes of a pair, and of baselines.

    For each query, the share of its class among the k documents of the database that are nearest to it by Hamming
    distance (Chaidaroon and Fang 2017). Codes have few distances, so most lists end among ties:
    documents at equal distance are in random order, and the precision is the expectation over it. Codes are

    - ``mean-sign``: each bit as the guide more probably draws it;
    - ``median``: each bit by the side of the median of its log-odds over the database, which halves the database;
    - ``sampled``: one draw of the guide for each query and document;
    - ``asymmetric``: the signs of the documents, and of the query the probabilities, by the expected distance.

    The baselines are the cosine of weighted words (``tf-idf``) and ``chance``: an order of the database that does not
    depend on the query, as by random codes.

    Arguments:
        model: A model with latent bits.
        guide: Its guide.
        queries: Data.
        database: Data to retrieve, others than the queries.
        labels: Class of each query.
        database_labels: Class of each datum of the database.
        k: Number of documents retrieved.
        label_names: Name of each class; by default its number.
        progress: Called with the number of data coded since the last call; each is coded twice.

    Raises:
        ValueError: If the database has fewer than k data, or the model has no bits.
    """
    if not 1 <= k <= len(database):
        raise ValueError(
            f"the {k} nearest of {len(database)} documents cannot be retrieved; choose k from 1 to {len(database)}"
        )
    odds = [log_odds(model, guide, x, progress=progress) for x in (queries, database)]
    drawn = [draw_codes(model, guide, x, progress=progress) for x in (queries, database)]
    middle = odds[1].median(0).values
    pairs = {
        "mean-sign": [Codes.pack(each > 0) for each in odds],
        "median": [Codes.pack(each > middle) for each in odds],
        "sampled": drawn,
    }
    rankings = {
        name: by_codes(query_codes, codes, labels, database_labels, k) for name, (query_codes, codes) in pairs.items()
    }
    rankings["asymmetric"] = by_scores(expected_distances(odds[0], pairs["mean-sign"][1]), labels, database_labels, k)
    if isinstance(queries, PackedCounts) and isinstance(database, PackedCounts):
        rankings["tf-idf"] = by_scores(TfIdf(database).similarities(queries), labels, database_labels, k)
    names = label_names or tuple(str(label) for label in range(int(torch.cat([labels, database_labels]).max()) + 1))
    shares = torch.bincount(database_labels.cpu(), minlength=len(names)).double() / len(database_labels)
    rankings["chance"] = Ranking(shares[labels.cpu()])
    return Retrieval(k, odds[0].shape[1], len(database), rankings, labels.cpu(), names)
