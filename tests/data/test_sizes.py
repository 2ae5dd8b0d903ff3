"""Budgets of memory, and numbers that are believed only as far as a file is long."""

from __future__ import annotations

import resource
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from ppl_vae.data import load_corpus, sizes
from tests.support.data_files import idx


def test_the_budget_follows_limits_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = sizes.memory_budget()
    limits = {resource.RLIMIT_AS: (2**20, -1), resource.RLIMIT_DATA: (resource.RLIM_INFINITY, -1)}
    monkeypatch.setattr(resource, "getrlimit", limits.get)
    assert sizes.memory_budget() == 2**19 < machine


def test_more_words_than_counts_can_describe() -> None:
    sizes.check_words("x", 10**6, 0)
    sizes.check_words("x", 2**24, 2 * 10**5)
    for words, entries in ((10**6 + 101, 1), (2**24 + 1, 10**9)):
        with pytest.raises(ValueError, match=f"x has word ids up to {words:,} and {entries:,} counts; .* number the"):
            sizes.check_words("x", words, entries)


def test_images_that_a_header_announces(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 2**31 - 1, 2**20, 8, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ValueError, match="a.png cannot be read as an image .*; mend or remove it"):
        load_corpus(str(tmp_path))


def test_a_margin_larger_than_memory(tmp_path: Path) -> None:
    (tmp_path / "a-images-idx3-ubyte").write_bytes(idx(np.zeros((20, 4, 4), np.uint8)))
    with pytest.raises(ValueError, match="--image-size 1000000 takes .* GB for 20 images .* half of the memory"):
        load_corpus(str(tmp_path / "a-images-idx3-ubyte"), image_size=10**6)


@pytest.mark.parametrize("place", ["/dev/zero", "/dev/null"])
def test_devices_are_no_files(tmp_path: Path, place: str) -> None:
    (tmp_path / "x.csv").symlink_to(place)
    with pytest.raises(ValueError, match="x.csv is no regular file; give a file with the data"):
        load_corpus(str(tmp_path / "x.csv"))
