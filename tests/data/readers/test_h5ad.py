"""AnnData's files."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from ppl_vae.data import PackedCounts, load_corpus
from ppl_vae.plugins.extras import install

COUNTS = np.random.default_rng(0).poisson(1.0, (30, 4)) + np.eye(4, dtype=int)[np.arange(30) % 4]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Cells with logarithms as X, counts as a layer, types by codes and a column of numbers."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5ad", "w") as file:
        file["X"] = np.log1p(COUNTS)
        matrix, layer = csr_matrix(COUNTS), file.create_group("layers/counts")
        layer.attrs["encoding-type"], layer.attrs["shape"] = "csr_matrix", COUNTS.shape
        for name in ("data", "indices", "indptr"):
            layer[name] = getattr(matrix, name)
        for name, size in (("obs", 30), ("var", 4)):
            file.create_group(name).attrs["_index"] = "names"
            file[f"{name}/names"] = [f"{name} {i}" for i in range(size)]
        file["obs/cell_type/codes"] = np.arange(30, dtype=np.int8) % 3 - 1
        file["obs/cell_type/categories"] = ["B", "T"]
        file["obs/batch"] = ["one", "two"] * 15
    return tmp_path / "a.h5ad"


def test_names_labels_and_layers(path: Path) -> None:
    corpus = load_corpus(str(path), validation=0)
    counts = load_corpus(str(path), validation=0, layer="counts", counts=True, label="batch")
    assert corpus.vocabulary == counts.vocabulary == ("var 0", "var 1", "var 2", "var 3")
    assert corpus.label_names == ("B", "T", "missing") and counts.label_names == ("one", "two")
    assert isinstance(counts.train.values, PackedCounts)
    dense = counts.train.values.to_csr().toarray()
    for row, title in enumerate(corpus.train.titles or ()):
        place = int(title.removeprefix("obs "))
        np.testing.assert_array_equal(corpus.train.values[row], np.log1p(COUNTS[place]).astype(np.float32))
        assert corpus.train.labels is not None and int(corpus.train.labels[row]) == (2, 0, 1)[place % 3]
        assert counts.train.titles is not None and counts.train.titles[row] == title
        assert dense[row].tolist() == COUNTS[place].tolist()


def test_what_is_not_there_or_no_count_is_named(path: Path) -> None:
    with pytest.raises(ValueError, match="has no matrix 'spliced'; choose --layer from 'X, counts'"):
        load_corpus(str(path), layer="spliced")
    with pytest.raises(ValueError, match="a.h5ad holds .*, and counts are whole numbers: name raw counts by --layer"):
        load_corpus(str(path), counts=True)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ValueError, match="a.h5ad is damaged, too large or no HDF5 file .*; write it again"):
        load_corpus(str(path))


def test_without_its_package_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.h5ad").write_bytes(b"")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=re.escape(f"needs h5py: {install('h5ad')}")):
        load_corpus(str(tmp_path / "a.h5ad"))
