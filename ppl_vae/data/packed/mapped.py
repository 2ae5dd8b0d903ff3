"""Data that stay on the disk: batches of them are read as they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._pytree import tree_map

from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.inputs import Batch, Inputs
from ppl_vae.data.packed.stored import StoredArray
from ppl_vae.data.sizes import memory_budget

__all__ = ["MappedCounts", "MappedTensor", "datum_bytes", "is_mapped"]

_NUMBERS = 2**22
"""Numbers that are read at once where all of an array are gone through."""

_AT_ONCE = 2**16
"""Documents that are read at once where all of them are gone through."""


def is_mapped(x: Batch) -> bool:
    """Whether data stay on the disk."""
    fields = x.fields().values() if isinstance(x, Inputs) else (x,)
    return any(isinstance(field, MappedCounts | MappedTensor) for field in fields)


def datum_bytes(x: Batch) -> float:
    """Bytes that a datum takes in memory, on average; 0 of data that are there already."""
    fields = x.fields().values() if isinstance(x, Inputs) else (x,)
    total = 0
    for field in fields:
        if isinstance(field, MappedCounts):
            total += 8 * len(field) + (8 + 4) * len(field.stored["words"])
        elif isinstance(field, MappedTensor):
            total += field.numel() * np.dtype(field.stored.entry.kind).itemsize
    return total / max(1, len(x))


def _whole(array: StoredArray) -> Tensor:
    """All of an array in memory."""
    size = int(np.prod(array.entry.shape)) * np.dtype(array.entry.kind).itemsize
    if size > (budget := memory_budget()):
        raise ValueError(
            f"{array.path.parent} has {len(array):,} rows of {array.path.stem}, which take {size / 2**30:.1f} GB at "
            f"once, more than {budget / 2**30:.1f} GB, half of the memory there is; measure a sample (--data, "
            "--evidence-data), and leave out what needs all data at once, such as --retrain"
        )
    return torch.from_numpy(array[:])


class MappedCounts(PackedCounts):
    """Documents of a packed corpus; indexed, they are :class:`PackedCounts` in memory.

    Arguments:
        stored: ``offsets``, ``words`` and ``counts`` of :class:`PackedCounts`.
        vocabulary: The number of words.
        device: Where batches are put.
    """

    def __init__(self, stored: Mapping[str, StoredArray], vocabulary: int, device: torch.device | str = "cpu") -> None:
        self.stored, self.vocabulary, self._place = stored, vocabulary, torch.device(device)

    @property
    def offsets(self) -> Tensor:  # type: ignore[override]
        return _whole(self.stored["offsets"]).to(self._place)

    @property
    def words(self) -> Tensor:  # type: ignore[override]
        return _whole(self.stored["words"]).to(self._place)

    @property
    def counts(self) -> Tensor:  # type: ignore[override]
        return _whole(self.stored["counts"]).to(self._place)

    def __len__(self) -> int:
        return len(self.stored["offsets"]) - 1

    def __repr__(self) -> str:
        return f"MappedCounts({len(self)} documents, {self.vocabulary} words, {len(self.stored['words'])} entries)"

    @property
    def device(self) -> torch.device:
        return self._place

    def to(self, device: torch.device | str) -> MappedCounts:
        """The same documents, of which batches are put on another device."""
        return self if self.device == torch.device(device) else MappedCounts(self.stored, self.vocabulary, device)

    def __getitem__(self, index: slice | Tensor | np.ndarray | Sequence[int]) -> PackedCounts:
        offsets, words, counts = (self.stored[name] for name in ("offsets", "words", "counts"))
        entries: slice | NDArray[np.int64]
        if isinstance(index, slice) and index.indices(len(self))[2] == 1:
            start, stop, _ = index.indices(len(self))
            bounds = offsets[start : max(start, stop) + 1]
            entries = slice(int(bounds[0]), int(bounds[-1]))
            bounds = bounds - bounds[0]
        else:
            rows = _rows(index, len(self))
            starts, ends = offsets[rows], offsets[rows + 1]
            bounds = np.concatenate([[0], np.cumsum(ends - starts)])
            entries = np.repeat(starts - bounds[:-1], ends - starts) + np.arange(bounds[-1])
        first, second, third = (torch.from_numpy(array) for array in (bounds, words[entries], counts[entries]))
        try:
            return PackedCounts(first, second, third, self.vocabulary).to(self._place)
        except ValueError as error:
            raise ValueError(f"{words.path.parent} holds no documents: {error}") from error

    def _each(self, name: str) -> Tensor:
        """A number of each document, ``(documents,)``."""
        starts = range(0, max(1, len(self)), _AT_ONCE)
        return torch.cat([getattr(self[start : start + _AT_ONCE], name) for start in starts])

    @cached_property
    def sizes(self) -> Tensor:
        return self._each("sizes")

    @cached_property
    def lengths(self) -> Tensor:
        return self._each("lengths")

    @cached_property
    def log_coefficient(self) -> Tensor:
        return self._each("log_coefficient")

    @cached_property
    def saturated(self) -> Tensor:
        return self._each("saturated")

    @cached_property
    def totals(self) -> Tensor:
        starts = range(0, max(1, len(self)), _AT_ONCE)
        return sum((self[start : start + _AT_ONCE].totals for start in starts), torch.zeros(()))


class MappedTensor(Tensor):
    """An array of a packed corpus; indexed along its data, it is a tensor in memory.

    Its shape, type and device are known; any function of it but these reads it whole, if it fits into memory.
    """

    stored: StoredArray
    place: torch.device

    @staticmethod
    def of(stored: StoredArray, device: torch.device | str = "cpu") -> MappedTensor:
        """The data of an array, of which batches are put on a device."""
        dtype = getattr(torch, stored.entry.kind)
        # One element stands for all: what reads it in spite of this class finds no plausible number.
        absent = torch.full((), torch.nan if dtype.is_floating_point else True if dtype == torch.bool else -(2**62))
        tensor = absent.to(dtype).expand(stored.entry.shape).as_subclass(MappedTensor)
        tensor.stored, tensor.place = stored, torch.device(device)
        return tensor

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in _KNOWN:
            return super().__torch_function__(func, types, args, kwargs or {})
        args, kwargs = tree_map(lambda value: value.whole() if isinstance(value, cls) else value, (args, kwargs or {}))
        return func(*args, **kwargs)

    def whole(self) -> Tensor:
        """All data in memory.

        Raises:
            ValueError: If they take more than half of it.
        """
        return _whole(self.stored).to(self.place)

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return self.place

    def to(self, device: torch.device | str, *others: Any, **options: Any) -> Tensor:  # type: ignore[override]
        """The same data, of which batches are put on another device; in another type they are read whole."""
        if others or options or not isinstance(device, torch.device | str):
            return self.whole().to(device, *others, **options)
        return MappedTensor.of(self.stored, device)

    def __getitem__(self, index: Any) -> Tensor:
        if isinstance(index, tuple):
            return self.whole()[index]
        if isinstance(index, int):
            return self[index : index + 1 or None][0]
        rows = index if isinstance(index, slice) else _rows(index, len(self))
        return torch.from_numpy(self.stored[rows]).to(self.place)

    def blocks(self) -> Iterator[Tensor]:
        """The data in order, some at a time."""
        step = max(1, _NUMBERS // max(1, self.shape[1:].numel()))
        return (self[start : start + step] for start in range(0, max(1, len(self)), step))

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"MappedTensor({self.stored.entry.kind} {tuple(self.shape)})"


_KNOWN = {
    cast(Any, Tensor.shape).__get__,
    cast(Any, Tensor.dtype).__get__,
    cast(Any, Tensor.ndim).__get__,
    cast(Any, Tensor.is_cuda).__get__,
    cast(Any, Tensor.requires_grad).__get__,
    Tensor.is_floating_point,
    Tensor.numel,
    Tensor.size,
    Tensor.dim,
    Tensor.__len__,
}
"""What is known of an array without reading it."""


def _rows(index: slice | Tensor | np.ndarray | Sequence[int], count: int) -> NDArray[np.int64]:
    """Positions from 0 of the data that an index selects."""
    if isinstance(index, slice):
        return np.arange(*index.indices(count))
    rows = np.asarray(index.cpu() if isinstance(index, Tensor) else index)
    if rows.dtype == bool:
        return np.flatnonzero(rows)
    rows = rows.astype(np.int64)
    return np.where(rows < 0, rows + count, rows)
