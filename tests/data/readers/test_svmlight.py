"""SVMlight files: labels and word counts, one document per line."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from scipy.sparse import random as random_sparse

from ppl_vae.data.readers.svmlight import read_svmlight
from tests.support.data_files import TABLE, documents_of, read


def svmlight(table: np.ndarray, start: int) -> str:
    return "".join(
        f"{row % 2} " + " ".join(f"{word + start}:{count}" for word, count in enumerate(counts) if count) + "\n"
        for row, counts in enumerate(table)
    )


@pytest.mark.parametrize("ending", ["svm", "svmlight", "libsvm", "svm.gz"])
@pytest.mark.parametrize("start", [0, 1])
def test_ids_from_0_or_1(tmp_path: Path, ending: str, start: int) -> None:
    path, content = tmp_path / f"docs.{ending}", svmlight(TABLE, start).encode()
    path.write_bytes(gzip.compress(content) if ending.endswith("gz") else content)
    corpus = read(path)
    assert documents_of(corpus) == sorted(TABLE.tolist())
    assert corpus.vocabulary[0] == f"word {start}" and corpus.label_names == ("0", "1")
    assert any(f"count from {start}" in note for note in corpus.notes)


def test_comments_blank_lines_and_empty_documents(tmp_path: Path) -> None:
    (tmp_path / "docs.svm").write_text("# counts\r\n\r\n-1 1:2\t3:1  # first\r\n+1\r\n1 2:3\r\n+1 1:1.0 2:1\r\n")
    source = read_svmlight(tmp_path / "docs.svm")
    assert source.splits["train"].counts.toarray().tolist() == [[2, 0, 1], [0, 0, 0], [0, 3, 0], [1, 1, 0]]
    assert source.label_names == ("-1", "1")
    assert "1 empty document dropped" in " ".join(read(tmp_path / "docs.svm").notes)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 2:-3", "line 3: count -3; counts are whole numbers"),
        ("1 2:0.5", "line 3: count 0.5; counts are whole"),
        ("1 -2:1", "line 3: word id -2; word ids are whole"),
        ("1 1.5:1", "line 3: word id 1.5"),
        ("1 2:nan", "line 3: expected 'label id:count id:count ...', got '1 2:nan'"),
        ("1 2:x", "line 3: expected"),
        ("1 2:3:4", "line 3: expected"),
        ("1 2 3:4:5", "line 3: expected"),
        ("1 2 :3", "line 3: expected"),
        ("1:2 3 4:5", "line 3: expected"),
        ("1,2 3:4", "line 3: expected.*one number as its label"),
        ("1 qid:1 2:3", "line 3: expected"),
        ("spam 2:3", "line 3: expected"),
    ],
)
def test_wrong_line(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "docs.svm").write_text(f"1 1:1\n\n{line}\n1 2:1\n")
    with pytest.raises(ValueError, match=f"docs.svm, {message}"):
        read(tmp_path / "docs.svm")


def test_nothing_in_it(tmp_path: Path) -> None:
    (tmp_path / "docs.svm").write_text("\n# nothing\n")
    with pytest.raises(ValueError, match="docs.svm has no documents"):
        read(tmp_path / "docs.svm")


def test_agrees_with_a_reader_line_by_line(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    table = rng.poisson(0.3, (200, 40))
    (tmp_path / "docs.svm").write_text(svmlight(table, 0))
    assert (read_svmlight(tmp_path / "docs.svm").splits["train"].counts.toarray() == table).all()


def test_far_ids_cost_nothing(tmp_path: Path) -> None:
    (tmp_path / "docs.svm").write_text("1 7:1 2000000000:3\n" * 3)
    assert read(tmp_path / "docs.svm").vocabulary == ("word 7", "word 2000000000")


def test_entries_are_not_read_one_by_one(tmp_path: Path) -> None:
    """The lines of Python that run are far fewer than a million entries: the arrays do the work."""
    table = random_sparse(5_000, 20_000, 0.01, "csr", random_state=0, data_rvs=np.ones)
    rows, columns = table.nonzero()
    lines = np.char.add(np.char.add((columns + 1).astype(str), ":"), "1").tolist()
    ends = table.indptr.tolist()
    text = "\n".join("0 " + " ".join(lines[start:end]) for start, end in zip(ends, ends[1:], strict=False))
    (tmp_path / "docs.svm").write_text(text)
    executed = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal executed
        executed += event == "line"
        return trace if "ppl_vae" in frame.f_code.co_filename else None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        counts = read_svmlight(tmp_path / "docs.svm").splits["train"].counts
    finally:
        sys.settrace(before)
    assert counts.nnz == len(rows) and executed < len(rows) / 10
