"""Matrix Market, 10x Genomics and LDA-C."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from scipy.io import mmwrite
from scipy.sparse import coo_matrix

from ppl_vae.data import Corpus, PackedCounts, load_corpus

COUNTS = np.random.default_rng(0).poisson(1.0, (12, 4)) + np.eye(4, dtype=int)[np.arange(12) % 4]


def check(corpus: Corpus, names: list[str]) -> None:
    """Every row stands beside its name."""
    for data in corpus.splits.values():
        values = data.values.to_csr().toarray() if isinstance(data.values, PackedCounts) else data.values.numpy()
        for title, row in zip(data.titles or (), values, strict=True):
            assert row.tolist() == COUNTS[names.index(title)].tolist()


@pytest.mark.parametrize("counts", [False, True])
def test_a_matrix_of_scipy_and_its_transpose(tmp_path: Path, counts: bool) -> None:
    (tmp_path / "vocabulary.txt").write_text("ant\nbee\ncat\ndog\n")
    for name, matrix in (("a.mtx", COUNTS), ("b.mtx", COUNTS.T)):
        mmwrite(tmp_path / name, coo_matrix(matrix))
        corpus = load_corpus(str(tmp_path / name), validation=0, counts=counts, transpose=name == "b.mtx")
        assert isinstance(corpus.train.values, PackedCounts) == counts
        assert corpus.vocabulary == ("ant", "bee", "cat", "dog")
        check(corpus, [f"row {i + 1}" for i in range(12)])


def test_a_folder_of_10x_and_its_matrix(tmp_path: Path) -> None:
    mmwrite(tmp_path / "matrix.mtx", coo_matrix(COUNTS.T))
    for name, lines in (
        ("genes.tsv", [f"E{i}\tG{i % 3}" for i in range(4)]),
        ("barcodes.tsv.gz", [f"cell{i}" for i in range(12)]),
    ):
        content = "".join(f"{line}\n" for line in lines).encode()
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    for path in (tmp_path, tmp_path / "matrix.mtx"):
        corpus = load_corpus(str(path), validation=0, counts=True)
        assert corpus.vocabulary == ("G0 E0", "G1", "G2", "G0 E3")  # two genes of one symbol
        check(corpus, [f"cell{i}" for i in range(12)])
    (tmp_path / "genes.tsv").write_text("E0\n")
    with pytest.raises(ValueError, match="genes.tsv names 1 genes, the matrix has 4; download them again"):
        load_corpus(str(tmp_path))


HEADER = "%%MatrixMarket matrix coordinate real general\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1 1 1\n1 1 1\n", "line 1: it begins with '1 1 1'"),
        (HEADER + "%\n2 2\n", "line 3: expected 'rows columns entries', got '2 2'"),
        (HEADER + "2 2 2\n1 1 1\n", "2 entries announced, 1 found"),
        (HEADER + "2 2 1\n1 3 1\n", "line 3: column 3; there are 2, counted from 1"),
        (HEADER + "2 2147483647 1\n1 3 1\n", "has word ids up to 2,147,483,647"),
    ],
)
def test_malformed(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.mtx").write_text(content)
    with pytest.raises(ValueError, match=message):
        load_corpus(str(tmp_path / "a.mtx"))


def test_ldac_counts_its_pairs(tmp_path: Path) -> None:
    lines = [f"{np.count_nonzero(row)} " + " ".join(f"{j}:{c}" for j, c in enumerate(row) if c) for row in COUNTS]
    (tmp_path / "ap.dat").write_text("\n".join(lines))
    (tmp_path / "vocab.txt").write_text("ant\nbee\ncat\ndog\n")
    corpus = load_corpus(str(tmp_path / "ap.dat"), validation=0)
    assert corpus.vocabulary == ("ant", "bee", "cat", "dog")
    found = [row for data in corpus.splits.values() for row in data.values.to_csr().toarray().tolist()]
    assert sorted(found) == sorted(COUNTS.tolist())
    (tmp_path / "ap.dat").write_text("\n".join(lines * 2) + "\n3 1:2 2:1\n")
    with pytest.raises(ValueError, match=r"line 25: expected 'N id:count id:count ...', got '3 1:2 2:1'; N is"):
        load_corpus(str(tmp_path / "ap.dat"))
