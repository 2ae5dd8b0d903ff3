"""Data by name, and the user's own in the usual formats: documents as packed word counts, others as tensors."""

from __future__ import annotations

from ppl_vae.data.corpus import Corpus, Data
from ppl_vae.data.load import CORPORA, DOCUMENTS, TENSORS, data_of, load_corpus
from ppl_vae.data.query import Query, read_query
from ppl_vae.data.synthetic import (
    CHANNEL_LEVELS,
    FOUR_GAUSSIANS,
    LAWS,
    channel_law,
    curve_log_density,
    curve_points,
    rectangle_log_density,
)

__all__ = [
    "CHANNEL_LEVELS",
    "CORPORA",
    "DOCUMENTS",
    "FOUR_GAUSSIANS",
    "LAWS",
    "curve_log_density",
    "curve_points",
    "TENSORS",
    "Corpus",
    "Data",
    "Query",
    "channel_law",
    "data_of",
    "load_corpus",
    "read_query",
    "rectangle_log_density",
]
