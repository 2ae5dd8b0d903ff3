"""Tables of texts."""

from __future__ import annotations

import csv
import lzma
from pathlib import Path

import pytest

from tests.support.data_files import documents_of, read


def test_text_label_and_split(tmp_path: Path) -> None:
    rows = "Label,split,text,other\n" + 'x,train,"aa, ""bb""\naa",1\ny,validation,bb,2\n\nx,test,aa zz,3\n'
    (tmp_path / "docs.csv").write_text("\ufeff" + rows, encoding="utf-8")
    corpus = read(tmp_path / "docs.csv")
    assert corpus.vocabulary == ("aa", "bb") and corpus.label_names == ("x", "y")
    assert corpus.train.values.to_csr().toarray().tolist() == [[2, 1]]
    assert corpus.validation.values.to_csr().toarray().tolist() == [[0, 1]]
    assert corpus.test.labels is not None and corpus.test.labels.tolist() == [0]


def test_tsv_xz(tmp_path: Path) -> None:
    (tmp_path / "docs.tsv.xz").write_bytes(lzma.compress(b"text\tlabel\naa, bb\tx\ncc aa\ty\n"))
    assert documents_of(read(tmp_path / "docs.tsv.xz"))
    assert read(tmp_path / "docs.tsv.xz").label_names == ("x", "y")


def test_only_column_is_the_text(tmp_path: Path) -> None:
    (tmp_path / "docs.csv").write_text("abstract\naa bb\naa bb\n")
    corpus = read(tmp_path / "docs.csv")
    assert len(corpus.train) == len(corpus.test) == 1
    assert any("'abstract', was taken as the header" in note for note in corpus.notes)


def test_long_document(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    (tmp_path / "docs.csv").write_text("text\n" + "word " * 50_000 + "\nword\n")
    corpus = read(tmp_path / "docs.csv")
    assert max(corpus.train.values.lengths.max(), corpus.test.values.lengths.max()) > 49_999
    assert csv.field_size_limit() == before


@pytest.mark.parametrize("content", ["text;label\naa, bb;x\nbb cc;y\n", '"text"|"label"\n"aa, bb"|"x"\nbb cc|y\n'])
def test_the_header_shows_the_separator(tmp_path: Path, content: str) -> None:
    (tmp_path / "docs.csv").write_text(content)
    corpus = read(tmp_path / "docs.csv")
    assert corpus.label_names == ("x", "y") and corpus.vocabulary in [("aa", "bb"), ("bb", "cc")]


def test_a_column_of_splits_needs_no_header(tmp_path: Path) -> None:
    rows = [("aa bb cc", "train", "x"), ("aa aa", "Train", "y"), ("bb", "val", "x"), ("cc", "test", "y")]
    (tmp_path / "corpus.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))
    corpus = read(tmp_path / "corpus.tsv")
    assert [len(data) for data in corpus.splits.values()] == [2, 1, 1] and corpus.label_names == ("x", "y")
    assert "the table has no header: column 1 is the text, 2 the split, 3 the label" in corpus.notes


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "docs.csv needs a header line and at least one document, has 0 rows"),
        ("text\n", "has 1 rows"),
        ("text,label,text\naa,x,bb\n", "line 1: two columns 'text'; leave one of them out"),
        ("body,label\naa,x\n", "line 1: no column 'text' among body, label, separated by commas; name the column"),
        ("text,label\naa,x\nbb, cc,y\n", "line 3: 3 columns where the header has 2; quote texts"),
        ("text,label\naa,x\nbb\n", "line 3: 1 columns"),
        ('text\naa\n"bb\n', "docs.csv, line 3: a quote that is not closed; close every quote"),
        ('text,label\naa,x\n"bb" cc,y\n', "docs.csv, line 3: .*close every quote"),
        ("text,label\naa,x\nbb,\n", "line 3: no label; give every document one"),
        ("text,split\naa,train\nbb,late\n", "line 3: split 'late'; use train, validation or test"),
        ("text,split\naa,test\n", "has no documents for training"),
    ],
)
def test_malformed(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "docs.csv").write_text(content)
    with pytest.raises(ValueError, match=message):
        read(tmp_path / "docs.csv")
