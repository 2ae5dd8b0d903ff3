"""UCI's bags of words: ``docword.NAME.txt`` with ``vocab.NAME.txt`` beside it (Newman, 2008)."""

from __future__ import annotations

import re
from pathlib import Path

from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.readers.base import Reader
from ppl_vae.data.sizes import check_documents, check_words
from ppl_vae.data.source import Source, SourceSplit, numbered_words
from ppl_vae.data.text_file import LARGEST_ID, TextFile, plain_name, shown
from ppl_vae.data.triplets import read_triplets

__all__ = ["READER"]

_HEADER = ("number of documents", "number of words", "number of triplets")


def read_uci(path: Path) -> Source:
    """Reads three header lines and triplets ``document word count``, ids counted from 1.

    Raises:
        ValueError: If a line is malformed, or the header disagrees with the triplets or with the list of words.
    """
    file = TextFile.open(path)
    sizes = []
    for number, (what, line) in enumerate(
        zip(_HEADER, (file.text + "\n\n\n").split("\n", 3)[:3], strict=True), start=1
    ):
        if not re.fullmatch(r"[ \t]*[0-9]{1,10}[ \t]*", line) or int(line) > LARGEST_ID:
            raise file.error(number, f"expected the {what}, got {shown(line)}", "give the three header lines")
        sizes.append(int(line))
    documents, width, entries = sizes
    check_words(str(path), width, entries)
    check_documents(str(path), documents, entries)
    counts = read_triplets(file, documents=documents, words=width, entries=entries, skip=len(_HEADER))
    beside = path.with_name(re.sub(r"^docword\.(.*?\.txt)(\.gz|\.xz)?$", r"vocab.\1", path.name, flags=re.IGNORECASE))
    beside = next((place for place in (beside, beside.with_name(f"{beside.name}.gz")) if place.is_file()), beside)
    if not beside.is_file():
        notes = (f"no {beside.name} beside the counts: words are named by their ids",)
        return Source({"train": SourceSplit(counts)}, numbered_words(range(1, width + 1)), (), notes)
    words = TextFile.open(beside).names("word", distinct=True)
    if len(words) != width:
        raise ValueError(f"{beside} has {len(words)} words, {path.name} announces {width}; download both files again")
    return Source({"train": SourceSplit(counts)}, words)


READER = Reader(
    "docword.NAME.txt",
    "UCI bag of words, with vocab.NAME.txt beside it",
    PackedCounts,
    read_uci,
    suffixes=(".txt",),
    matches=lambda path: plain_name(path).startswith("docword."),
)
