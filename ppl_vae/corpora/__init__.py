"""Corpora of texts as packed word counts: two that go by name, and the user's own in the usual formats."""

from __future__ import annotations

from ppl_vae.corpora.corpus import Corpus
from ppl_vae.corpora.load import CORPORA, load_corpus
from ppl_vae.corpora.query import Query, read_query

__all__ = ["CORPORA", "Corpus", "Query", "load_corpus", "read_query"]
