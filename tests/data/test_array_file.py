"""Arrays whose header, archive or size is not what it should be."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ppl_vae.data.array_file import ArrayFile, array_of


def content(array: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, **options)
    return buffer.getvalue()


def changed(old: bytes, new: bytes) -> bytes:
    """An array of three rows with other text in its header, which is as long as before."""
    whole = content(np.arange(6.0).reshape(3, 2))
    begin = 10 + int.from_bytes(whole[8:10], "little")
    header = whole[10:begin]
    assert header.count(old) == 1
    changed = header.replace(old, new).strip()
    return whole[:10] + changed + b" " * (len(header) - len(changed) - 1) + b"\n" + whole[begin:]


ARRAYS = (np.arange(6).reshape(3, 2), np.asfortranarray(np.eye(3)), np.array(2.0), np.zeros((0, 2)))


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("array", ARRAYS)
def test_arrays_come_back(array: np.ndarray, version: tuple[int, int]) -> None:
    found = array_of("x.npy", content(array, version=version))
    assert found.dtype == array.dtype and found.shape == array.shape and np.array_equal(found, array)
    assert found.flags.writeable


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        (
            changed(b"(3, 2)", b"(2147483647, 2147483647)"),
            "of 'float64', it has 48",
        ),
        (changed(b"(3, 2)", b"(2, 2)"), "announces .* it has 48 bytes"),
        (changed(b"(3, 2)", b"(-3, -2)"), "has the shape .-3, -2."),
        (changed(b"(3, 2)", b"(3., 2)"), "has the shape"),
        (changed(b"False", b"'no'"), "has the shape"),
        (changed(b"'<f8'", b"'|O'"), "Python objects is never unpickled"),
        (changed(b"'shape'", b"'shop'"), "other entries than type, order and shape"),
        (content(np.eye(2)) + b"\0", "announces .* it has 33 bytes"),
        (content(np.eye(2))[:8] + b"\xff\xff" + content(np.eye(2))[10:], "header is said to end at byte 65,545 of 160"),
        (b"\x93NUMPY\x01\x00\x88\x13" + b"[" * 5000, "its header is no dictionary"),
        (b"", "does not begin as an array does"),
    ],
)
def test_headers_are_believed_as_far_as_the_file_is_long(damaged: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=f"x.npy is truncated or no array of numbers .*{message}.*with numpy.save"):
        array_of("x.npy", damaged)


def test_one_name_twice(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("train.npy", content(np.eye(2)))
        archive.writestr("train.npy", content(np.zeros((2, 2))))
    with pytest.raises(ValueError, match="x.npz holds two arrays 'train'; write it again"):
        ArrayFile(tmp_path / "x.npz")


def test_compression_that_takes_memory_as_it_says(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("train.npy", content(np.eye(2)))
    with pytest.raises(ValueError, match="x.npz, array 'train' is compressed in a way that NumPy does not write;"):
        ArrayFile(tmp_path / "x.npz")["train"]


def test_a_member_longer_than_the_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", train=np.eye(2))
    whole = bytearray((tmp_path / "x.npz").read_bytes())
    place = whole.index(b"PK\1\2") + 20  # its compressed size, in the directory
    whole[place : place + 4] = (2**31).to_bytes(4, "little")
    (tmp_path / "x.npz").write_bytes(whole)
    with (
        ArrayFile(tmp_path / "x.npz") as file,
        pytest.raises(ValueError, match="'train' is said to take more bytes"),
    ):
        file["train"]


@pytest.mark.parametrize("order", ["<", ">"])
def test_texts_of_characters_that_unicode_does_not_have_are_refused(order: str) -> None:
    whole = content(np.array(["a\U0010ffff", "b"], dtype=f"{order}U2"))
    assert array_of("t.npy", whole).tolist() == ["a\U0010ffff", "b"]
    damaged = whole[:-8] + (0x110000).to_bytes(4, "little" if order == "<" else "big") + whole[-4:]
    with pytest.raises(ValueError, match="characters that Unicode does not have"):
        array_of("t.npy", damaged)
