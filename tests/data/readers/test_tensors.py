"""Data that are no documents: named ones, the user's arrays and images, and every fault with its remedy."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import lzma
import math
import os
import pickle
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix, save_npz

from ppl_vae.data import Corpus, Data, corpora, find_reader, load_corpus
from ppl_vae.data.counts import PackedCounts, concatenate
from ppl_vae.data.readers import binarized_mnist as binarized
from ppl_vae.data.readers import mnist as digits
from ppl_vae.data.readers.gaussians import FOUR_GAUSSIANS
from ppl_vae.data.readers.rectangles import rectangle_log_density
from tests.support.z_test import assert_mean

POINTS = np.arange(24.0).reshape(12, 2)


def kind_of(name: str) -> type:
    return find_reader(name).kind


def whole(corpus: Corpus) -> torch.Tensor:
    """All data of a corpus that came as one split, in their order."""
    found = concatenate([corpus.train.values, corpus.validation.values, corpus.test.values])
    assert isinstance(found, torch.Tensor)
    return found[found[:, 0].argsort()]


class TestSynthetic:
    def test_gaussians(self) -> None:
        corpus = load_corpus("gaussians", validation=0)
        assert [split.values.shape for split in corpus.splits.values()] == [(10_000, 2), (0, 2), (2_000, 2)]
        assert corpus.train.values.dtype == torch.float32
        assert corpus.vocabulary == ()
        for code, centre in enumerate(FOUR_GAUSSIANS):
            points = corpus.train.values[corpus.train.labels == code].double()
            assert_mean(points, torch.tensor(centre, dtype=torch.float64))
            assert_mean((points - torch.tensor(centre)).square(), torch.ones(2, dtype=torch.float64))
        assert_mean(torch.nn.functional.one_hot(corpus.train.labels).double(), torch.full((4,), 0.25).double())

    def test_the_figures_of_the_paper_come_out(self) -> None:
        """Schlesinger, Shekhovtsov and Flach (2021), section 4.1: the negative entropy is -3.65 nats."""
        centres = torch.tensor(FOUR_GAUSSIANS, dtype=torch.float64)
        axis = torch.linspace(-9, 9, 400, dtype=torch.float64)
        x = torch.cartesian_prod(axis, axis)
        log_p = (-(x[:, None] - centres).square().sum(-1) / 2).logsumexp(1) - math.log(4 * 2 * math.pi)
        entropy = (log_p.exp() * log_p).sum() * (axis[1] - axis[0]) ** 2
        assert abs(entropy + 3.65) < 0.005

    def test_bars(self) -> None:
        corpus = load_corpus("bars", validation=0)
        images = corpus.train.values.reshape(-1, 4, 4)
        across = (images == images[:, :, :1]).all(2).all(1)
        down = (images == images[:, :1]).all(2).all(1)
        assert across[corpus.train.labels == 0].all()
        assert down[corpus.train.labels == 1].all()
        assert len(images.unique(dim=0)) == 30
        assert_mean((across & down).double()[:, None], torch.tensor([1 / 8], dtype=torch.float64))

    def test_rectangles(self) -> None:
        corpus = load_corpus("rectangles", validation=0)
        assert (corpus.train.values.shape, corpus.test.values.shape) == ((10_000, 10, 10), (2_000, 10, 10))
        ours = rectangle_log_density(corpus.test.values.numpy())
        assert ours.mean() == pytest.approx(-17.71, abs=0.005)
        # The law holds a part in 3025 of the law of the images that the flips make of one rectangle.
        one = np.zeros((10, 10))
        one[2:5, 3:9] = 1
        flips = np.random.default_rng(1).random((4_000, 10, 10)) < 0.02
        proposal = np.where(flips, np.log(0.02), np.log(0.98)).sum((1, 2))
        weights = np.exp(rectangle_log_density(np.abs(one - flips)) - proposal + np.log(3025))
        assert weights.min() >= 1 - 1e-9
        on = (corpus.test.values != 0).double().mean((1, 2))[:, None]
        assert_mean(on, torch.tensor([0.02 + 0.96 * 0.16]).double())

    @pytest.mark.parametrize(
        ("name", "dimensions"), [("sphere2", 2), ("sphere", 3), ("sphere10", 10), ("sphere50", 50)]
    )
    def test_spheres(self, name: str, dimensions: int) -> None:
        corpus = load_corpus(name, validation=0)
        x = corpus.train.values.double()
        assert (x.shape, corpus.train.labels) == ((10_000, dimensions), None)
        torch.testing.assert_close(x.square().sum(1), torch.ones(10_000).double(), atol=1e-6, rtol=0)
        assert_mean(x, torch.zeros(dimensions).double())
        products = (x[:, :, None] * x[:, None]).flatten(1)
        assert_mean(products, torch.eye(dimensions).double().flatten() / dimensions)

    def test_the_same_for_every_user_and_seed(self) -> None:
        for name in ("gaussians", "bars", "sphere"):
            one, two = load_corpus(name), load_corpus(name, seed=1)
            assert one.fingerprint == load_corpus(name).fingerprint != two.fingerprint
            assert torch.equal(one.test.values, two.test.values)


class TestSplits:
    def test_a_tenth_is_the_test_and_seeds_move_only_validation(self, tmp_path: Path) -> None:
        np.save(tmp_path / "x.npy", np.arange(100.0).reshape(50, 2))
        one, two = (load_corpus(str(tmp_path / "x.npy"), seed=seed) for seed in (0, 1))
        assert [len(part) for part in one.splits.values()] == [41, 4, 5]
        assert torch.equal(one.test.values, two.test.values)
        assert not torch.equal(one.validation.values, two.validation.values)
        assert torch.equal(whole(one), torch.arange(100.0).reshape(50, 2))
        assert one.notes == ("no test split of its own: 5 data, the same for every seed, are the test",)

    def test_labels_follow_their_data(self) -> None:
        held, all_of_it = load_corpus("bars", seed=3), load_corpus("bars", validation=0)
        labels = dict(zip(map(tuple, all_of_it.train.values.tolist()), all_of_it.train.labels.tolist(), strict=True))
        for x, label in zip(held.validation.values.tolist()[:50], held.validation.labels.tolist()[:50], strict=True):
            if len(set(x)) > 1:
                assert labels[tuple(x)] == label

    def test_the_fingerprint_sees_values_shapes_and_splits(self) -> None:
        x = torch.arange(12.0).reshape(6, 2)
        splits = {"train": Data(x[:3]), "validation": Data(x[3:4]), "test": Data(x[4:])}
        corpus = Corpus("x", splits)
        changed = [
            dataclasses.replace(corpus, splits=splits | parts)
            for parts in (
                {"train": Data(x[:3] + 1)},
                {"train": Data(x[:3].reshape(3, 2, 1))},
                {"train": Data(x[:2]), "validation": Data(x[2:4])},
                {"train": Data(x[:3].double())},
            )
        ]
        assert len({corpus.fingerprint, *(c.fingerprint for c in changed)}) == 5
        strided = dataclasses.replace(corpus, splits=splits | {"train": Data(x[:3].T.contiguous().T)})
        assert strided.fingerprint == corpus.fingerprint

    def test_a_single_datum_is_too_few(self, tmp_path: Path) -> None:
        np.save(tmp_path / "x.npy", POINTS[:1])
        with pytest.raises(ValueError, match="x.npy: no datum is left for train; give more data"):
            load_corpus(str(tmp_path / "x.npy"))


def test_batches_of_one_kind_are_joined() -> None:
    x = torch.arange(6.0).reshape(3, 2)
    assert torch.equal(concatenate([x[:1], x[1:1], x[1:]]), x)
    packed = PackedCounts.from_dense([[1, 2], [0, 3]])
    assert concatenate([packed, packed]).lengths.tolist() == [3, 3, 3, 3]


class TestArrays:
    @pytest.mark.parametrize("kind", ["float64", "float32", "float16", "int64", "uint8", "bool", ">f4"])
    def test_npy_of_any_numbers(self, tmp_path: Path, kind: str) -> None:
        array = np.asfortranarray((POINTS > 3) if kind == "bool" else POINTS.astype(kind))
        np.save(tmp_path / "x.npy", array)
        corpus = load_corpus(str(tmp_path / "x.npy"), validation=0)
        assert corpus.train.values.dtype == torch.float32
        assert corpus.train.values.is_contiguous()
        if kind != "bool":
            assert torch.equal(whole(corpus), torch.tensor(POINTS, dtype=torch.float32))

    def test_a_compressed_one(self, tmp_path: Path) -> None:
        np.save(tmp_path / "x.npy", POINTS)
        (tmp_path / "x.npy.gz").write_bytes(gzip.compress((tmp_path / "x.npy").read_bytes()))
        assert len(whole(load_corpus(str(tmp_path / "x.npy.gz")))) == 12

    def test_npz_with_splits(self, tmp_path: Path) -> None:
        np.savez_compressed(tmp_path / "x.npz", train=POINTS, test=POINTS[:2] + 100, validation=-POINTS[:3], extra=1)
        corpus = load_corpus(str(tmp_path / "x.npz"), validation=0.5)
        assert [len(part) for part in corpus.splits.values()] == [12, 3, 2]
        assert corpus.test.values.tolist() == [[100, 101], [102, 103]]
        assert any("x.npz holds extra too, which nothing reads" in note for note in corpus.notes)
        np.savez(tmp_path / "y.npz", train=POINTS)
        assert len(load_corpus(str(tmp_path / "y.npz"), validation=0).test) == 1

    def test_sparse_counts_are_still_documents(self, tmp_path: Path) -> None:
        save_npz(tmp_path / "x.npz", csr_matrix([[1, 2]] * 5))
        assert kind_of(str(tmp_path / "x.npz")) is PackedCounts
        assert isinstance(load_corpus(str(tmp_path / "x.npz")).train.values, PackedCounts)
        np.savez(tmp_path / "x.npz", train=POINTS)
        assert kind_of(str(tmp_path / "x.npz")) is torch.Tensor

    def test_single_numbers_become_vectors(self, tmp_path: Path) -> None:
        np.save(tmp_path / "x.npy", POINTS[:, 0])
        corpus = load_corpus(str(tmp_path / "x.npy"))
        assert corpus.train.values.shape[1:] == (1,)
        assert any("a single axis: every number is a datum, of shape (1,)" in note for note in corpus.notes)

    @pytest.mark.parametrize(("shape", "told"), [((8, 8, 3), True), ((3, 8, 8), False), ((8, 8), False)])
    def test_colours_that_come_last_are_told(self, tmp_path: Path, shape: tuple[int, ...], told: bool) -> None:
        np.save(tmp_path / "x.npy", np.random.default_rng(0).random((20, *shape)))
        assert any("read as 8 channels" in note for note in load_corpus(str(tmp_path / "x.npy")).notes) is told

    def test_large_whole_numbers_are_rounded_with_a_note(self, tmp_path: Path) -> None:
        np.save(tmp_path / "x.npy", np.full((5, 1), -(2**24) - 1))
        assert any("beyond 16,777,216" in note for note in load_corpus(str(tmp_path / "x.npy")).notes)

    @pytest.mark.parametrize(
        ("array", "message"),
        [
            (np.array(3.0), r"x.npy has shape \(\), which holds no data; give \(data, ...\)"),
            (np.zeros((0, 2)), r"x.npy has shape \(0, 2\), which holds no data"),
            (np.zeros((5, 0)), r"x.npy has shape \(5, 0\), which holds no data"),
            (np.zeros((5, 2), complex), "x.npy holds values of type complex128; give floats or integers"),
            (np.array(["a", "b"]), "x.npy holds values of type <U1; give floats or integers"),
            (np.where(POINTS == 9, np.nan, POINTS), r"x.npy, row 4 .* holds the value nan; .*1 of 12 rows"),
            (np.where(POINTS > 20, -np.inf, POINTS), r"x.npy, row 10 .* holds the value -inf; .*2 of 12 rows"),
            (np.where(POINTS == 9, 1e39, POINTS), r"x.npy, row 4 .* the value 1e\+39; data are finite, at most 3.4e38"),
        ],
    )
    def test_what_is_no_data(self, tmp_path: Path, array: np.ndarray, message: str) -> None:
        np.save(tmp_path / "x.npy", array)
        with pytest.raises(ValueError, match=message):
            load_corpus(str(tmp_path / "x.npy"))
        # The same in an archive, where the array is named.
        np.savez(tmp_path / "x.npz", train=POINTS, test=array)
        with pytest.raises(ValueError, match=message.replace("x.npy", "x.npz, array 'test'")):
            load_corpus(str(tmp_path / "x.npz"))

    def test_damage(self, tmp_path: Path) -> None:
        np.save(tmp_path / "x.npy", POINTS)
        content = (tmp_path / "x.npy").read_bytes()
        huge = content.replace(b"(12, 2)", b"(99, 9)")
        np.savez(tmp_path / "y.npz", train=POINTS)
        for broken in (b"", content[:20], content[:-1], b"text", (tmp_path / "y.npz").read_bytes(), huge):
            (tmp_path / "x.npy").write_bytes(broken)
            with pytest.raises(ValueError, match="x.npy is truncated or no array of numbers .*with numpy.save"):
                load_corpus(str(tmp_path / "x.npy"))
        with pytest.raises(ValueError, match="there is no file .*z.npy; check the path"):
            load_corpus(str(tmp_path / "z.npy"))
        packed = bytearray((tmp_path / "y.npz").read_bytes())
        packed[100] ^= 255
        (tmp_path / "y.npz").write_bytes(packed)
        with pytest.raises(ValueError, match=r"y.npz, array 'train' is truncated or no array .*with numpy.savez"):
            load_corpus(str(tmp_path / "y.npz"))

    def test_nothing_is_unpickled(self, tmp_path: Path) -> None:
        marker = tmp_path / "was-run"
        trap = np.array([_Trap(marker), 1.0], dtype=object)
        np.save(tmp_path / "x.npy", trap, allow_pickle=True)
        np.savez(tmp_path / "y.npz", train=trap)
        (tmp_path / "z.npy").write_bytes(pickle.dumps(_Trap(marker)))
        for name, words in (
            ("x.npy", "Python objects is never unpickled"),
            ("y.npz", "never unpickled"),
            ("z.npy", ""),
        ):
            with pytest.raises(ValueError, match=f"{name}.* is truncated or no array of numbers .*{words}"):
                load_corpus(str(tmp_path / name))
        assert not marker.exists()

    def test_splits_of_other_shapes(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "x.npz", train=POINTS, test=np.zeros((3, 4)))
        with pytest.raises(ValueError, match=r"array 'train' has shape \(2,\), one of array 'test' \(4,\); give all"):
            load_corpus(str(tmp_path / "x.npz"))


class _Trap:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.marker,)


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_digits(folder: Path, ending: str = "") -> dict[str, bytes]:
    """Twenty and ten images of noise in the layout of MNIST."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    contents = {}
    for split, count in (("train", 20), ("t10k", 10)):
        contents[f"{split}-images-idx3-ubyte"] = idx(rng.integers(256, size=(count, 28, 28), dtype=np.uint8))
        contents[f"{split}-labels-idx1-ubyte"] = idx(np.arange(count, dtype=np.uint8) % 10)
    for name, content in contents.items():
        (folder / f"{name}{ending}").write_bytes(gzip.compress(content) if ending else content)
    return contents


class TestImages:
    @pytest.mark.parametrize("ending", ["", ".gz"])
    def test_a_users_own(self, tmp_path: Path, ending: str) -> None:
        contents = write_digits(tmp_path, ending)
        corpus = load_corpus(str(tmp_path / f"train-images-idx3-ubyte{ending}"), validation=0)
        assert (corpus.train.values.shape, corpus.test.values.shape) == ((18, 28, 28), (2, 28, 28))
        content = np.frombuffer(contents["train-images-idx3-ubyte"], np.uint8, offset=16).reshape(20, 28, 28)
        expected = torch.tensor(content[int(corpus.test.labels[0]) :: 10] / 255, dtype=torch.float32)
        assert (corpus.test.values[0] == expected).flatten(1).all(1).any()
        folder = load_corpus(str(tmp_path), validation=0)
        assert (len(folder.train), len(folder.test)) == (20, 10)
        assert folder.label_names == tuple("0123456789")

    def test_a_margin_of_zeros(self, tmp_path: Path) -> None:
        write_digits(tmp_path)
        name = str(tmp_path / "train-images-idx3-ubyte")
        plain, wide = (load_corpus(name, validation=0, image_size=size) for size in (0, 33))
        assert wide.train.values.shape[1:] == (33, 33)
        assert torch.equal(wide.train.values[:, 2:30, 2:30], plain.train.values)
        assert wide.train.values.sum() == pytest.approx(plain.train.values.sum().item())
        assert torch.equal(wide.train.labels, plain.train.labels)
        with pytest.raises(ValueError, match="28 x 28 are given a margin, not shrunk: --image-size must be at least"):
            load_corpus(name, image_size=16)

    def test_without_labels(self, tmp_path: Path) -> None:
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
    def test_malformed(self, tmp_path: Path, name: str, content: bytes, message: str) -> None:
        write_digits(tmp_path)
        path = tmp_path / f"{name}-idx{1 if 'labels' in name else 3}-ubyte"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            load_corpus(str(tmp_path / "train-images-idx3-ubyte"))
        (tmp_path / "x-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(np.ones((2, 2, 2), np.uint8)))[:-9])
        with pytest.raises(ValueError, match="x-images-idx3-ubyte.gz is truncated or not compressed"):
            load_corpus(str(tmp_path / "x-images-idx3-ubyte.gz"))


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder, and no way to the network."""

    def no_network(url: str, **_: object) -> str:
        raise OSError(f"no route to {url}")

    monkeypatch.setattr("pooch.retrieve", no_network)
    monkeypatch.setenv("PPL_VAE_DATA", str(tmp_path))
    return tmp_path


class TestMnist:
    @pytest.mark.parametrize(("folder", "ending"), [("mnist", ""), ("mnist", ".gz"), ("MNIST/raw", "")])
    def test_every_layout_reads_the_same(self, data: Path, folder: str, ending: str) -> None:
        write_digits(data / folder, ending)
        corpus = load_corpus("mnist", validation=0)
        assert (corpus.train.values.shape, corpus.test.values.shape) == ((20, 28, 28), (10, 28, 28))
        assert corpus.train.labels.tolist() == [*range(10), *range(10)]

    def test_shrunk(self, data: Path) -> None:
        write_digits(data / "mnist")
        whole, small, bits = (load_corpus(name, validation=0) for name in ("mnist", "mnist8", "mnist8_binary"))
        assert small.train.values.shape == (20, 64)
        padded = torch.nn.functional.pad(whole.train.values, (2, 2, 2, 2))
        expected = torch.nn.functional.avg_pool2d(padded[:, None], 4).reshape(20, 64)
        torch.testing.assert_close(small.train.values, expected)
        assert torch.equal(bits.train.values, (small.train.values > 0.2).float())
        assert torch.equal(bits.test.labels, whole.test.labels)

    def test_failing_download_says_where_the_files_go(self, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(ValueError, match="mnist is not in .*no route to https.*put train-images.*PPL_VAE_DATA"):
            load_corpus("mnist8")
        assert not list(data.iterdir())
        monkeypatch.setenv("PPL_VAE_DATA", str(data / "none"))
        with pytest.raises(ValueError, match="PPL_VAE_DATA names .*none, which is no folder; make it"):
            load_corpus("mnist")

    def test_download_is_kept_only_if_the_published_sums_agree(
        self, data: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
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
        assert not list(data.iterdir())
        sums = {name: hashlib.md5(content).hexdigest() for name, content in contents.items()}
        monkeypatch.setattr(digits, "_PUBLISHED", sums)
        downloaded = load_corpus("mnist")
        assert [path.name for path in data.iterdir()] == ["mnist"]
        assert sorted(path.name for path in (data / "mnist").iterdir()) == sorted(f"{name}.gz" for name in sums)
        monkeypatch.setattr("pooch.retrieve", lambda *_, **__: pytest.fail("downloaded twice"))
        assert load_corpus("mnist").fingerprint == downloaded.fingerprint


class TestBinarizedMnist:
    SIZES = {"train": 5, "valid": 2, "test": 3}  # noqa: RUF012

    @pytest.fixture(autouse=True)
    def few(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(binarized, "_SIZES", self.SIZES)

    @staticmethod
    def content() -> dict[str, bytes]:
        rng, sizes = np.random.default_rng(0), TestBinarizedMnist.SIZES
        return {
            k: b"".join(b" ".join(b"%d" % b for b in rng.integers(2, size=784)) + b"\n" for _ in range(n))
            for k, n in sizes.items()
        }

    def test_both_layouts_read_the_same(self, data: Path) -> None:
        (data / "binarized_mnist").mkdir()
        for name, content in self.content().items():
            (data / f"binarized_mnist/binarized_mnist_{name}.amat").write_bytes(content)
        corpus = load_corpus("binarized_mnist")
        assert (corpus.train.values.shape, len(corpus.validation), len(corpus.test)) == ((5, 28, 28), 2, 3)
        assert corpus.train.values.unique().tolist() == [0, 1]
        for name, content in self.content().items():
            (data / f"binarized_mnist/binarized_mnist_{name}.amat").unlink()
            bits = np.array(content.split(), dtype=np.uint8)
            packed = data / f"binarized_mnist/binarized_mnist_{name}.packbits.xz"
            packed.write_bytes(lzma.compress(np.packbits(bits).tobytes()))
        again = load_corpus("binarized_mnist")
        assert again.fingerprint == corpus.fingerprint

    def test_faults_name_file_and_remedy(self, data: Path) -> None:
        with pytest.raises(ValueError, match="binarized_mnist is not in .*no route to http.*put binarized_mnist_train"):
            load_corpus("binarized_mnist")
        (data / "binarized_mnist").mkdir()
        train = data / "binarized_mnist/binarized_mnist_train.amat"
        train.write_bytes(self.content()["train"])
        with pytest.raises(ValueError, match=r"lacks binarized_mnist_valid.amat \(or .packbits.xz\)"):
            load_corpus("binarized_mnist")
        train.write_bytes(self.content()["train"][:-5])
        with pytest.raises(ValueError, match="train.amat holds 3,918 pixels, which are no images of 784"):
            load_corpus("binarized_mnist")
        for wrong in (b"3", b"#"):
            train.write_bytes(self.content()["train"].replace(b"1", wrong, 1))
            with pytest.raises(ValueError, match=rf"train.amat: pixel \d+ of image 0 is '{wrong.decode()}', neither 0"):
                load_corpus("binarized_mnist")
        train.write_bytes(2 * self.content()["train"])
        for name in ("valid", "test"):
            (data / f"binarized_mnist/binarized_mnist_{name}.amat").write_bytes(self.content()[name])
        with pytest.raises(ValueError, match=r"train.amat holds 10 images, published are 5; download it again"):
            load_corpus("binarized_mnist")

    def test_download_is_kept_packed_if_the_published_sums_agree(
        self, data: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        contents = self.content()

        def retrieve(url: str, *, fname: str, path: Path, known_hash: None) -> None:
            Path(path, fname).write_bytes(contents[fname.removeprefix("binarized_mnist_").removesuffix(".amat")])

        monkeypatch.setattr("pooch.retrieve", retrieve)
        with pytest.raises(ValueError, match="train.amat as it was downloaded has the MD5 .*published is db28"):
            load_corpus("binarized_mnist")
        assert not list(data.iterdir())
        monkeypatch.setattr(binarized, "_PUBLISHED", {k: hashlib.md5(c).hexdigest() for k, c in contents.items()})
        downloaded = load_corpus("binarized_mnist")
        assert {path.suffix for path in (data / "binarized_mnist").iterdir()} == {".xz"}
        expected = np.array(contents["test"].split(), dtype=np.float32).reshape(-1, 28, 28)
        assert torch.equal(downloaded.test.values, torch.from_numpy(expected))
        monkeypatch.setattr("pooch.retrieve", lambda *_, **__: pytest.fail("downloaded twice"))
        assert load_corpus("binarized_mnist").fingerprint == downloaded.fingerprint


def test_kinds_are_known_without_loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pooch.retrieve", lambda *_, **__: pytest.fail("downloaded"))
    monkeypatch.setenv("PPL_VAE_DATA", str(tmp_path))
    for kind in (PackedCounts, torch.Tensor):
        for name, reader in corpora(kind).items():
            if reader.named:
                assert kind_of(name) is kind
    write_digits(tmp_path / "images")
    assert kind_of(str(tmp_path / "images")) is kind_of("x.npy") is kind_of("x-idx3-ubyte.gz") is torch.Tensor
    assert kind_of(str(tmp_path)) is kind_of("x.csv") is PackedCounts


_REAL = os.environ.get("PPL_VAE_DATA")


@pytest.mark.skipif(
    _REAL is None or not Path(_REAL, "mnist").is_dir(), reason="set PPL_VAE_DATA to a folder that holds mnist/"
)
class TestPublishedDigits:
    def test_images_are_the_published_ones(self) -> None:
        corpus = load_corpus("mnist", validation=0)
        for split, name in ((corpus.train.values, "train"), (corpus.test.values, "t10k")):
            content = idx((255 * split).round().numpy().astype(np.uint8))
            assert hashlib.md5(content).hexdigest() == digits._PUBLISHED[f"{name}-images-idx3-ubyte"]
        assert corpus.train.labels.bincount().tolist()[:3] == [5923, 6742, 5958]
        assert len(corpus.test.labels) == 10_000

    def test_binary_digits_stay_digits(self) -> None:
        corpus = load_corpus("mnist8_binary")
        assert (len(corpus.train), len(corpus.validation), len(corpus.test)) == (54_000, 6_000, 10_000)
        assert corpus.train.values.unique().tolist() == [0, 1]
        assert corpus.train.values.sum(1).min() >= 1
        # Readable: the nearest of 5,000 training digits by Hamming distance has the label of most test digits.
        known, asked = corpus.train.values[:5_000], corpus.test.values[:1_000]
        distance = known.sum(1) - 2 * asked @ known.T
        assert (corpus.train.labels[distance.argmin(1)] == corpus.test.labels[:1_000]).float().mean() > 0.6


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
