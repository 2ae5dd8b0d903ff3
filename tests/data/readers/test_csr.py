"""Sparse counts written by SciPy, with words and labels beside them."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix, save_npz

from tests.support.data_files import TABLE, documents_of, read


def test_counts_words_and_labels(tmp_path: Path) -> None:
    save_npz(tmp_path / "counts.npz", csr_matrix(TABLE))
    (tmp_path / "vocabulary.txt").write_text("ant\nbee\ncat\n")
    (tmp_path / "labels.txt").write_text("x\ny\nx\ny\nx\n")
    corpus = read(tmp_path / "counts.npz")
    assert documents_of(corpus) == sorted(TABLE.tolist())
    assert corpus.vocabulary == ("ant", "bee", "cat") and corpus.label_names == ("x", "y")


@pytest.mark.parametrize("form", ["csr", "csc", "coo"])
def test_written_by_hand_without_the_name_of_the_form(tmp_path: Path, form: str) -> None:
    matrix = csr_matrix(TABLE).asformat(form)
    parts = ("row", "col") if form == "coo" else ("indices", "indptr")
    np.savez(
        tmp_path / "counts.npz", data=matrix.data, shape=matrix.shape, **{part: getattr(matrix, part) for part in parts}
    )
    assert documents_of(read(tmp_path / "counts.npz")) == sorted(TABLE.tolist())


def test_words_go_by_their_columns(tmp_path: Path) -> None:
    save_npz(tmp_path / "counts.npz", csr_matrix(TABLE.astype(np.float32)))
    assert read(tmp_path / "counts.npz").vocabulary == ("word 0", "word 1", "word 2")


@pytest.mark.parametrize("value", [-1, 0.5, np.nan, np.inf, 2.0**25])
def test_wrong_count(tmp_path: Path, value: float) -> None:
    table = TABLE.astype(float)
    table[1, 2] = value
    save_npz(tmp_path / "counts.npz", csr_matrix(table))
    with pytest.raises(ValueError, match=rf"counts.npz: count {value:.12g} of word 2 in document 1; .*raw counts"):
        read(tmp_path / "counts.npz")


def test_truncated(tmp_path: Path) -> None:
    save_npz(tmp_path / "counts.npz", csr_matrix(TABLE))
    content = (tmp_path / "counts.npz").read_bytes()
    for size in (0, 10, len(content) // 2, len(content) - 5):
        (tmp_path / "counts.npz").write_bytes(content[:size])
        with pytest.raises(ValueError, match="counts.npz is truncated or no sparse matrix.*save_npz"):
            read(tmp_path / "counts.npz")


def test_other_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "counts.npz", TABLE)
    with pytest.raises(ValueError, match="counts.npz has the arrays arr_0, none of them called x or train; .*save_npz"):
        read(tmp_path / "counts.npz")


def test_word_out_of_range(tmp_path: Path) -> None:
    arrays = {"data": [1], "indices": [7], "indptr": [0, 1], "shape": [1, 3], "format": b"csr"}
    np.savez(tmp_path / "counts.npz", **{name: np.array(value) for name, value in arrays.items()})
    with pytest.raises(ValueError, match="counts.npz is truncated or no sparse matrix"):
        read(tmp_path / "counts.npz")


@pytest.mark.parametrize("form", ["csr", "csc", "coo"])
def test_forms(tmp_path: Path, form: str) -> None:
    save_npz(tmp_path / "counts.npz", csr_matrix(TABLE).asformat(form))
    assert documents_of(read(tmp_path / "counts.npz")) == sorted(TABLE.tolist())


@pytest.mark.parametrize("form", ["csr", "csc", "coo"])
@pytest.mark.parametrize("place", [-1, 5, 10**9])
def test_index_out_of_range_never_reaches_scipy(tmp_path: Path, form: str, place: int) -> None:
    save_npz(tmp_path / "counts.npz", csr_matrix(TABLE).asformat(form))
    with np.load(tmp_path / "counts.npz") as file:
        arrays = dict(file)
    arrays["row" if form == "coo" else "indices"][1] = place
    np.savez(tmp_path / "counts.npz", **arrays)
    with pytest.raises(ValueError, match=r"no sparse matrix \(an entry lies outside its \d (row|column)s\)"):
        read(tmp_path / "counts.npz")


@pytest.mark.parametrize("form", ["bsr", "dia"])
def test_other_form(tmp_path: Path, form: str) -> None:
    save_npz(tmp_path / "counts.npz", csr_matrix(TABLE).asformat(form))
    with pytest.raises(ValueError, match=rf"its format is '{form}'; convert the matrix by .tocsr\(\)"):
        read(tmp_path / "counts.npz")


def test_one_damaged_size(tmp_path: Path) -> None:
    for shape, words in (((5, 2**31 - 1), "word ids up to 2,147,483,647"), ((2**31 - 1, 3), "pointers do not rise")):
        arrays = {"data": [1], "indices": [0], "indptr": [0, 1, 1, 1, 1, 1], "shape": shape, "format": b"csr"}
        np.savez(tmp_path / "counts.npz", **{name: np.array(value) for name, value in arrays.items()})
        with pytest.raises(ValueError, match=words):
            read(tmp_path / "counts.npz")


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    marker = tmp_path / "was-run"
    arrays = {"indices": [0], "indptr": [0, 1], "shape": [1, 3], "format": b"csr"}
    trap = np.array([_Trap(marker)], dtype=object)
    np.savez(tmp_path / "counts.npz", data=trap, **{name: np.array(value) for name, value in arrays.items()})
    (tmp_path / "bare.npz").write_bytes(pickle.dumps(_Trap(marker)))
    for name in ("counts.npz", "bare.npz"):
        with pytest.raises(ValueError, match=f"{name} is truncated or no sparse matrix"):
            read(tmp_path / name)
    assert not marker.exists()


@pytest.mark.parametrize(("name", "axis"), [("vocabulary.txt", "3 columns"), ("labels.txt", "5 rows")])
def test_list_of_another_length(tmp_path: Path, name: str, axis: str) -> None:
    save_npz(tmp_path / "counts.npz", csr_matrix(TABLE))
    (tmp_path / name).write_text("one\ntwo\n")
    with pytest.raises(ValueError, match=f"{name} has 2 lines for {axis}"):
        read(tmp_path / "counts.npz")


def test_blank_word(tmp_path: Path) -> None:
    save_npz(tmp_path / "counts.npz", csr_matrix(TABLE))
    (tmp_path / "vocabulary.txt").write_text("ant\n\ncat\n")
    with pytest.raises(ValueError, match="vocabulary.txt, line 2: a blank line where a word should be"):
        read(tmp_path / "counts.npz")


class _Trap:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.marker,)
