"""Images in the format of MNIST."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from ppl_vae.data import load_corpus
from tests.support.data_files import idx, write_digits


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_users_own(tmp_path: Path, ending: str) -> None:
    contents = write_digits(tmp_path, ending)
    corpus = load_corpus(str(tmp_path / f"train-images-idx3-ubyte{ending}"), validation=0)
    assert (corpus.train.values.shape, corpus.test.values.shape) == ((18, 28, 28), (2, 28, 28))
    content = np.frombuffer(contents["train-images-idx3-ubyte"], np.uint8, offset=16).reshape(20, 28, 28)
    expected = torch.tensor(content[int(corpus.test.labels[0]) :: 10] / 255, dtype=torch.float32)
    assert (corpus.test.values[0] == expected).flatten(1).all(1).any()
    folder = load_corpus(str(tmp_path), validation=0)
    assert (len(folder.train), len(folder.test)) == (20, 10)
    assert folder.label_names == tuple("0123456789")


@pytest.mark.parametrize("name", ["emnist-letters-{}-{}-{}-ubyte", "{}-{}.{}-ubyte"], ids=["a set's name", "dots"])
def test_folders_whose_files_have_other_names(tmp_path: Path, name: str) -> None:
    write_digits(tmp_path)
    for path in list(tmp_path.iterdir()):
        split, kind, axes, _ = path.name.split("-")
        path.rename(tmp_path / name.format(split.replace("t10k", "test"), kind, axes))
    folder = load_corpus(str(tmp_path), validation=0)
    assert (len(folder.train), len(folder.test)) == (20, 10)
    assert folder.label_names == tuple("0123456789")
    images = next(tmp_path.glob("*train*images*"))
    shutil.copy(images, tmp_path / f"other-{images.name}")
    with pytest.raises(ValueError, match="has several files of train images .* keep one set in a folder of its own"):
        load_corpus(str(tmp_path))


def test_a_margin_of_zeros(tmp_path: Path) -> None:
    write_digits(tmp_path)
    name = str(tmp_path / "train-images-idx3-ubyte")
    plain, wide = (load_corpus(name, validation=0, image_size=size) for size in (0, 33))
    assert wide.train.values.shape[1:] == (33, 33)
    assert torch.equal(wide.train.values[:, 2:30, 2:30], plain.train.values)
    assert wide.train.values.sum() == pytest.approx(plain.train.values.sum().item())
    assert torch.equal(wide.train.labels, plain.train.labels)
    with pytest.raises(ValueError, match="28 x 28 are given a margin, not shrunk: --image-size must be at least"):
        load_corpus(name, image_size=16)


def test_without_labels(tmp_path: Path) -> None:
    write_digits(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    assert load_corpus(str(tmp_path / "train-images-idx3-ubyte")).train.labels is None
    shutil.copy(tmp_path / "train-images-idx3-ubyte", tmp_path / "mine.idx3-ubyte")
    assert load_corpus(str(tmp_path / "mine.idx3-ubyte")).train.labels is None
    with pytest.raises(ValueError, match="there is no file .*train-labels-idx1-ubyte"):
        load_corpus(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train-images", b"", "train-images-idx3-ubyte begins with nothing, not with 00000803"),
        ("train-images", gzip.compress(b"", mtime=0), "compressed by gzip: end its name in .gz"),
        ("train-images", b"\x00\x00\x0d\x03" + bytes(99), "begins with 00000d03, not with 00000803"),
        (
            "train-images",
            idx(np.zeros((2, 3, 4), np.uint8))[:-1],
            r"announces \(2, 3, 4\) bytes and has 23; ",
        ),
        ("train-images", idx(np.zeros((0, 3, 4), np.uint8)), r"has shape \(0, 3, 4\), which holds no data"),
        ("train-labels", idx(np.zeros(3, np.uint8)), "has 3 labels for the 20 images of train-images"),
        ("train-labels", idx(np.zeros((20, 1), np.uint8)), "labels-idx1-ubyte begins with 00000802, not .* 1 axis"),
    ],
)
def test_malformed(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    write_digits(tmp_path)
    path = tmp_path / f"{name}-idx{1 if 'labels' in name else 3}-ubyte"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_corpus(str(tmp_path / "train-images-idx3-ubyte"))
    (tmp_path / "x-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(np.ones((2, 2, 2), np.uint8)))[:-9])
    with pytest.raises(ValueError, match="x-images-idx3-ubyte.gz is truncated or not compressed"):
        load_corpus(str(tmp_path / "x-images-idx3-ubyte.gz"))


def test_splits_of_several_sizes(tmp_path: Path) -> None:
    write_digits(tmp_path)
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(np.zeros((10, 28, 27), np.uint8)))
    with pytest.raises(ValueError, match="images of several sizes .train 28 x 28, test 28 x 27.; give all splits"):
        load_corpus(str(tmp_path))


def test_no_more_of_a_file_is_uncompressed_than_its_header_announces(tmp_path, monkeypatch):
    read = []
    whole = gzip.GzipFile.read
    monkeypatch.setattr(gzip.GzipFile, "read", lambda self, size=-1: read.append(part := whole(self, size)) or part)
    path = tmp_path / "x-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(idx(np.zeros((2, 3, 4), np.uint8)) + bytes(2**26)))
    with pytest.raises(ValueError, match=r"announces \(2, 3, 4\) bytes and has more"):
        load_corpus(str(path))
    assert sum(map(len, read)) < 2**25
    path.write_bytes(gzip.compress(bytes([0, 0, 8, 3]) + b"\x7f\xff\xff\xff" * 3 + bytes(2**26)))
    with pytest.raises(ValueError, match="as 32-bit floats, more than"):
        load_corpus(str(path))
