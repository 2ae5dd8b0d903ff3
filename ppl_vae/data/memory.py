"""Corpora of data that a Python program holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ppl_vae.data.corpus import Corpus, Data
from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.frames import dataset_tensors, source_of
from ppl_vae.data.inputs import Batch, Field, Inputs, as_batch, documents
from ppl_vae.data.precision import lost
from ppl_vae.data.splits import prepare, split_positions

__all__ = ["corpus_of"]


def corpus_of(
    values: object,
    *,
    validation: float = 0.1,
    seed: int = 0,
    missing: bool = False,
    counts: bool = False,
    arguments: Sequence[str] = (),
) -> Corpus:
    """Splits data at random into training, validation and test data; a corpus is returned as it is.

    A tenth is held out for the test, the same data for every seed. Counts keep all their words.

    Arguments:
        values: A tensor or array ``(data, *shape)``, converted to float32; a SciPy sparse matrix of counts
            ``(documents, words)``; packed counts; a data frame or AnnData, whose names, labels and splits stay with the
            data (:mod:`~ppl_vae.data.frames`); a map-style ``Dataset`` or a ``DataLoader`` of one, read once; several
            fields, of which only floats are converted (:func:`~ppl_vae.data.inputs.as_batch`); or a corpus.
        validation: Share of the remaining data held out to choose the epoch.
        seed: Chooses the validation data.
        missing: Whether NaN is allowed: a value that is missing, which the model masks.
        counts: Whether the numbers of a data frame or of AnnData are counts, for models of documents.
        arguments: Names of the arguments of the model. Several are the columns of a data frame that are called so; of
            the items of a dataset a model of one takes the first part, and a second one, if it is a whole number, is
            the label.

    Raises:
        ValueError: If the values are none of these, or not finite.

    Example:
        >>> corpus = corpus_of(torch.zeros(100, 3))
        >>> len(corpus.train), len(corpus.validation), len(corpus.test)
        (81, 9, 10)
    """
    if isinstance(values, Corpus):
        return values
    source = source_of(values, counts=counts, missing=missing, arguments=arguments)
    one_argument = len(arguments) == 1
    if source is not None:
        return prepare("data", source, validation=validation, seed=seed, vocabulary=max(1, len(source.words)))
    tensors, labels = dataset_tensors(values), None
    if tensors is not None:
        if one_argument and len(tensors) > 1:
            labels, tensors = _labels(tensors[1:]), tensors[:1]
        values = tensors if len(tensors) > 1 else tensors[0]
    wide = as_batch(values)
    batch = _batch(wide, missing)
    packed = documents(batch)
    words = tuple(f"word {i}" for i in range(packed.vocabulary)) if packed is not None else ()
    positions = split_positions(len(batch), validation, seed)
    at = {name: torch.from_numpy(rows) for name, rows in positions.items()}
    splits = {name: Data(batch[rows], None if labels is None else labels[rows]) for name, rows in at.items()}
    classes = () if labels is None else tuple(str(i) for i in range(int(labels.max()) + 1))
    notes = tuple(_lost(wide, batch))
    if tensors is not None and one_argument:
        notes += ("of the items of the dataset the model reads the first part; " + _rest(labels),)
    return Corpus("data", splits, classes, words, notes)


def _labels(rest: tuple[Tensor, ...]) -> Tensor | None:
    """The classes of the items of a dataset; None where their second parts are none."""
    second = rest[0]
    return second.long() if second.ndim == 1 and not second.is_floating_point() and second.min() >= 0 else None


def _rest(labels: Tensor | None) -> str:
    return "what else they hold is dropped" if labels is None else "the second, a whole number, is the label"


def _lost(wide: Batch, narrow: Batch) -> Iterator[str]:
    """What 32-bit floats do not keep of the data."""
    for (name, before), after in zip(_fields(wide).items(), _fields(narrow).values(), strict=True):
        if isinstance(before, Tensor) and isinstance(after, Tensor) and before.is_floating_point():
            line = lost(before.detach().cpu().double().numpy(), after.float().numpy())
            if line:
                yield f"field {name}: {line}" if name else line


def _fields(batch: Batch) -> dict[str, Field]:
    return batch.fields() if isinstance(batch, Inputs) else {"": batch}


def _batch(batch: Batch, missing: bool) -> Batch:
    if isinstance(batch, Inputs):
        for name, field in batch.fields().items():
            _check_finite(field, missing, f"field {name} of the data has")
        return batch.map(_on_cpu)
    _check_finite(batch, missing, "the data have")
    return _on_cpu(batch.float() if isinstance(batch, Tensor) else batch)


def _on_cpu(field: Field) -> Field:
    if isinstance(field, PackedCounts):
        return field
    tensor = field.detach().cpu()
    return tensor.float() if tensor.is_floating_point() else tensor


def _check_finite(field: Field, missing: bool, what: str) -> None:
    field = _on_cpu(field)
    if isinstance(field, PackedCounts):
        return
    wrong = ~(field.isfinite() | (field.isnan() & missing)).reshape(len(field), -1)
    if wrong.any():
        row = int(wrong.any(1).int().argmax())
        value = field.reshape(len(field), -1)[row][wrong[row]][0].item()
        raise ValueError(
            f"{what} {int(wrong.sum())} values that are not finite, the first in row {row} (counted from 0): {value:g}"
            "; give finite numbers, or missing=True if NaN is a missing value that the model masks"
        )
