"""Folders with one file of documents and what describes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ppl_vae.data import find_reader, load_corpus

COUNTS = np.random.default_rng(0).poisson(1.0, (12, 3)) + np.eye(3, dtype=int)[np.arange(12) % 3]
WORDS = ("ant", "bee", "cat")


def test_lda_c_with_its_vocabulary(tmp_path: Path) -> None:
    lines = (f"{np.count_nonzero(row)} {' '.join(f'{j}:{c}' for j, c in enumerate(row) if c)}\n" for row in COUNTS)
    (tmp_path / "ap.dat").write_text("".join(lines))
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS))
    (tmp_path / "readme.txt").write_text("Articles.")
    assert find_reader(str(tmp_path)).name == "DOCUMENTS/"
    corpus = load_corpus(str(tmp_path), validation=0)
    rows = [row for split in (corpus.train, corpus.test) for row in split.values.to_csr().toarray().tolist()]
    assert corpus.vocabulary == WORDS and sorted(rows) == sorted(COUNTS.tolist())
    assert any("'ap.dat' holds the documents; 'readme.txt' is not read" in note for note in corpus.notes)


def test_octis_with_its_splits_and_labels(tmp_path: Path) -> None:
    texts = [" ".join(w for w, c in zip(WORDS, row, strict=True) for _ in range(c)) for row in COUNTS.tolist()]
    lines = (f"{text}\t{('train', 'val', 'test')[i % 3]}\t{'ab'[i % 2]}\n" for i, text in enumerate(texts))
    (tmp_path / "corpus.tsv").write_text("".join(lines))
    (tmp_path / "vocabulary.txt").write_text("\n".join(WORDS))
    (tmp_path / "metadata.json").write_text("{}")
    corpus = load_corpus(str(tmp_path))
    for place, split in enumerate((corpus.train, corpus.validation, corpus.test)):
        assert split.values.to_csr().toarray().tolist() == COUNTS[place::3].tolist()
    assert corpus.vocabulary == WORDS and corpus.label_names == ("a", "b")


def test_a_second_file_makes_a_folder_of_texts(tmp_path: Path) -> None:
    for name in ("one.txt", "two.txt"):
        (tmp_path / name).write_text("1 0:2\n")
    assert find_reader(str(tmp_path)).name == "FOLDER/"
    (tmp_path / "three.dat").write_text("1 0:2\n")
    with pytest.raises(ValueError, match="no document is left|texts|no word"):
        load_corpus(str(tmp_path))
