"""Corpora of data that a Python program holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ppl_vae.data.corpus import Corpus, Data
from ppl_vae.data.counts import Batch, PackedCounts
from ppl_vae.data.splits import split_positions

if TYPE_CHECKING:
    from scipy.sparse import spmatrix

__all__ = ["corpus_of"]


def corpus_of(
    values: Batch | NDArray[np.generic] | spmatrix | Corpus, *, validation: float = 0.1, seed: int = 0
) -> Corpus:
    """Splits data at random into training, validation and test data; a corpus is returned as it is.

    A tenth is held out for the test, the same data for every seed. Counts keep all their words.

    Arguments:
        values: A tensor or array ``(data, *shape)``, converted to float32; a SciPy sparse matrix of counts
            ``(documents, words)``; packed counts; or a corpus.
        validation: Share of the remaining data held out to choose the epoch.
        seed: Chooses the validation data.

    Raises:
        ValueError: If the values are none of these, or not finite.

    Example:
        >>> corpus = corpus_of(torch.zeros(100, 3))
        >>> len(corpus.train), len(corpus.validation), len(corpus.test)
        (81, 9, 10)
    """
    if isinstance(values, Corpus):
        return values
    batch = _batch(values)
    words = tuple(f"word {i}" for i in range(batch.vocabulary)) if isinstance(batch, PackedCounts) else ()
    positions = split_positions(len(batch), validation, seed)
    splits = {name: Data(batch[torch.from_numpy(rows)]) for name, rows in positions.items()}
    return Corpus("data", splits, vocabulary=words)


def _batch(values: object) -> Batch:
    if isinstance(values, PackedCounts):
        return values
    if hasattr(values, "tocsr"):
        return PackedCounts.from_csr(values.tocsr())
    if not isinstance(values, (Tensor, np.ndarray)):
        raise ValueError(
            f"data are a tensor, a NumPy array, a SciPy sparse matrix, PackedCounts or a Corpus, got "
            f"{type(values).__name__}; convert them, or name a corpus or a file"
        )
    tensor = torch.as_tensor(values).detach().cpu().float()
    if tensor.ndim == 0 or not tensor.isfinite().all():
        fault = "no dimension" if tensor.ndim == 0 else f"{int((~tensor.isfinite()).sum())} values that are not finite"
        raise ValueError(f"the data have {fault}; give finite numbers (data, *shape)")
    return tensor
