"""Documents as weighted words: the baseline for codes of documents."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags

from ppl_vae.data.counts import PackedCounts

__all__ = ["TfIdf", "rarity"]

CELLS = 2**22
"""Largest number of similarities held at once."""


def rarity(x: PackedCounts) -> NDArray[np.float64]:
    r"""The weight of each word by the documents that have it, :math:`\log(N / n_k)`, ``(vocabulary,)``."""
    occurrences = np.bincount(x.words.cpu().numpy(), minlength=x.vocabulary)
    weights: NDArray[np.float64] = np.log(len(x) / np.maximum(occurrences, 1))
    return weights


class TfIdf:
    r"""Cosine similarity of documents by words weighted with their rarity.

    .. math:: w_k(x) = x_k \log(N / n_k)

    for a word that occurs in n of the N documents of a database (Salton and Buckley 1988). A document of
    words that all documents contain has similarity zero to all.

    Arguments:
        database: Documents to compare with.

    Example:
        >>> database = PackedCounts.from_dense([[1, 2, 0], [1, 0, 3]])
        >>> [block.round(3).tolist() for _, block in TfIdf(database).similarities(database)]
        [[[1.0, 0.0], [0.0, 1.0]]]
    """

    def __init__(self, database: PackedCounts) -> None:
        self.rarity = rarity(database)
        self.database = self.weigh(database)

    def weigh(self, x: PackedCounts) -> csr_matrix:
        """Returns the weighted words, each document of length one, ``(documents, vocabulary)``."""
        weighted = csr_matrix(x.to_csr().astype(np.float64) @ diags(self.rarity))
        lengths = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel())
        return csr_matrix(diags(1 / np.where(lengths > 0, lengths, 1)) @ weighted)

    def similarities(self, x: PackedCounts) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        """Yields slices of the documents, each with its cosines with the database, ``(documents, database)``."""
        step = max(1, CELLS // max(1, self.database.shape[0]))
        queries, database = self.weigh(x), self.database.T.tocsr()
        for start in range(0, len(x), step):
            rows = slice(start, min(start + step, len(x)))
            yield rows, (queries[rows] @ database).toarray()
