"""Batches as programs take them: one field, or several of one length that become the arguments of a program."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.passes import largest_row, missing_row
from ppl_vae.data.tables import tensor_of

__all__ = [
    "Batch",
    "Constant",
    "Field",
    "Inputs",
    "as_batch",
    "concatenate",
    "data_width",
    "dense_width",
    "documents",
    "examples",
    "main_field",
]

Field = PackedCounts | Tensor
"""What has a row for each datum."""

Constant = Tensor | int | float | bool | str | None
"""What is the same for all data: a number, a tensor without dimensions, a text, None."""


class Inputs:
    """Several fields of one length, the arguments of a model and its guide: ``model(*args, **kwargs)``.

    A field is a tensor ``(data, *shape)`` or packed counts; the object behaves as a batch of all of them: it has a
    length, is indexed by slices, masks and index tensors, and moves between devices. Numbers, tensors without
    dimensions, texts and None are the same for all data and are passed as they are.

    Arguments:
        args: Fields and constants in the order of the program's arguments.
        kwargs: Fields and constants by the names of the program's arguments.

    Raises:
        ValueError: If an argument is neither a field nor a constant, or the fields are none or of several lengths,
            naming them.

    Example:
        >>> batch = Inputs(torch.zeros(3, 2), y=torch.tensor([0, 1, 1]), scale=2.0)
        >>> len(batch), batch
        (3, Inputs(float32 (3, 2), y=int64 (3,), scale=2.0))
        >>> batch[1:].kwargs["y"]
        tensor([1, 1])
    """

    def __init__(self, *args: Field | Constant, **kwargs: Field | Constant) -> None:
        self.args, self.kwargs = args, kwargs
        self.whole: Callable[[Inputs], object] | None = None
        for name, value in self.named().items():
            if not (value is None or isinstance(value, (Tensor, PackedCounts, int, float, str))):
                raise ValueError(
                    f"field {name} is a {type(value).__name__}; give a tensor, an array or packed counts with a row "
                    "for each datum, or a number, a text or None that is the same for all"
                )
        lengths = {name: len(field) for name, field in self.fields().items()}
        if not lengths:
            raise ValueError(
                "no data are given: give what has a row for each datum, as model(x) and guide(x) take it; a program "
                "that takes its batch itself has to be given it"
            )
        if len(set(lengths.values())) != 1:
            each = ", ".join(f"{name} has {length}" for name, length in lengths.items())
            raise ValueError(
                f"the fields of a batch have one length, but {each} data; give each one row per datum, and what is "
                "the same for all data as a number or a tensor without dimensions"
            )
        self._length = next(iter(lengths.values()))

    def named(self, names: Sequence[str] = ()) -> dict[str, Field | Constant]:
        """Fields and constants by name; positional ones have these names, else their positions from 1."""
        known = [*names[: len(self.args)], *(str(i + 1) for i in range(len(names), len(self.args)))]
        return dict(zip(known, self.args, strict=True)) | self.kwargs

    def fields(self, names: Sequence[str] = ()) -> dict[str, Field]:
        """What has a row for each datum, named as by :meth:`named`."""
        return {name: value for name, value in self.named(names).items() if _is_field(value)}  # type: ignore[misc]

    def map(self, function: Callable[[Any], Any], *, constants: bool = False) -> Inputs:
        """The same arguments with a function of each field, and of tensors that are the same for all data if asked."""

        def apply(value: Field | Constant) -> Field | Constant:
            result: Field | Constant = value
            if _is_field(value) or (constants and isinstance(value, Tensor)):
                result = function(value)
            return result

        changed = Inputs(*map(apply, self.args), **{name: apply(value) for name, value in self.kwargs.items()})
        changed.whole = self.whole
        return changed

    def replace(self, values: Mapping[str, Field]) -> Inputs:
        """The same arguments with other values of the fields of these names, those of :meth:`named`."""
        args = [values.get(str(i + 1), value) for i, value in enumerate(self.args)]
        changed = Inputs(*args, **{name: values.get(name, value) for name, value in self.kwargs.items()})
        changed.whole = self.whole
        return changed

    def to(self, device: torch.device | str) -> Inputs:
        """The same batch on another device; the batch itself if it is on that device."""
        return self if self.device == torch.device(device) else self.map(lambda value: value.to(device), constants=True)

    @property
    def device(self) -> torch.device:
        return next(iter(self.fields().values())).device

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: slice | Tensor) -> Inputs:
        """The data that ``index`` selects, in its order: a slice, a mask or positions."""
        return self.map(lambda value: value[index])

    def __repr__(self) -> str:
        shown = [_shown(value) for value in self.args]
        return f"Inputs({', '.join(shown + [f'{name}={_shown(value)}' for name, value in self.kwargs.items()])})"


Batch = PackedCounts | Tensor | Inputs
"""Data as programs read them: documents, a tensor ``(data, *shape)``, or several fields."""


def _is_field(value: object) -> bool:
    return isinstance(value, PackedCounts) or (isinstance(value, Tensor) and value.ndim > 0)


def _shown(value: object) -> str:
    if isinstance(value, Tensor) and value.ndim:
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    return repr(value)


def as_batch(*args: object, **kwargs: object) -> Batch:
    """A batch of what a user passes as data.

    One tensor, array, table of numbers (pandas), sparse matrix of counts or packed counts is a batch by itself. A
    tuple, a list and a ``TensorDataset`` are positional arguments of the programs; a mapping, a named tuple and a
    dataclass are keyword arguments by their fields' names. Arrays become tensors: floats of PyTorch's default
    precision, while integers and booleans keep their kind.

    Raises:
        ValueError: If the data are none of these, naming their type; or as by :class:`Inputs`.

    Example:
        >>> as_batch(np.zeros((3, 2))).dtype
        torch.float32
        >>> as_batch({"x": np.zeros((3, 2)), "y": np.arange(3)})
        Inputs(x=float32 (3, 2), y=int64 (3,))
    """
    if len(args) == 1 and not kwargs:
        (given,) = args
        value = _field(given)
        if isinstance(value, Inputs) or _is_field(value):
            return value  # type: ignore[return-value]
        if isinstance(given, torch.utils.data.TensorDataset):
            given = given.tensors
        named = _by_name(given)
        values = given if isinstance(given, (tuple, list)) else ()
        if not any(_is_field(_field(part)) for part in (values if named is None else named.values())):
            raise ValueError(
                "data are a tensor, an array, a sparse matrix of counts, PackedCounts, or a tuple, dict, named tuple "
                f"or dataclass of them, with a row for each datum, got {type(given).__name__}; convert them"
            )
        parts = as_batch(*values) if named is None else _inputs((), named)
        if isinstance(parts, Inputs):
            parts.whole = _wrapper(given)
        return parts
    return _inputs(args, kwargs)


def _inputs(args: Sequence[object], kwargs: Mapping[str, object]) -> Inputs:
    return Inputs(*map(_field, args), **{str(name): _field(value) for name, value in kwargs.items()})


def _by_name(given: object) -> dict[str, object] | None:
    if isinstance(given, Mapping):
        return {str(name): value for name, value in given.items()}
    if isinstance(given, tuple) and hasattr(given, "_asdict"):
        return dict(given._asdict())
    if is_dataclass(given) and not isinstance(given, type):
        return {each.name: getattr(given, each.name) for each in fields(given)}
    return None


def _wrapper(given: object) -> Callable[[Inputs], object]:
    """A function from the fields back to a container like the one given, for programs that take it whole."""
    kind: Callable[..., object] = dict if isinstance(given, Mapping) else type(given)
    if _by_name(given) is not None:
        return lambda batch: kind(**batch.kwargs)
    return lambda batch: kind(batch.args)


def _field(value: object) -> Field | Constant:
    """A field from an array; other values as they are, for :class:`Inputs` to check."""
    if isinstance(value, np.generic):
        number: Constant = value.item()
        return number
    if isinstance(value, np.ndarray) or hasattr(value, "to_numpy"):
        return tensor_of(value)
    if hasattr(value, "tocsr"):
        return PackedCounts.from_csr(value.tocsr())
    return value  # type: ignore[return-value]


def concatenate(parts: Sequence[Batch]) -> Batch:
    """One batch of all the data of several of one kind, in order.

    Example:
        >>> concatenate([torch.zeros(2, 3), torch.ones(1, 3)]).shape
        torch.Size([3, 3])
        >>> x = PackedCounts.from_dense([[2, 0, 1], [0, 3, 0]])
        >>> concatenate([x, x[:1]]).lengths
        tensor([3., 3., 3.])
        >>> concatenate([Inputs(x, torch.zeros(2)), Inputs(x[:1], torch.ones(1))])
        Inputs(PackedCounts(3 documents, 3 words, 5 entries), float32 (3,))
    """
    first = parts[0]
    if isinstance(first, Inputs):
        fields = [part.fields() for part in parts if isinstance(part, Inputs)]
        return first.replace({name: concatenate([part[name] for part in fields]) for name in fields[0]})  # type: ignore[misc]
    packed = [part for part in parts if isinstance(part, PackedCounts)]
    return PackedCounts.concatenate(packed) if packed else torch.cat([p for p in parts if isinstance(p, Tensor)])


def main_field(x: Batch) -> Field:
    """The field called ``x``, else the first one; a batch of one field itself.

    Example:
        >>> main_field(Inputs(y=torch.zeros(2), x=torch.ones(2)))
        tensor([1., 1.])
    """
    if not isinstance(x, Inputs):
        return x
    fields = x.fields()
    return fields.get("x", next(iter(fields.values())))


def documents(x: Batch) -> PackedCounts | None:
    """The documents of a batch; None if it has none."""
    fields = x.fields().values() if isinstance(x, Inputs) else (x,)
    return next((field for field in fields if isinstance(field, PackedCounts)), None)


def data_width(x: Batch) -> int:
    """Numbers of a datum, in all its fields; of documents, the words of the vocabulary.

    Example:
        >>> data_width(torch.zeros(5, 2, 3)), data_width(Inputs(torch.zeros(5, 3), torch.zeros(5)))
        (6, 4)
    """
    return _width(x, lambda packed: packed.vocabulary)


def dense_width(x: Batch) -> int:
    """Numbers of a datum, in all its fields, where documents, which cost their distinct words only, count as one."""
    return _width(x, lambda packed: 1)


def _width(x: Batch, of_documents: Callable[[PackedCounts], int]) -> int:
    fields = x.fields().values() if isinstance(x, Inputs) else (x,)
    return sum(of_documents(f) if isinstance(f, PackedCounts) else f.shape[1:].numel() for f in fields)


def examples(x: Batch, count: int = 2) -> Batch:
    """A few data by which networks learn what they read, and those with the largest of an integer, or with NaN.

    Of more than two, they lie at equal distances: their order may have a meaning.

    Example:
        >>> examples(Inputs(torch.zeros(9), torch.arange(9) % 7)).args[1]
        tensor([0, 1, 6])
        >>> len(examples(torch.zeros(9, 2)))
        2
    """
    rows = []
    for field in x.fields().values() if isinstance(x, Inputs) else (x,):
        if isinstance(field, Tensor) and len(field):
            if not field.is_floating_point() and isinstance(x, Inputs):
                rows.append(largest_row(field))
            elif field.is_floating_point() and (row := missing_row(field)) is not None:
                rows.append(row)
    count = min(count, len(x))
    some = range(count) if count <= 2 else torch.linspace(0, len(x) - 1, count).long().tolist()
    return x[torch.tensor([*some, *rows], device=x.device)] if rows or count > 2 else x[:count]
