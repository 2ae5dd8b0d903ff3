"""Data frames, AnnData and datasets of a Python program: values, labels and names stay together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from scipy.sparse import csr_matrix
from torch.utils.data import DataLoader, Dataset, IterableDataset

import ppl_vae as pv
from ppl_vae.data.corpus import Corpus
from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.memory import corpus_of

RNG = np.random.default_rng(0)
NUMBERS = RNG.normal(size=(30, 3))
COUNTS = RNG.poisson(1.0, (30, 4)) + np.eye(4, dtype=int)[np.arange(30) % 4]
KINDS = ["B", "T", "B"] * 10
NAMES = [f"cell{i}" for i in range(30)]


def check(corpus: Corpus, expected: np.ndarray) -> None:
    """Every datum stands beside its own label and name."""
    for data in corpus.splits.values():
        values = data.values.to_csr().toarray() if isinstance(data.values, PackedCounts) else data.values.numpy()
        assert data.titles is not None and data.labels is not None
        for title, label, row in zip(data.titles, data.labels, values, strict=True):
            np.testing.assert_array_equal(row, expected[NAMES.index(title)].astype(np.float32))
            assert corpus.label_names[int(label)] == KINDS[NAMES.index(title)]
    assert sum(map(len, corpus.splits.values())) == 30


def test_a_pandas_frame() -> None:
    frame = pandas.DataFrame(NUMBERS, columns=["a", "b", "c"], index=NAMES).assign(kind=pandas.Categorical(KINDS))
    corpus = corpus_of(frame)
    check(corpus, NUMBERS)
    assert corpus.vocabulary == ("a", "b", "c")
    with pytest.raises(ValueError, match="two columns of the table have one name"):
        corpus_of(pandas.DataFrame(NUMBERS, columns=["a", "a", "c"]))
    with pytest.raises(ValueError, match="no column of numbers among kind"):
        corpus_of(frame[["kind"]])
    nullable = pandas.DataFrame({"a": pandas.array([1, None, 3] * 10, dtype="Int64")})
    with pytest.raises(ValueError, match="column 'a', row 1 .* the value nan"):
        corpus_of(nullable)
    assert corpus_of(nullable, missing=True).train.values.isnan().any()
    for kind in ("Int16", "UInt8", "Float64", "boolean"):
        each = pandas.DataFrame({"a": pandas.array([1, None, 0] * 10, dtype=kind), "b": np.arange(30.0)})
        source = corpus_of(each, missing=True)
        assert source.vocabulary == ("a", "b") and source.train.values.isnan().any()


def test_a_polars_frame() -> None:
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"name": NAMES, **{f"g{i}": COUNTS[:, i] for i in range(4)}, "cell_type": KINDS})
    for counts in (False, True):
        corpus = corpus_of(frame, counts=counts)
        check(corpus, COUNTS)
        assert corpus.vocabulary == ("g0", "g1", "g2", "g3") and isinstance(corpus.train.values, PackedCounts) == counts


class Cells:
    """What AnnData has, without the package."""

    def __init__(self, matrix: object) -> None:
        self.X, self.layers = matrix, dict[str, object]()
        self.obs = pandas.DataFrame({"n": range(30), "cell_type": pandas.Categorical(KINDS)}, index=NAMES)
        self.obs_names, self.var_names = self.obs.index, pandas.Index(["g0", "g1", "g2", "g3"])


@pytest.mark.parametrize("matrix", [COUNTS.astype(np.float32), csr_matrix(COUNTS)])
def test_annotated_cells(matrix: object) -> None:
    for counts in (False, True):
        corpus = corpus_of(Cells(matrix), counts=counts)
        check(corpus, COUNTS)
        assert corpus.vocabulary == ("g0", "g1", "g2", "g3") and isinstance(corpus.train.values, PackedCounts) == counts
    with pytest.raises(ValueError, match="the AnnData holds 0.5, and counts are whole numbers: name raw counts"):
        corpus_of(Cells(COUNTS / 2), counts=True)


def test_labels_and_names_reach_a_run(tmp_path: Path) -> None:
    run = pv.train("text", "linear_counts", Cells(COUNTS), bits=2, epochs=1, out=tmp_path / "run", device="cpu")
    assert run.corpus.label_names == ("B", "T") and run.corpus.vocabulary == ("g0", "g1", "g2", "g3")
    assert run.titles("train") == run.corpus.train.titles


class Images(Dataset[tuple[torch.Tensor, int]]):
    def __len__(self) -> int:
        return 30

    def __getitem__(self, place: int) -> tuple[torch.Tensor, int]:
        return torch.full((1, 2, 2), float(place)), place % 3


class Ragged(Images):
    def __getitem__(self, place: int) -> tuple[torch.Tensor, int]:
        return torch.zeros(place + 1), 0


class Endless(IterableDataset[torch.Tensor]):
    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter(())


@pytest.mark.parametrize("wrap", [lambda data: data, lambda data: DataLoader(data, batch_size=7, shuffle=True)])
def test_a_dataset_is_read_once(wrap: object) -> None:
    corpus = corpus_of(wrap(Images()), arguments=["x"])  # type: ignore[operator]
    assert sum(map(len, corpus.splits.values())) == 30 and corpus.label_names == ("0", "1", "2")
    for data in corpus.splits.values():
        assert data.labels is not None and data.values.shape[1:] == (1, 2, 2)
        assert data.labels.tolist() == (data.values[:, 0, 0, 0].long() % 3).tolist()
    assert any("the second, a whole number, is the label" in note for note in corpus.notes)
    assert len(corpus_of(wrap(Images())).train.values.args) == 2  # type: ignore[operator]


def test_datasets_that_cannot_be_read() -> None:
    with pytest.raises(ValueError, match=r"item 1 of Ragged has the shapes \[\(2,\), \(\)\], item 0 .*transform"):
        corpus_of(Ragged())
    with pytest.raises(ValueError, match="Endless has no length"):
        corpus_of(Endless())


def test_columns_of_a_frame_are_the_arguments_of_a_model_of_several() -> None:
    frame = pandas.DataFrame({"age": np.arange(30), "kind": KINDS, "dose (mg)": NUMBERS[:, 0], "other": KINDS})
    corpus = corpus_of(frame, arguments=("age", "kind", "dose_mg"))
    fields = corpus.train.values.kwargs
    assert corpus.classes == {"kind": ("B", "T")} and [name for name in fields] == ["age", "kind", "dose_mg"]
    for age, kind, dose in zip(*(values.tolist() for values in fields.values()), strict=True):
        assert KINDS[age] == "BT"[kind] and dose == np.float32(NUMBERS[age, 0])
