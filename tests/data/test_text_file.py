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
    with pytest.raises(ValueError, match=rf"docs.{ending} takes 4.0 MB .* more than 1.0 MB, half of the memory"):
        TextFile.unpack(f"docs.{ending}", bomb)


@pytest.mark.parametrize("cell", ["١", "²", "１", "1_0", "0x1", "nan", "inf", "1,5", "1e999", "", "1\x0b"])
def test_what_is_no_number(cell: str) -> None:
    with pytest.raises(ValueError, match="counts, line 2: expected two numbers, got '3 .*; correct or remove the line"):
        TextFile("counts", f"1 2\n3 {cell}\n".encode()).numbers(2, "two numbers")


def test_line_ends_of_any_system() -> None:
    file = TextFile("counts", b"1 2\r3 4\r\n5 6\n")
    assert file.numbers(2, "two numbers").tolist() == [[1, 2], [3, 4], [5, 6]]


def test_a_word_twice() -> None:
    with pytest.raises(ValueError, match="words, line 3: the word 'a' stands in line 1, too; give every word once"):
        TextFile("words", b"a\nb\n a\n").names("word", distinct=True)
    assert TextFile("titles", b"a\nb\na\n").names("title") == ("a", "b", "a")


def test_messages_hold_nothing_that_a_terminal_obeys() -> None:
    with pytest.raises(ValueError) as caught:
        TextFile("counts", b"\x1b[31m" + b"x" * 10_000).numbers(1, "a number")
    assert str(caught.value).isprintable() and len(str(caught.value)) < 200


def test_lines_end_only_where_editors_end_them() -> None:
    assert TextFile("words", "a\x0bb\r\nc\u2028d\n".encode()).lines == ["a\x0bb", "c\u2028d"]


def test_a_text_whose_numbers_and_words_would_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ppl_vae.data.sizes.memory_budget", lambda: 10**6)
    with pytest.raises(
        ValueError, match="docs.csv takes 1.1 MB while it is read as text, more than 1.0 MB, half of the"
    ):
        _ = TextFile("docs.csv", bytes(10**5)).text
