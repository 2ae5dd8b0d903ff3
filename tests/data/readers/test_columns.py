"""Columns called like a model's arguments: .npz and Parquet."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ppl_vae.data import find_reader, load_corpus
from ppl_vae.data.inputs import Inputs
from ppl_vae.plugins.extras import install

X, Y = np.arange(60.0).reshape(30, 2), np.arange(30) % 3


def test_arrays_of_one_length_are_fields(tmp_path: Path):
    path = tmp_path / "data.npz"
    np.savez(path, x=X, y=Y.astype(np.uint8), mask=Y > 0)
    corpus = load_corpus(str(path), validation=0.2)
    for part in corpus.splits.values():
        assert isinstance(part.values, Inputs)
        fields = part.values.kwargs
        assert (fields["x"].dtype, fields["y"].dtype, fields["mask"].dtype) == (torch.float32, torch.int64, torch.bool)
        rows = (fields["x"][:, 0] / 2).long()
        assert fields["y"].tolist() == Y[rows].tolist() and torch.equal(fields["mask"], fields["y"] > 0)
    assert sum(map(len, corpus.splits.values())) == 30


def test_a_column_names_the_split(tmp_path: Path):
    split = np.array(["train"] * 20 + ["validation"] * 6 + ["test"] * 4)
    np.savez(tmp_path / "data.npz", x=X, y=Y, split=split)
    corpus = load_corpus(str(tmp_path / "data.npz"))
    assert [len(part) for part in corpus.splits.values()] == [20, 6, 4]
    assert corpus.test.values.kwargs["y"].tolist() == Y[26:].tolist()


def test_only_the_fields_asked_for_are_read(tmp_path: Path):
    np.savez(tmp_path / "data.npz", x=X, y=Y, other=np.full(30, np.nan), name=np.array(["a"] * 30))
    corpus = load_corpus(str(tmp_path / "data.npz"), fields="x, y, z")
    assert list(corpus.train.values.kwargs) == ["x", "y"]
    assert any("other, name of" in note and "not read" in note for note in corpus.notes)
    assert isinstance(load_corpus(str(tmp_path / "data.npz"), fields="x").train.values, torch.Tensor)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": X, "y": Y[:7]}, r"several lengths \(x has 30, y has 7\)"),
        ({"x": X, "y": Y.astype("M8[D]")}, "array 'y' holds values of type datetime64.*; give floats, integers or"),
        ({"x": X, "y": np.array([""] + ["a"] * 29)}, "column 'y', row 0 .* is empty; fill it, or make empty cells"),
        ({"x": X, "y": np.where(Y == 1, np.nan, 0)}, "array 'y', row 1 .* the value nan; .*--missing allows it"),
        ({"x": X, "y": 3.0}, r"array 'y' has shape \(\), which holds no data"),
        ({"x": X, "split": np.array(["train", "late"] * 15)}, "array 'split' has the value 'late'; use train"),
        ({"x": X, "split": np.array(["test"] * 30)}, "no row of the array 'split' is train"),
        ({"arr_0": X}, "has the arrays arr_0, none of them called x or train"),
    ],
)
def test_what_is_no_column_is_named(tmp_path: Path, arrays: dict[str, np.ndarray], message: str):
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        load_corpus(str(tmp_path / "data.npz"))


@pytest.mark.parametrize(
    ("arrays", "fields", "message"),
    [
        ({"split": np.array(["train"] * 30)}, "split", "has the arrays split, none of them called split"),
        ({"x": X, "split": np.array("train")}, "", r"'split' has shape \(\)"),
        ({"x": X, "split": np.array([["train"]] * 30)}, "", r"'split' has shape \(30, 1\)"),
        ({"x": np.array([2**63, 1], dtype=np.uint64)}, "", "holds 9223372036854775808, which 64-bit integers do not"),
    ],
)
def test_arrays_that_are_no_columns_are_refused(tmp_path: Path, arrays, fields, message):
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        load_corpus(str(tmp_path / "data.npz"), fields=fields)


def test_missing_values_on_request(tmp_path: Path):
    x = np.where(X == 9, np.nan, X)
    for name, save in (("x.npy", np.save), ("x.npz", lambda p, a: np.savez(p, x=a, y=Y))):
        save(tmp_path / name, x)
        with pytest.raises(ValueError, match="the value nan; .*--missing allows it"):
            load_corpus(str(tmp_path / name))
        parts = load_corpus(str(tmp_path / name), missing=True).splits.values()
        values = [part.values if name == "x.npy" else part.values.kwargs["x"] for part in parts]
        assert sum(int(value.isnan().sum()) for value in values) == 1
    np.save(tmp_path / "x.npy", np.where(X == 9, np.inf, X))
    with pytest.raises(ValueError, match="the value inf"):
        load_corpus(str(tmp_path / "x.npy"), missing=True)


def test_parquet_without_its_package_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    assert find_reader(str(tmp_path / "a.parquet")).name == "TABLE.parquet"
    with pytest.raises(ValueError, match=re.escape(f"needs pyarrow: {install('parquet')}")):
        load_corpus(str(tmp_path / "a.parquet"))


def test_columns_of_a_table(tmp_path: Path):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "a.parquet"
    table = {"x": list(X), "y": Y, "name": ["a"] * 30, "z": [None, *range(29)]}
    parquet.write_table(arrow.table(table), path)
    corpus = load_corpus(str(path), fields="x,y,z", missing=True)
    values = torch.cat([part.values.kwargs["x"] for part in corpus.splits.values()])
    assert sorted(values[:, 0].tolist()) == X[:, 0].tolist()
    assert corpus.train.values.kwargs["y"].dtype == torch.int64
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match="a.parquet is truncated"):
        load_corpus(str(path))
