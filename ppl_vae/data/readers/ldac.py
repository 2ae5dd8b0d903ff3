"""LDA-C: lines ``N word:count word:count ...`` of N different words (Blei, 2003)."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.readers.base import Reader
from ppl_vae.data.sizes import check_words
from ppl_vae.data.source import Source, SourceSplit, numbered_words
from ppl_vae.data.text_file import LARGEST_COUNT, LARGEST_ID, TextFile, beginning, shown

__all__ = ["READER"]

_LINE = re.compile(r"[ \t]*([0-9]{1,10})((?:[ \t]+[0-9]{1,10}:[0-9]{1,10})*)[ \t]*")


def is_ldac(path: Path) -> bool:
    """Whether the first lines announce as many pairs as they have."""
    lines = [line for line in beginning(path, 2**16).split("\n")[:3] if line.strip()]
    if len(lines) > 1:
        lines.pop()  # it may be cut short
    matches = [_LINE.fullmatch(line) for line in lines]
    return bool(lines) and all(m is not None and int(m[1]) == m[2].count(":") for m in matches)


def read_ldac(path: Path) -> Source:
    """Reads one document a line, ids counted from 0; ``vocab.txt`` or ``vocabulary.txt`` beside it names the words.

    Raises:
        ValueError: If a line has another form, or more or fewer words than it says, or an id has no name.
    """
    from scipy.sparse import csr_matrix

    file = TextFile.open(path)
    ids, counts, offsets = list[int](), list[int](), [0]
    for number, line in enumerate(file.lines, start=1):
        if not line.strip(" \t"):
            continue
        match = _LINE.fullmatch(line)
        pairs = [pair.split(":") for pair in match[2].split()] if match else []
        if match is None or int(match[1]) != len(pairs):
            remedy = "N is the number of pairs; correct or remove the line"
            raise file.error(number, f"expected 'N id:count id:count ...', got {shown(line)}", remedy)
        for word, count in pairs:
            if int(word) > LARGEST_ID or int(count) > LARGEST_COUNT:
                raise file.error(number, f"{word}:{count}", f"ids are at most {LARGEST_ID}, counts {LARGEST_COUNT}")
            ids.append(int(word))
            counts.append(int(count))
        offsets.append(len(ids))
    if len(offsets) == 1:
        raise ValueError(f"{path} has no documents of the form 'N id:count ...'; check its format")
    names = next((p for name in ("vocab.txt", "vocabulary.txt") if (p := path.with_name(name)).is_file()), None)
    words = TextFile.open(names).names("word", distinct=True) if names else ()
    width = max(ids, default=-1) + 1
    if words and width > len(words):
        raise ValueError(
            f"{names} has {len(words)} words, {path.name} word ids up to {width - 1}; give one word per line"
        )
    check_words(str(path), width, len(ids))
    shape = len(offsets) - 1, len(words) or width
    matrix = csr_matrix((np.array(counts, dtype=float), np.array(ids, dtype=np.int64), offsets), shape=shape)
    matrix.sum_duplicates()
    notes = () if words else ("no vocab.txt beside the counts: words are named by their ids",)
    return Source({"train": SourceSplit(matrix)}, words or numbered_words(range(width)), (), notes)


READER = Reader(
    "FILE.ldac",
    "LDA-C lines 'N word:count ...' (also .dat, .lda-c), with vocab.txt beside it",
    PackedCounts,
    read_ldac,
    suffixes=(".ldac", ".lda-c", ".dat"),
    matches=is_ldac,
)
