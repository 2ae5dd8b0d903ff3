"""Runs whose codes are written out, searched, and judged by what they retrieve."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyro
import torch

from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.query import read_query
from ppl_vae.diagnostics.retrieval.codes import Codes, draw_codes, log_odds
from ppl_vae.diagnostics.retrieval.hamming import nearest
from ppl_vae.diagnostics.retrieval.retrieval import Retrieval, retrieval
from ppl_vae.diagnostics.retrieval.tfidf import TfIdf
from ppl_vae.evidence.tables import text_table
from ppl_vae.nn.checkpoint import atomic_write
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.runs.measure import measure_and_save
from ppl_vae.runs.open import Run, open_run
from ppl_vae.training.progress import Reporter

__all__ = ["Hit", "SearchResult", "Written", "measure_retrieval", "search", "write_codes"]

How = Literal["mean-sign", "median", "sampled"]

SHORTLIST = 1000
"""Documents nearest by code, among which equally near ones are put in order by their words."""

SURE = 0.9
"""Probability from which a bit counts as decided."""


@dataclass(frozen=True)
class Written:
    """A file of codes.

    Arguments:
        file: Its path.
        bits: Length of a code.
        data: How many, by split.
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


def write_codes(folder: Path, split: str, out: Path | None, how: How) -> Written:
    """Writes the codes of a run's data as packed bits, into an ``.npz`` that needs no unpickling.

    Arguments:
        folder: Of the run.
        split: One of its splits, or ``"all"``.
        out: The file; by default ``codes.npz`` in the run.
        how: See :func:`~ppl_vae.diagnostics.retrieval.retrieval.retrieval`; medians are over the training data.

    Raises:
        ValueError: If there is no such run or split, its model has no bits, or the file cannot be written.
    """
    opened = open_run(folder)
    names = list(opened.data) if split == "all" else [split]
    path = out or folder / "codes.npz"
    arrays: dict[str, Any] = {}
    sizes = {}
    bits = 0
    for name in names:
        codes = _codes(opened, name, how)
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
    atomic_write(path, content.getvalue())
    return Written(path, bits, sizes)


def _codes(opened: Run, split: str, how: How) -> Codes:
    pair, x = opened.pair, opened.split(split)
    with (
        Reporter(f"codes of {split}", len(x)) as reporter,
        fork_random_state(opened.config.settings.seed),
        pyro.validation_enabled(False),
    ):
        if how == "sampled":
            return draw_codes(pair.model, pair.guide, x, progress=reporter.advance)
        odds = log_odds(pair.model, pair.guide, x, progress=reporter.advance)
        if how == "mean-sign":
            return Codes.pack(odds > 0)
        train = odds if split == "train" else log_odds(pair.model, pair.guide, opened.split("train"))
        return Codes.pack(odds > train.median(0).values)


@dataclass(frozen=True)
class Hit:
    """A document that was found.

    Arguments:
        name: Its title, or its split and row.
        split: Of the run.
        row: In that split.
        distance: Bits by which its code differs from that of the query.
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
    """What a query found.

    Arguments:
        query: Its words that are in the vocabulary.
        unknown: Those that are not.
        bits: Length of a code.
        sure: Bits of the query's code that have a probability of at least 0.9.
        hits: Nearest first.
        documents: How many were searched.
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


def search(folder: Path, text: str, count: int = 10) -> SearchResult:
    """The documents of a run nearest to a query by their codes; equally near ones by the cosine of weighted words.

    As Salakhutdinov and Hinton (2009) do it: the code finds a short list, the words put it in order.

    Arguments:
        folder: Of the run; all of its splits are searched.
        text: The query.
        count: How many documents to give.

    Raises:
        ValueError: If no word of the query is in the vocabulary, or the run's model has no bits.
    """
    opened = open_run(folder)
    query = read_query(text, opened.corpus)
    pair, x = opened.pair, PackedCounts.concatenate([opened.documents(split) for split in opened.data])
    with fork_random_state(opened.config.settings.seed), pyro.validation_enabled(False):
        asked = log_odds(pair.model, pair.guide, query.counts.to(x.device))
        database = Codes.pack(log_odds(pair.model, pair.guide, x) > 0)
    neighbours = nearest(Codes.pack(asked > 0), database, max(count, SHORTLIST))
    near, rows = neighbours.distances[0], neighbours.indices[0]
    weights = TfIdf(x)
    counts = x[torch.from_numpy(rows)].to_csr()
    similarity = (weights.weigh(PackedCounts.from_csr(counts)) @ weights.weigh(query.counts).T).toarray()[:, 0]
    order = np.lexsort((rows, -similarity, near))[:count]
    words = np.unique(query.counts.words.numpy())
    words = words[np.argsort(-weights.rarity[words], kind="stable")]
    has = counts[order][:, words].toarray() > 0
    names = [opened.corpus.vocabulary[word] for word in words]
    hits = tuple(
        _hit(opened, int(rows[i]), int(near[i]), float(similarity[i]), tuple(np.array(names)[own].tolist()))
        for i, own in zip(order, has, strict=True)
    )
    sure = int(((asked[0].abs().sigmoid()) >= SURE).sum())
    cut = len(rows) < len(x) and hits[-1].distance == near[-1]
    return SearchResult(query.known, query.unknown, database.bits, sure, hits, len(x), cut)


def _hit(opened: Run, place: int, distance: int, similarity: float, shared: tuple[str, ...]) -> Hit:
    """A document by its place among all splits one after the other."""
    starts = np.cumsum([0, *(len(x) for x in opened.data.values())])
    which = int(np.searchsorted(starts, place, side="right")) - 1
    split, row = list(opened.data)[which], place - int(starts[which])
    titles, labels = opened.titles(split), opened.labels(split)
    name = titles[row] if titles else f"{split} {row}"
    label = None if labels is None else opened.corpus.label_names[int(labels[row])]
    return Hit(name, split, row, distance, similarity, label, shared)


def measure_retrieval(folder: Path, split: str, k: int = 100, count: int = 0) -> Retrieval:
    """Precision@k of a run's codes, documents of one split against all those before it: see :func:`retrieval`.

    Raises:
        ValueError: If the corpus has no labels, the split is that of training, or the run's model has no bits.
    """
    opened = open_run(folder)
    if split == "train":
        raise ValueError(
            "the training documents are those that are retrieved; ask with others, --split test or --split validation"
        )
    others = [name for name in ("train", "validation") if name in opened.data and name != split]
    labels, *known = (opened.labels(name) for name in (split, *others))
    if labels is None or any(each is None for each in known):
        raise ValueError(
            f"corpus {opened.corpus.name} has no labels, by which to tell whether what is retrieved is of the query's "
            "kind; give it labels (ppl-vae train --help names the forms of corpora), or use ppl-vae search"
        )
    opened.split(split)  # refuses a split that is not there
    rows = opened.subsample(split, count)
    database = PackedCounts.concatenate([opened.documents(name) for name in others])
    _, result = measure_and_save(
        opened,
        f"retrieval-{split}",
        split,
        count,
        lambda pair, x, tick: retrieval(
            pair.model,
            pair.guide,
            x,
            database,
            labels if rows is None else labels[rows],
            torch.cat([each for each in known if each is not None]),
            k=k,
            label_names=opened.corpus.label_names,
            progress=tick,
        ),
        lambda pair, x: 2 * (len(x) + len(database)),
    )
    return result
