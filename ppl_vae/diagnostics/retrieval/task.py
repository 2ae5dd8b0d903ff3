"""A retrieval task: test documents as queries, the others as the database, and baselines for binary codes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ppl_vae.data.corpus import Corpus
from ppl_vae.data.counts import PackedCounts
from ppl_vae.diagnostics.retrieval.codes import Codes
from ppl_vae.diagnostics.retrieval.ranking import Ranking, by_codes, by_scores
from ppl_vae.diagnostics.retrieval.retrieval import retrieval
from ppl_vae.diagnostics.retrieval.tfidf import TfIdf
from ppl_vae.programs.types import Program

__all__ = ["RetrievalTask", "ranking_from", "tensors_of"]


class RetrievalTask:
    """Documents by split, with the classes by which the k nearest of a query are judged.

    Queries are the test documents; the database holds training and validation documents.

    Arguments:
        corpus: Documents with labels.
        documents: Size of a random sample of the training documents, with a fifth as many of each other split; 0 for
            all.
        k: Number of documents that a query retrieves.
        device: Device on which documents are coded.

    Raises:
        ValueError: If the corpus has no labels.
    """

    def __init__(self, corpus: Corpus, documents: int, k: int, device: torch.device) -> None:
        sizes = {"train": documents, "validation": documents // 5, "test": documents // 5}
        self.k = k
        self.x: dict[str, PackedCounts] = {}
        labels: dict[str, Tensor] = {}
        for name, split in corpus.splits.items():
            if split.labels is None or not isinstance(split.values, PackedCounts):
                raise ValueError(
                    f"{corpus.name}: retrieval is judged by the classes of documents; take a labelled corpus"
                )
            order = torch.randperm(len(split.values), generator=torch.Generator().manual_seed(0))
            chosen = order[: sizes[name] or len(order)].sort().values
            self.x[name], labels[name] = split.values[chosen].to(device), split.labels[chosen]
        self.queries = self.x["test"]
        self.database = PackedCounts.concatenate([self.x["train"], self.x["validation"]])
        self.labels, self.database_labels = labels["test"], torch.cat([labels["train"], labels["validation"]])

    def codes(self, model: Program, guide: Program) -> dict[str, Tensor]:
        """Returns the rankings by the codes of a pair, as the tensors of :func:`tensors_of`."""
        result = retrieval(model, guide, self.queries, self.database, self.labels, self.database_labels, k=self.k)
        return tensors_of(result.rankings)

    def random(self, bits: int) -> dict[str, Tensor]:
        """Returns the ranking by random codes."""
        queries, database = (Codes.pack(torch.rand(len(x), bits) > 0.5) for x in (self.queries, self.database))
        return tensors_of({"mean-sign": by_codes(queries, database, self.labels, self.database_labels, self.k)})

    def cosine(self) -> dict[str, Tensor]:
        """Returns the ranking by the cosine of words weighted by rarity."""
        scores = TfIdf(self.database).similarities(self.queries)
        return tensors_of({"tf-idf": by_scores(scores, self.labels, self.database_labels, self.k)})

    @property
    def chance(self) -> float:
        """Mean share of a query's class in the database."""
        shares = torch.bincount(self.database_labels).double() / len(self.database_labels)
        return shares[self.labels].mean().item()


def tensors_of(rankings: Mapping[str, Ranking]) -> dict[str, Tensor]:
    """Returns the tensors of rankings by names such as ``"mean-sign.precision"``."""
    names = ("precision", "retrieved", "hits")
    parts = {f"{name}.{part}": getattr(ranking, part) for name, ranking in rankings.items() for part in names}
    return {name: part for name, part in parts.items() if part is not None}


def ranking_from(tensors: Mapping[str, Tensor], name: str) -> Ranking:
    """Returns a ranking from the tensors of :func:`tensors_of`."""
    return Ranking(tensors[f"{name}.precision"], tensors.get(f"{name}.retrieved"), tensors.get(f"{name}.hits"))
