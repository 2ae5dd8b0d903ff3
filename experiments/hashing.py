"""Semantic hashing: what the binary codes of text models retrieve, and what raises it.

Codes of 20 Newsgroups (Salakhutdinov and Hinton 2009; Chaidaroon and Fang 2017) by the three guides of Schlesinger,
Shekhovtsov and Flach (2021, example 3), which compared them by their bounds alone: a test document asks for the
hundred training documents with the nearest codes, and precision@100 is the share of its newsgroup among them,
expected over the order of equally near ones. Beside it stand the cosine of words weighted by rarity, and random codes.
At one length it is then tried what else changes the precision: how a code is read off the guide, how long is trained,
and hidden layers in the decoder.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from ppl_vae.guides.deep_frequencies import DeepFrequencies
from ppl_vae.guides.linear_counts import LinearCounts
from ppl_vae.guides.linear_frequencies import LinearFrequencies
from ppl_vae.models.text import Text
from torch import Tensor

from ppl_vae.data import Corpus, load_corpus
from ppl_vae.data.counts import PackedCounts
from ppl_vae.diagnostics.retrieval.codes import Codes
from ppl_vae.diagnostics.retrieval.retrieval import Ranking, by_codes, by_scores, draw_curves, retrieval
from ppl_vae.diagnostics.retrieval.tfidf import TfIdf
from ppl_vae.programs.loading import facts
from ppl_vae.studies.claims import Claim
from ppl_vae.studies.report import Report, Row
from ppl_vae.studies.study import Study
from ppl_vae.training.trainer import Settings

PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "seeds": 1,
        "corpus": "docstrings",
        "vocabulary": 200,
        "documents": 1_500,
        "bits": [4, 12],
        "closer": 12,
        "epochs": 3,
        "rates": {},
        "depths": [1],
    },
    "cpu": {
        "seeds": 1,
        "corpus": "20news",
        "vocabulary": 10_000,
        "documents": 0,
        "bits": [8, 16, 32, 64, 128],
        "closer": 32,
        "epochs": 45,
        "rates": {"linear_counts": 3e-3, "deep_frequencies": 1e-3, "linear_frequencies": 1e-2},
        "depths": [1],
    },
    "paper": {
        "seeds": 3,
        "corpus": "20news",
        "vocabulary": 10_000,
        "documents": 0,
        "bits": [8, 16, 32, 64, 128],
        "closer": 32,
        "epochs": 100,
        "rates": {},
        "depths": [1, 2],
    },
}
GUIDES = {
    "linear_counts": LinearCounts,
    "deep_frequencies": DeepFrequencies,
    "linear_frequencies": LinearFrequencies,
}
COLOURS = {"linear_counts": "#0072B2", "deep_frequencies": "#E69F00", "linear_frequencies": "#009E73"}
Grid = dict[tuple[str, int], list[dict[str, Tensor]]]
"""What every guide found at every length, one a seed."""
READINGS = {
    "mean-sign": "bits by sign",
    "median": "bits by their medians",
    "sampled": "sampled bits",
    "asymmetric": "query as probabilities",
}
K = 100


class Task:
    """Who asks, and what there is to retrieve.

    Arguments:
        corpus: With labels.
        documents: Take a random sample of so many training documents, and a fifth as many of the others; 0 for all.
        device: Where documents are coded.
    """

    def __init__(self, corpus: Corpus, documents: int, device: torch.device) -> None:
        sizes = {"train": documents, "validation": documents // 5, "test": documents // 5}
        self.x: dict[str, PackedCounts] = {}
        self.labels: dict[str, Tensor] = {}
        for name, size in sizes.items():
            x, labels = corpus.splits[name].values, corpus.splits[name].labels
            chosen = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[: size or len(x)].sort().values
            self.x[name], self.labels[name] = x[chosen].to(device), labels[chosen]
        self.database = PackedCounts.concatenate([self.x["train"], self.x["validation"]])
        self.known = torch.cat([self.labels["train"], self.labels["validation"]])

    def random(self, bits: int) -> Ranking:
        """What random codes retrieve."""
        codes = [Codes.pack(torch.rand(len(x), bits) > 0.5) for x in (self.x["test"], self.database)]
        return by_codes(*codes, labels=self.labels["test"], known=self.known, k=K)


def kept(rankings: dict[str, Ranking]) -> dict[str, Tensor]:
    """Rankings as tensors by name."""
    parts = {
        f"{name}.{part}": getattr(ranking, part)
        for name, ranking in rankings.items()
        for part in ("precision", "found", "hits")
    }
    return {name: part for name, part in parts.items() if part is not None}


def ranking_of(found: dict[str, Tensor], name: str) -> Ranking:
    """A ranking from what was kept."""
    return Ranking(found[f"{name}.precision"], found.get(f"{name}.found"), found.get(f"{name}.hits"))


def cell(
    study: Study, name: str, task: Task, guide: str, bits: int, hidden: int, settings: Settings
) -> dict[str, Tensor]:
    """Trains a pair, the epoch chosen by validation, and measures what its codes retrieve."""
    train = task.x["train"]
    torch.manual_seed(settings.seed)
    model = Text(train.vocabulary, bits, hidden, unigram=facts(train)["unigram"]).to(study.device)
    q = GUIDES[guide](model, train[:2])
    trainer = study.train(name, model, q, train, settings, validation=task.x["validation"], estimator="auto")
    torch.manual_seed(settings.seed)
    found = retrieval(model, q, task.x["test"], task.database, task.labels["test"], task.known, k=K)
    best = max(row["validation_elbo"] for row in trainer.rows)
    return kept(found.rankings) | {
        "validation ELBO": torch.tensor(best),
        "best epoch": torch.tensor(trainer.best_epoch),
    }


def run(
    study: Study,
    *,
    seeds: int,
    corpus: str,
    vocabulary: int,
    documents: int,
    bits: list[int],
    closer: int,
    epochs: int,
    rates: dict[str, float],
    depths: list[int],
) -> Report:
    """The experiment.

    Arguments:
        study: Where it is kept.
        seeds: Trainings of each pair.
        corpus: Whose documents; it must have labels.
        vocabulary: How many words.
        documents: Training documents; 0 for all.
        bits: Lengths of the codes.
        closer: The length at which everything else is tried.
        epochs: Of each training; the best of them is taken.
        rates: Of learning, by guide, falling to zero; without one it stays 1e-3.
        depths: Hidden layers of the decoder that are tried.
    """
    task = Task(load_corpus(corpus, vocabulary=vocabulary), documents, study.device)

    def names(guide: str, size: int, hidden: int = 0, length: int = epochs) -> list[str]:
        parts = [guide, f"{size}", *([f"hidden{hidden}"] if hidden else []), *([f"e{length}"] * (length != epochs))]
        return ["-".join([*parts, str(seed)]) for seed in range(seeds)]

    def settings(guide: str, length: int, seed: int) -> Settings:
        falls: dict[str, Any] = {"learning_rate": rates[guide], "decay": "cosine"} if guide in rates else {}
        return Settings(schedule=[(length, 1)], seed=seed, **falls)

    lengths = (max(1, epochs // 3), 3 * epochs)
    asked = [(guide, size, 0, epochs) for guide in GUIDES for size in bits]
    asked += [("linear_counts", closer, 0, length) for length in lengths]
    asked += [("linear_counts", closer, hidden, epochs) for hidden in depths]
    # The longest first: with several jobs they would else be waited for at the end.
    asked.sort(key=lambda one: -one[3] * (1 + 8 * one[2]))
    values = study.together(
        {
            name: partial(cell, study, name, task, guide, size, hidden, settings(guide, length, seed))
            for guide, size, hidden, length in asked
            for seed, name in enumerate(names(guide, size, hidden, length))
        }
    )

    def trained(guide: str, size: int, hidden: int = 0, length: int = epochs) -> list[dict[str, Tensor]]:
        return [values[name] for name in names(guide, size, hidden, length)]

    base = study.values(
        "tf-idf",
        lambda: kept(
            {"tf-idf": by_scores(TfIdf(task.database).similarities(task.x["test"]), task.labels["test"], task.known, K)}
        ),
    )
    chance = (torch.bincount(task.known).double() / len(task.known))[task.labels["test"]].mean().item()
    cosine = base["tf-idf.precision"]
    rows = [row("cosine of words weighted by rarity", [cosine])]
    grid = {(guide, size): trained(guide, size) for size in bits for guide in GUIDES}
    for size in bits:
        group = f"{size} bits"
        cells = {
            "random codes": [
                study.values(f"random-{size}-{seed}", lambda size=size: kept({"mean-sign": task.random(size)}))
                for seed in range(seeds)
            ],
            **{guide: grid[guide, size] for guide in GUIDES},
        }
        for name, found in cells.items():
            rows.append(row(name, precisions(found), group, chance if name == "random codes" else None))
    near = f"linear_counts, {closer} bits"
    tried = {words: precisions(grid["linear_counts", closer], name) for name, words in READINGS.items()}
    for length in lengths:
        words = f"{length} epochs, not {epochs}"
        tried[words] = precisions(trained("linear_counts", closer, length=length))
    for hidden in depths:
        tried[f"hidden layers in the decoder: {hidden}"] = precisions(trained("linear_counts", closer, hidden))
    rows += [row(words, found, near) for words, found in tried.items()]
    elbos = {key: [each["validation ELBO"] for each in found] for key, found in grid.items()}
    rows += [
        Row(f"{guide}, {size} bits", [e.item() for e in elbos[guide, size]], group="validation ELBO")
        for guide, size in grid
    ]
    report = Report(
        f"Semantic hashing: precision@{K} on {corpus}, {vocabulary:,} words",
        rows,
        claims(grid, tried, cosine, elbos),
        notes(grid),
    )
    level = {"cosine, tf-idf": rows[0].mean, "chance": chance}
    study.figure("precision", lambda figure: draw(figure, report, grid, bits, closer, level), (10, 4.4))
    study.figure("raises", lambda figure: draw_raises(figure, report, near), (7.5, 3.6))
    return report


def row(quantity: str, found: list[Tensor], group: str = "", limit: float | None = None) -> Row:
    """A row of the table from the precision of every query, one tensor a seed."""
    return Row(quantity, [each.mean().item() for each in found], limit=limit, unit="precision", group=group, digits=4)


def precisions(found: list[dict[str, Tensor]], name: str = "mean-sign") -> list[Tensor]:
    """Precision of every query by one way to read codes, one tensor a seed."""
    return [each[f"{name}.precision"] for each in found]


def mean(found: list[Tensor]) -> Tensor:
    """Over the seeds, query by query."""
    return torch.stack(found).mean(0)


def notes(grid: Grid) -> tuple[str, ...]:
    """What a reader must know before believing the figures."""
    worst = max(ranking_of(each, "mean-sign").se for found in grid.values() for each in found)
    return (
        f"standard errors over the queries are at most {worst:.4f}; se in the table, if any, is over seeds",
        "claims about these codes are tested over the queries, paired; all others are about training, over seeds",
        "limit of random codes: the share of the query's class in the database",
        "validation documents chose the epoch, by their ELBO, and are among those retrieved; labels took no part",
    )


def claims(
    grid: Grid, tried: dict[str, list[Tensor]], cosine: Tensor, elbos: dict[tuple[str, int], list[Tensor]]
) -> list[Claim]:
    """What is tested: whether the order of the bounds is that of the retrieval, and what raises it."""
    sizes = sorted({size for _, size in grid})
    signs = {key: precisions(cells) for key, cells in grid.items()}

    def trained(text: str, high: Sequence[Tensor], low: Sequence[Tensor]) -> Claim:
        """One training does better than another, over seeds."""
        return Claim.greater(text, [(one - other).mean().item() for one, other in zip(high, low, strict=True)])

    def of_these(text: str, high: list[Tensor], low: list[Tensor]) -> Claim:
        """These codes, as trained, retrieve better read one way than another, over queries."""
        return Claim.greater(text, (mean(high) - mean(low)).tolist(), over="data")

    first, deep, last = GUIDES
    by_sign = tried[READINGS["mean-sign"]]
    longer = [words for words in tried if "epochs" in words][-1]
    layer = next(words for words in tried if "hidden" in words)
    order = []
    for size in sizes:
        for one, other in ((first, deep), (deep, last), (first, last)):
            both = [
                Claim.every(
                    f"{high}, {size} bits",
                    [
                        trained("ELBO", elbos[high, size], elbos[low, size]),
                        trained("precision", signs[high, size], signs[low, size]),
                    ],
                )
                for high, low in ((one, other), (other, one))
            ]
            order.append(Claim.some(f"{one} and {other}, {size} bits", both))
    samples = {key: precisions(cells, "sampled") for key, cells in grid.items()}
    return [
        Claim.every(
            "a guide linear in counts retrieves better than a deep one on frequencies at every length",
            [trained(f"{size} bits", signs[first, size], signs[deep, size]) for size in sizes],
        ),
        Claim.every(
            "that one retrieves better than a linear one on frequencies at every length",
            [trained(f"{size} bits", signs[deep, size], signs[last, size]) for size in sizes],
        ),
        Claim.every("of two guides at one length the one with the higher ELBO retrieves better", order),
        Claim.every(
            "longer codes of the guide linear in counts retrieve better",
            [trained(f"{b} and {a} bits", signs[first, b], signs[first, a]) for a, b in itertools.pairwise(sizes)],
        ),
        Claim.every(
            "signs of these codes retrieve better than samples, whatever the guide and the length",
            [of_these(f"{guide} {size}", signs[guide, size], samples[guide, size]) for guide, size in grid],
        ),
        of_these(
            "bits of these codes cut at their medians, which halve the database, retrieve better than signs",
            tried[READINGS["median"]],
            by_sign,
        ),
        of_these(
            "a query of these codes left as probabilities retrieves better than its signs",
            tried[READINGS["asymmetric"]],
            by_sign,
        ),
        trained("three times the epochs raise it", tried[longer], by_sign),
        trained("a hidden layer in the decoder raises it", tried[layer], by_sign),
        Claim.some(
            "some of these codes retrieve better than the cosine of weighted words",
            [of_these(f"{guide}, {size} bits", codes, [cosine]) for (guide, size), codes in signs.items()],
        ),
    ]


def draw(figure: Any, report: Report, grid: Grid, bits: list[int], closer: int, levels: dict[str, float]) -> None:
    """Precision against the length of the code, and against recall as the radius grows."""
    lengths, curves = figure.subplots(1, 2)
    for guide, colour in COLOURS.items():
        rows = [report[f"{size} bits: {guide}"] for size in bits]
        errors = [0.0 if len(r.values) < 2 else r.se for r in rows]
        lengths.errorbar(bits, [r.mean for r in rows], errors, color=colour, marker="o", capsize=3, label=guide)
        drawn = [mean(precisions(grid[guide, size], "sampled")).mean().item() for size in bits]
        lengths.plot(bits, drawn, color=colour, linestyle=":")
    lengths.plot([], [], color="black", linestyle=":", label="samples")
    for words, level in levels.items():
        lengths.axhline(level, color="0.5", linewidth=1)
        lengths.annotate(words, (bits[0], level), (0, 3), textcoords="offset points", fontsize=8, color="0.35")
    lengths.set_xscale("log", base=2)
    lengths.set_xticks(bits, [str(size) for size in bits])
    lengths.margins(y=0.08)
    lengths.set(xlabel="bits", ylabel=f"precision@{K}", ylim=(0, None))
    lengths.set_title("signs of the guide's mean, and samples", fontsize=10)
    lengths.legend(frameon=False, fontsize=8, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.15))
    draw_curves(curves, {guide: ranking_of(grid[guide, closer][0], "mean-sign") for guide in GUIDES}, COLOURS)
    curves.set_title(f"{closer} bits, signs, every radius", fontsize=10)
    figure.suptitle(report.title, fontsize=11)


def draw_raises(figure: Any, report: Report, group: str) -> None:
    """What each change is worth."""
    axes = figure.subplots()
    rows = [r for r in report.rows if r.group == group]
    sign = rows[0].mean
    for place, r in enumerate(rows):
        axes.barh(place, r.mean, color="#0072B2" if place == 0 else "#E69F00" if r.mean > sign else "0.75")
        axes.annotate(f"{r.mean:.3f}", (r.mean, place), (4, 0), textcoords="offset points", va="center", fontsize=8)
    axes.axvline(sign, color="#0072B2", linewidth=1)
    axes.set_yticks(range(len(rows)), [r.quantity for r in rows])
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set(xlabel=f"precision@{K}", title=f"{group}: what raises it")
