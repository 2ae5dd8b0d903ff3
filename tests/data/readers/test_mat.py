"""MATLAB's files, of version 5 and 7.3."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat
from scipy.sparse import csc_matrix

from ppl_vae.data import PackedCounts, load_corpus

RNG = np.random.default_rng(0)
DATA = RNG.standard_normal((12, 3))
CLASSES = np.array([1, 2, 10] * 4)[:, None].astype(float)


def load(path: Path, **options: object):
    return load_corpus(str(path), validation=0, **options)


def splits(corpus):
    """Data for training, and those that are held out of them."""
    return [split for split in (corpus.train, corpus.test) if split is not None]


def rows(*parts) -> set[tuple[float, ...]]:
    return {tuple(row.flatten().tolist()) for split in parts for row in split.values}


def of(array: np.ndarray) -> set[tuple[float, ...]]:
    return {tuple(row.flatten().tolist()) for row in array.astype(np.float32)}


def test_one_matrix_with_labels_along_either_axis(tmp_path: Path) -> None:
    for name, matrix in (("rows.mat", DATA), ("columns.mat", DATA.T)):
        savemat(tmp_path / name, {"fea": matrix, "gnd": CLASSES, "about": "texts are left out"})
        corpus = load(tmp_path / name)
        assert rows(*splits(corpus)) == of(DATA)
        assert corpus.label_names == ("1", "2", "10")
        label = {tuple(x.astype(np.float32).tolist()): int(c) for x, c in zip(DATA, CLASSES[:, 0], strict=True)}
        for split in splits(corpus):
            for x, k in zip(split.values, split.labels, strict=True):
                assert int(corpus.label_names[int(k)]) == label[tuple(x.tolist())]
        assert any("holds 'about' too, which nothing reads" in note for note in corpus.notes)


def test_splits_with_labels_as_zeros_and_ones(tmp_path: Path) -> None:
    ones = np.eye(3)[np.arange(12) % 3]
    savemat(tmp_path / "a.mat", {"trainData": DATA, "test_x": DATA[:4] + 9, "train_y": ones, "test_y": ones[:4]})
    corpus = load(tmp_path / "a.mat")
    assert (rows(corpus.train), rows(corpus.test)) == (of(DATA), of(DATA[:4] + 9))
    assert corpus.label_names == ("0", "1", "2")


def test_images_of_bytes_with_colours_and_data_last(tmp_path: Path) -> None:
    images = RNG.integers(0, 256, (8, 8, 3, 5), dtype=np.uint8)
    savemat(tmp_path / "a.mat", {"X": images, "y": np.array([[1], [2], [1], [2], [1]], dtype=np.uint8)})
    corpus = load(tmp_path / "a.mat")
    assert rows(*splits(corpus)) == of(images.transpose(3, 2, 0, 1).astype(np.float32) / np.float32(255))


def test_sparse_counts_are_documents(tmp_path: Path) -> None:
    counts = RNG.poisson(1.0, (20, 6)) + np.eye(6, dtype=int)[np.arange(20) % 6]
    savemat(tmp_path / "a.mat", {"fea": csc_matrix(counts.astype(float)), "gnd": (np.arange(20) % 2)[:, None]})
    corpus = load(tmp_path / "a.mat", counts=True)
    assert isinstance(corpus.train.values, PackedCounts)
    words = [int(word.removeprefix("word ")) - 1 for word in corpus.vocabulary]
    dense = np.concatenate([split.values.to_csr().toarray() for split in splits(corpus)])
    found = np.zeros((20, 6))
    found[:, words] = dense
    assert rows_of(found) == rows_of(counts)
    assert corpus.label_names == ("0", "1")
    savemat(tmp_path / "b.mat", {"fea": csc_matrix(counts / 2)})
    with pytest.raises(ValueError, match=r"b.mat holds .*, and counts are whole numbers: name the variable of counts"):
        load(tmp_path / "b.mat", counts=True)


def rows_of(matrix: np.ndarray) -> list[tuple[int, ...]]:
    return sorted(tuple(map(int, row)) for row in matrix)


def test_version_7_3(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    matrix = csc_matrix(np.where(RNG.random((12, 4)) < 0.5, 1.0, 0.0))
    with h5py.File(tmp_path / "a.mat", "w", userblock_size=512) as file:
        file["gnd"] = CLASSES.T
        group = file.create_group("fea")
        group.attrs["MATLAB_sparse"] = 12
        group["data"], group["ir"], group["jc"] = matrix.data, matrix.indices, matrix.indptr
        file["fea2"] = DATA.T  # MATLAB's axes are in reverse order
    head = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
    content = (tmp_path / "a.mat").read_bytes()
    (tmp_path / "a.mat").write_bytes(head + content[128:])
    assert rows(*splits(load(tmp_path / "a.mat", variable="fea"))) == of(matrix.toarray())
    assert rows(*splits(load(tmp_path / "a.mat", variable="fea2", label="gnd"))) == of(DATA)


def test_what_is_not_clear_is_asked(tmp_path: Path) -> None:
    savemat(tmp_path / "a.mat", {"ff": DATA, "gg": DATA, "h": 3.0})
    with pytest.raises(ValueError, match=r"holds several matrices: 'ff 12 x 3, gg 12 x 3, h 1 x 1'.* \(--variable\)"):
        load(tmp_path / "a.mat")
    with pytest.raises(ValueError, match=r"has no variable 'kk' \(--variable\); it has 'ff 12 x 3"):
        load(tmp_path / "a.mat", variable="kk")
    corpus = load(tmp_path / "a.mat", variable="ff", data_axis="last")
    assert rows(*splits(corpus)) == of(DATA.T)
    assert any(
        "if they are the columns, --data-axis last" in note for note in load(tmp_path / "a.mat", variable="ff").notes
    )
    savemat(tmp_path / "b.mat", {"train_x": DATA, "xTrain": DATA})
    with pytest.raises(ValueError, match="two variables of train data"):
        load(tmp_path / "b.mat")
    (tmp_path / "a.mat").write_bytes((tmp_path / "a.mat").read_bytes()[:300])
    with pytest.raises(ValueError, match="a.mat is damaged, too large or no MATLAB file .*; write it again"):
        load(tmp_path / "a.mat")
