"""A query as a document of a corpus."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ppl_vae.data.corpus import Corpus
from ppl_vae.data.counts import PackedCounts

__all__ = ["Query", "read_query"]


@dataclass(frozen=True, eq=False)
class Query:
    """A text as the corpus would count it.

    Arguments:
        counts: One document.
        known: Its words that are in the vocabulary, each once, in the order of the text.
        unknown: Its words that are not.
    """

    counts: PackedCounts
    known: tuple[str, ...]
    unknown: tuple[str, ...]


def read_query(text: str, corpus: Corpus) -> Query:
    """Counts the words of a text as those of the corpus were counted.

    A piece between blanks that is itself a word of the vocabulary is one; other pieces fall apart as the corpus's
    texts do.

    Raises:
        ValueError: If no word of the text is in the vocabulary, or the corpus has no words.

    Example:
        >>> from ppl_vae.data.corpus import Data
        >>> x = PackedCounts.from_dense([[1, 1]])
        >>> corpus = Corpus("own", dict.fromkeys(("train", "validation", "test"), Data(x)), vocabulary=("log", "x11"))
        >>> query = read_query("Log of X11, x11", corpus)
        >>> query.counts.to_csr().toarray().tolist(), query.unknown
        ([[1.0, 1.0]], ('of',))
    """
    if not isinstance(corpus.train.values, PackedCounts):
        raise ValueError(f"{corpus.name} has no words that a query could hold; search takes a run of a text model")
    position = {word: i for i, word in enumerate(corpus.vocabulary)}
    words: list[str] = []
    for piece in text.lower().split():
        words.extend([piece] if piece in position else corpus.word.findall(piece))
    known = [word for word in words if word in position]
    if not known:
        given = ", ".join(dict.fromkeys(words)) or "no words"
        often = corpus.train.values.words.bincount(minlength=len(position)).argsort(descending=True, stable=True)
        common = ", ".join(corpus.vocabulary[word] for word in often[len(often) // 20 :][:3].tolist())
        raise ValueError(
            f"the query ({given}) has none of the {len(position)} words that the corpus keeps; ask with words as "
            f"common as {common}"
        )
    from scipy.sparse import csr_matrix

    columns = np.array([position[word] for word in known])
    counts = csr_matrix((np.ones(len(columns)), (np.zeros_like(columns), columns)), shape=(1, len(position)))
    unknown = dict.fromkeys(word for word in words if word not in position)
    return Query(PackedCounts.from_csr(counts), tuple(dict.fromkeys(known)), tuple(unknown))
