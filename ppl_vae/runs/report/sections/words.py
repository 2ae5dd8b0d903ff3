"""Text: perplexity, the words that each unit stands for, and neighbours by code."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from markupsafe import Markup
from torch import Tensor

from ppl_vae.data.counts import PackedCounts
from ppl_vae.diagnostics.retrieval.codes import Codes
from ppl_vae.diagnostics.retrieval.hamming import nearest
from ppl_vae.diagnostics.retrieval.tfidf import rarity
from ppl_vae.distributions.multinomial import PackedMultinomial
from ppl_vae.evidence.results import Evidence
from ppl_vae.nn.modes import evaluating
from ppl_vae.programs.handlers import observations
from ppl_vae.programs.handlers import run as run_program
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.runs.report.codes import posterior_means
from ppl_vae.runs.report.markup import chips, folded, joined, paragraph, table
from ppl_vae.runs.report.pictures import exhibit
from ppl_vae.runs.report.subject import Subject

TITLE = "Words and neighbours"
PLACE = 80

MOST_DOCUMENTS = 5_000
"""Training documents that are looked at."""

MOST_UNITS = 64
"""Units whose words are shown."""

MOST_ROWS = 16
"""Rows of that table that are shown unopened."""

HEADS = ("unit", "share", "words")

WORDS = 8
"""Words shown of a unit."""

STRENGTH = 500.0
"""Words of the corpus that every side of a comparison has beside its own, so that rare words need many counts."""


def section(subject: Subject) -> Markup | None:
    """Perplexities, words by unit and nearest documents, of a run of documents."""
    if subject.texts is None:
        return None
    train = subject.run.data["train"]
    assert isinstance(train, PackedCounts)
    train = train[:MOST_DOCUMENTS]
    means = posterior_means(subject.run, train)
    parts = [perplexities(subject), _words(subject, train, means), _neighbours(subject, train, means)]
    return joined(part for part in parts if part is not None)


def perplexities(subject: Subject) -> Markup | None:
    """The table of perplexities; None where the model does not generate words one by one."""
    if not _is_multinomial(subject):
        return None
    measured = dict(subject.final)
    if subject.evidence is not None:
        measured[subject.split] = subject.evidence
    rows = []
    for name, result in measured.items():
        x = subject.run.data[name]
        assert isinstance(x, PackedCounts)
        numbers = perplexity(x if result.sample is None else x[result.sample], result)
        rows.append((name, *(f"{value:,.0f}" for value in numbers)))
    heads = (
        "split",
        "over the corpus, evidence",
        "over the corpus, ELBO",
        "per document, evidence",
        "per document, ELBO",
    )
    below = (
        "Over the corpus: exp of minus the log-likelihood of all words over their number. Per document: exp of the "
        "mean over documents of minus the log-likelihood over the length. Lower is better; the lengths are given."
    )
    return joined([table("Perplexity", heads, rows), paragraph(below, "faint")])


def perplexity(x: PackedCounts, result: Evidence) -> tuple[float, float, float, float]:
    r"""Perplexities over the corpus and per document, each by evidence and by ELBO.

    .. math:: \exp\Bigl(-\frac{\sum_i \ell_i}{\sum_i l_i}\Bigr), \qquad
        \exp\Bigl(-\frac1n \sum_i \frac{\ell_i}{l_i}\Bigr)

    with the length :math:`l_i` of a document and the log-probability :math:`\ell_i` of its words in their order, which
    is that of the counts without the multinomial coefficient (Miao, Yu and Blunsom 2016, section 5, has the second).

    Arguments:
        x: The documents.
        result: Their measurement.
    """
    lengths, coefficient = x.lengths.double().cpu(), x.log_coefficient.double().cpu()
    values = [each.pointwise.double().cpu() - coefficient for each in (result.evidence, result.elbo)]
    corpus = [(-value.sum() / lengths.sum()).exp().item() for value in values]
    document = [(-(value / lengths).mean()).exp().item() for value in values]
    return corpus[0], corpus[1], document[0], document[1]


def _is_multinomial(subject: Subject) -> bool:
    with evaluating(subject.run.model), fork_random_state():
        sites = run_program(subject.run.model, (subject.data[:2],), {}, draws=1)
    observed = [site["fn"] for site in observations(sites).values()]
    return len(observed) == 1 and isinstance(observed[0], PackedMultinomial)


def distinctive(counts: Tensor, others: Tensor) -> Tensor:
    r"""How much each word sets one group of documents apart from another, in standard errors, ``(vocabulary,)``.

    The log-odds ratio with an informative Dirichlet prior (Monroe, Colaresi and Quinn 2008, eqs. 16, 20 and 22): both
    groups have :math:`\alpha_w` further counts of each word, in proportion to the whole corpus.

    Arguments:
        counts: Counts of each word in the group, ``(vocabulary,)``; they may be fractions.
        others: Counts in the other group.
    """
    whole = counts + others
    prior = STRENGTH * whole / whole.sum().clamp(min=1e-12) + 1e-9
    total = prior.sum()
    sides = [side + prior for side in (counts, others)]
    odds = [(side / (group.sum() + total - side)).log() for side, group in zip(sides, (counts, others), strict=True)]
    return (odds[0] - odds[1]) / (1 / sides[0] + 1 / sides[1]).sqrt()


def _words(subject: Subject, x: PackedCounts, means: Tensor) -> Markup:
    names = subject.information[0]["units"] if subject.information else []
    vocabulary = subject.run.corpus.vocabulary
    matrix = x.to_csr()
    whole = torch.from_numpy(np.asarray(matrix.sum(0)).ravel()).double()
    rows = []
    for unit in range(min(means.shape[1], MOST_UNITS)):
        name = names[unit]["name"] if unit < len(names) else f"unit {unit}"
        for state, weight in _sides(means[:, unit].double()):
            counts = torch.from_numpy(matrix.T @ weight.numpy()).double()
            best = distinctive(counts, whole - counts).topk(min(WORDS, len(whole))).indices.tolist()
            share = f"{weight.mean().item():.0%}"
            rows.append((f"{name} {state}", share, chips(vocabulary[i] for i in best)))
    caption = f"Words that set the documents of each side of a unit apart, {len(x):,} training documents"
    first = table(caption, HEADS, rows[:MOST_ROWS], text=("words",))
    more = folded(f"{len(rows) - MOST_ROWS} more", table(caption, HEADS, rows[MOST_ROWS:], text=("words",)))
    return first + more if len(rows) > MOST_ROWS else first


def _sides(states: Tensor) -> Iterator[tuple[str, Tensor]]:
    """The groups of documents that a unit tells apart, as the weight of each document in them."""
    if states.shape[1] > 1:  # a categorical
        yield from ((f"= {k}", states[:, k]) for k in range(states.shape[1]))
    elif states.min() >= 0 and states.max() <= 1:  # a bit
        yield from (("= 1", states[:, 0]), ("= 0", 1 - states[:, 0]))
    else:
        middle = states[:, 0].median()
        yield from (("high", (states[:, 0] > middle).double()), ("low", (states[:, 0] <= middle).double()))


def _neighbours(subject: Subject, x: PackedCounts, means: Tensor) -> Markup | None:
    documents = subject.texts
    assert documents is not None
    rows = [i for i in range(min(200, len(documents))) if documents.sizes[i] >= 10][:2]
    if not rows or means.shape[2] > 1 or means.min() < 0 or means.max() > 1:
        return None
    queries = posterior_means(subject.run, documents[rows])[..., 0]
    found = nearest(Codes.pack(queries > 0.5), Codes.pack(means[..., 0] > 0.5), 3)
    titles, rare = subject.run.titles("train"), torch.from_numpy(rarity(x))
    items = []
    for i, row in enumerate(rows):
        hits = [
            Markup("<li><strong>{}</strong> <span class='faint'>{}</span><div>{}</div></li>").format(
                titles[hit] if titles else f"document {hit}",
                f"{int(distance)} bits away",
                exhibit(subject.run, x, hit, f"document {hit}", rare),
            )
            for hit, distance in zip(found.indices[i].tolist(), found.distances[i].tolist(), strict=True)
        ]
        own = exhibit(subject.run, documents, row, subject.name_of(row), rare)
        items.append(
            Markup("<article><h4>{}</h4><div>{}</div><ol>{}</ol></article>").format(
                subject.name_of(row), own, joined(hits)
            )
        )
    return Markup("<h3>Nearest training documents by code</h3><div class='columns'>{}</div>").format(joined(items))
