"""Tables with named columns: numbers, a label, a split and names of rows, told apart by name and kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppl_vae.data.folders import split_named
from ppl_vae.data.sizes import check_bytes
from ppl_vae.data.source import Source, SourceSplit, SplitName
from ppl_vae.data.text_file import LARGEST_COUNT, shown, unquoted
from ppl_vae.data.tokens import class_ids

__all__ = ["LABELS", "by_split", "counts_of", "label_texts", "table_source"]

LABELS = ("label", "labels", "class", "target", "species", "cell_type")
"""Columns of these names are labels, where they hold texts or whole numbers."""

SPLITS = ("split", "partition")
"""Columns of texts that name the split of each row."""

_WHOLE = 2**24
"""32-bit floats hold every whole number up to this one."""


@dataclass
class _Roles:
    numbers: list[str] = field(default_factory=list)
    label: str | None = None
    split: str | None = None
    names: str | None = None
    others: list[str] = field(default_factory=list)


def table_source(
    where: str,
    columns: Mapping[str, NDArray[Any]],
    *,
    counts: bool = False,
    missing: bool = False,
    names: Sequence[str] | None = None,
    partial: bool = False,
) -> Source:
    """A row is a datum: the columns of numbers are its numbers, by their names.

    A column called ``label``, ``class``, ``target``, ``species`` or ``cell_type``, or the only column of texts if they
    repeat, is the label; ``split`` names the split of a row; a first column of texts that are all different names the
    rows. Other texts are left out.

    Arguments:
        where: What errors call the table.
        columns: Columns of one length by name: numbers, or texts (strings or objects).
        counts: Whether the numbers are counts of documents, the columns their words.
        missing: Whether NaN is allowed.
        names: Names of the rows.
        partial: Whether it is a part of a table, which may have no training data.

    Raises:
        ValueError: If there are no numbers, one is not finite or no count, a label is missing or a split unknown.
    """
    roles = _roles(columns)
    if not roles.numbers:
        raise ValueError(
            f"{where} has no column of numbers among {unquoted(', '.join(columns))}; give numbers, or documents in a "
            "column 'text'"
        )
    notes = _notes(where, roles)
    chosen = {name: columns[name] for name in roles.numbers}
    values = counts_of(where, chosen) if counts else _matrix(where, chosen, missing, notes)
    ids, classes = None, tuple[str, ...]()
    if roles.label is not None:
        ids, classes = class_ids(label_texts(where, roles.label, columns[roles.label]))
    if roles.names is not None:
        names = [str(name) for name in columns[roles.names]]
    whole = SourceSplit(values, ids, None if names is None else tuple(names))
    splits = None if roles.split is None else [str(name) for name in columns[roles.split]]
    return by_split(where, whole, splits, tuple(roles.numbers), classes, notes, partial)


def by_split(
    where: str,
    whole: SourceSplit,
    splits: Sequence[str] | None,
    words: tuple[str, ...] = (),
    labels: tuple[str, ...] = (),
    notes: Sequence[str] = (),
    partial: bool = False,
) -> Source:
    """A source of data whose splits are named row by row, if they are.

    Raises:
        ValueError: If a name is no split's, or no row is for training, except of a part of a table.
    """
    if splits is None:
        return Source({"train": whole}, words, labels, tuple(notes))
    found: dict[SplitName, list[int]] = {}
    for row, name in enumerate(splits):
        split = split_named(name)
        if split is None:
            raise ValueError(f"{where}, row {row}: split {shown(name)}; use train, validation or test")
        found.setdefault(split, []).append(row)
    if "train" not in found and not partial:
        raise ValueError(f"{where} has no data for training, only for {', '.join(sorted(found))}; add train")
    return Source({split: whole.take(np.array(rows)) for split, rows in found.items()}, words, labels, tuple(notes))


def _roles(columns: Mapping[str, NDArray[Any]]) -> _Roles:
    roles = _Roles()
    for place, (name, values) in enumerate(columns.items()):
        lower, text = name.strip().lower(), values.dtype.kind not in "buif"
        if text and lower in SPLITS:
            roles.split = name
        elif roles.label is None and lower in LABELS and (text or _whole(values)):
            roles.label = name
        elif place == 0 and (not lower or text and len(set(values.tolist())) == len(values)):
            roles.names = name
        else:
            (roles.others if text else roles.numbers).append(name)
    if roles.label is None and len(roles.others) == 1:
        values = columns[roles.others[0]]
        if 2 * len({str(value) for value in values}) <= len(values):
            roles.label = roles.others.pop()
    return roles


def _whole(values: NDArray[Any]) -> bool:
    return bool(values.dtype.kind in "bui" or (np.isfinite(values).all() and (values == np.rint(values)).all()))


def _notes(where: str, roles: _Roles) -> list[str]:
    notes = []
    if roles.label is not None:
        notes.append(f"column {shown(roles.label)} holds the labels, which are no part of a datum")
    if roles.others:
        listed = unquoted(", ".join(roles.others), 100)
        notes.append(f"columns of {where} that hold no numbers are not read: {listed}")
    return notes


def label_texts(where: str, name: str, values: NDArray[Any]) -> list[str]:
    """A column of labels as texts.

    Raises:
        ValueError: If one is missing, naming its row.
    """
    labels = [f"{value:g}" if isinstance(value, float) else str(value).strip() for value in values.tolist()]
    for row, (label, value) in enumerate(zip(labels, values.tolist(), strict=True)):
        if not label or value is None or value != value:
            raise ValueError(f"{where}, column {shown(name)}, row {row}: no label; give every row one")
    return labels


def _matrix(where: str, columns: Mapping[str, NDArray[Any]], missing: bool, notes: list[str]) -> NDArray[np.float32]:
    rows = len(next(iter(columns.values())))
    check_bytes(where, 4 * rows * len(columns), "as 32-bit floats")
    result = np.empty((rows, len(columns)), dtype=np.float32)
    large = lost = None
    for place, (name, values) in enumerate(columns.items()):
        with np.errstate(over="ignore"):
            result[:, place] = values
        wrong = ~np.isfinite(result[:, place]) & ~(np.isnan(result[:, place]) & missing)
        if wrong.any():
            row = int(np.argmax(wrong))
            remedy = "; if NaN is a missing value that the model masks, --missing allows it"
            raise ValueError(
                f"{where}, column {shown(name)}, row {row} (counted from 0) holds the value {values[row]:g}; data are "
                f"finite, at most 3.4e38: remove the row or mend it{remedy if np.isnan(values[row]) else ''}"
            )
        if values.dtype.kind in "ui" and len(values) and max(-int(values.min()), int(values.max())) > _WHOLE:
            large = name
        if values.dtype == np.float64 and len(values) and np.ptp(values) > 0 == np.ptp(result[:, place]):
            lost = name
    if large is not None:
        notes.append(f"column {shown(large)} has whole numbers beyond {_WHOLE:,}, which are rounded to 32-bit floats")
    if lost is not None:
        notes.append(f"column {shown(lost)} varies, but not as 32-bit floats: subtract its mean first")
    return result


def counts_of(where: str, columns: Mapping[str, NDArray[Any]]) -> Any:
    """Columns as sparse counts ``(rows, columns)``.

    Raises:
        ValueError: If a value is no count, naming its row and column.
    """
    from scipy.sparse import csc_matrix, hstack

    parts = []
    for name, values in columns.items():
        right = (values >= 0) & (values <= LARGEST_COUNT) & (values == np.rint(values))
        if not right.all():
            row = int(np.argmin(right))
            raise ValueError(
                f"{where}, column {shown(name)}, row {row} (counted from 0) holds {values[row]:g}; counts are whole "
                f"numbers from 0 to {LARGEST_COUNT}: give raw counts and not weights, or take a model of tensors"
            )
        parts.append(csc_matrix(values.astype(np.float64)[:, None]))
    return hstack(parts, format="csr")
