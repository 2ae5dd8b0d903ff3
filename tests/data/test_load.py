"""From a name or a path to its reader."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ppl_vae.data import PackedCounts, corpora, find_reader, load_corpus
from tests.support.data_files import read, write_digits


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("20newsgroups", "20news"), ("nowhere/docs.csvx", "FILE.csv"), ("DOCSTRINGS", "docstrings"), ("minst", "mnist")],
)
def test_an_unknown_name_lists_the_nearest_three(name: str, nearest: str) -> None:
    with pytest.raises(ValueError, match=f"'{name}' is neither a corpus nor a file or folder; the nearest") as caught:
        load_corpus(name)
    first, *rest = str(caught.value).split("\n")
    assert "ppl-vae list corpora" in first and len(rest) == 3 and f"  {nearest}  {corpora()[nearest].line}" in rest


def test_unknown_format(tmp_path: Path) -> None:
    (tmp_path / "docs.orc").write_bytes(b"ORC1")
    with pytest.raises(ValueError, match="docs.orc' has a format that no reader recognises; the nearest") as caught:
        read(tmp_path / "docs.orc")
    assert all(line.strip().split("  ")[0] in corpora() for line in str(caught.value).split("\n")[1:])


@pytest.mark.parametrize("name", ["a.npz", "a.svm", "docword.a.txt", "a.csv", "a.tgz"])
def test_missing_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}.*; "):
        read(tmp_path / name)


def test_a_name_wins_over_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docstrings").mkdir()
    (tmp_path / "docstrings" / "1.txt").write_text("aa bb")
    (tmp_path / "docstrings" / "2.txt").write_text("aa bb")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ppl_vae.data.readers.docstrings.read_docstrings", lambda cache: pytest.fail("the named one"))
    with pytest.raises(pytest.fail.Exception, match="the named one"):
        load_corpus("docstrings")
    assert load_corpus("./docstrings", validation=0).name == "./docstrings"


def test_kinds_are_known_without_loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pooch.retrieve", lambda *_, **__: pytest.fail("downloaded"))
    monkeypatch.setenv("PPL_VAE_DATA", str(tmp_path))
    for kind in (PackedCounts, torch.Tensor):
        for name, reader in corpora(kind).items():
            if reader.named:
                assert find_reader(name) is reader
    write_digits(tmp_path / "images")
    for name in (str(tmp_path / "images"), "x.npy", "x-idx3-ubyte.gz"):
        assert find_reader(name).kind is torch.Tensor
    for name in (str(tmp_path), "x.csv"):
        assert find_reader(name).kind is PackedCounts


@pytest.mark.parametrize("name", ["x" * 300 + ".csv", "a\0.csv", "x" * 5000])
def test_what_no_path_can_be(name: str) -> None:
    with pytest.raises(ValueError, match="is no path|is neither a corpus nor a file|cannot be read") as caught:
        load_corpus(name)
    assert type(caught.value) is ValueError and "\0" not in str(caught.value)
