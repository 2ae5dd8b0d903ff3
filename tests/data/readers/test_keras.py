"""Arrays x_train, y_train, x_test and y_test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ppl_vae.data import load_corpus

IMAGES = np.random.default_rng(0).integers(0, 256, (30, 5, 6, 3), dtype=np.uint8)
KINDS = np.arange(30)[:, None] % 11


def test_images_with_colours_last_and_labels_in_a_column(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_train=IMAGES[:24], y_train=KINDS[:24], x_test=IMAGES[24:], y_test=KINDS[24:])
    corpus = load_corpus(str(tmp_path / "a.npz"), validation=0)
    np.testing.assert_array_equal(
        corpus.train.values, np.moveaxis(IMAGES[:24], 3, 1).astype(np.float32) / np.float32(255)
    )
    assert corpus.label_names == tuple(map(str, range(11)))
    assert corpus.test.labels is not None and corpus.test.labels.tolist() == KINDS[24:, 0].tolist()


def test_floats_stay_as_they_are_and_targets_are_no_labels(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(30, 4))
    np.savez(tmp_path / "a.npz", x_train=x[:20], y_train=x[:20, 0], x_val=x[20:25], x_test=x[25:], other=x)
    corpus = load_corpus(str(tmp_path / "a.npz"))
    np.testing.assert_array_equal(corpus.validation.values, x[20:25].astype(np.float32))
    assert corpus.train.labels is None
    assert any("are no classes" in note for note in corpus.notes) and any(
        "other of a.npz is not" in n for n in corpus.notes
    )


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_train": IMAGES, "y_train": np.arange(7)}, "30 train data and 7 labels; give each its own"),
        ({"x_train": IMAGES, "x_test": IMAGES[:, :4]}, "data of several shapes"),
        ({"x_train": IMAGES, "y_train": np.array([{}], dtype=object)}, "never unpickled"),
    ],
)
def test_malformed(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        load_corpus(str(tmp_path / "a.npz"))


@pytest.mark.parametrize("name", ["x_train.nPy", "x_tes_.npy"])
def test_an_array_whose_name_is_damaged_is_not_passed_over(tmp_path: Path, name: str) -> None:
    np.savez(tmp_path / "a.npz", x_train=IMAGES[:24], x_test=IMAGES[24:])
    content = (tmp_path / "a.npz").read_bytes()
    whole = {"x_train.nPy": "x_train.npy", "x_tes_.npy": "x_test.npy"}[name].encode()
    at = content.rindex(whole)
    (tmp_path / "a.npz").write_bytes(content[:at] + name.encode() + content[at + len(whole) :])
    with pytest.raises(ValueError, match="File name in directory"):
        load_corpus(str(tmp_path / "a.npz"))
