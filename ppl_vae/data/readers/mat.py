"""MATLAB's ``.mat``: a matrix of data with labels, or one for each split, dense or sparse."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ppl_vae.data.child_process import arrays_by_child
from ppl_vae.data.folders import split_named
from ppl_vae.data.frames import annotated_source
from ppl_vae.data.images import prepared
from ppl_vae.data.readers.base import Reader
from ppl_vae.data.readers.keras import classes_of, values_of
from ppl_vae.data.sizes import check_bytes
from ppl_vae.data.source import Source, SourceSplit, SplitName, numbered_words
from ppl_vae.data.text_file import reason, shown

__all__ = ["READER"]

DATA = {"x", "data", "fea", "features", "image", "images"}
"""Names, and parts of names, of variables that hold data; those that name a split alone hold data too."""

LABELS = {"y", "label", "labels", "gnd", "target", "targets", "class", "classes"}
"""Names, and parts of names, of variables that hold labels."""


def read_mat(
    path: Path,
    counts: bool = False,
    missing: bool = False,
    binarise: str = "",
    variable: str = "",
    label: str = "",
    data_axis: Literal["auto", "first", "last"] = "auto",
) -> Source:
    """Reads the variables of a file of any version; cells, structures and texts are left out, and nothing is run.

    Variables called ``train_x``, ``test_x``, ``x_train``, ``trainData`` ... are the splits, with labels ``train_y``
    ...; else one matrix is the data, and a variable with a number for each datum may be the labels.

    Arguments:
        path: The file.
        counts: Whether the numbers are counts, for models of documents; set by the model.
        missing: Whether NaN is allowed: a value that is missing, which the model masks.
        binarise: A threshold in (0, 1), such as 0.5, above which a pixel is 1, or stochastic: each pixel is drawn once,
            1 with its value as the probability, the same whatever the seed.
        variable: The variable that holds the data; by default the only matrix, or one called X, fea, data ...
        label: The variable that holds the labels; by default one called y, gnd, labels ... if there is one.
        data_axis: The axis of a matrix along which its data lie; auto takes the one as long as the labels, else first,
            of four axes the last.

    Raises:
        ValueError: If the file is damaged or of version 7.3 without h5py; if the choice of a variable is not clear,
            with their names and shapes; or if data and labels do not fit together.
    """
    found = _variables(path)
    notes: list[str] = []
    others = found.pop("others", np.array([], dtype=str)).tolist()
    splits, labels = dict[SplitName, Any](), dict[SplitName, NDArray[Any]]()
    if not variable and not label:
        splits, labels = _by_split(path, found)
    if "train" in splits:
        others += [name for name in found if _part(name) is None]
    else:
        chosen = variable or _matrix(path, found)
        named = label or next((name for name in found if name != chosen and name.lower() in LABELS), "")
        for each, option in ((chosen, "variable"), (named, "label")):
            if each and each not in found:
                raise ValueError(f"{path} has no variable {shown(each)} (--{option}); it has {_listed(found)}")
        splits = {"train": found[chosen]}
        labels = {"train": _column(found[named])} if named else {}
        others += [name for name in found if name not in (chosen, named)]
    arrays = {
        split: _data_first(f"{path}, {split} data", array, labels.get(split), data_axis, notes)
        for split, array in splits.items()
    }
    if others:
        notes.append(f"{path.name} holds {shown(', '.join(others), 100)} too, which nothing reads")
    if counts:
        return _documents(path, arrays, labels, notes)
    values = {split: values_of(f"{path}, {split} data", _dense(path, a), notes, missing) for split, a in arrays.items()}
    if len({array.shape[1:] for array in values.values()}) > 1:
        raise ValueError(f"{path}: data of several shapes; give all splits data of one shape, or name one (--variable)")
    ids, names = classes_of(path, values, labels, notes)
    parts = {split: SourceSplit(array, ids.get(split)) for split, array in values.items()}
    source = Source(parts, label_names=names, notes=tuple(dict.fromkeys(notes)))
    return prepared(source, str(path), dequantise=False, binarise=binarise)


def _variables(path: Path) -> dict[str, Any]:
    """The variables of numbers, sparse ones as SciPy's matrices, and the names of others."""
    from scipy.sparse import csc_matrix

    arrays = arrays_by_child(path, "mat_child.py", "MATLAB file")
    found: dict[str, Any] = {}
    for name, array in arrays.items():
        whole, _, part = name.partition(".")
        if part == "data":
            parts = [arrays[f"{whole}.{each}"] for each in ("data", "indices", "indptr")]
            try:
                matrix = csc_matrix(tuple(parts), shape=tuple(arrays[f"{whole}.shape"].tolist()))
                matrix.check_format(full_check=True)
            except ValueError as error:
                raise ValueError(f"{path} is damaged (variable {whole}: {reason(error)}); write it again") from None
            found[whole] = matrix
        elif not part:
            found[name] = array
    return found


def _words(name: str) -> list[str]:
    return [part.lower() for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)]


def _is(name: str, kind: set[str]) -> bool:
    return any(word in kind for word in _words(name))


def _part(name: str) -> SplitName | None:
    """The split that a variable of data or labels belongs to."""
    words = _words(name)
    splits = [split for word in words if (split := split_named(word)) is not None]
    rest = [word for word in words if split_named(word) is None]
    return splits[0] if len(splits) == 1 and all(word in DATA | LABELS for word in rest) else None


def _by_split(path: Path, found: dict[str, Any]) -> tuple[dict[SplitName, Any], dict[SplitName, NDArray[Any]]]:
    """The variables of data and of labels that name their split."""
    splits, labels = dict[SplitName, Any](), dict[SplitName, NDArray[Any]]()
    for name, array in found.items():
        if (split := _part(name)) is None:
            continue
        kind = labels if _is(name, LABELS) else splits
        if split in kind:
            raise ValueError(f"{path} holds two variables of {split} data: {_listed(found)}; name one (--variable)")
        kind[split] = _column(array) if kind is labels else array
    return splits, labels


def _matrix(path: Path, found: dict[str, Any]) -> str:
    wide = [name for name, array in found.items() if min(array.shape, default=0) > 1]
    named = [name for name in wide if name.lower() in DATA]
    if len(wide) == 1 or len(named) == 1:
        return wide[0] if len(wide) == 1 else named[0]
    if not wide:
        raise ValueError(f"{path} holds no matrix of numbers; it has {_listed(found)}")
    raise ValueError(f"{path} holds several matrices: {_listed(found)}; name the one of the data (--variable)")


def _listed(found: dict[str, Any]) -> str:
    each = [f"{name} {' x '.join(map(str, array.shape))}" for name, array in found.items()]
    return shown(", ".join(each), 200) if each else "no variable of numbers"


def _column(array: Any) -> NDArray[Any]:
    """Labels, one for each datum: of a matrix of zeros and single ones the column of the one."""
    labels: NDArray[Any] = array.toarray() if hasattr(array, "toarray") else array
    if labels.ndim == 2 and min(labels.shape) > 1 and ((labels == 0) | (labels == 1)).all():
        labels = labels.argmax(1) if (labels.sum(1) == 1).all() else labels
    labels = labels.reshape(-1) if max(labels.shape, default=0) == labels.size else labels
    whole = labels.dtype.kind == "f" and bool((labels == np.rint(labels)).all())
    return labels.astype(np.int64) if whole else labels


def _data_first(where: str, array: Any, labels: NDArray[Any] | None, axis: str, notes: list[str]) -> Any:
    """The array with its data along the first axis."""
    count = len(labels) if labels is not None and labels.ndim == 1 else None
    last = axis == "last"
    if axis == "auto":
        last = array.shape[0] != count == array.shape[-1] if count is not None else array.ndim == 4
        if count is None and array.ndim == 2:
            notes.append(
                f"{where}: the {array.shape[0]:,} rows are taken as the data; if they are the columns, --data-axis last"
            )
    if not last:
        return array
    return array.T if array.ndim == 2 else np.moveaxis(array, -1, 0)


def _dense(path: Path, array: Any) -> NDArray[Any]:
    if not hasattr(array, "toarray"):
        return np.asarray(array)
    check_bytes(str(path), 8 * array.shape[0] * array.shape[1], "as dense numbers")
    return np.asarray(array.toarray())


def _documents(path: Path, arrays: dict[SplitName, Any], labels: dict[SplitName, Any], notes: list[str]) -> Source:
    from scipy.sparse import csr_matrix, vstack

    if any(array.ndim != 2 for array in arrays.values()) or len({array.shape[1] for array in arrays.values()}) > 1:
        raise ValueError(f"{path}: counts are matrices (documents, words) with the same words in all splits")
    joined = vstack([csr_matrix(array) for array in arrays.values()], format="csr")
    obs: dict[str, NDArray[Any]] = {}
    if len(arrays) > 1:
        obs["split"] = np.concatenate([np.full(array.shape[0], split) for split, array in arrays.items()])
    if labels.keys() == arrays.keys():
        obs["label"] = np.concatenate([each.reshape(-1) for each in labels.values()])
        if len(obs["label"]) != joined.shape[0]:
            raise ValueError(f"{path}: {joined.shape[0]} data and {len(obs['label'])} labels; give each its own")
    words = numbered_words(range(1, joined.shape[1] + 1))
    names = [str(number) for number in range(joined.shape[0])]
    raw = "the variable of counts (--variable)"
    source = annotated_source(str(path), joined, obs, words, names, counts=True, raw=raw)
    return replace(source, notes=tuple(dict.fromkeys([*notes, *source.notes])))


READER = Reader(
    "FILE.mat",
    "a matrix of data and perhaps labels, or one for each split, as MATLAB writes them",
    Tensor,
    read_mat,
    suffixes=(".mat",),
)
