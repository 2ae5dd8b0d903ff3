"""A packed corpus is the corpus that the same data are in memory, however they were packed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix, save_npz

import ppl_vae as pv
from ppl_vae.data import PackedCounts, Source, SourceSplit, load_corpus
from ppl_vae.data.files import scratch_name
from ppl_vae.data.inputs import Inputs
from ppl_vae.data.packed import growing, split_writer
from ppl_vae.data.packed.growing import GrowingArray
from ppl_vae.data.packed.mapped import MappedCounts, is_mapped
from ppl_vae.data.packed.stored import StoredArray
from ppl_vae.data.splits import prepare
from tests.support.cli import invoke, json_of

rng = np.random.default_rng(0)

DOCUMENTS = rng.poisson(0.2, (300, 40)) * rng.integers(1, 400, (300, 40))
"""Some of them are empty, some words rare, some counts beyond a byte."""

DOCUMENTS[::17] = 0


def documents(rows: slice, names: tuple[int, ...] = tuple(range(40))) -> Source:
    words = tuple(f"w{i}" for i in names)
    titles = tuple(f"ü{i}" for i in range(*rows.indices(300)))
    split = SourceSplit(csr_matrix(DOCUMENTS[rows][:, names]), (np.arange(300) % 3)[rows], titles)
    return Source({"train": split}, words, ("a", "b", "c"))


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything goes through many pieces."""
    monkeypatch.setattr(split_writer, "_NUMBERS", 500)
    monkeypatch.setattr(growing, "_BYTES", 64)


@pytest.mark.parametrize("vocabulary", [10_000, 12])
def test_documents_in_parts_are_the_corpus_that_they_are_in_memory(tmp_path: Path, vocabulary: int) -> None:
    order = tuple(range(39, -1, -1))  # the second part has its words in another order

    def parts() -> Iterator[Source]:
        yield documents(slice(0, 130))
        yield documents(slice(130, 300), order)

    packed = pv.pack(parts(), tmp_path / "p", vocabulary=vocabulary, validation=0.2, seed=5)
    found = load_corpus(str(packed.folder))
    expected = prepare("x", documents(slice(None)), vocabulary=vocabulary, validation=0.2, seed=5)
    assert found.fingerprint == replace(found, known_fingerprint=None).fingerprint == expected.fingerprint
    assert found.vocabulary == expected.vocabulary and found.label_names == expected.label_names
    assert found.notes[-1] == "split when it was packed (--validation 0.2 --seed 5)"
    assert sorted(found.notes[:-1]) == sorted(expected.notes)
    assert list(packed.data.values()) == [len(data) for data in expected.splits.values()]
    for name, data in expected.splits.items():
        other = found.splits[name]
        assert torch.equal(other.labels[:], data.labels) and tuple(other.titles) == data.titles
        assert isinstance(other.values, MappedCounts)
        for statistic in ("lengths", "sizes", "log_coefficient", "saturated", "totals"):
            assert torch.equal(getattr(other.values, statistic), getattr(data.values, statistic))
        for index in (slice(3, 20), slice(None, None, -3), torch.tensor([4, -1, 4]), torch.arange(len(data)) % 2 == 0):
            positive = index % len(data) if isinstance(index, torch.Tensor) and index.dtype == torch.int64 else index
            mine, theirs = other.values[index], data.values[positive]
            assert type(mine) is PackedCounts
            for array in ("offsets", "words", "counts", "lengths"):
                assert torch.equal(getattr(mine, array), getattr(theirs, array))


def test_own_splits_and_fields_are_kept(tmp_path: Path) -> None:
    def split(count: int) -> SourceSplit:
        x = rng.integers(0, 256, (count, 2, 2)).astype(np.float32) / np.float32(255)
        return SourceSplit({"x": x, "y": rng.integers(-4, 4, count), "seen": rng.random(count) < 0.5})

    source = Source({"train": split(30), "validation": split(8), "test": split(5)})
    found, expected = load_corpus(str(pv.pack([source], tmp_path / "p").folder)), prepare("x", source)
    assert found.fingerprint == replace(found, known_fingerprint=None).fingerprint == expected.fingerprint
    assert isinstance(found.train.values, Inputs) and is_mapped(found.train.values)
    assert found.train.values[2:5].kwargs["y"].tolist() == expected.train.values[2:5].kwargs["y"].tolist()
    assert (tmp_path / "p" / "train.field-x.npy").stat().st_size == 128 + 30 * 4  # images of bytes are stored as bytes
    chosen = load_corpus(str(tmp_path / "p"), fields="y").train.values
    assert not isinstance(chosen, Inputs) and chosen.dtype == torch.int64
    with pytest.raises(ValueError, match="has the fields x, y, seen, and the model takes z; pack"):
        load_corpus(str(tmp_path / "p"), fields="x,z")


def test_files_and_tables_are_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    import pyarrow as pa

    monkeypatch.chdir(tmp_path)
    np.save("whole.npy", values := rng.standard_normal((60, 3)).astype(np.float32))
    monkeypatch.setattr("ppl_vae.data.readers.arrays._AT_ONCE", 100)
    assert invoke("data", "pack", "whole.npy", "--out", "npy").exit_code == 0
    assert load_corpus("npy").fingerprint == load_corpus("whole.npy").fingerprint
    columns = {name: values[:, i] for i, name in enumerate("abc")}
    columns["split"] = np.array(["train"] * 40 + ["test"] * 20)
    pq.write_table(pa.table(columns), "t.parquet", row_group_size=15)
    assert json_of("data", "pack", "t.parquet", "--out", "t")["data"] == {"train": 36, "validation": 4, "test": 20}
    assert load_corpus("t").fingerprint == load_corpus("t.parquet").fingerprint
    save_npz("1.npz", csr_matrix(DOCUMENTS[:150]))
    save_npz("2.npz", csr_matrix(DOCUMENTS[150:]))
    assert "229 train" in invoke("data", "pack", "1.npz", "2.npz", "--out", "many", "--vocabulary", "30").output
    save_npz("whole.npz", csr_matrix(DOCUMENTS))
    assert load_corpus("many").fingerprint == load_corpus("whole.npz", vocabulary=30).fingerprint


@pytest.mark.parametrize(
    ("parts", "fault"),
    [
        ([np.zeros((4, 2)), np.zeros((4, 3))], r"source 2: parts .* field-x float32 \(2,\) and field-x float32 \(3,\)"),
        ([np.zeros((4, 2)), csr_matrix(np.eye(4))], "source 2: its columns are not those of the parts before it"),
        ([np.zeros((1, 2))], "p: no datum is left for"),
        ([], "no part of the corpus has training data"),
    ],
)
def test_what_cannot_be_packed_leaves_nothing(tmp_path: Path, parts: list[object], fault: str) -> None:
    def sources() -> Iterator[Source]:
        for part in parts:
            words = () if isinstance(part, np.ndarray) else ("a", "b", "c", "d")
            values = part.astype(np.float32) if isinstance(part, np.ndarray) else part
            yield Source({"train": SourceSplit(values)}, words)

    with pytest.raises(ValueError, match=fault):
        pv.pack(sources(), tmp_path / "p")
    assert list(tmp_path.iterdir()) == []


def test_refusals_name_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pv.pack("gaussians", "p")
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    killed = tmp_path / scratch_name().replace(f"-{os.getpid()}-", f"-{ended.pid}-")
    killed.mkdir()
    with pytest.raises(ValueError, match="p exists already; choose another folder"):
        pv.pack("gaussians", "p")
    assert not killed.exists()
    with pytest.raises(ValueError, match="p is packed already; load it"):
        pv.pack("p", "q")
    corpus = load_corpus("p")
    monkeypatch.setattr("ppl_vae.data.packed.mapped.memory_budget", lambda: 1000)
    assert corpus.train.values[:5].shape == (5, 2)
    with pytest.raises(ValueError, match=r"has 9,000 rows of train.field-x, .* measure a sample \(--data"):
        corpus.train.values.mean()
    path = Path("p/train.field-x.npy")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"has 72,127 bytes, the manifest says 72,128; pack the corpus again"):
        corpus.train.values[:5]


@pytest.mark.parametrize(
    ("kind", "parts", "dtype"),
    [
        ("float32", [[0, 1], [0.5]], "<f4"),
        ("float32", [[0, 1], [5 / 255]], "|u1"),
        ("float32", [[0, 2], [5 / 255]], "<f4"),
        ("float32", [[255], [256]], "<u2"),
        ("float32", [[0], [-0.0]], "<f4"),
        ("float32", [[1], [np.nan, np.inf]], "<f4"),
        ("int64", [[0], [-1], [2**31]], "<i8"),
        ("int64", [[0], [70_000]], "<i4"),
        ("int64", [[65_535]], "<u2"),
        ("bool", [[True], [False]], "|b1"),
    ],
)
def test_arrays_grow_in_the_narrowest_type_that_is_exact(
    tmp_path: Path, kind: growing.Kind, parts: list[list[float]], dtype: str
) -> None:
    array = GrowingArray(tmp_path / "x.npy", kind)
    expected = np.concatenate([np.array(part, kind) for part in parts])
    for part in parts:
        array.append(np.array(part, kind))
    stored = array.close()
    stored.check()
    assert stored.entry.dtype == dtype and isinstance(stored, StoredArray)
    assert stored[:].tobytes() == expected.tobytes() and stored[:].dtype == kind
    assert np.load(tmp_path / "x.npy").shape == expected.shape
