"""20 Newsgroups: both layouts, the archive, the download, malformed files, and the published figures."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pooch
import pytest
import torch

from ppl_vae.data import Corpus, load_corpus
from ppl_vae.data.download import data_folder
from ppl_vae.data.readers import newsgroups as module

FILES = {
    "train.data": "1 1 2\n1 3 1\n2 2 3\n3 1 1\n3 2 1\n4 3 2\n",
    "test.data": "1 1 1\n2 2 1\n2 4 5\n",
    "train.label": "1\n1\n2\n2\n",
    "test.label": "1\n2\n",
    "train.map": "alt.ants 1\nrec.bees 2\n",
    "vocabulary.txt": "ant\nbee\ncat\ndog\n",
}
ARCHIVE = "20news-bydate-matlab.tgz"


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder, and no way to the network."""

    def no_network(url: str, **_: object) -> str:
        raise OSError(f"no route to {url}")

    monkeypatch.setattr("pooch.retrieve", no_network)
    monkeypatch.setenv("PPL_VAE_DATA", str(tmp_path))
    return tmp_path


def write_gzipped(data: Path, **changes: str | bytes) -> None:
    folder = data / "20news_bydate_matlab"
    folder.mkdir()
    for name, text in FILES.items():
        content = changes.get(name.replace(".", "_"), text)
        (folder / f"{name}.gz").write_bytes(content if isinstance(content, bytes) else gzip.compress(content.encode()))


def write_original(data: Path) -> None:
    folder = data / "20news-bydate" / "matlab"
    folder.mkdir(parents=True)
    for name, text in FILES.items():
        (folder.parent if name == "vocabulary.txt" else folder).joinpath(name).write_text(text)


def write_archive(data: Path, prefix: str = "20news-bydate/matlab/") -> None:
    with tarfile.open(data / ARCHIVE, "w:gz") as archive:
        for name, text in FILES.items():
            if name == "vocabulary.txt":
                (data / name).write_text(text)
                continue
            member = tarfile.TarInfo(prefix + name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))


def load() -> Corpus:
    return load_corpus("20news", validation=0)


@pytest.mark.parametrize("write", [write_gzipped, write_original, write_archive])
def test_every_layout_reads_the_same(data: Path, write: object) -> None:
    write(data)  # type: ignore[operator]
    corpus = load()
    assert corpus.vocabulary == ("ant", "bee", "cat") and corpus.label_names == ("alt.ants", "rec.bees")
    assert corpus.train.values.to_csr().toarray().tolist() == [[2, 0, 1], [0, 3, 0], [1, 1, 0], [0, 0, 2]]
    assert corpus.test.values.to_csr().toarray().tolist() == [[1, 0, 0], [0, 1, 0]]
    assert corpus.train.labels is not None and corpus.train.labels.tolist() == [0, 0, 1, 1]
    assert "1 words of test never occur in training: dropped" in corpus.notes


@pytest.mark.parametrize("path", ["20news-bydate/matlab", ARCHIVE])
def test_addressed_by_path(data: Path, path: str) -> None:
    write_original(data)
    write_archive(data)
    assert load_corpus(str(data / path), validation=0).fingerprint == load().fingerprint


def test_without_words_and_class_names(data: Path) -> None:
    write_original(data)
    (data / "20news-bydate/vocabulary.txt").unlink()
    (data / "20news-bydate/matlab/train.map").unlink()
    corpus = load()
    assert corpus.vocabulary == ("word 1", "word 2", "word 3") and corpus.label_names == ("class 1", "class 2")
    assert any("no vocabulary.txt" in note for note in corpus.notes)


@pytest.mark.parametrize("prefix", ["../../escaped/", "a/../../escaped-", "/escaped/"])
def test_a_member_that_points_outside_is_refused(data: Path, prefix: str) -> None:
    write_archive(data, prefix=prefix)
    with pytest.raises(ValueError, match=f"{ARCHIVE} is no readable archive .*escaped.* lies outside of it.*again"):
        load()
    assert sorted(path.name for path in data.iterdir()) == [ARCHIVE, "vocabulary.txt"]
    assert not list(data.parent.parent.glob("escaped*"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_an_archive_are_refused(data: Path, kind: bytes) -> None:
    write_archive(data)
    with tarfile.open(data / "other.tar", "w") as archive:
        member = tarfile.TarInfo("matlab/train.data")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)
    with pytest.raises(ValueError, match="other.tar is no readable archive .'matlab/train.data' is a link, a device"):
        load_corpus(str(data / "other.tar"))


def test_one_file_twice_in_an_archive(data: Path) -> None:
    write_archive(data, prefix="a/")
    with tarfile.open(data / ARCHIVE) as first, tarfile.open(data / "twice.tar", "w") as archive:
        for prefix in ("a", "b"):
            for member in first.getmembers():
                member.name = f"{prefix}/{Path(member.name).name}"
                archive.addfile(member, first.extractfile(member))
    with pytest.raises(ValueError, match="twice.tar is no readable archive .it holds .* twice"):
        load_corpus(str(data / "twice.tar"))


def test_truncated_archive(data: Path) -> None:
    write_archive(data)
    content = (data / ARCHIVE).read_bytes()
    for size in (0, 20, len(content) // 2, len(content) - 4):
        (data / ARCHIVE).write_bytes(content[:size])
        with pytest.raises(ValueError, match=f"{ARCHIVE} is (truncated or not compressed|no readable archive)"):
            load()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_data": "1 1 1\n9 1 1\n"}, "train.data.gz, line 2: document id 9; there are 4 documents"),
        ({"train_data": "1 1 1\n1 5 1\n"}, "train.data.gz, line 2: word id 5; there are 4 words"),
        ({"test_data": "1 1 1\n1 2 -1\n"}, "test.data.gz, line 2: count -1; counts are whole numbers"),
        ({"test_data": "1 1 1\n1 2 0.5\n"}, "test.data.gz, line 2: count 0.5"),
        ({"train_data": "1 1 1\n1,2,1\n"}, "train.data.gz, line 2: expected 'document word count', got '1,2,1'"),
        ({"train_data": gzip.compress(FILES["train.data"].encode())[:-9]}, "train.data.gz is truncated or not"),
        ({"train_data": "\ufffd 1 1\n"}, "train.data.gz, line 1: expected"),
        ({"train_data": gzip.compress(b"1 1 1\n\xff 1 1\n")}, "train.data.gz, line 2: byte 0xff is not UTF-8"),
        ({"train_label": "1\n3\n2\n2\n"}, "train.label.gz, line 2: class id 3; there are 2 classes"),
        ({"train_label": "1\n1.5\n2\n2\n"}, "train.label.gz, line 2: class id 1.5"),
        ({"train_label": "1\nx\n2\n2\n"}, "train.label.gz, line 2: expected one class id, got 'x'"),
        ({"train_map": "alt.ants 1\nrec.bees 3\n"}, "train.map.gz, line 2: expected 'class 2', got 'rec.bees 3'"),
        ({"train_map": ""}, "train.map.gz names no class; give a line 'class number' for each, or remove the file"),
        ({"vocabulary_txt": "ant\n\nbee\n"}, "vocabulary.txt.gz, line 2: a blank line where a word"),
    ],
)
def test_malformed(data: Path, changes: dict[str, str | bytes], message: str) -> None:
    write_gzipped(data, **changes)
    with pytest.raises(ValueError, match=message):
        load()


def test_missing_file(data: Path) -> None:
    write_original(data)
    (data / "20news-bydate/matlab/test.label").unlink()
    with pytest.raises(ValueError, match="lacks test.label; put back all files"):
        load()


def test_document_without_triplets_is_dropped(data: Path) -> None:
    write_gzipped(data, train_label="1\n1\n2\n2\n2\n")
    corpus = load()
    assert len(corpus.train) == 4 and "1 empty document dropped from train" in corpus.notes


def test_failing_download_says_where_the_files_go(data: Path) -> None:
    with pytest.raises(ValueError, match=f"no route to http.*put {ARCHIVE} and vocabulary.txt .*PPL_VAE_DATA") as error:
        load()
    assert str(data) in str(error.value)
    assert not list(data.iterdir())


def serve(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def retrieve(url: str, *, fname: str, path: Path, known_hash: None) -> str:
        return str(shutil.copy(source / url.rsplit("/", 1)[1], Path(path) / fname))

    monkeypatch.setattr("pooch.retrieve", retrieve)


def digest_of_files() -> str:
    """SHA-256 of the counts by rows, as 64-bit integers, and of the words."""
    digest = hashlib.sha256()
    for split, documents in (("train", 4), ("test", 2)):
        table = np.zeros((documents, 4), dtype=int)
        for line in FILES[f"{split}.data"].split("\n")[:-1]:
            document, word, count = map(int, line.split())
            table[document - 1, word - 1] = count
        columns = [np.flatnonzero(row) for row in table]
        rows = np.cumsum([0, *map(len, columns)])
        for part in (rows, np.concatenate(columns), table[table > 0]):
            digest.update(np.asarray(part, "<i8").tobytes())
    digest.update(FILES["vocabulary.txt"].strip().encode())
    return digest.hexdigest()


def test_download_is_kept_only_if_the_published_counts_agree(
    data: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path_factory.mktemp("site")
    write_archive(site)
    serve(site, monkeypatch)
    with pytest.raises(ValueError, match=r"'train': \(4, 6\).*published are .*11269, 1467345"):
        load()
    assert not list(data.iterdir())
    monkeypatch.setattr(module, "_PUBLISHED", {"train": (4, 6), "test": (2, 3)})
    monkeypatch.setattr(module, "_PUBLISHED_WORDS", 4)
    with pytest.raises(ValueError, match="has counts of SHA-256 .*known are those of 4d179aec1e11"):
        load()
    monkeypatch.setattr(module, "_PUBLISHED_SHA256", digest_of_files())
    downloaded = load()
    assert sorted(path.name for path in data.iterdir()) == [ARCHIVE, "vocabulary.txt"]
    monkeypatch.setattr("pooch.retrieve", lambda *_, **__: pytest.fail("downloaded twice"))
    assert load().fingerprint == downloaded.fingerprint


def test_data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PPL_VAE_DATA", str(tmp_path))
    assert data_folder() == data_folder(tmp_path / "other") == tmp_path
    monkeypatch.delenv("PPL_VAE_DATA")
    assert data_folder(tmp_path / "other") == tmp_path / "other"
    assert data_folder() == Path(pooch.os_cache("ppl-vae"))


def _real_data() -> bool:
    folder = os.environ.get("PPL_VAE_DATA")
    return folder is not None and any(
        (Path(folder) / name).exists() for name in ("20news_bydate_matlab", "20news-bydate", ARCHIVE)
    )


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return load()


@pytest.mark.skipif(not _real_data(), reason="set PPL_VAE_DATA to a folder that holds 20 Newsgroups")
class TestPublishedFigures:
    def test_documents(self, corpus: Corpus) -> None:
        assert (len(corpus.train), len(corpus.validation), len(corpus.test)) == (11_269, 0, 7_505)
        assert len(corpus.vocabulary) == 10_000 and len(corpus.label_names) == 20
        assert not any("empty" in note for note in corpus.notes)

    def test_words(self, corpus: Corpus) -> None:
        assert round(corpus.train.values.lengths.double().mean().item(), 2) == 226.03
        assert round(corpus.train.values.sizes.double().mean().item(), 2) == 116.11
        assert round(corpus.test.values.lengths.double().mean().item(), 2) == 217.83
        assert (int(corpus.train.values.lengths.max()), int(corpus.train.values.sizes.max())) == (10_243, 1_667)

    def test_smoothed_unigram_model(self, corpus: Corpus) -> None:
        train, test = corpus.train.values, corpus.test.values
        totals = torch.ones(10_000, dtype=torch.float64).index_add(0, train.words, train.counts.double())
        used = test.sum(test.counts.double() * (totals / totals.sum()).log()[test.words])
        assert round(-used.mean().item(), 1) == 1517.9
        assert round(-(used + test.log_coefficient).mean().item(), 1) == 594.3
        assert round((test.saturated - test.log_coefficient - used).mean().item(), 1) == 467.2

    def test_a_tenth_is_held_out(self, corpus: Corpus) -> None:
        held = load_corpus("20news", seed=1)
        assert (len(held.train), len(held.validation)) == (10_142, 1_127)
        assert held.vocabulary == corpus.vocabulary
        np.testing.assert_array_equal(held.test.values.words.numpy(), corpus.test.values.words.numpy())
        assert held.train.values.counts.sum() + held.validation.values.counts.sum() == corpus.train.values.counts.sum()
