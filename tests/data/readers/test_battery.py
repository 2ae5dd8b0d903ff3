"""Every reader that is found: what it gives, and how it refuses what it cannot read."""

from __future__ import annotations

import gzip
import io
import re
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from scipy.sparse import csr_matrix, save_npz

from ppl_vae.data import PackedCounts, corpora, find_reader, load_corpus
from ppl_vae.data.packed.pack import pack
from ppl_vae.data.readers.base import Reader
from ppl_vae.data.source import Source, SourceSplit, numbered_words
from tests.support.data_files import idx, triplets

NAMED = {name: reader for name, reader in corpora().items() if reader.named}
OFFLINE = {name: reader for name, reader in NAMED.items() if "needs no network" in reader.line}
APART = {"COLUMNS.npz", "TABLE.parquet", "CELLS.h5ad"}
"""Readers of several fields, and of packages that may be missing, which have tests of their own."""

FORMATS = {name: reader for name, reader in corpora().items() if not reader.named and name not in APART}

COUNTS = np.random.default_rng(0).integers(0, 4, (30, 5)) + np.eye(5, dtype=int)[np.arange(30) % 5]
"""Documents of which none is empty."""

IMAGES = np.random.default_rng(0).integers(0, 256, (30, 6, 6), dtype=np.uint8)


@dataclass(frozen=True)
class Example:
    """Data of a format.

    Arguments:
        path: The file or folder, relative to a working folder.
        write: Writes it.
        damage: Which of its files to cut in half, relative to the path; None if any cut of it can be read.
    """

    path: str
    write: Callable[[Path], object]
    damage: str | None = ""


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def packed(text: str) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(gzip.compress(text.encode()))


def sentences(counts: np.ndarray) -> list[str]:
    words = ("ant", "bee", "cat", "dog", "eel")
    return [" ".join(word for word, count in zip(words, row, strict=True) for _ in range(count)) for row in counts]


def in_memory(values: csr_matrix | np.ndarray) -> Source:
    return Source({"train": SourceSplit(values)}, numbered_words(range(0 if isinstance(values, np.ndarray) else 5)))


def write_texts(folder: Path) -> None:
    folder.mkdir()
    for number, text in enumerate(sentences(COUNTS)):
        (folder / f"{number}.txt").write_text(text)


def write_images(folder: Path) -> None:
    folder.mkdir()
    for number, image in enumerate(IMAGES):
        Image.fromarray(image).save(folder / f"{number:02}.png")


def write_idx_folder(folder: Path) -> None:
    folder.mkdir()
    for name, size in (("train", 20), ("t10k", 10)):
        (folder / f"{name}-images-idx3-ubyte").write_bytes(idx(IMAGES[:size]))
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(idx(np.arange(size, dtype=np.uint8) % 3))


def matlab_files() -> dict[str, bytes]:
    files: dict[str, str] = {}
    for split, counts in (("train", COUNTS[:20]), ("test", COUNTS[20:])):
        files[f"{split}.data.gz"] = triplets(counts)
        files[f"{split}.label.gz"] = "".join(f"{1 + i % 2}\n" for i in range(len(counts)))
    return {name: gzip.compress(text.encode()) for name, text in files.items()}


def write_matlab(folder: Path) -> None:
    folder.mkdir()
    for name, content in matlab_files().items():
        (folder / name).write_bytes(content)


def write_archive(path: Path) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in matlab_files().items():
            member = tarfile.TarInfo(f"matlab/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def folder_of(files: dict[str, str]) -> Callable[[Path], object]:
    """Writes a folder of files."""
    return lambda folder: (folder.mkdir(), *((folder / name).write_text(text) for name, text in files.items()))


def halves(text: str, ending: str, head: int = 0) -> dict[str, str]:
    """The first twenty lines after the head, and the others, as files of two splits."""
    lines = text.splitlines(keepends=True)
    parts = {"train": lines[head : head + 20], "test": lines[head + 20 :]}
    return {f"{split}{ending}": "".join([*lines[:head], *part]) for split, part in parts.items()}


def write_10x(folder: Path) -> None:
    folder.mkdir()
    entries = f"{MARKET}5 30 {np.count_nonzero(COUNTS)}\n" + triplets(COUNTS.T)
    for name, content in (
        ("matrix.mtx", entries),
        ("features.tsv", "".join(f"ENSG{i}\tG{i}\tGene Expression\n" for i in range(5))),
        ("barcodes.tsv", "".join(f"cell{i}\n" for i in range(30))),
    ):
        (folder / f"{name}.gz").write_bytes(gzip.compress(content.encode()))


HEADER = f"{len(COUNTS)}\n{COUNTS.shape[1]}\n{np.count_nonzero(COUNTS)}\n"
SVM = "".join(f"{i % 2} {' '.join(f'{j}:{c}' for j, c in enumerate(row) if c)}\n" for i, row in enumerate(COUNTS))

LDAC = re.sub(r"(?m)^[01]", lambda m: "%d", SVM) % tuple(np.count_nonzero(COUNTS, axis=1))
MARKET = "%%MatrixMarket matrix coordinate integer general\n"
KINDS = np.arange(20) % 3
TABLE = "cell,a,b,c,d,e\n" + "".join(f"c{i},{','.join(map(str, row))}\n" for i, row in enumerate(COUNTS))

EXAMPLES = {
    "FILE.npy": Example("x.npy", lambda path: path.write_bytes(npy(IMAGES / 255))),
    "FILE.mat": Example("x.mat", lambda path: savemat(path, {"X": IMAGES / 255}, do_compression=True)),
    "ARRAYS.npz": Example("x.npz", lambda path: np.savez(path, train=IMAGES[:20] / 255, test=IMAGES[20:] / 255)),
    "FILE.npz": Example("counts.npz", lambda path: save_npz(path, csr_matrix(COUNTS))),
    "FILE.csv": Example("docs.csv.gz", packed("text\n" + "\n".join(sentences(COUNTS)) + "\n")),
    "TABLE.csv": Example("table.csv.gz", packed(TABLE)),
    "PAIRS.npz": Example("x.npz", lambda path: np.savez(path, x_train=IMAGES[:20], x_test=IMAGES[20:], y_train=KINDS)),
    "FILE.mtx": Example("m.mtx.gz", packed(f"{MARKET}30 5 {np.count_nonzero(COUNTS)}\n" + triplets(COUNTS))),
    "SPLITS/": Example("split", folder_of(halves(SVM, ".svm")), None),
    "TABLES/": Example("split", folder_of(halves(TABLE, ".csv", 1)), None),
    "DOCUMENTS/": Example("docs", folder_of({"docs.dat": LDAC, "vocab.txt": "ant\nbee\ncat\ndog\neel\n"}), "docs.dat"),
    "10X/": Example("cells", write_10x, "matrix.mtx.gz"),
    "FILE.ldac": Example("docs.ldac.gz", packed(LDAC)),
    "FILE.svm": Example("docs.svm.gz", packed(SVM)),
    "docword.NAME.txt": Example("docword.x.txt.gz", packed(HEADER + triplets(COUNTS))),
    "FILE-idx3-ubyte": Example("x-images-idx3-ubyte", lambda path: path.write_bytes(idx(IMAGES))),
    "IDX/": Example("digits", write_idx_folder, "train-images-idx3-ubyte"),
    "IMAGES/": Example("images", write_images, "00.png"),
    "MATLAB/": Example("matlab", write_matlab, "train.data.gz"),
    "MATLAB.tgz": Example("matlab.tgz", write_archive),
    "FOLDER/": Example("texts", write_texts, None),
    "PACKED/": Example("packed", lambda path: pack([in_memory(csr_matrix(COUNTS))], path), "train.words.npy"),
    "PACKED-ARRAYS/": Example(
        "packed", lambda path: pack([in_memory((IMAGES / 255).astype(np.float32))], path), "train.field-x.npy"
    ),
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data_folder: Path) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_listing_corpora_imports_nothing_that_only_reading_needs() -> None:
    heavy = ("scipy", "pooch", "PIL", "rich", "sklearn")
    code = f"import sys; from ppl_vae.data import corpora; corpora(); print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_every_reader_has_a_line_in_the_docs() -> None:
    page = (Path(__file__).parents[3] / "docs" / "data.md").read_text()
    assert [name for name in corpora() if f"`{name}`" not in page] == []


def test_every_format_has_an_example() -> None:
    assert set(EXAMPLES) == set(FORMATS), "add an example of the format to EXAMPLES"


@pytest.fixture(params=[*OFFLINE, *FORMATS])
def found(request: pytest.FixtureRequest, place: Path) -> tuple[str, Reader]:
    """What to call ``load_corpus`` by, and the reader."""
    name = request.param
    if name in OFFLINE:
        return name, NAMED[name]
    EXAMPLES[name].write(place / EXAMPLES[name].path)
    return EXAMPLES[name].path, FORMATS[name]


def rows(values: PackedCounts | torch.Tensor) -> Counter[bytes]:
    """The data of a split, each with how often it occurs."""
    dense = values.to_csr() if isinstance(values, PackedCounts) else values
    return Counter(
        (row.indices.tobytes() + row.data.tobytes()) if isinstance(values, PackedCounts) else row.numpy().tobytes()
        for row in dense
    )


def test_data_are_valid_and_of_the_declared_kind(found: tuple[str, Reader]) -> None:
    name, reader = found
    assert find_reader(name) is reader
    corpus = load_corpus(name)
    assert list(corpus.splits) == ["train", "validation", "test"]
    for data in corpus.splits.values():
        assert isinstance(data.values, reader.kind) and len(data) > 0
        if isinstance(data.values, PackedCounts):
            PackedCounts(data.values.offsets, data.values.words, data.values.counts, len(corpus.vocabulary))
            assert data.values.lengths.min() >= 1
        else:
            assert data.values.dtype == torch.float32 and data.values.isfinite().all()
        if data.labels is not None:
            assert data.labels.shape == (len(data),) and data.labels.dtype == torch.int64
            assert data.labels.min() >= 0 and data.labels.max() < len(corpus.label_names)
        assert data.titles is None or len(data.titles) == len(data)


def test_splits_share_no_datum_and_lose_none(found: tuple[str, Reader]) -> None:
    name, reader = found
    corpus, whole = load_corpus(name), load_corpus(name, validation=0)
    if reader.prepared:  # split once and for all
        assert corpus.fingerprint == whole.fingerprint
        return
    held = rows(corpus.validation.values)
    assert rows(corpus.train.values) + held == rows(whole.train.values) and len(whole.validation) == 0
    assert rows(corpus.test.values) == rows(whole.test.values)
    titles, all_titles = (Counter(t for d in c.splits.values() for t in d.titles or ()) for c in (corpus, whole))
    assert titles == all_titles


def test_the_same_data_twice_and_the_same_test_data_for_every_seed(found: tuple[str, Reader]) -> None:
    name, reader = found
    one, other = load_corpus(name), load_corpus(name, seed=1)
    assert one.fingerprint == load_corpus(name).fingerprint
    assert (one.fingerprint == other.fingerprint) == reader.prepared
    assert rows(one.test.values) == rows(other.test.values)


def test_every_option_is_documented_and_has_a_default(found: tuple[str, Reader]) -> None:
    name, reader = found
    for option in reader.options:
        assert option.help and not option.required
    defaults = {option.name: option.default for option in reader.options}
    assert load_corpus(name, **defaults).fingerprint == load_corpus(name).fingerprint
    with pytest.raises(ValueError, match=r"does not take shade; leave --shade out \(its options: "):
        load_corpus(name, shade=3)


@pytest.mark.parametrize("name", [name for name in NAMED if name not in OFFLINE])
def test_a_download_that_fails_says_where_the_files_go(name: str, data_folder: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot be downloaded from http.*PPL_VAE_DATA"):
        load_corpus(name)


@pytest.mark.parametrize("name", FORMATS)
def test_a_missing_path(name: str, place: Path) -> None:
    path = EXAMPLES[name].path
    with pytest.raises(ValueError, match=rf"there is no file {path}|'{path}' is neither a corpus nor a file or folder"):
        load_corpus(path)


@pytest.mark.parametrize("name", FORMATS)
def test_an_empty_file_or_folder(name: str, place: Path) -> None:
    path = place / EXAMPLES[name].path
    if name.endswith("/"):
        path.mkdir()
    else:
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=path.name):
        load_corpus(path.name)


@pytest.mark.parametrize("name", [name for name, example in EXAMPLES.items() if example.damage is not None])
def test_a_truncated_file(name: str, place: Path) -> None:
    example = EXAMPLES[name]
    example.write(place / example.path)
    path = place / example.path / (example.damage or "")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=path.name):
        load_corpus(example.path)
