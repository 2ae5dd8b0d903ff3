"""Damaged JSON."""

from __future__ import annotations

import pytest

from ppl_vae.data.json_file import json_of


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "Expecting value"),
        (b'{"a": 1', "Expecting"),
        (b'{"a": "\xff"}', "codec can't decode byte 0xff"),
        (b"[" * 100_000, "recursion"),
        (b'{"a":' * 100_000, "recursion"),
        (b'{"a": {"b": 1, "b": 2}}', "the name 'b' stands twice in one object"),
        (b'{"a": NaN}', "'NaN' is no finite number"),
        (b'{"a": -Infinity}', "'-Infinity' is no finite number"),
        (b'{"a": 1e999}', "'1e999' is no finite number"),
        (b'{"a": ' + b"9" * 400 + b"}", "9...' is no number that a double holds"),
        (rb'{"a": "\ud800"}', "surrogates not allowed"),
        (rb'{"a\u0000": 1}', "null character"),
    ],
)
def test_damage_is_named(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=f"x.json cannot be read: .*{message}.*; restore it$") as caught:
        json_of("x.json", content, "restore it")
    assert type(caught.value) is ValueError


def test_metrics_may_be_infinite() -> None:
    assert json_of("m", b'{"a": -Infinity, "b": 1e400}', "", infinite=True) == {"a": -float("inf"), "b": float("inf")}
