"""UCI's bags of words."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tests.support.data_files import TABLE, documents_of, read, triplets


def write(folder: Path, header: str = "5\n3\n8\n", body: str = triplets(TABLE)) -> Path:
    (folder / "docword.kos.txt").write_text(header + body)
    (folder / "vocab.kos.txt").write_text("ant\nbee\ncat\n")
    return folder / "docword.kos.txt"


def test_counts_and_words(tmp_path: Path) -> None:
    corpus = read(write(tmp_path, "5\n3\n9\n"))
    assert documents_of(corpus) == sorted(TABLE.tolist()) and corpus.vocabulary == ("ant", "bee", "cat")


def test_gzip_and_no_words(tmp_path: Path) -> None:
    path = write(tmp_path, "5\n3\n9\n")
    (tmp_path / "docword.kos.txt.gz").write_bytes(gzip.compress(path.read_bytes()))
    corpus = read(tmp_path / "docword.kos.txt.gz")
    assert documents_of(corpus) == sorted(TABLE.tolist()) and corpus.vocabulary == ("ant", "bee", "cat")
    (tmp_path / "vocab.kos.txt").unlink()
    assert read(path).vocabulary == ("word 1", "word 2", "word 3")


def test_missing_triplets(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="docword.kos.txt: 8 triplets announced, 9 found"):
        read(write(tmp_path))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("1 1 1\n6 1 1\n", "line 5: document id 6; there are 5 documents"),
        ("1 1 1\n\n0 1 1\n", "line 6: document id 0"),
        ("1 1 1\n1 4 1\n", "line 5: word id 4; there are 3 words"),
        ("1 1 1\n1 0 1\n", "line 5: word id 0"),
        ("1 1 1\n1 1 -2\n", "line 5: count -2"),
        ("1 1 1\n1 1 1.5\n", "line 5: count 1.5"),
        ("1 1 1\n1 1 nan\n", "line 5: expected 'document word count', got '1 1 nan'"),
        ("1 1 1\n1 1\n", "line 5: expected 'document word count', got '1 1'"),
        ("1 1\n1 1\n", "line 4: expected 'document word count', got '1 1'"),
        ("1 1 1\n1 1 1 1\n", "line 5: expected"),
        ("1 1 1\none 1 1\n", "line 5: expected"),
        ("1 1 1\n1 1 1e999\n", "line 5: expected"),
    ],
)
def test_wrong_triplet(tmp_path: Path, body: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"docword.kos.txt, {message}"):
        read(write(tmp_path, "5\n3\n2\n", body))


@pytest.mark.parametrize("header", ["", "5\n", "5\nthree\n9\n", "5\n3\n-9\n", "1 1 1\n1 2 3\n2 2 3\n"])
def test_wrong_header(tmp_path: Path, header: str) -> None:
    with pytest.raises(ValueError, match=r"docword.kos.txt, line \d: expected the number of.*three header lines"):
        read(write(tmp_path, header, ""))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("3\n2000000000\n1\n", "word ids up to 2,000,000,000 and 1 counts; read are at most 16,777,216 words"),
        ("2000000000\n3\n1\n", "announces 2,000,000,000 documents and has 1 counts"),
        ("\u0663\n3\n1\n", "line 1: expected the number of documents"),
    ],
)
def test_one_damaged_size(tmp_path: Path, header: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"docword.kos.txt.* {message}"):
        read(write(tmp_path, header, "1 1 1\n"))


def test_words_of_another_corpus(tmp_path: Path) -> None:
    path = write(tmp_path, "5\n3\n9\n")
    (tmp_path / "vocab.kos.txt").write_text("ant\n")
    with pytest.raises(ValueError, match="vocab.kos.txt has 1 words, docword.kos.txt announces 3"):
        read(path)


def test_separators_that_are_no_blanks(tmp_path: Path) -> None:
    (tmp_path / "docword.kos.txt").write_bytes(b"3\x1d\n5\n1\n1 1 1\n")
    with pytest.raises(
        ValueError, match=r"docword.kos.txt, line 1: expected the number of documents, got '3.x1d'; give"
    ):
        read(tmp_path / "docword.kos.txt")
