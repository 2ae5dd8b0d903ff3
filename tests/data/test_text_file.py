"""Text files, compressed or not."""

from __future__ import annotations

import gzip
import lzma
import random
from pathlib import Path

import pytest

from ppl_vae.data.text_file import TextFile
from tests.support.data_files import read


@pytest.mark.parametrize("ending", ["gz", "xz"])
def test_truncated_compression(tmp_path: Path, ending: str) -> None:
    text = "".join(map(str, random.Random(0).choices("abc \n", k=5000))).encode()
    content = gzip.compress(text) if ending == "gz" else lzma.compress(text)
    damaged = content[: len(content) // 2] + bytes(50) + content[len(content) // 2 + 50 :]
    for broken in (content[:7], content[: len(content) // 2], content[:-6], damaged, b"plain text"):
        (tmp_path / f"docs.csv.{ending}").write_bytes(broken)
        with pytest.raises(ValueError, match=f"docs.csv.{ending} is truncated or not compressed"):
            read(tmp_path / f"docs.csv.{ending}")


@pytest.mark.parametrize("ending", ["gz", "xz"])
def test_more_than_memory_holds(ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ppl_vae.data.sizes.memory_budget", lambda: 10**6)
    bomb = gzip.compress(bytes(10**7)) if ending == "gz" else lzma.compress(bytes(10**7), preset=0)
    with pytest.raises(ValueError, match=f"docs.{ending} holds more than 0.0 GB uncompressed, half of this machine's"):
        TextFile.unpack(f"docs.{ending}", bomb)


def test_lines_end_only_where_editors_end_them() -> None:
    assert TextFile("words", "a\x0bb\r\nc\u2028d\n".encode()).lines == ["a\x0bb", "c\u2028d"]
