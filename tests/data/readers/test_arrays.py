"""NumPy's arrays: one, or one per split."""

from __future__ import annotations

import gzip
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix, save_npz

from ppl_vae.data import Corpus, PackedCounts, find_reader, load_corpus
from ppl_vae.data.inputs import concatenate
from tests.support.data_files import POINTS


def whole(corpus: Corpus) -> torch.Tensor:
    """All data of a corpus that came as one split, in their order."""
    values = concatenate([corpus.train.values, corpus.validation.values, corpus.test.values])
    assert isinstance(values, torch.Tensor)
    return values[values[:, 0].argsort()]


@pytest.mark.parametrize("kind", ["float64", "float32", "float16", "int64", "uint8", "bool", ">f4"])
def test_npy_of_any_numbers(tmp_path: Path, kind: str) -> None:
    array = np.asfortranarray((POINTS > 3) if kind == "bool" else POINTS.astype(kind))
    np.save(tmp_path / "x.npy", array)
    corpus = load_corpus(str(tmp_path / "x.npy"), validation=0)
    assert corpus.train.values.dtype == torch.float32
    assert corpus.train.values.is_contiguous()
    if kind != "bool":
        assert torch.equal(whole(corpus), torch.tensor(POINTS, dtype=torch.float32))


def test_a_compressed_one(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", POINTS)
    (tmp_path / "x.npy.gz").write_bytes(gzip.compress((tmp_path / "x.npy").read_bytes()))
    assert len(whole(load_corpus(str(tmp_path / "x.npy.gz")))) == 12


def test_npz_with_splits(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "x.npz", train=POINTS, test=POINTS[:2] + 100, validation=-POINTS[:3], extra=1)
    corpus = load_corpus(str(tmp_path / "x.npz"), validation=0.5)
    assert [len(part) for part in corpus.splits.values()] == [12, 3, 2]
    assert corpus.test.values.tolist() == [[100, 101], [102, 103]]
    assert any("x.npz holds extra too, which nothing reads" in note for note in corpus.notes)
    np.savez(tmp_path / "y.npz", train=POINTS)
    assert len(load_corpus(str(tmp_path / "y.npz"), validation=0).test) == 1


def test_sparse_counts_are_still_documents(tmp_path: Path) -> None:
    save_npz(tmp_path / "x.npz", csr_matrix([[1, 2]] * 5))
    assert find_reader(str(tmp_path / "x.npz")).kind is PackedCounts
    assert isinstance(load_corpus(str(tmp_path / "x.npz")).train.values, PackedCounts)
    np.savez(tmp_path / "x.npz", train=POINTS)
    assert find_reader(str(tmp_path / "x.npz")).kind is torch.Tensor


def test_single_numbers_become_vectors(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", POINTS[:, 0])
    corpus = load_corpus(str(tmp_path / "x.npy"))
    assert corpus.train.values.shape[1:] == (1,)
    assert any("a single axis: every number is a datum, of shape (1,)" in note for note in corpus.notes)


@pytest.mark.parametrize(("shape", "told"), [((8, 8, 3), True), ((3, 8, 8), False), ((8, 8), False)])
def test_colours_that_come_last_are_told(tmp_path: Path, shape: tuple[int, ...], told: bool) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((20, *shape)))
    assert any("read as 8 channels" in note for note in load_corpus(str(tmp_path / "x.npy")).notes) is told


def test_large_whole_numbers_are_rounded_with_a_note(tmp_path: Path) -> None:
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
def test_what_is_no_data(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(ValueError, match=message):
        load_corpus(str(tmp_path / "x.npy"))
    # The same in an archive, where the array is named.
    np.savez(tmp_path / "x.npz", train=POINTS, test=array)
    with pytest.raises(ValueError, match=message.replace("x.npy", "x.npz, array 'test'")):
        load_corpus(str(tmp_path / "x.npz"))


def test_damage(tmp_path: Path) -> None:
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


def test_a_member_that_is_no_array(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("train.npy", b"not an array")
    with pytest.raises(ValueError, match="array 'train' is truncated or no array of numbers .it does not begin as"):
        load_corpus(str(tmp_path / "x.npz"))


def test_a_member_larger_than_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ppl_vae.data.sizes.memory_budget", lambda: 1000)
    np.savez_compressed(tmp_path / "x.npz", train=np.zeros((100, 100)))
    with pytest.raises(ValueError, match="array 'train' takes 0.1 MB uncompressed, more than 0.0 MB, half of"):
        load_corpus(str(tmp_path / "x.npz"))


def test_nothing_is_unpickled(tmp_path: Path) -> None:
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


def test_splits_of_other_shapes(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", train=POINTS, test=np.zeros((3, 4)))
    with pytest.raises(ValueError, match=r"array 'train' has shape \(2,\), one of array 'test' \(4,\); give all"):
        load_corpus(str(tmp_path / "x.npz"))


class _Trap:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.marker,)
