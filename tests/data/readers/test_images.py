"""Folders of images, and bytes made continuous."""

import numpy as np
import pytest
import torch
from PIL import Image

from ppl_vae.data import find_reader, load_corpus
from ppl_vae.data.counts import PackedCounts


def save(path, shape=(6, 5), value=None, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(256, size=shape, dtype=np.uint8)
    Image.fromarray(pixels if value is None else np.full(shape, value, np.uint8)).save(path)
    return pixels


def test_grey_images_have_height_and_width_and_folders_are_classes(tmp_path):
    kept = [save(tmp_path / kind / f"{i}.png", seed=i) for kind in ("cats", "dogs") for i in range(10)]
    corpus = load_corpus(str(tmp_path), validation=0)
    assert find_reader(str(tmp_path)).kind is torch.Tensor
    assert corpus.train.values.shape == (18, 6, 5) and corpus.label_names == ("cats", "dogs")
    known = {(part / np.float32(255)).tobytes() for part in kept}
    assert all(part.numpy().tobytes() in known for part in corpus.train.values)


def test_a_coloured_one_makes_all_of_them_coloured_and_splits_are_kept(tmp_path):
    grey, red = save(tmp_path / "train" / "a.png"), save(tmp_path / "train" / "b.png", (6, 5, 3))
    save(tmp_path / "test" / "c.png", (6, 5, 3))
    corpus = load_corpus(str(tmp_path), validation=0)
    assert corpus.train.values.shape == (2, 3, 6, 5) and corpus.test.values.shape == (1, 3, 6, 5)
    np.testing.assert_allclose(corpus.train.values[0, 1].numpy(), grey / 255, rtol=1e-6)
    np.testing.assert_allclose(corpus.train.values[1].numpy(), red.transpose(2, 0, 1) / 255, rtol=1e-6)


def test_sizes_are_brought_together_on_demand(tmp_path):
    for i, shape in enumerate([(6, 5), (12, 20)]):
        save(tmp_path / f"{i}.png", shape, 51)
    with pytest.raises(ValueError, match=r"1.png is 12 x 20, .*0.png is 6 x 5; .*--image-size"):
        load_corpus(str(tmp_path), validation=0)
    image = load_corpus(str(tmp_path), validation=0, image_size=4).train.values
    assert image.tolist() == [[[pytest.approx(0.2)] * 4] * 4]


def test_images_are_turned_as_the_camera_says_and_lie_on_white(tmp_path):
    pixels = np.random.default_rng(0).integers(256, size=(4, 6, 3), dtype=np.uint8)
    turned = Image.Exif()
    turned[0x0112] = 6  # a quarter to the right
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=turned)
    hidden = np.full((6, 4, 4), 100, np.uint8)
    hidden[..., 3] = 0
    hidden[0, 0, 3] = 255
    Image.fromarray(hidden).save(tmp_path / "b.png")
    save(tmp_path / "test" / "c.png", (6, 4, 3))
    for name in ("a.png", "b.png"):
        (tmp_path / "train").mkdir(exist_ok=True)
        (tmp_path / name).rename(tmp_path / "train" / name)
    one, other = (255 * load_corpus(str(tmp_path), validation=0).train.values).round().byte().numpy()
    np.testing.assert_array_equal(one, np.rot90(pixels, -1).transpose(2, 0, 1))
    assert (other[:, 0, 0] == 100).all() and (np.sort(other.ravel())[3:] == 255).all()


def test_faults_name_the_file(tmp_path):
    save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"b.png cannot be read as an image"):
        load_corpus(str(tmp_path))
    (tmp_path / "list_attr.txt").write_text("a.png 1 -1")
    with pytest.raises(ValueError, match=r"images and .*list_attr.txt beside them; move out of it"):
        load_corpus(str(tmp_path))
    (tmp_path / "b.png").unlink()
    assert find_reader(str(tmp_path)).kind is PackedCounts  # as many texts as images
    (tmp_path / "list_attr.txt").unlink()
    save(tmp_path / "cats" / "c.png")
    with pytest.raises(ValueError, match=r"a.png lies in no class's folder"):
        load_corpus(str(tmp_path))
    save(tmp_path / "test" / "c.png")
    with pytest.raises(ValueError, match=r"a.png lies outside the folders of the splits"):
        load_corpus(str(tmp_path))
    for path in (tmp_path / "a.png", tmp_path / "cats" / "c.png"):
        path.unlink()
    with pytest.raises(ValueError, match="no images for training"):
        load_corpus(str(tmp_path))


def test_dequantised_bytes_lie_in_their_intervals_and_are_the_same_for_every_seed(tmp_path):
    for i in range(20):
        save(tmp_path / f"{i:02}.png", seed=i)
    plain, noisy = (load_corpus(str(tmp_path), validation=0, dequantise=flag).train.values for flag in (False, True))
    assert torch.equal((256 * noisy).floor(), (255 * plain).round())
    again = load_corpus(str(tmp_path), validation=0, dequantise=True, seed=7).train.values
    assert torch.equal(again, noisy)
    (tmp_path / "texts.csv").write_text("text\none two\ntwo three\nthree one\n")
    for name in ("gaussians", str(tmp_path / "texts.csv")):
        with pytest.raises(ValueError, match="dequantise"):
            load_corpus(name, dequantise=True)


def test_binary_images_by_a_threshold_or_by_draws(tmp_path):
    kept = np.stack([save(tmp_path / f"{i:02}.png", (20, 20), seed=i) for i in range(30)])
    name = str(tmp_path)
    hard = load_corpus(name, validation=0, binarise="0.5")
    assert set(hard.train.values.unique().tolist()) == {0.0, 1.0}
    share = torch.cat([hard.train.values, hard.test.values]).mean().item()
    assert share == pytest.approx((kept > 127).mean(), abs=1e-6)
    flipped = load_corpus(name, validation=0, binarise=".5", invert=True)
    assert torch.equal(flipped.train.values, 1 - hard.train.values)
    drawn = load_corpus(name, validation=0, binarise="stochastic")
    assert torch.equal(drawn.train.values, load_corpus(name, validation=0, binarise="stochastic", seed=3).train.values)
    both = torch.cat([drawn.train.values, drawn.test.values])
    # Bernoulli draws: the variance of the mean is at most 1 / 4n.
    assert abs(both.mean().item() - kept.mean() / 255) < 5 * 0.5 / both.numel() ** 0.5
    for options, message in (
        ({"binarise": "1.5"}, "binarise is '1.5'; give a threshold such as 0.5, or stochastic"),
        ({"binarise": "0.5", "dequantise": True}, "leave one of them out"),
    ):
        with pytest.raises(ValueError, match=message):
            load_corpus(name, **options)
