"""Folders with a file for each split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix, save_npz

from ppl_vae.data import load_corpus
from tests.support.data_files import triplets

COUNTS = np.random.default_rng(0).poisson(1.0, (12, 4)) + np.eye(4, dtype=int)[np.arange(12) % 4]
WORDS = ("ant", "bee", "cat", "dog")


def svm(counts: np.ndarray, start: int = 1) -> str:
    return "".join(
        f"{i % 2} {' '.join(f'{start + j}:{c}' for j, c in enumerate(row) if c)}\n" for i, row in enumerate(counts)
    )


def write_svm(folder: Path) -> None:
    (folder / "train.svm").write_text(svm(COUNTS[:8]))
    (folder / "test.svm").write_text(svm(COUNTS[8:]))
    (folder / "vocabulary.txt").write_text("\n".join(WORDS))


def write_feat(folder: Path) -> None:
    for split, counts in (("train", COUNTS[:8]), ("test", COUNTS[8:])):
        (folder / split).mkdir()
        (folder / split / "labeledBow.feat").write_text(svm(counts, 0))
    (folder / "imdb.vocab").write_text("\n".join(WORDS))


def write_npz(folder: Path) -> None:
    for split, counts in (("training", COUNTS[:8]), ("testing", COUNTS[8:])):
        save_npz(folder / f"{split}.npz", csr_matrix(counts))
    (folder / "vocabulary.txt").write_text("\n".join(WORDS))


def write_uci(folder: Path) -> None:
    for split, counts in (("train", COUNTS[:8]), ("test", COUNTS[8:])):
        header = f"{len(counts)}\n4\n{np.count_nonzero(counts)}\n"
        (folder / f"docword.x.{split}.txt").write_text(header + triplets(counts))
    (folder / "vocab.x.txt").write_text("\n".join(WORDS))


@pytest.mark.parametrize("write", [write_svm, write_feat, write_npz, write_uci])
def test_files_are_joined_by_their_words(tmp_path: Path, write: object) -> None:
    write(tmp_path)  # type: ignore[operator]
    corpus = load_corpus(str(tmp_path), validation=0)
    assert corpus.vocabulary == WORDS
    assert corpus.train.values.to_csr().toarray().tolist() == COUNTS[:8].tolist()
    assert corpus.test.values.to_csr().toarray().tolist() == COUNTS[8:].tolist()
    if write in (write_svm, write_feat):
        assert corpus.label_names == ("0", "1")
        assert corpus.test.labels is not None and corpus.test.labels.tolist() == [0, 1, 0, 1]


def test_a_vocabulary_that_is_too_short(tmp_path: Path) -> None:
    write_svm(tmp_path)
    (tmp_path / "vocabulary.txt").write_text("ant\nbee\n")
    with pytest.raises(ValueError, match="vocabulary.txt has 2 words, and there is a word 4; give one word per line"):
        load_corpus(str(tmp_path))


def test_tables_of_numbers_with_columns_in_any_order(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((6, 2)).round(3), rng.standard_normal((4, 2)).round(3)
    train = "".join(f"{a},{b},{'xy'[i % 2]}\n" for i, (a, b) in enumerate(first))
    test = "".join(f"{b},{'yz'[i % 2]},{a}\n" for i, (a, b) in enumerate(second))
    (tmp_path / "train.csv").write_text(f"a,b,label\n{train}")
    (tmp_path / "test.csv").write_text(f"b,label,a\n{test}")
    corpus = load_corpus(str(tmp_path), validation=0)
    assert corpus.vocabulary == ("a", "b") and corpus.label_names == ("x", "y", "z")
    assert corpus.train.values.tolist() == first.astype(np.float32).tolist()
    assert corpus.test.values.tolist() == second.astype(np.float32).tolist()
    assert corpus.test.labels is not None and corpus.test.labels.tolist() == [1, 2, 1, 2]
    (tmp_path / "test.csv").write_text("b,label,c\n1,x,2\n3,y,4\n")
    with pytest.raises(ValueError, match="test.csv and train.csv do not have the same columns: 'a' is in one only"):
        load_corpus(str(tmp_path), validation=0)


def test_tables_of_counts_are_documents(tmp_path: Path) -> None:
    for split, counts in (("train", COUNTS[:8]), ("test", COUNTS[8:])):
        rows = "".join(",".join(map(str, row)) + "\n" for row in counts)
        (tmp_path / f"{split}.csv").write_text(f"{','.join(WORDS)}\n{rows}")
    corpus = load_corpus(str(tmp_path), validation=0, counts=True)
    assert corpus.vocabulary == WORDS
    assert corpus.train.values.to_csr().toarray().tolist() == COUNTS[:8].tolist()
    assert corpus.test.values.to_csr().toarray().tolist() == COUNTS[8:].tolist()
