"""Data by name, and the user's own in the usual formats: documents as packed word counts, others as tensors."""

from __future__ import annotations

from ppl_vae.data.corpus import Corpus, Data
from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.load import corpora, find_reader, load_corpus
from ppl_vae.data.source import Source, SourceSplit

__all__ = [
    "Corpus",
    "Data",
    "PackedCounts",
    "Source",
    "SourceSplit",
    "corpora",
    "find_reader",
    "load_corpus",
]
