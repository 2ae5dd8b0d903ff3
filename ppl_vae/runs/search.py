"""Codes of trained runs: written to a file, searched, and their retrieval measured."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyro
import torch

from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.files import atomic_write
from ppl_vae.data.inputs import Batch, concatenate
from ppl_vae.data.query import read_query
from ppl_vae.diagnostics.retrieval.codes import Codes, draw_codes, log_odds
from ppl_vae.diagnostics.retrieval.hamming import nearest
from ppl_vae.diagnostics.retrieval.retrieval import Retrieval, retrieval
from ppl_vae.diagnostics.retrieval.tfidf import TfIdf
from ppl_vae.evidence.tables import text_table
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.types import Progress
from ppl_vae.runs.measure import measure_and_save
from ppl_vae.runs.open import Run
from ppl_vae.runs.pair import Pair
from ppl_vae.runs.refined import guide_for
from ppl_vae.training.progress import Reporter

__all__ = ["Hit", "SearchResult", "Written", "measure_retrieval", "search", "write_codes"]

CodeRule = Literal["mean-sign", "median", "sampled"]

SHORTLIST = 1000
"""Number of documents nearest by code among which ties are ordered by their words."""

SURE = 0.9
"""Probability from which a bit counts as decided."""


@dataclass(frozen=True)
class Written:
    """A file of codes.

    Arguments:
        file: Path of the file.
        bits: Length of a code.
        data: Number of codes by split.
    """

    file: Path
    bits: int
    data: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        return {"file": str(self.file), "bits": self.bits, "data": self.data}

    def __str__(self) -> str:
        sizes = ", ".join(f"{split}_codes ({count} of {self.bits} bits)" for split, count in self.data.items())
        first = next(iter(self.data))
        return (
            f"{self.file}: {sizes}, with labels and titles where the corpus has them; read it with\n"
            f"  codes = numpy.load({str(self.file)!r})\n"
            f"  bits = numpy.unpackbits(codes['{first}_codes'], axis=1, count={self.bits})"
        )

    __repr__ = __str__


def write_codes(opened: Run, split: str, out: Path | None, rule: CodeRule, refine: int = 0) -> Written:
    """Writes the codes of a run's data as packed bits, into an ``.npz`` that needs no unpickling.

    Arguments:
        opened: The run.
        split: Name of one of its splits, or ``"all"``.
        out: Path of the file; by default ``codes.npz`` in the run, of a refined guide ``codes-refined.npz``.
        rule: How bits are read off the guide, as in :func:`~ppl_vae.diagnostics.retrieval.retrieval.retrieval`;
            medians are over the training data.
        refine: Steps by which the guide is refined for each datum before; 0 for none.

    Raises:
        ValueError: If there is no such run or split, its model has no bits, or the file cannot be written.
    """
    names = list(opened.data) if split == "all" else [split]
    path = out or opened.folder / f"{opened.state.named('codes-refined' if refine else 'codes')}.npz"
    arrays: dict[str, Any] = {}
    sizes = {}
    bits = 0
    for name in names:
        codes = _codes(opened, name, rule, refine)
        arrays[f"{name}_codes"], sizes[name], bits = codes.packed, len(codes), codes.bits
        labels, titles = opened.labels(name), opened.titles(name)
        if labels is not None:
            arrays[f"{name}_labels"] = labels.numpy()
        if titles is not None:
            arrays[f"{name}_titles"] = np.array(titles)
    if opened.corpus.label_names:
        arrays["label_names"] = np.array(opened.corpus.label_names)
    content = io.BytesIO()
    np.savez_compressed(content, bits=np.array(bits), **arrays)
    if out is None:
        opened.run.check_present()
    atomic_write(path, content.getvalue())
    return Written(path, bits, sizes)


def _codes(opened: Run, split: str, rule: CodeRule, refine: int) -> Codes:
    model, x = opened.pair.model, opened.split(split)
    with (
        Reporter(f"codes of {split}", len(x) * (refine + 1)) as reporter,
        fork_random_state(opened.config.settings.seed),
        pyro.validation_enabled(False),
    ):
        guide = guide_for(opened, x, refine, reporter.advance)
        if rule == "sampled":
            return draw_codes(model, guide, x, progress=reporter.advance)
        odds = log_odds(model, guide, x, progress=reporter.advance)
        if rule == "mean-sign":
            return Codes.pack(odds > 0)
        if split == "train":
            train = odds
        else:
            known = opened.split("train")
            train = log_odds(model, guide_for(opened, known, refine, None), known)
        return Codes.pack(odds > train.median(0).values)


@dataclass(frozen=True)
class Hit:
    """A document of a search result.

    Arguments:
        name: Title of the document, or its split and row.
        split: Name of its split.
        row: Position in the split.
        distance: Hamming distance of its code from that of the query.
        similarity: Cosine with the query by weighted words.
        label: Name of its class; None if the corpus has none.
        shared: Words it has in common with the query, rarest first.
    """

    name: str
    split: str
    row: int
    distance: int
    similarity: float
    label: str | None
    shared: tuple[str, ...]


@dataclass(frozen=True)
class SearchResult:
    """The documents nearest to a query.

    Arguments:
        query: Words of the query that are in the vocabulary.
        unknown: Words of the query that are not.
        bits: Length of a code.
        sure: Number of bits of the query's code with a probability of at least 0.9.
        hits: The documents, nearest first.
        documents: Number of documents searched.
        cut: Whether more documents than the shortlist holds are as near as the last one shown.
    """

    query: tuple[str, ...]
    unknown: tuple[str, ...]
    bits: int
    sure: int
    hits: tuple[Hit, ...]
    documents: int
    cut: bool

    def to_json(self) -> dict[str, Any]:
        return {
            "query": list(self.query),
            "unknown": list(self.unknown),
            "bits": self.bits,
            "sure_bits": self.sure,
            "documents": self.documents,
            "hits": [vars(hit) | {"shared": list(hit.shared)} for hit in self.hits],
        }

    def __str__(self) -> str:
        rows = [
            (str(hit.distance), f"{hit.similarity:.2f}", hit.name, hit.label or "", " ".join(hit.shared[:6]))
            for hit in self.hits
        ]
        title = f"nearest of {self.documents} documents by {self.bits} bits"
        texts = ("document", "label", "shared words")
        lines = [text_table(title, ("bits", "cosine", *texts), rows, left=texts, width=120, boxed=False)]
        if self.unknown:
            lines.append(f"note: not in the vocabulary: {', '.join(self.unknown)}")
        if 2 * self.sure < self.bits:
            lines.append(f"note: these words decide {self.sure} of {self.bits} bits: add more of them")
        if self.cut:
            lines.append(f"note: more than {SHORTLIST} documents are as near as the last: take longer codes")
        return "\n".join(lines)

    __repr__ = __str__


def search(opened: Run, text: str, count: int) -> SearchResult:
    """Finds the documents of a run nearest to a query by their codes, ties by the cosine of weighted words.

    As in Salakhutdinov and Hinton (2009): the code selects a short list, the words order it.

    Arguments:
        opened: The run, all splits of which are searched.
        text: The query.
        count: Number of documents to return.

    Raises:
        ValueError: If no word of the query is in the vocabulary, or the run's model has no bits.
    """
    query = read_query(text, opened.corpus)
    pair, x = opened.pair, PackedCounts.concatenate([opened.documents(split) for split in opened.data])
    with fork_random_state(opened.config.settings.seed), pyro.validation_enabled(False):
        query_odds = log_odds(pair.model, pair.guide, query.counts.to(x.device))
        database = Codes.pack(log_odds(pair.model, pair.guide, x) > 0)
    neighbours = nearest(Codes.pack(query_odds > 0), database, max(count, SHORTLIST))
    near, rows = neighbours.distances[0], neighbours.indices[0]
    weights = TfIdf(x)
    counts = x[torch.from_numpy(rows)].to_csr()
    similarity = (weights.weigh(PackedCounts.from_csr(counts)) @ weights.weigh(query.counts).T).toarray()[:, 0]
    order = np.lexsort((rows, -similarity, near))[:count]
    query_words = np.unique(query.counts.words.numpy())
    query_words = query_words[np.argsort(-weights.rarity[query_words], kind="stable")]
    has = counts[order][:, query_words].toarray() > 0
    names = [opened.corpus.vocabulary[word] for word in query_words]
    hits = tuple(
        _hit(opened, int(rows[i]), int(near[i]), float(similarity[i]), tuple(np.array(names)[shared].tolist()))
        for i, shared in zip(order, has, strict=True)
    )
    sure = int(((query_odds[0].abs().sigmoid()) >= SURE).sum())
    cut = len(rows) < len(x) and hits[-1].distance == near[-1]
    return SearchResult(query.known, query.unknown, database.bits, sure, hits, len(x), cut)


def _hit(opened: Run, place: int, distance: int, similarity: float, shared: tuple[str, ...]) -> Hit:
    """A document by its position among the concatenated splits."""
    starts = np.cumsum([0, *(len(x) for x in opened.data.values())])
    which = int(np.searchsorted(starts, place, side="right")) - 1
    split, row = list(opened.data)[which], place - int(starts[which])
    titles, labels = opened.titles(split), opened.labels(split)
    name = titles[row] if titles else f"{split} {row}"
    label = None if labels is None else opened.corpus.label_names[int(labels[row])]
    return Hit(name, split, row, distance, similarity, label, shared)


def measure_retrieval(opened: Run, split: str, k: int, count: int, refine: int = 0) -> Retrieval:
    """Measures the precision@k of a run's codes; queries are one split, the database the splits before it.

    The guide is refined before by so many steps for each query and document.

    Raises:
        ValueError: If the corpus has no labels, the split is that of training, or the run's model has no bits.
    """
    if split == "train":
        raise ValueError(
            "the training documents are the database; take queries of another split, --split test or --split validation"
        )
    others = [name for name in ("train", "validation") if name in opened.data and name != split]
    labels, *known = (opened.labels(name) for name in (split, *others))
    if labels is None or any(each is None for each in known):
        raise ValueError(
            f"corpus {opened.corpus.name} has no labels, by which retrieved documents are judged; "
            "give it labels (ppl-vae train --help names the forms of corpora), or use ppl-vae search"
        )
    opened.split(split)  # an error if the split does not exist
    rows = opened.subsample(split, count)
    database = PackedCounts.concatenate([opened.documents(name) for name in others])

    def compute(pair: Pair, x: Batch, progress: Progress) -> Retrieval:
        return retrieval(
            pair.model,
            guide_for(opened, concatenate([x, database]) if refine else x, refine, progress),
            x,
            database,
            labels if rows is None else labels[rows],
            torch.cat([each for each in known if each is not None]),
            k=k,
            label_names=opened.corpus.label_names,
            progress=progress,
        )

    name = f"retrieval-{split}" + ("-refined" if refine else "")
    return measure_and_save(
        opened, name, split, count, compute, lambda pair, x: (2 + refine) * (len(x) + len(database))
    )
