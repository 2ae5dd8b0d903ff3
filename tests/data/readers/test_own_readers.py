"""Readers that a user adds as files of ``readers/`` in the working folder."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from ppl_vae.data import PackedCounts, corpora, find_reader, load_corpus
from ppl_vae.data.load import broken_readers
from tests.support.cli import json_of

LINES = '''
"""Poems, one per line."""

from pathlib import Path

from ppl_vae.data import PackedCounts, Source
from ppl_vae.data.readers.base import Reader
from ppl_vae.data.tokens import from_texts


def read_poems(path: Path, skip: int = 0) -> Source:
    """Reads one poem per line.

    Arguments:
        path: The file.
        skip: Lines at the top that are no poems.
    """
    texts = path.read_text().splitlines()[skip:]
    return from_texts(str(path), texts, ["train"] * len(texts), None, None)


READER = Reader("FILE.mine", "one poem per line", PackedCounts, read_poems, suffixes=(".mine",))
'''
NUMBERS = '''
import numpy as np
from torch import Tensor

from ppl_vae.data import Source, SourceSplit
from ppl_vae.data.readers.base import Reader


def read_steps(cache, size: int = 20) -> Source:
    """Reads numbers in order.

    Arguments:
        cache: Not used.
        size: How many.
    """
    return Source({"train": SourceSplit(np.arange(size, dtype=np.float32)[:, None])})


READERS = (Reader("steps", "numbers in order, (1,); needs no network", Tensor, read_steps),)
'''


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a file of poems and an empty ``readers/``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("readers").mkdir()
    Path("poems.mine").write_text("title\n" + "rose is a rose\na rose is red\nred is the rose\n" * 20)
    return tmp_path


def test_one_file_adds_a_reader(place: Path) -> None:
    with pytest.raises(ValueError, match=r"'poems.mine' has a format that no reader recognises; the nearest of"):
        load_corpus("poems.mine")
    Path("readers/mine.py").write_text(LINES)
    corpus = load_corpus("poems.mine", skip=1)
    assert corpus.vocabulary == ("is", "red", "rose", "the") and isinstance(corpus.train.values, PackedCounts)
    assert "title" in load_corpus("poems.mine").vocabulary
    assert len(load_corpus("poems.mine", vocabulary=2).vocabulary) == 2
    listed = {row["name"]: row for row in json_of("list")["corpora"]}
    assert listed["FILE.mine"]["summary"] == "one poem per line" and "text" in listed["FILE.mine"]["goes_with"]
    content = json_of("train", "text", "--corpus", "poems.mine", "--bits", "2", "--epochs", "1")
    assert content["splits"]["test"]["data"] == 6


def test_one_file_adds_a_named_corpus(place: Path) -> None:
    Path("readers/steps.py").write_text(NUMBERS)
    assert corpora(torch.Tensor)["steps"].named and "steps" not in corpora(PackedCounts)
    assert len(load_corpus("steps", validation=0).train) == 18
    assert len(load_corpus("steps", validation=0, size=10).train) == 9
    with pytest.raises(ValueError, match=r"steps does not take vocabulary, which only .*FILE.csv.*its options: size"):
        load_corpus("steps", vocabulary=3)
    with pytest.raises(ValueError, match=r"steps.size is 2.5; give a whole number"):
        load_corpus("steps", size=2.5)


def test_two_readers_of_one_path_are_named(place: Path) -> None:
    Path("readers/mine.py").write_text(LINES)
    Path("readers/other.py").write_text(LINES.replace("FILE.mine", "POEMS.mine"))
    with pytest.raises(ValueError, match=r"read by FILE.mine \(readers/mine.py\) and POEMS.mine \(readers/other.py\)"):
        find_reader("poems.mine")
    Path("readers/other.py").write_text(NUMBERS.replace('"steps"', '"bars"'))
    with pytest.raises(ValueError, match=r"'bars' is read by bars \(.*bars.py\) and bars \(readers/other.py\)"):
        load_corpus("bars")


def test_a_file_of_the_same_name_replaces_a_shipped_reader(place: Path) -> None:
    Path("readers/csv.py").write_text(LINES.replace("mine", "csv"))
    Path("readers/bars.py").write_text(NUMBERS.replace('"steps"', '"bars"'))
    Path("poems.mine").rename("poems.csv")
    assert find_reader("poems.csv").line == "one poem per line"
    assert load_corpus("bars").train.values.shape == (16, 1)


def test_what_does_not_load_is_named_and_hinders_no_other(place: Path) -> None:
    Path("readers/mine.py").write_text(LINES.replace("import PackedCounts", "import Nothing"))
    Path("readers/half.py").write_text("READER = (")
    Path("readers/wrong.py").write_text("READER = 'FILE.mine'")
    Path("readers/bare.py").write_text(LINES.replace("skip: int = 0", "skip=0"))
    Path("readers/needy.py").write_text(LINES.replace("skip: int = 0", "skip: int"))
    Path("readers/program.py").write_text("raise SystemExit('run')")  # declares nothing: not ours
    assert set(broken_readers()) == {f"readers/{name}.py" for name in ("mine", "half", "wrong", "bare", "needy")}
    assert "ImportError: cannot import name 'Nothing'" in broken_readers()["readers/mine.py"]
    assert "declares 'FILE.mine', which is no Reader" in broken_readers()["readers/wrong.py"]
    assert "options cannot be read (argument 'skip' of read_poems is annotated" in broken_readers()["readers/bare.py"]
    assert "reader FILE.mine: give skip a default" in broken_readers()["readers/needy.py"]
    assert len(load_corpus("bars").train) == 9000
    with pytest.raises(ValueError, match=r"(?s)no reader recognises.*not loaded:.*readers/mine.py does not load"):
        load_corpus("poems.mine")
    assert "readers/mine.py" in {row["name"] for row in json_of("list")["broken"]}
