"""Packed sparse counts of documents, which never become documents x vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = ["PackedCounts"]


class PackedCounts:
    r"""Word counts of documents, stored by their non-zero entries (compressed rows).

    Document ``i`` owns the entries ``offsets[i]:offsets[i + 1]`` of ``words`` and ``counts``. The
    object behaves as a batch: it has a length, is indexed by slices, masks and index tensors, moves
    between devices, and multiplies matrices from the left, ``x @ weight``, at a cost that grows with
    the distinct words of the documents and not with the vocabulary.

    Arguments:
        offsets: Row pointers, ``(documents + 1,)``, int64, from 0 to the number of entries.
        words: Word ids, ``(entries,)``, int64, each in ``[0, vocabulary)``.
        counts: How often each word occurs, ``(entries,)``, positive whole numbers stored as floats.
        vocabulary: The number of words a count vector ranges over.

    Raises:
        ValueError: If the arrays do not describe documents of positive whole counts.

    Example:
        >>> x = PackedCounts.from_dense([[2, 0, 1], [0, 3, 0]])
        >>> x.lengths
        tensor([3., 3.])
        >>> x @ torch.eye(3)
        tensor([[2., 0., 1.],
                [0., 3., 0.]])
    """

    def __init__(self, offsets: Tensor, words: Tensor, counts: Tensor, vocabulary: int, *, check: bool = True) -> None:
        self.offsets = offsets
        self.words = words
        self.counts = counts
        self.vocabulary = vocabulary
        if check:
            self._check()

    def _check(self) -> None:
        entries = len(self.words)
        if self.offsets.ndim != 1 or len(self.offsets) < 1 or len(self.counts) != entries:
            raise ValueError(
                f"packed counts need one count per word and at least one row pointer, got "
                f"{len(self.counts)} counts, {entries} words and offsets of shape "
                f"{tuple(self.offsets.shape)}; build them with PackedCounts.from_csr"
            )
        if self.offsets[0] != 0 or self.offsets[-1] != entries or (self.offsets.diff() < 0).any():
            raise ValueError(
                f"row pointers must rise from 0 to {entries}, got {self.offsets.tolist()[:8]}...; "
                "build them with PackedCounts.from_csr"
            )
        if not entries:
            return
        low, high = int(self.words.min()), int(self.words.max())
        if low < 0 or high >= self.vocabulary:
            raise ValueError(
                f"word ids must lie in [0, {self.vocabulary}), got {low if low < 0 else high}; "
                "raise the vocabulary or drop the word"
            )
        wrong = ~((self.counts > 0) & (self.counts == self.counts.round()) & self.counts.isfinite())
        if wrong.any():
            entry = int(wrong.nonzero()[0])
            document = int(torch.searchsorted(self.offsets, entry, right=True)) - 1
            raise ValueError(
                f"counts must be positive whole numbers, got {self.counts[entry].item():g} for word "
                f"{int(self.words[entry])} of document {document}; give raw counts, not weights"
            )

    @classmethod
    def from_csr(cls, matrix: csr_matrix) -> PackedCounts:
        """Packs a SciPy sparse matrix of counts, ``(documents, vocabulary)``; zeros are dropped.

        Raises:
            ValueError: If an entry is negative, fractional or not finite.
        """
        from scipy.sparse import csr_matrix

        matrix = csr_matrix(matrix, copy=True)
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
        return cls(
            torch.from_numpy(matrix.indptr.astype(np.int64)),
            torch.from_numpy(matrix.indices.astype(np.int64)),
            torch.from_numpy(matrix.data.astype(np.float32)),
            matrix.shape[1],
        )

    @classmethod
    def from_dense(cls, counts: Tensor | np.ndarray | Sequence[Sequence[int]]) -> PackedCounts:
        """Packs a small dense table of counts, ``(documents, vocabulary)``."""
        from scipy.sparse import csr_matrix

        return cls.from_csr(csr_matrix(np.asarray(counts)))

    def to_csr(self) -> csr_matrix:
        """The same counts as a SciPy matrix, ``(documents, vocabulary)``."""
        from scipy.sparse import csr_matrix

        return csr_matrix(
            (self.counts.cpu().numpy(), self.words.cpu().numpy(), self.offsets.cpu().numpy()),
            shape=self.shape,
        )

    @classmethod
    def concatenate(cls, batches: Sequence[PackedCounts]) -> PackedCounts:
        """One batch of all the documents of several, in order."""
        starts = np.cumsum([0] + [len(b.words) for b in batches[:-1]])
        return cls(
            torch.cat([batches[0].offsets[:1]] + [b.offsets[1:] + s for b, s in zip(batches, starts, strict=True)]),
            torch.cat([b.words for b in batches]),
            torch.cat([b.counts for b in batches]),
            batches[0].vocabulary,
            check=False,
        )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __repr__(self) -> str:
        return f"PackedCounts({len(self)} documents, {self.vocabulary} words, {len(self.words)} entries)"

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self), self.vocabulary))

    @property
    def device(self) -> torch.device:
        return self.words.device

    def to(self, device: torch.device | str) -> PackedCounts:
        """The same batch on another device; the batch itself if it is on that device."""
        if self.device == torch.device(device):
            return self
        return PackedCounts(
            self.offsets.to(device), self.words.to(device), self.counts.to(device), self.vocabulary, check=False
        )

    def __getitem__(self, index: slice | Tensor | np.ndarray | Sequence[int]) -> PackedCounts:
        """The documents that ``index`` selects, in its order: a slice, a mask or a list of positions."""
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step == 1:
                offsets = self.offsets[start : max(start, stop) + 1]
                return self._part(offsets - offsets[0], slice(int(offsets[0]), int(offsets[-1])), slice(start, stop))
            index = torch.arange(start, stop, step, device=self.device)
        rows = torch.as_tensor(index, device=self.device)
        rows = rows.nonzero()[:, 0] if rows.dtype == torch.bool else rows.long()
        sizes = self.sizes[rows]
        offsets = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
        # Entry k of document r of the result is entry offsets[rows[r]] + k of this batch.
        shift = torch.repeat_interleave(self.offsets[:-1][rows] - offsets[:-1], sizes)
        entries = torch.arange(len(shift), device=self.device) + shift
        return self._part(offsets, entries, rows)

    def _part(self, offsets: Tensor, entries: slice | Tensor, rows: slice | Tensor) -> PackedCounts:
        """Some documents, with their cached statistics: these are computed once for the whole, not for every batch."""
        part = PackedCounts(offsets, self.words[entries], self.counts[entries], self.vocabulary, check=False)
        part.lengths, part.log_coefficient = self.lengths[rows], self.log_coefficient[rows]
        return part

    @cached_property
    def sizes(self) -> Tensor:
        """Distinct words of each document, ``(documents,)``."""
        return self.offsets.diff()

    @cached_property
    def documents(self) -> Tensor:
        """The document each entry belongs to, ``(entries,)``."""
        return torch.repeat_interleave(torch.arange(len(self), device=self.device), self.sizes)

    def sum(self, values: Tensor) -> Tensor:
        """Sums one value per entry over each document: ``(..., entries)`` to ``(..., documents)``."""
        total = values.new_zeros(*values.shape[:-1], len(self))
        return total.index_add(-1, self.documents, values)

    @cached_property
    def lengths(self) -> Tensor:
        """Words of each document, counted with repetition, ``(documents,)``."""
        return self.sum(self._precise(self.counts)).to(self.counts.dtype)

    @cached_property
    def log_coefficient(self) -> Tensor:
        r"""Log multinomial coefficient :math:`\log l! - \sum_k \log x_k!` in nats, ``(documents,)``."""
        factorials = self.sum(torch.lgamma(self._precise(self.counts) + 1))
        return torch.lgamma(self._precise(self.lengths) + 1) - factorials

    @cached_property
    def saturated(self) -> Tensor:
        r"""Log-likelihood of each document under its own word frequencies, in nats, ``(documents,)``.

        No multinomial model scores higher, so the deviance of a model is this minus its log-likelihood.
        """
        counts = self._precise(self.counts)
        return self.log_coefficient + self.sum(counts * (counts / self.lengths[self.documents]).log())

    @cached_property
    def totals(self) -> Tensor:
        """How often each word occurs, ``(vocabulary,)``, float64, on the CPU."""
        return torch.bincount(self.words.cpu(), self.counts.cpu().double(), minlength=self.vocabulary)

    def _precise(self, values: Tensor) -> Tensor:
        return values if self.device.type == "mps" else values.double()  # mps has no float64

    @cached_property
    def transposed(self) -> tuple[Tensor, Tensor, Tensor]:
        """Row pointers, documents and counts of the same entries stored by word."""
        if self.device.type == "cpu":  # a counting sort, several times faster than a comparing one
            columns = self.to_csr().tocsc()
            parts = (columns.indptr.astype(np.int64), columns.indices.astype(np.int64), columns.data)
            return torch.from_numpy(parts[0]), torch.from_numpy(parts[1]), torch.from_numpy(parts[2])
        order = self.words.argsort(stable=True)
        sizes = torch.bincount(self.words, minlength=self.vocabulary)
        offsets = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
        return offsets, self.documents[order], self.counts[order]

    def __matmul__(self, weight: Tensor) -> Tensor:
        """Counts times a matrix: ``(vocabulary, features)`` to ``(documents, features)``."""
        if weight.ndim != 2 or len(weight) != self.vocabulary:
            raise ValueError(
                f"counts over {self.vocabulary} words multiply a matrix of as many rows, got shape "
                f"{tuple(weight.shape)}; was the model built for another vocabulary?"
            )
        product: Tensor = _CountsTimesMatrix.apply(self, weight)
        return product


class _CountsTimesMatrix(torch.autograd.Function):
    """Sparse times dense, by gathers in both directions: the gradient gathers over the transposed rows."""

    @staticmethod
    def forward(ctx, x: PackedCounts, weight: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.x = x
        return _gather(x.offsets, x.words, x.counts, weight)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[None, Tensor]:  # type: ignore[no-untyped-def]
        offsets, documents, counts = ctx.x.transposed
        return None, _gather(offsets, documents, counts, gradient.contiguous())


def _gather(offsets: Tensor, rows: Tensor, scale: Tensor, table: Tensor) -> Tensor:
    return torch.nn.functional.embedding_bag(
        rows, table, offsets, mode="sum", per_sample_weights=scale.to(table.dtype), include_last_offset=True
    )
