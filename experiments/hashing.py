"""Semantic hashing: what the binary codes of text models retrieve, and what raises it.

Codes of 20 Newsgroups (Salakhutdinov and Hinton 2009; Chaidaroon and Fang 2017) by the three guides of Schlesinger,
Shekhovtsov and Flach (2021, example 3), which compared them by their bounds alone. A test document retrieves the
hundred training documents with the nearest codes; precision@100 is the share of its newsgroup among them, expected over
the order of equally near ones. Baselines are the cosine of words weighted by rarity, and random codes. At one length
the experiment also varies how a code is read off the guide, the number of epochs, and the decoder's hidden layers.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from ppl_vae.data import load_corpus
from ppl_vae.diagnostics.retrieval.ranking import Ranking, draw_curves
from ppl_vae.diagnostics.retrieval.task import RetrievalTask, ranking_from
from ppl_vae.evidence.figures import OKABE_ITO
from ppl_vae.studies.claims import Claim
from ppl_vae.studies.figures import draw_bars
from ppl_vae.studies.grid import Cells, Grid, slug
from ppl_vae.studies.report import Report, Row
from ppl_vae.studies.study import Study
from ppl_vae.training.settings import Settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "seeds": 1, "corpus": "docstrings", "vocabulary": 200, "documents": 600, "bits": [4, 12], "closer": 12,
        "epochs": 2, "rates": {}, "depths": [1],
    },
    "cpu": {
        "seeds": 1, "corpus": "20news", "vocabulary": 10_000, "documents": 0, "bits": [8, 16, 32, 64, 128],
        "closer": 32, "epochs": 45, "depths": [1],
        "rates": {"linear_counts": 3e-3, "deep_frequencies": 1e-3, "linear_frequencies": 1e-2},
    },
    "paper": {
        "seeds": 3, "corpus": "20news", "vocabulary": 10_000, "documents": 0, "bits": [8, 16, 32, 64, 128],
        "closer": 32, "epochs": 100, "rates": {}, "depths": [1, 2],
    },
}  # fmt: skip
GUIDES = LINEAR, DEEP, FREQUENCIES = ("linear_counts", "deep_frequencies", "linear_frequencies")
COLOURS = dict(zip(GUIDES, (OKABE_ITO.blue, OKABE_ITO.orange, OKABE_ITO.green), strict=True))
READINGS = {
    "mean-sign": "bits by sign",
    "median": "bits by their medians",
    "sampled": "sampled bits",
    "asymmetric": "query as probabilities",
}
SIGNS, MEDIANS, SAMPLES, PROBABILITIES = (f"{name}.precision" for name in READINGS)
ELBO = "validation ELBO"
K = 100


class Condition(NamedTuple):
    """How one pair is trained: its guide, the length of its code, the decoder's hidden layers, and the epochs."""

    guide: str
    bits: int
    hidden: int
    epochs: int


def cell(
    study: Study, task: RetrievalTask, rates: dict[str, float], condition: Condition, seed: int
) -> dict[str, Tensor]:
    """A pair trained on documents, its epoch chosen by validation, and what its codes retrieve."""
    guide_name, bits, hidden, epochs = condition
    x = task.x["train"]
    falling: dict[str, Any] = {"learning_rate": rates[guide_name], "decay": "cosine"} if guide_name in rates else {}
    settings = Settings(schedule=[(epochs, 1)], seed=seed, **falling, clip=0.0)
    model, guide = study.pair("text", guide_name, x, seed, bits=bits, hidden=hidden)
    name = f"{slug(condition)}-{seed}"
    trainer = study.train(name, model, guide, x, settings, validation=task.x["validation"], estimator="auto")
    torch.manual_seed(seed)
    return task.codes(model, guide) | {
        ELBO: torch.tensor(max(row.get("validation_elbo", float("-inf")) for row in trainer.rows)),
        "best epoch": torch.tensor(trainer.best_epoch),
    }


def run(
    study: Study, *, seeds: int, bits: list[int], closer: int, epochs: int, depths: list[int], **what: Any
) -> Report:
    """The experiment.

    Arguments:
        study: Folder of the results.
        seeds: Number of trainings of each pair.
        bits: Lengths of the codes.
        closer: Length at which everything else is varied.
        epochs: Epochs of each training, of which the best counts; a third and three times as many are tried too.
        depths: Numbers of hidden layers of the decoder to try.
        what: ``corpus`` with labels, its ``vocabulary`` and number of training ``documents`` (0 for all); learning
            ``rates`` by guide, which fall to zero; a guide without one trains at a constant 1e-3.
    """
    corpus = load_corpus(what["corpus"], vocabulary=what["vocabulary"])
    task = RetrievalTask(corpus, what["documents"], K, study.device)
    compared = [Condition(guide, size, 0, epochs) for size in bits for guide in GUIDES]
    base = Condition(LINEAR, closer, 0, epochs)
    changed = {f"{n} epochs, not {epochs}": base._replace(epochs=n) for n in (max(1, epochs // 3), 3 * epochs)}
    changed |= {f"hidden layers in the decoder: {n}": base._replace(hidden=n) for n in depths}
    conditions = dict.fromkeys([*compared, *changed.values()])
    longest_first = sorted(conditions, key=lambda each: -each.epochs * (1 + 8 * each.hidden))
    cells = Grid(study, longest_first, seeds).compute(partial(cell, study, task, what["rates"]))
    # The seed of random codes is that of the cell's name.
    random = Grid(study, [("random", size) for size in bits], seeds).compute(lambda named, _: task.random(named[1]))
    cosine, chance = study.values("tf-idf", task.cosine)["tf-idf.precision"], task.chance

    rows = [precision_row("cosine of words weighted by rarity", [cosine.mean().item()])]
    for size in bits:
        group = f"{size} bits"
        rows.append(precision_row("random codes", random.means(("random", size), SIGNS), group, chance))
        rows += [precision_row(c.guide, cells.means(c, SIGNS), group) for c in compared if c.bits == size]
    near = f"{LINEAR}, {closer} bits"
    rows += [precision_row(text, cells.means(base, f"{name}.precision"), near) for name, text in READINGS.items()]
    rows += [precision_row(text, cells.means(condition, SIGNS), near) for text, condition in changed.items()]
    rows += [Row(f"{c.guide}, {c.bits} bits", cells.means(c, ELBO), group=ELBO) for c in compared]

    worst = max(signs_of(each).se for c in compared for each in cells[c])
    error = f"standard errors over the queries are at most {worst:.4f}; se in the table, if any, is over seeds"
    title = f"Semantic hashing: precision@{K} on {what['corpus']}, {what['vocabulary']:,} words"
    report = Report(title, rows, claims(cells, base, cosine), (error, *NOTES))
    levels = {"cosine, tf-idf": rows[0].mean, "chance": chance}
    study.figure("precision", lambda figure: draw(figure, report, cells, base, levels), (10, 4.4))
    study.figure("raises", partial(draw_raises, report=report, group=near), (7.5, 3.6))
    return report


NOTES = (
    "claims about these codes are tested over the queries, paired; all others are about training, over seeds",
    "limit of random codes: the share of the query's class in the database",
    "validation documents chose the epoch, by their ELBO, and are among those retrieved; labels took no part",
)


def precision_row(quantity: str, values: list[float], group: str = "", limit: float | None = None) -> Row:
    """Returns a row of the table from one precision per seed."""
    return Row(quantity, values, limit=limit, unit="precision", group=group, digits=4)


def signs_of(cell: dict[str, Tensor]) -> Ranking:
    """Returns what the signs of a trained guide retrieve."""
    return ranking_from(cell, "mean-sign")


def claims(cells: Cells[Condition], base: Condition, cosine: Tensor) -> list[Claim]:
    """What is tested: whether the order of the bounds is that of the retrieval, and what raises it."""
    sizes = sorted({condition.bits for condition in cells})
    compared = [base._replace(guide=guide, bits=size) for size in sizes for guide in GUIDES]

    def at(guide: str, size: int) -> Condition:
        return base._replace(guide=guide, bits=size)

    def trained(text: str, high: Condition, low: Condition, key: str = SIGNS) -> Claim:
        """One training does better than another, over seeds."""
        return Claim.greater(text, cells.differences(high, low, key))

    def leads(high: Condition, low: Condition) -> Claim:
        """Both the ELBO and the precision are higher."""
        both = [trained("ELBO", high, low, ELBO), trained("precision", high, low)]
        return Claim.every(f"{high.guide}, {high.bits} bits", both)

    def precision(condition: Condition, key: str = SIGNS) -> Tensor:
        """The precision of each query, its mean over the seeds."""
        return cells.stacked(condition, key).mean(0)

    def of_codes(text: str, high: Tensor, low: Tensor) -> Claim:
        """These codes, as trained, retrieve better than something else, over queries."""
        return Claim.greater(text, (high - low).tolist(), over="data")

    order = [
        Claim.some(f"{one} and {other}, {size} bits", [leads(*pair), leads(*reversed(pair))])
        for size in sizes
        for one, other in ((LINEAR, DEEP), (DEEP, FREQUENCIES), (LINEAR, FREQUENCIES))
        for pair in [(at(one, size), at(other, size))]
    ]
    families = {
        "a guide linear in counts retrieves better than a deep one on frequencies at every length": [
            trained(f"{size} bits", at(LINEAR, size), at(DEEP, size)) for size in sizes
        ],
        "a deep guide on frequencies retrieves better than a linear one at every length": [
            trained(f"{size} bits", at(DEEP, size), at(FREQUENCIES, size)) for size in sizes
        ],
        "of two guides at one length the one with the higher ELBO retrieves better": order,
        "longer codes of the guide linear in counts retrieve better": [
            trained(f"{b} and {a} bits", at(LINEAR, b), at(LINEAR, a)) for a, b in pairwise(sizes)
        ],
        "signs of these codes retrieve better than samples, whatever the guide and the length": [
            of_codes(f"{c.guide} {c.bits}", precision(c), precision(c, SAMPLES)) for c in compared
        ],
    }
    halved = "bits of these codes cut at their medians, which halve the database, retrieve better than signs"
    unsure = "a query of these codes left as probabilities retrieves better than its signs"
    longest = max(cells, key=lambda condition: condition.epochs)
    deeper = min((c for c in cells if c.hidden), key=lambda condition: condition.hidden)
    better = [of_codes(f"{c.guide}, {c.bits} bits", precision(c), cosine) for c in compared]
    return [
        *(Claim.every(text, family) for text, family in families.items()),
        of_codes(halved, precision(base, MEDIANS), precision(base)),
        of_codes(unsure, precision(base, PROBABILITIES), precision(base)),
        trained("three times the epochs raise it", longest, base),
        trained("a hidden layer in the decoder raises it", deeper, base),
        Claim.some("some of these codes retrieve better than the cosine of weighted words", better),
    ]


def draw(figure: Figure, report: Report, cells: Cells[Condition], base: Condition, levels: dict[str, float]) -> None:
    """Precision against the length of the code, and against recall as the radius grows."""
    lengths, curves = figure.subplots(1, 2)
    bits = sorted({condition.bits for condition in cells})
    for guide, colour in COLOURS.items():
        rows = [report[f"{size} bits: {guide}"] for size in bits]
        errors = [0.0 if len(row.values) < 2 else row.se for row in rows]
        lengths.errorbar(bits, [row.mean for row in rows], errors, color=colour, marker="o", capsize=3, label=guide)
        sampled = [cells.stacked(base._replace(guide=guide, bits=size), SAMPLES).mean().item() for size in bits]
        lengths.plot(bits, sampled, color=colour, linestyle=":")
    lengths.plot([], [], color="black", linestyle=":", label="samples")
    for name, level in levels.items():
        lengths.axhline(level, color="0.5", linewidth=1)
        lengths.annotate(name, (bits[0], level), (0, 3), textcoords="offset points", fontsize=8, color="0.35")
    lengths.set_xscale("log", base=2)
    lengths.set_xticks(bits, [str(size) for size in bits])
    lengths.margins(y=0.08)
    lengths.set(xlabel="bits", ylabel=f"precision@{K}", ylim=(0, None))
    lengths.set_title("signs of the guide's mean, and samples", fontsize=10)
    lengths.legend(frameon=False, fontsize=8, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.15))
    draw_curves(curves, {guide: signs_of(cells[base._replace(guide=guide)][0]) for guide in GUIDES}, COLOURS)
    curves.set_title(f"{base.bits} bits, signs, every radius", fontsize=10)
    figure.suptitle(report.title, fontsize=11)


def draw_raises(figure: Figure, report: Report, group: str) -> None:
    """The precision after each change."""
    axes = figure.subplots()
    rows = [row for row in report.rows if row.group == group]
    signs = rows[0].mean
    colours = [OKABE_ITO.blue, *(OKABE_ITO.orange if row.mean > signs else "0.75" for row in rows[1:])]
    draw_bars(axes, {row.quantity: row.values for row in rows}, colours)
    style = {"textcoords": "offset points", "va": "center", "fontsize": 8, "bbox": {"color": "white", "pad": 1}}
    for place, row in enumerate(rows):
        axes.annotate(f"{row.mean:.3f}", (row.mean, place), (4, 0), **style)
    axes.axvline(signs, color=OKABE_ITO.blue, linewidth=1, linestyle=":", zorder=0)
    axes.set(xmargin=0.12, xlabel=f"precision@{K}", title=f"{group}: what raises it")
