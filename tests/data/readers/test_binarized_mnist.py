"""Static binarized MNIST."""

from __future__ import annotations

import hashlib
import lzma
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from ppl_vae.data import load_corpus
from ppl_vae.data.readers import binarized_mnist as binarized

_REAL = os.environ.get("PPL_VAE_DATA")

SIZES = {"train": 5, "valid": 2, "test": 3}


@pytest.fixture
def few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binarized, "_SIZES", SIZES)


def contents_of_files() -> dict[str, bytes]:
    rng, sizes = np.random.default_rng(0), SIZES
    return {
        k: b"".join(b" ".join(b"%d" % b for b in rng.integers(2, size=784)) + b"\n" for _ in range(n))
        for k, n in sizes.items()
    }


@pytest.mark.usefixtures("few_images")
def test_both_layouts_read_the_same(data_folder: Path) -> None:
    (data_folder / "binarized_mnist").mkdir()
    for name, content in contents_of_files().items():
        (data_folder / f"binarized_mnist/binarized_mnist_{name}.amat").write_bytes(content)
    corpus = load_corpus("binarized_mnist")
    assert (corpus.train.values.shape, len(corpus.validation), len(corpus.test)) == ((5, 28, 28), 2, 3)
    assert corpus.train.values.unique().tolist() == [0, 1]
    for name, content in contents_of_files().items():
        (data_folder / f"binarized_mnist/binarized_mnist_{name}.amat").unlink()
        bits = np.array(content.split(), dtype=np.uint8)
        packed = data_folder / f"binarized_mnist/binarized_mnist_{name}.packbits.xz"
        packed.write_bytes(lzma.compress(np.packbits(bits).tobytes()))
    again = load_corpus("binarized_mnist")
    assert again.fingerprint == corpus.fingerprint


@pytest.mark.usefixtures("few_images")
def test_faults_name_file_and_remedy(data_folder: Path) -> None:
    with pytest.raises(ValueError, match="binarized_mnist is not in .*no route to http.*put binarized_mnist_train"):
        load_corpus("binarized_mnist")
    (data_folder / "binarized_mnist").mkdir()
    train = data_folder / "binarized_mnist/binarized_mnist_train.amat"
    train.write_bytes(contents_of_files()["train"])
    with pytest.raises(ValueError, match=r"lacks binarized_mnist_valid.amat \(or .packbits.xz\)"):
        load_corpus("binarized_mnist")
    train.write_bytes(contents_of_files()["train"][:-5])
    with pytest.raises(ValueError, match="train.amat holds 3,918 pixels, which are no images of 784"):
        load_corpus("binarized_mnist")
    for wrong in (b"3", b"#"):
        train.write_bytes(contents_of_files()["train"].replace(b"1", wrong, 1))
        with pytest.raises(ValueError, match=rf"train.amat: pixel \d+ of image 0 is '{wrong.decode()}', neither 0"):
            load_corpus("binarized_mnist")
    train.write_bytes(2 * contents_of_files()["train"])
    for name in ("valid", "test"):
        (data_folder / f"binarized_mnist/binarized_mnist_{name}.amat").write_bytes(contents_of_files()[name])
    with pytest.raises(ValueError, match=r"train.amat holds 10 images, published are 5; download it again"):
        load_corpus("binarized_mnist")


@pytest.mark.usefixtures("few_images")
def test_download_is_kept_packed_if_the_published_sums_agree(
    data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = contents_of_files()

    def retrieve(url: str, *, fname: str, path: Path, known_hash: None) -> None:
        Path(path, fname).write_bytes(contents[fname.removeprefix("binarized_mnist_").removesuffix(".amat")])

    monkeypatch.setattr("pooch.retrieve", retrieve)
    with pytest.raises(ValueError, match="train.amat as it was downloaded has the MD5 .*published is db28"):
        load_corpus("binarized_mnist")
    assert not list(data_folder.iterdir())
    monkeypatch.setattr(binarized, "_PUBLISHED", {k: hashlib.md5(c).hexdigest() for k, c in contents.items()})
    downloaded = load_corpus("binarized_mnist")
    assert {path.suffix for path in (data_folder / "binarized_mnist").iterdir()} == {".xz"}
    expected = np.array(contents["test"].split(), dtype=np.float32).reshape(-1, 28, 28)
    assert torch.equal(downloaded.test.values, torch.from_numpy(expected))
    monkeypatch.setattr("pooch.retrieve", lambda *_, **__: pytest.fail("downloaded twice"))
    assert load_corpus("binarized_mnist").fingerprint == downloaded.fingerprint


@pytest.mark.skipif(
    _REAL is None or not Path(_REAL, "binarized_mnist").is_dir(),
    reason="set PPL_VAE_DATA to a folder that holds binarized_mnist/",
)
def test_binarized_digits_are_the_published_ones() -> None:
    corpus = load_corpus("binarized_mnist")
    for split, name in (
        (corpus.train.values, "train"),
        (corpus.validation.values, "valid"),
        (corpus.test.values, "test"),
    ):
        lines = np.full((len(split), 2 * 784), ord(" "), np.uint8)
        lines[:, 0::2] = split.reshape(-1, 784).numpy() + ord("0")
        lines[:, -1] = ord("\n")
        assert hashlib.md5(lines.tobytes()).hexdigest() == binarized._PUBLISHED[name]
