"""The corpus of docstrings: what is found, in which order, and what the cache does and survives."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import pytest

from ppl_vae.data import load_corpus
from ppl_vae.data.readers import docstrings as module
from ppl_vae.data.readers.docstrings import read_docstrings
from ppl_vae.data.source import Source
from ppl_vae.data.splits import prepare

LONG = "alpha beta gamma delta " * 5

SOURCE = f'''
"""Module {LONG}"""

class Thing:
    """Class {LONG}"""

    def method(self):
        """Method {LONG} with log_prob2x and an \\invalid escape"""

        def inner():
            """Inner {LONG}"""

    async def short(self):
        """Too short to tell of anything."""

    def copy(self):
        """Class {LONG}"""

try:
    def guarded():
        """Guarded {LONG}"""
except ImportError:
    pass
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package of sources that is installed but would fail to import."""
    name = "ppl_vae_sample_package"
    root = tmp_path / "path" / name
    for inner in (root, root / "sub", root / "tests"):
        inner.mkdir(parents=True)
    (root / "__init__.py").write_text(f'"""Package {LONG}"""\nraise RuntimeError("imported")\n')
    (root / "sub" / "things.py").write_text(SOURCE)
    (root / "broken.py").write_text(f'"""Broken {LONG}"""\ndef (:\n')
    (root / "binary.py").write_bytes(b'"""\xff\xfe' + LONG.encode() + b'"""\n\x00')
    (root / "tests" / "some.py").write_text(f'"""Tests {LONG}"""')
    (root / "test_more.py").write_text(f'"""More tests {LONG}"""')
    monkeypatch.syspath_prepend(str(root.parent))
    return name


def fingerprint(source: Source) -> str:
    return prepare("docstrings", source, vocabulary=500).fingerprint


def no_search(*_: object) -> Source:
    raise AssertionError("searched again")


def test_what_is_found(package: str, tmp_path: Path) -> None:
    source = read_docstrings(tmp_path / "cache", [package, "not_installed_at_all"])
    found = source.splits["train"]
    titles = ["", ".sub.things", ".sub.things.Thing", ".sub.things.Thing.method", ".sub.things.guarded"]
    assert found.titles == tuple(package + title for title in titles)
    assert source.label_names == (package,) and found.labels is not None and set(found.labels) == {0}
    assert {"log", "prob", "alpha", "guarded"} <= set(source.words)
    assert not {"tests", "inner", "broken"} & set(source.words)
    assert package not in sys.modules and gc.isenabled()


def test_a_package_gives_no_more_than_its_share(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_PER_PACKAGE", 2)
    assert len(read_docstrings(tmp_path / "cache", [package]).splits["train"]) == 2


def test_nothing_installed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="none of nowhere, nothing is installed; install one or load another corpus"):
        read_docstrings(tmp_path, ["nowhere", "nothing"])


def test_second_time_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = read_docstrings(tmp_path, ["zuko", "pyro"])
    (file,) = tmp_path.iterdir()
    monkeypatch.setattr(module, "_search", no_search)
    second = read_docstrings(tmp_path, ["pyro", "zuko"])
    assert fingerprint(first) == fingerprint(second)
    assert first.label_names == second.label_names == ("pyro", "zuko")
    assert first.splits["train"].titles == second.splits["train"].titles and first.notes == second.notes == ()
    assert file.suffix == ".npz"


def test_another_version_is_searched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_docstrings(tmp_path, ["zuko"])
    monkeypatch.setattr("importlib.metadata.version", lambda name: "999")
    monkeypatch.setattr(module, "_search", no_search)
    with pytest.raises(AssertionError, match="searched again"):
        read_docstrings(tmp_path, ["zuko"])


@pytest.mark.parametrize("damage", ["empty", "truncated", "flipped", "pickle", "folder"])
def test_damaged_cache_is_rebuilt(tmp_path: Path, damage: str) -> None:
    expected = fingerprint(read_docstrings(tmp_path, ["zuko"]))
    (file,) = tmp_path.iterdir()
    content = file.read_bytes()
    middle = len(content) // 2
    if damage == "folder":
        file.unlink()
        file.mkdir()
    else:
        flipped = content[:middle] + bytes(255 - byte for byte in content[middle : middle + 9]) + content[middle + 9 :]
        wrong = {"empty": b"", "truncated": content[:middle], "flipped": flipped, "pickle": b"\x80\x04K\x01."}
        file.write_bytes(wrong[damage])
    source = read_docstrings(tmp_path, ["zuko"])
    assert fingerprint(source) == expected
    assert bool(source.notes) == (damage == "folder")
    assert damage == "folder" or file.read_bytes()[:2] == b"PK"
    assert list(tmp_path.iterdir()) == [file]


def test_unwritable_cache_costs_a_note(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    source = read_docstrings(tmp_path / "file", ["zuko"])
    assert len(source.splits["train"]) > 30
    assert any("cannot be written" in note for note in source.notes)


def test_quiet_unless_on_a_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    read_docstrings(tmp_path, ["zuko"])
    assert capfd.readouterr() == ("", "")


def test_all_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_PER_PACKAGE", 750)
    corpus = load_corpus(cache=tmp_path)
    assert corpus.name == "docstrings" and {"numpy", "pyro", "scipy", "torch"} <= set(corpus.label_names)
    assert len(corpus.train) + len(corpus.validation) + len(corpus.test) > 4_000
    assert len(corpus.vocabulary) == 10_000
    monkeypatch.setattr(module, "_search", no_search)
    other = load_corpus(cache=tmp_path, seed=1)
    assert other.test.titles == corpus.test.titles and other.fingerprint != corpus.fingerprint
    assert load_corpus(cache=tmp_path).fingerprint == corpus.fingerprint
