"""Tables of numbers with named columns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ppl_vae.data import Corpus, PackedCounts, load_corpus

NUMBERS = np.round(np.random.default_rng(0).normal(size=(30, 2)), 3)


def load(tmp_path: Path, content: str, name: str = "t.csv", **options: object) -> Corpus:
    (tmp_path / name).write_text(content, encoding="utf-8")
    return load_corpus(str(tmp_path / name), validation=0, **options)  # type: ignore[arg-type]


def lines(separator: str, *columns: object) -> str:
    return "".join(separator.join(map(str, row)) + "\n" for row in zip(*columns, strict=True))


def everything(corpus: Corpus) -> np.ndarray:
    values = np.concatenate([data.values.numpy() for data in corpus.splits.values()])
    return values[np.lexsort(values.T)]


SORTED = NUMBERS[np.lexsort(NUMBERS.astype(np.float32).T)].astype(np.float32)
KINDS = ["virginica", "setosa"] * 15
CELLS = [f"cell{i}" for i in range(30)]


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_names_labels_and_names_of_rows(tmp_path: Path, mark: str) -> None:
    corpus = load(tmp_path, lines(mark, ["id", *CELLS], ["a", *NUMBERS[:, 0]], ["b", *NUMBERS[:, 1]], ["Kind", *KINDS]))
    np.testing.assert_array_equal(everything(corpus), SORTED)
    assert corpus.vocabulary == ("a", "b") and corpus.label_names == ("setosa", "virginica")
    train = corpus.train
    assert train.titles is not None and train.labels is not None
    for title, label, row in zip(train.titles, train.labels, train.values, strict=True):
        place = CELLS.index(title)
        assert corpus.label_names[int(label)] == KINDS[place]
        np.testing.assert_array_equal(row, NUMBERS[place].astype(np.float32))
    assert any("'Kind' holds the labels" in note for note in corpus.notes)


@pytest.mark.parametrize(
    "content",
    [
        lines(",", *NUMBERS.T),
        lines(
            ";",
            ["a", *(str(x).replace(".", ",") for x in NUMBERS[:, 0])],
            ["b", *(str(x).replace(".", ",") for x in NUMBERS[:, 1])],
        ),
        "a\tb\n" + lines("\t", [f'"{c}"' for c in CELLS], *NUMBERS.T),
        lines(",", ["", *range(30)], ["a", *NUMBERS[:, 0]], ["b", *NUMBERS[:, 1]]),
    ],
    ids=["no header", "decimal commas", "as R writes it", "as pandas writes it"],
)
def test_other_layouts(tmp_path: Path, content: str) -> None:
    np.testing.assert_array_equal(everything(load(tmp_path, content)), SORTED)


def test_counts_for_models_of_documents(tmp_path: Path) -> None:
    content = lines(",", ["", *CELLS], ["GAPDH", *([0, 2, 1] * 10)], ["ACTB", *([3, 0, 1] * 10)])
    corpus = load(tmp_path, content, counts=True)
    assert isinstance(corpus.train.values, PackedCounts) and corpus.vocabulary == ("GAPDH", "ACTB")
    assert corpus.train.titles is not None
    for title, row in zip(corpus.train.titles, corpus.train.values.to_csr().toarray().tolist(), strict=True):
        assert row == [[0, 3], [2, 0], [1, 1]][CELLS.index(title) % 3]
    with pytest.raises(ValueError, match=r"column 'a', row 0 .* holds 0.126; counts are whole .*model of tensors"):
        load(tmp_path, lines(",", ["a", *NUMBERS[:, 0]]), counts=True)


def test_splits_and_missing_values(tmp_path: Path) -> None:
    split = ["Train"] * 20 + ["val"] * 4 + ["test"] * 6
    content = lines(",", ["a", "NA", *NUMBERS[1:, 0]], ["split", *split])
    with pytest.raises(ValueError, match="column 'a', row 0 .* the value nan; .*--missing allows it"):
        load(tmp_path, content)
    corpus = load(tmp_path, content, missing=True)
    assert [len(data) for data in corpus.splits.values()] == [20, 4, 6]
    assert corpus.train.values.isnan().sum() == 1


def test_several_arguments_of_a_model_are_columns(tmp_path: Path) -> None:
    content = lines(",", ["x", *NUMBERS[:, 0]], ["y", *([0, 1] * 15)], ["other", *CELLS])
    corpus = load(tmp_path, content, fields="x,y")
    fields = corpus.train.values.kwargs
    assert list(fields) == ["x", "y"] and str(fields["y"].dtype) == "torch.int64"
    assert load(tmp_path, content, fields="x").train.values.shape == (27, 2)  # points in the plane


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n" + "1,2\n" * 300 + "3\n", "line 302: 1 cells where there are 2 columns; correct or remove"),
        ("a,b\n" + "1,2\n" * 300 + "3,x\n", "line 302: 'x' in column 'b' of finite numbers; mend it"),
        (
            "a,b\n1,2\n3,1e999\n",
            "line 3: '1e999' in column 'b' of finite numbers|column 'b', row 1 .* holds the value inf",
        ),
        ("a,a\n1,2\n", "line 1: two columns 'a'; give every column a name"),
        ('a,b\n1,"2\n3,4\n', "no column 'text'|a quote"),
        ("a,b\n1,2\n3,4\0\n" * 1, "null character|no column 'text'"),
    ],
)
def test_malformed(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(tmp_path, content)


MIXED = """name,age,sex,blood pressure (mmHg),species,region
P1,30,f,120,a,north
P2,41,m,,a,south
P3,52,f,135,b,
P4,60,m,140,b,south
"""


def test_columns_of_texts_are_classes_of_a_model_that_takes_them(tmp_path: Path):
    """Their names stay with the data; a column is found by its name as an argument's, and a label stands aside."""
    path = tmp_path / "mixed.csv"
    path.write_text(MIXED)
    named = {"fields": "age,sex,blood_pressure_mmHg,region", "validation": 0.0}
    with pytest.raises(ValueError, match="mmHg.*row 1.*--missing allows it"):
        load_corpus(str(path), **named)
    with pytest.raises(ValueError, match="column 'region', row 2 .* is empty; fill it, or make empty cells a class"):
        load_corpus(str(path), fields="age,region")
    corpus = load_corpus(str(path), missing=True, **named)
    assert corpus.classes == {"sex": ("f", "m"), "region": ("(missing)", "north", "south")}
    assert any(note == "region has 3 classes: 0 (missing), 1 north, 2 south" for note in corpus.notes)
    assert corpus.label_names == ("a", "b") and any(
        "name of" in note and "is not read" in note for note in corpus.notes
    )
    rows = {row.split(",")[1]: row.split(",") for row in MIXED.splitlines()[1:]}
    for data in corpus.splits.values():
        fields = data.values.kwargs
        for i, age in enumerate(fields["age"].tolist()):
            _, _, sex, pressure, species, region = rows[str(age)]
            assert corpus.classes["sex"][int(fields["sex"][i])] == sex
            assert corpus.classes["region"][int(fields["region"][i])] == (region or "(missing)")
            assert corpus.label_names[int(data.labels[i])] == species
            value = fields["blood_pressure_mmHg"][i]
            assert value.isnan() if not pressure else value == float(pressure)


def test_classes_of_two_tables_have_the_same_numbers(tmp_path: Path):
    (tmp_path / "train.csv").write_text("a,kind\n" + "1,north\n2,south\n" * 5)
    (tmp_path / "test.csv").write_text("a,kind\n3,east\n4,south\n")
    corpus = load_corpus(str(tmp_path), fields="a,kind")
    assert corpus.classes["kind"] == ("east", "north", "south")
    assert corpus.test.values.kwargs["kind"].tolist() == [0, 2]
    assert set(corpus.train.values.kwargs["kind"].tolist()) == {1, 2}


def test_a_table_with_a_damaged_quote_is_refused_and_no_text(tmp_path):
    rows = "\n".join(f'{k},"{k + 0.5}",{-k}' for k in range(20))
    (tmp_path / "t.csv").write_text(f'a,b,c\n{rows}\n1,"2.5,3\n')
    with pytest.raises(ValueError, match=r"t\.csv, line 22: a quote within a cell, or one that is not closed"):
        load_corpus(str(tmp_path / "t.csv"))


def test_a_short_row_is_not_taken_for_the_header_of_r(tmp_path):
    (tmp_path / "t.csv").write_text(",a,b\nc0,1.5\nc1,2.5,3.5\nc2,4.5,5.5\n")
    with pytest.raises(ValueError, match=r"line 2: 2 cells where there are 3 columns"):
        load_corpus(str(tmp_path / "t.csv"))
