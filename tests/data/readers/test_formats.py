"""The user's own data: every format read as meant, every malformed file refused with file, line, value and remedy."""

from __future__ import annotations

import csv
import gzip
import lzma
import pickle
import random
import time
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix, random_array, save_npz

from ppl_vae.data import Corpus, corpora, load_corpus
from ppl_vae.data.readers.svmlight import read_svmlight
from ppl_vae.data.text_file import TextFile

TABLE = np.array([[2, 0, 1], [0, 3, 0], [1, 1, 1], [4, 0, 0], [0, 1, 2]])
"""Five documents over three words."""


def read(path: Path) -> Corpus:
    return load_corpus(str(path), validation=0)


def whole(corpus: Corpus) -> list[list[int]]:
    """All documents of a corpus, sorted: the held-out ones are somewhere."""
    return sorted([*corpus.train.values.to_csr().toarray().tolist(), *corpus.test.values.to_csr().toarray().tolist()])


def triplets(table: np.ndarray) -> str:
    return "".join(f"{i + 1} {j + 1} {table[i, j]}\n" for i, j in zip(*table.nonzero(), strict=True))


def svmlight(table: np.ndarray, start: int) -> str:
    return "".join(
        f"{row % 2} " + " ".join(f"{word + start}:{count}" for word, count in enumerate(counts) if count) + "\n"
        for row, counts in enumerate(table)
    )


class TestNpz:
    def test_counts_words_and_labels(self, tmp_path: Path) -> None:
        save_npz(tmp_path / "counts.npz", csr_matrix(TABLE))
        (tmp_path / "vocabulary.txt").write_text("ant\nbee\ncat\n")
        (tmp_path / "labels.txt").write_text("x\ny\nx\ny\nx\n")
        corpus = read(tmp_path / "counts.npz")
        assert whole(corpus) == sorted(TABLE.tolist())
        assert corpus.vocabulary == ("ant", "bee", "cat") and corpus.label_names == ("x", "y")

    def test_words_go_by_their_columns(self, tmp_path: Path) -> None:
        save_npz(tmp_path / "counts.npz", csr_matrix(TABLE.astype(np.float32)))
        assert read(tmp_path / "counts.npz").vocabulary == ("word 0", "word 1", "word 2")

    @pytest.mark.parametrize("value", [-1, 0.5, np.nan, np.inf, 2.0**25])
    def test_wrong_count(self, tmp_path: Path, value: float) -> None:
        table = TABLE.astype(float)
        table[1, 2] = value
        save_npz(tmp_path / "counts.npz", csr_matrix(table))
        with pytest.raises(ValueError, match=rf"counts.npz: count {value:.12g} of word 2 in document 1; .*raw counts"):
            read(tmp_path / "counts.npz")

    def test_truncated(self, tmp_path: Path) -> None:
        save_npz(tmp_path / "counts.npz", csr_matrix(TABLE))
        content = (tmp_path / "counts.npz").read_bytes()
        for size in (0, 10, len(content) // 2, len(content) - 5):
            (tmp_path / "counts.npz").write_bytes(content[:size])
            with pytest.raises(ValueError, match="counts.npz is truncated or no sparse matrix.*save_npz"):
                read(tmp_path / "counts.npz")

    def test_other_arrays(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "counts.npz", x=TABLE)
        with pytest.raises(ValueError, match="counts.npz has the arrays x, none of them called train; .*save_npz"):
            read(tmp_path / "counts.npz")

    def test_word_out_of_range(self, tmp_path: Path) -> None:
        arrays = {"data": [1], "indices": [7], "indptr": [0, 1], "shape": [1, 3], "format": b"csr"}
        np.savez(tmp_path / "counts.npz", **{name: np.array(value) for name, value in arrays.items()})
        with pytest.raises(ValueError, match="counts.npz is truncated or no sparse matrix"):
            read(tmp_path / "counts.npz")

    def test_nothing_is_unpickled(self, tmp_path: Path) -> None:
        marker = tmp_path / "was-run"
        arrays = {"indices": [0], "indptr": [0, 1], "shape": [1, 3], "format": b"csr"}
        trap = np.array([_Trap(marker)], dtype=object)
        np.savez(tmp_path / "counts.npz", data=trap, **{name: np.array(value) for name, value in arrays.items()})
        (tmp_path / "bare.npz").write_bytes(pickle.dumps(_Trap(marker)))
        for name in ("counts.npz", "bare.npz"):
            with pytest.raises(ValueError, match=f"{name} is truncated or no sparse matrix"):
                read(tmp_path / name)
        assert not marker.exists()

    @pytest.mark.parametrize(("name", "axis"), [("vocabulary.txt", "3 columns"), ("labels.txt", "5 rows")])
    def test_list_of_another_length(self, tmp_path: Path, name: str, axis: str) -> None:
        save_npz(tmp_path / "counts.npz", csr_matrix(TABLE))
        (tmp_path / name).write_text("one\ntwo\n")
        with pytest.raises(ValueError, match=f"{name} has 2 lines for {axis}"):
            read(tmp_path / "counts.npz")

    def test_blank_word(self, tmp_path: Path) -> None:
        save_npz(tmp_path / "counts.npz", csr_matrix(TABLE))
        (tmp_path / "vocabulary.txt").write_text("ant\n\ncat\n")
        with pytest.raises(ValueError, match="vocabulary.txt, line 2: a blank line where a word should be"):
            read(tmp_path / "counts.npz")


class _Trap:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.marker,)


class TestSvmlight:
    @pytest.mark.parametrize("ending", ["svm", "svmlight", "libsvm", "svm.gz"])
    @pytest.mark.parametrize("start", [0, 1])
    def test_ids_from_0_or_1(self, tmp_path: Path, ending: str, start: int) -> None:
        path, content = tmp_path / f"docs.{ending}", svmlight(TABLE, start).encode()
        path.write_bytes(gzip.compress(content) if ending.endswith("gz") else content)
        corpus = read(path)
        assert whole(corpus) == sorted(TABLE.tolist())
        assert corpus.vocabulary[0] == f"word {start}" and corpus.label_names == ("0", "1")
        assert any(f"count from {start}" in note for note in corpus.notes)

    def test_comments_blank_lines_and_empty_documents(self, tmp_path: Path) -> None:
        (tmp_path / "docs.svm").write_text("# counts\r\n\r\n-1 1:2\t3:1  # first\r\n+1\r\n1 2:3\r\n+1 1:1.0 2:1\r\n")
        raw = read_svmlight(tmp_path / "docs.svm")
        assert raw.splits["train"].counts.toarray().tolist() == [[2, 0, 1], [0, 0, 0], [0, 3, 0], [1, 1, 0]]
        assert raw.label_names == ("-1", "1")
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
    def test_wrong_line(self, tmp_path: Path, line: str, message: str) -> None:
        (tmp_path / "docs.svm").write_text(f"1 1:1\n\n{line}\n1 2:1\n")
        with pytest.raises(ValueError, match=f"docs.svm, {message}"):
            read(tmp_path / "docs.svm")

    def test_nothing_in_it(self, tmp_path: Path) -> None:
        (tmp_path / "docs.svm").write_text("\n# nothing\n")
        with pytest.raises(ValueError, match="docs.svm has no documents"):
            read(tmp_path / "docs.svm")

    def test_agrees_with_a_reader_line_by_line(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(1)
        table = rng.poisson(0.3, (200, 40))
        (tmp_path / "docs.svm").write_text(svmlight(table, 0))
        assert (read_svmlight(tmp_path / "docs.svm").splits["train"].counts.toarray() == table).all()

    def test_far_ids_cost_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "docs.svm").write_text("1 7:1 2000000000:3\n" * 3)
        assert read(tmp_path / "docs.svm").vocabulary == ("word 7", "word 2000000000")


class TestUci:
    def write(self, folder: Path, header: str = "5\n3\n8\n", body: str = triplets(TABLE)) -> Path:
        (folder / "docword.kos.txt").write_text(header + body)
        (folder / "vocab.kos.txt").write_text("ant\nbee\ncat\n")
        return folder / "docword.kos.txt"

    def test_counts_and_words(self, tmp_path: Path) -> None:
        corpus = read(self.write(tmp_path, "5\n3\n9\n"))
        assert whole(corpus) == sorted(TABLE.tolist()) and corpus.vocabulary == ("ant", "bee", "cat")

    def test_gzip_and_no_words(self, tmp_path: Path) -> None:
        path = self.write(tmp_path, "5\n3\n9\n")
        (tmp_path / "docword.kos.txt.gz").write_bytes(gzip.compress(path.read_bytes()))
        corpus = read(tmp_path / "docword.kos.txt.gz")
        assert whole(corpus) == sorted(TABLE.tolist()) and corpus.vocabulary == ("ant", "bee", "cat")
        (tmp_path / "vocab.kos.txt").unlink()
        assert read(path).vocabulary == ("word 1", "word 2", "word 3")

    def test_missing_triplets(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="docword.kos.txt: 8 triplets announced, 9 found"):
            read(self.write(tmp_path))

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            ("1 1 1\n6 1 1\n", "line 5: document id 6; there are 5 documents"),
            ("1 1 1\n\n0 1 1\n", "line 6: document id 0"),
            ("1 1 1\n1 4 1\n", "line 5: word id 4; there are 3 words"),
            ("1 1 1\n1 0 1\n", "line 5: word id 0"),
            ("1 1 1\n1 1 -2\n", "line 5: count -2"),
            ("1 1 1\n1 1 1.5\n", "line 5: count 1.5"),
            ("1 1 1\n1 1 nan\n", "line 5: expected 'document word count', got '1 1 nan'"),
            ("1 1 1\n1 1\n", "line 5: expected 'document word count', got '1 1'"),
            ("1 1\n1 1\n", "line 4: expected 'document word count', got '1 1'"),
            ("1 1 1\n1 1 1 1\n", "line 5: expected"),
            ("1 1 1\none 1 1\n", "line 5: expected"),
            ("1 1 1\n1 1 1e999\n", "line 5: expected"),
        ],
    )
    def test_wrong_triplet(self, tmp_path: Path, body: str, message: str) -> None:
        with pytest.raises(ValueError, match=f"docword.kos.txt, {message}"):
            read(self.write(tmp_path, "5\n3\n2\n", body))

    @pytest.mark.parametrize("header", ["", "5\n", "5\nthree\n9\n", "5\n3\n-9\n", "1 1 1\n1 2 3\n2 2 3\n"])
    def test_wrong_header(self, tmp_path: Path, header: str) -> None:
        with pytest.raises(ValueError, match=r"docword.kos.txt, line \d: expected the number of.*three header lines"):
            read(self.write(tmp_path, header, ""))

    def test_words_of_another_corpus(self, tmp_path: Path) -> None:
        path = self.write(tmp_path, "5\n3\n9\n")
        (tmp_path / "vocab.kos.txt").write_text("ant\n")
        with pytest.raises(ValueError, match="vocab.kos.txt has 1 words, docword.kos.txt announces 3"):
            read(path)


class TestFolder:
    def write(self, root: Path, files: dict[str, str]) -> Path:
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text, encoding="utf-8")
        return root

    def test_labels_and_titles(self, tmp_path: Path) -> None:
        files = {f"{label}/{i}.txt": f"The {label}'s schöne log_prob {i}" for label in ("cat", "dog") for i in range(3)}
        corpus = read(self.write(tmp_path, files))
        assert corpus.label_names == ("cat", "dog")
        assert corpus.vocabulary == ("cat", "dog", "log", "prob", "schöne", "the")
        assert corpus.train.titles is not None and corpus.train.labels is not None
        for title, label in zip(corpus.train.titles, corpus.train.labels, strict=True):
            assert title.startswith(corpus.label_names[int(label)])

    def test_splits(self, tmp_path: Path) -> None:
        files = {
            f"{split}/{c}/{i}.txt": "aa bb" for split in ("train", "validation", "test") for c in "pq" for i in "12"
        }
        corpus = read(self.write(tmp_path, files))
        assert (len(corpus.train), len(corpus.validation), len(corpus.test)) == (4, 4, 4)
        assert corpus.test.titles == ("test/p/1.txt", "test/p/2.txt", "test/q/1.txt", "test/q/2.txt")
        assert corpus.label_names == ("p", "q")

    def test_without_labels(self, tmp_path: Path) -> None:
        corpus = read(self.write(tmp_path, {f"{i}.txt": "aa bb" for i in range(4)}))
        assert corpus.train.labels is None and corpus.label_names == ()

    def test_empty_documents(self, tmp_path: Path) -> None:
        files = {f"{i}.txt": "aa bb" if i else "1 2 3" for i in range(30)}
        corpus = read(self.write(tmp_path, files))
        assert len(corpus.train) + len(corpus.test) == 29
        assert any("1 empty document dropped" in note for note in corpus.notes)

    @pytest.mark.parametrize(
        ("files", "message"),
        [
            ({"readme.md": "aa"}, "has no .txt files"),
            ({"a/1.txt": "aa", "2.txt": "bb"}, "2.txt lies in no class's folder but others do"),
            ({"train/1.txt": "aa", "2.txt": "bb"}, "2.txt lies outside the folders of the splits"),
            ({"test/1.txt": "aa"}, "has no documents for training, only for test"),
        ],
    )
    def test_unclear_folder(self, tmp_path: Path, files: dict[str, str], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            read(self.write(tmp_path, files))

    def test_not_utf8(self, tmp_path: Path) -> None:
        self.write(tmp_path, {"1.txt": "aa"})
        (tmp_path / "2.txt").write_bytes(b"fine\nna\xefve\n")
        with pytest.raises(ValueError, match="2.txt, line 2: byte 0xef is not UTF-8 text; save the file as UTF-8"):
            read(tmp_path)


class TestTable:
    def test_text_label_and_split(self, tmp_path: Path) -> None:
        rows = "Label,split,text,other\n" + 'x,train,"aa, ""bb""\naa",1\ny,validation,bb,2\n\nx,test,aa zz,3\n'
        (tmp_path / "docs.csv").write_text("\ufeff" + rows, encoding="utf-8")
        corpus = read(tmp_path / "docs.csv")
        assert corpus.vocabulary == ("aa", "bb") and corpus.label_names == ("x", "y")
        assert corpus.train.values.to_csr().toarray().tolist() == [[2, 1]]
        assert corpus.validation.values.to_csr().toarray().tolist() == [[0, 1]]
        assert corpus.test.labels is not None and corpus.test.labels.tolist() == [0]

    def test_tsv_xz(self, tmp_path: Path) -> None:
        (tmp_path / "docs.tsv.xz").write_bytes(lzma.compress(b"text\tlabel\naa, bb\tx\ncc aa\ty\n"))
        assert whole(read(tmp_path / "docs.tsv.xz"))
        assert read(tmp_path / "docs.tsv.xz").label_names == ("x", "y")

    def test_only_column_is_the_text(self, tmp_path: Path) -> None:
        (tmp_path / "docs.csv").write_text("abstract\naa bb\naa bb\n")
        corpus = read(tmp_path / "docs.csv")
        assert len(corpus.train) == len(corpus.test) == 1
        assert any("'abstract', was taken as the header" in note for note in corpus.notes)

    def test_long_document(self, tmp_path: Path) -> None:
        before = csv.field_size_limit()
        (tmp_path / "docs.csv").write_text("text\n" + "word " * 50_000 + "\nword\n")
        corpus = read(tmp_path / "docs.csv")
        assert max(corpus.train.values.lengths.max(), corpus.test.values.lengths.max()) > 49_999
        assert csv.field_size_limit() == before

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("", "docs.csv needs a header line and at least one document, has 0 rows"),
            ("text\n", "has 1 rows"),
            ("body,label\naa,x\n", "line 1: no column 'text' among body, label; name the column"),
            ("text,label\naa,x\nbb, cc,y\n", "line 3: 3 columns where the header has 2; quote texts"),
            ("text,label\naa,x\nbb\n", "line 3: 1 columns"),
            ('text\naa\n"bb\n', "docs.csv, line 3: unexpected end of data; close every quote"),
            ('text,label\naa,x\n"bb" cc,y\n', "docs.csv, line 3: .*close every quote"),
            ("text,label\naa,x\nbb,\n", "line 3: no label; give every document one"),
            ("text,split\naa,train\nbb,dev\n", "line 3: split 'dev'; use one of train, validation, test"),
            ("text,split\naa,test\n", "has no documents for training"),
        ],
    )
    def test_malformed(self, tmp_path: Path, content: str, message: str) -> None:
        (tmp_path / "docs.csv").write_text(content)
        with pytest.raises(ValueError, match=message):
            read(tmp_path / "docs.csv")


class TestNames:
    @pytest.mark.parametrize("name", ["20newsgroups", "nowhere/docs.csvx", "DOCSTRINGS"])
    def test_unknown_name_lists_the_choices(self, name: str) -> None:
        with pytest.raises(ValueError, match=f"'{name}' is neither a corpus nor a file or folder") as caught:
            load_corpus(name)
        assert all(form in str(caught.value) for form in corpora())

    def test_unknown_format(self, tmp_path: Path) -> None:
        (tmp_path / "docs.parquet").write_bytes(b"PAR1")
        with pytest.raises(ValueError, match="docs.parquet' has a format that no reader recognises; give one of"):
            read(tmp_path / "docs.parquet")

    @pytest.mark.parametrize("name", ["a.npz", "a.svm", "docword.a.txt", "a.csv", "a.tgz"])
    def test_missing_file(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(ValueError, match=f"{name}.*; "):
            read(tmp_path / name)

    def test_a_name_wins_over_a_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "docstrings").mkdir()
        (tmp_path / "docstrings" / "1.txt").write_text("aa bb")
        (tmp_path / "docstrings" / "2.txt").write_text("aa bb")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(
            "ppl_vae.data.readers.docstrings.read_docstrings", lambda cache: pytest.fail("the named one")
        )
        with pytest.raises(pytest.fail.Exception, match="the named one"):
            load_corpus("docstrings")
        assert load_corpus("./docstrings", validation=0).name == "./docstrings"

    @pytest.mark.parametrize("ending", ["gz", "xz"])
    def test_truncated_compression(self, tmp_path: Path, ending: str) -> None:
        text = "".join(map(str, random.Random(0).choices("abc \n", k=5000))).encode()
        content = gzip.compress(text) if ending == "gz" else lzma.compress(text)
        damaged = content[: len(content) // 2] + bytes(50) + content[len(content) // 2 + 50 :]
        for broken in (content[:7], content[: len(content) // 2], content[:-6], damaged, b"plain text"):
            (tmp_path / f"docs.csv.{ending}").write_bytes(broken)
            with pytest.raises(ValueError, match=f"docs.csv.{ending} is truncated or not compressed"):
                read(tmp_path / f"docs.csv.{ending}")


def test_a_million_entries_take_seconds_at_most(tmp_path: Path) -> None:
    # A loop over the entries in Python would take many times longer; the bound is wide for a busy machine.
    table = random_array((5_000, 20_000), density=0.01, rng=0, data_sampler=lambda size: np.ones(size)).tocsr()
    rows, columns = table.nonzero()
    lines = np.char.add(np.char.add((columns + 1).astype(str), ":"), "1").tolist()
    ends = table.indptr.tolist()
    text = "\n".join("0 " + " ".join(lines[start:end]) for start, end in zip(ends, ends[1:], strict=False))
    (tmp_path / "docs.svm").write_text(text)
    started = time.perf_counter()
    counts = read_svmlight(tmp_path / "docs.svm").splits["train"].counts
    assert time.perf_counter() - started < 10
    assert counts.nnz == len(rows)


def test_lines_end_only_where_editors_end_them() -> None:
    assert TextFile("words", "a\x0bb\r\nc\u2028d\n".encode()).lines == ["a\x0bb", "c\u2028d"]
