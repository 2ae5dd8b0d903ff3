"""MNIST, whole and shrunk."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from ppl_vae.data import load_corpus
from ppl_vae.data.readers import mnist
from tests.support.data_files import idx, write_digits

_REAL = os.environ.get("PPL_VAE_DATA")


@pytest.mark.parametrize(("folder", "ending"), [("mnist", ""), ("mnist", ".gz"), ("MNIST/raw", "")])
def test_every_layout_reads_the_same(data_folder: Path, folder: str, ending: str) -> None:
    write_digits(data_folder / folder, ending)
    corpus = load_corpus("mnist", validation=0)
    assert (corpus.train.values.shape, corpus.test.values.shape) == ((20, 28, 28), (10, 28, 28))
    assert corpus.train.labels.tolist() == [*range(10), *range(10)]


def test_shrunk(data_folder: Path) -> None:
    write_digits(data_folder / "mnist")
    whole, small, bits = (load_corpus(name, validation=0) for name in ("mnist", "mnist8", "mnist8_binary"))
    assert small.train.values.shape == (20, 64)
    padded = torch.nn.functional.pad(whole.train.values, (2, 2, 2, 2))
    expected = torch.nn.functional.avg_pool2d(padded[:, None], 4).reshape(20, 64)
    torch.testing.assert_close(small.train.values, expected)
    assert torch.equal(bits.train.values, (small.train.values > 0.2).float())
    assert torch.equal(bits.test.labels, whole.test.labels)


def test_failing_download_says_where_the_files_go(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="mnist is not in .*no route to https.*put train-images.*PPL_VAE_DATA"):
        load_corpus("mnist8")
    assert not list(data_folder.iterdir())
    monkeypatch.setenv("PPL_VAE_DATA", str(data_folder / "none"))
    with pytest.raises(ValueError, match="PPL_VAE_DATA names .*none, which is no folder; make it"):
        load_corpus("mnist")


def test_download_is_kept_only_if_the_published_sums_agree(
    data_folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path_factory.mktemp("site")
    contents = write_digits(site, ".gz")

    def retrieve(url: str, *, fname: str, path: Path, known_hash: None) -> str:
        return str(shutil.copy(site / url.rsplit("/", 1)[1], Path(path) / fname))

    monkeypatch.setattr("pooch.retrieve", retrieve)
    with pytest.raises(
        ValueError, match="train-images-idx3-ubyte as it was downloaded has the MD5 .*published is 6bbc"
    ):
        load_corpus("mnist")
    assert not list(data_folder.iterdir())
    sums = {name: hashlib.md5(content).hexdigest() for name, content in contents.items()}
    monkeypatch.setattr(mnist, "_PUBLISHED", sums)
    downloaded = load_corpus("mnist")
    assert [path.name for path in data_folder.iterdir()] == ["mnist"]
    assert sorted(path.name for path in (data_folder / "mnist").iterdir()) == sorted(f"{name}.gz" for name in sums)
    monkeypatch.setattr("pooch.retrieve", lambda *_, **__: pytest.fail("downloaded twice"))
    assert load_corpus("mnist").fingerprint == downloaded.fingerprint


@pytest.mark.skipif(
    _REAL is None or not Path(_REAL, "mnist").is_dir(), reason="set PPL_VAE_DATA to a folder that holds mnist/"
)
class TestPublishedDigits:
    def test_images_are_the_published_ones(self) -> None:
        corpus = load_corpus("mnist", validation=0)
        for split, name in ((corpus.train.values, "train"), (corpus.test.values, "t10k")):
            content = idx((255 * split).round().numpy().astype(np.uint8))
            assert hashlib.md5(content).hexdigest() == mnist._PUBLISHED[f"{name}-images-idx3-ubyte"]
        assert corpus.train.labels.bincount().tolist()[:3] == [5923, 6742, 5958]
        assert len(corpus.test.labels) == 10_000

    def test_binary_digits_stay_digits(self) -> None:
        corpus = load_corpus("mnist8_binary")
        assert (len(corpus.train), len(corpus.validation), len(corpus.test)) == (54_000, 6_000, 10_000)
        assert corpus.train.values.unique().tolist() == [0, 1]
        assert corpus.train.values.sum(1).min() >= 1
        # Readable: the nearest of 5,000 training digits by Hamming distance has the label of most test digits.
        known, queries = corpus.train.values[:5_000], corpus.test.values[:1_000]
        distance = known.sum(1) - 2 * queries @ known.T
        assert (corpus.train.labels[distance.argmin(1)] == corpus.test.labels[:1_000]).float().mean() > 0.6
