"""Batches of several fields, and what users may pass as data."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from ppl_vae.data.corpus import Corpus, Data
from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.inputs import Inputs, as_batch, concatenate, data_width, dense_width, documents, examples, main_field
from ppl_vae.data.memory import corpus_of

X, Y = np.arange(12.0).reshape(4, 3), np.array([0, 2, 1, 2])


class Named(NamedTuple):
    x: Any
    y: Any


@dataclass
class Record:
    x: Any
    y: Any


def fields(batch: Inputs) -> dict[str, Any]:
    return {name: value.tolist() for name, value in batch.fields(("x", "y")).items()}


@pytest.mark.parametrize(
    "given",
    [
        (X, Y),
        [X, Y],
        torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y)),
        {"x": X, "y": Y},
        Named(X, Y),
        Record(X, Y),
    ],
)
def test_containers_hold_the_fields_of_a_batch(given):
    batch = as_batch(given)
    assert isinstance(batch, Inputs) and len(batch) == 4
    assert fields(batch) == {"x": X.tolist(), "y": Y.tolist()}
    assert fields(batch[1:3]) == {"x": X[1:3].tolist(), "y": Y[1:3].tolist()}
    assert fields(batch[torch.tensor([3, 0])]) == {"x": X[[3, 0]].tolist(), "y": Y[[3, 0]].tolist()}
    assert fields(batch[torch.tensor(Y == 2)]) == {"x": X[Y == 2].tolist(), "y": Y[Y == 2].tolist()}
    assert fields(concatenate([batch[:1], batch[1:]])) == fields(batch)


def test_one_field_is_a_batch_by_itself():
    x = torch.zeros(4, 2)
    assert as_batch(x) is x and as_batch((x,)) is x
    packed = PackedCounts.from_dense([[1, 2]])
    assert as_batch(packed) is packed
    assert as_batch(csr_matrix([[1, 2]])).lengths.tolist() == [3]
    assert isinstance(as_batch({"x": x}), Inputs)


def test_arrays_keep_their_kind():
    kinds = {
        name: as_batch(np.zeros((2, 3), dtype=name)).dtype
        for name in ("float64", "float16", "uint8", "int32", "uint16", "bool")
    }
    whole = torch.int64
    assert kinds == {
        "float64": torch.float32,
        "float16": torch.float32,
        "uint8": whole,
        "int32": whole,
        "uint16": whole,
        "bool": torch.bool,
    }
    assert as_batch(torch.zeros(2, dtype=torch.float64)).dtype == torch.float64


def test_numbers_texts_and_none_are_the_same_for_all_data():
    batch = Inputs(torch.zeros(3), None, beta=0.5, scale=torch.tensor(2.0), name="a")
    part = batch[:2]
    assert len(part) == 2 and part.args[1] is None
    assert part.kwargs == {"beta": 0.5, "scale": torch.tensor(2.0), "name": "a"}


def test_documents_move_with_the_other_fields():
    batch = Inputs(PackedCounts.from_dense([[2, 0], [0, 1], [3, 1]]), torch.tensor([0.0, 1.0, 2.0]))
    last = batch[torch.tensor([2])]
    assert documents(last).lengths.tolist() == [4] and last.args[1].tolist() == [2]
    assert documents(concatenate([last, batch])).lengths.tolist() == [4, 2, 1, 4]
    assert (data_width(batch), dense_width(batch)) == (3, 2)
    assert main_field(Inputs(torch.zeros(3), x=batch.args[0])) is batch.args[0]


def test_examples_show_every_class_and_missing_values():
    x = torch.zeros(9, 2)
    x[7, 1] = torch.nan
    few = examples(Inputs(x, torch.tensor([0, 1, 0, 1, 5, 1, 0, 0, 0])))
    assert few.args[1].tolist() == [0, 1, 0, 5] and few.args[0].isnan().any()
    assert len(examples(x[:7])) == 2 and examples(x).isnan().any()


@pytest.mark.parametrize(
    "given, message",
    [
        ((X, Y[:3]), "one length, but 1 has 4, 2 has 3 data"),
        ({"x": X, "y": Y[:3]}, "one length, but x has 4, y has 3 data"),
        (([1.0, 2.0],), "data are a tensor, .* got tuple"),
        (np.zeros(()), "data are a tensor, .* got ndarray"),
        (object(), "data are a tensor, .* got object"),
        ({"x": X, "y": ["a"] * 4}, "field y is a list; give a tensor, an array or packed counts"),
        ({"x": np.array(["a"])}, "an array of <U1 is no data"),
    ],
)
def test_what_is_no_batch_is_named(given, message):
    with pytest.raises(ValueError, match=message):
        as_batch(given)


def test_a_corpus_of_fields_keeps_them_together():
    x, y = torch.randn(200, 2, dtype=torch.float64), torch.arange(200)
    corpus = corpus_of({"x": x, "y": y, "scale": 2.0})
    seen = torch.cat([part.values.kwargs["y"] for part in corpus.splits.values()])
    assert sorted(seen.tolist()) == list(range(200))
    for part in corpus.splits.values():
        assert part.values.kwargs["x"].dtype == torch.float32 and part.values.kwargs["scale"] == 2
        assert torch.equal(part.values.kwargs["x"], x.float()[part.values.kwargs["y"]])


@pytest.mark.parametrize(
    "other",
    [
        {"x": X, "y": Y[::-1]},
        {"x": X, "z": Y},
        {"x": X, "y": Y.astype(float)},
        {"x": X, "y": Y, "scale": 1.0},
        {"x": X},
    ],
)
def test_fingerprints_tell_fields_apart(other):
    def fingerprint(given: object) -> str:
        data = Data(as_batch(given))
        return Corpus("a", {"train": data, "validation": data, "test": data}).fingerprint

    assert fingerprint({"x": X, "y": Y}) == fingerprint({"x": X.copy(), "y": Y.copy()}) != fingerprint(other)


def test_tables_are_arrays_of_their_columns_and_text_is_named():
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"a": [1, 2, 3], "b": [0.5, 1.5, 2.5]})
    assert as_batch(table).tolist() == [[1.0, 0.5], [2.0, 1.5], [3.0, 2.5]]
    assert as_batch(table["a"]).dtype == torch.int64
    assert corpus_of(table.astype(int)).train.values.dtype == torch.float32
    with pytest.raises(ValueError, match=r"column 'who' of the table holds \w+, no numbers; leave it out, or code it"):
        as_batch(table.assign(who=["x", "y", "z"]))
