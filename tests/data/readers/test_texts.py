"""Folders of plain texts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.data_files import read


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


def test_labels_and_titles(tmp_path: Path) -> None:
    files = {f"{label}/{i}.txt": f"The {label}'s schöne log_prob {i}" for label in ("cat", "dog") for i in range(3)}
    corpus = read(write(tmp_path, files))
    assert corpus.label_names == ("cat", "dog")
    assert corpus.vocabulary == ("cat", "dog", "log", "prob", "schöne", "the")
    assert corpus.train.titles is not None and corpus.train.labels is not None
    for title, label in zip(corpus.train.titles, corpus.train.labels, strict=True):
        assert title.startswith(corpus.label_names[int(label)])


def test_splits(tmp_path: Path) -> None:
    files = {f"{split}/{c}/{i}.txt": "aa bb" for split in ("train", "validation", "test") for c in "pq" for i in "12"}
    corpus = read(write(tmp_path, files))
    assert (len(corpus.train), len(corpus.validation), len(corpus.test)) == (4, 4, 4)
    assert corpus.test.titles == ("test/p/1.txt", "test/p/2.txt", "test/q/1.txt", "test/q/2.txt")
    assert corpus.label_names == ("p", "q")


@pytest.mark.parametrize("names", [("Training", "val", "Testing"), ("train", "dev", "test")])
def test_splits_by_other_names(tmp_path: Path, names: tuple[str, ...]) -> None:
    corpus = read(write(tmp_path, {f"{name}/{c}/{i}.txt": "aa bb" for name in names for c in "pq" for i in "12"}))
    assert [len(data) for data in corpus.splits.values()] == [4, 4, 4] and corpus.label_names == ("p", "q")


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    files = {f"{label}/{i}.txt": "aa bb" for label in "pq" for i in range(20)}
    files |= {"p/.ipynb_checkpoints/0.txt": "copy", "p/.hidden.txt": "copy", "README.txt": "about", "p/list.json": "[]"}
    corpus = read(write(tmp_path, files))
    assert len(corpus.train) + len(corpus.test) == 40 and corpus.label_names == ("p", "q")
    assert corpus.vocabulary == ("aa", "bb")
    said = " ".join(corpus.notes)
    assert "1 files of" in said and "1 with .json" in said and "1 of 41 files lie outside" in said and "README" in said


def test_without_labels(tmp_path: Path) -> None:
    corpus = read(write(tmp_path, {f"{i}.txt": "aa bb" for i in range(4)}))
    assert corpus.train.labels is None and corpus.label_names == ()


def test_empty_documents(tmp_path: Path) -> None:
    files = {f"{i}.txt": "aa bb" if i else "1 2 3" for i in range(30)}
    corpus = read(write(tmp_path, files))
    assert len(corpus.train) + len(corpus.test) == 29
    assert any("1 empty document dropped" in note for note in corpus.notes)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"readme.md": "aa"}, "has no .txt file and no image, only .md; give"),
        ({"a/1.txt": "aa", "2.txt": "bb"}, "2.txt lies in no class's folder but others do"),
        ({"train/1.txt": "aa", "2.txt": "bb"}, "2.txt lies outside the folders of the splits"),
        ({"train/a/1.txt": "aa", "more/a/2.txt": "bb"}, "2.txt lies outside the folders of the splits; move it into"),
        (
            {"1.txt": "aa"} | {f"{i}.sgm": "bb" for i in range(3)},
            "1 texts .* among 3 other files .*3 with .sgm.*left out",
        ),
        ({"a/1.txt": "aa", "README.txt": "bb"}, "README.txt lies in no class's folder .*; take it out of the data"),
        ({"test/1.txt": "aa"}, "has no documents for training, only for test"),
    ],
)
def test_unclear_folder(tmp_path: Path, files: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(write(tmp_path, files))


def test_not_utf8(tmp_path: Path) -> None:
    write(tmp_path, {"1.txt": "aa"})
    (tmp_path / "2.txt").write_bytes(b"fine\nna\xefve\n")
    with pytest.raises(ValueError, match="2.txt, line 2: byte 0xef is not UTF-8 text; save the file as UTF-8"):
        read(tmp_path)
