"""Documents: the pair that theorem 1 makes tight beside the text model with a linear decoder.

Example 3 of Schlesinger, Shekhovtsov and Flach (2021), eq. (23). Words given the code are the same multinomial in
both; the tight pair (``models/text_rbm.py``) has the prior of the code for which a linear guide is the exact posterior,
``models/text.py`` has fair bits. At eight bits evidence, bound and the parts of the gap are exact.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ppl_vae.data import load_corpus
from ppl_vae.diagnostics.gap.split import split_gap
from ppl_vae.evidence.figures import draw_gap_bars
from ppl_vae.nn.modes import frozen
from ppl_vae.programs.simulate import simulate
from ppl_vae.studies.claims import Claim
from ppl_vae.studies.grid import Grid, slug
from ppl_vae.studies.report import GAP_ROWS, Report, Row, gap_levels, gap_rows
from ppl_vae.studies.study import Study
from ppl_vae.training.settings import Settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "seeds": 1, "bits": 3, "corpus": "docstrings", "vocabulary": 60, "documents": 500, "epochs": 2, "refits": 1,
    },
    "cpu": {
        "seeds": 2, "bits": 8, "corpus": "20news", "vocabulary": 2_000, "documents": 0, "epochs": 60, "refits": 60,
    },
    "paper": {
        "seeds": 5, "bits": 8, "corpus": "20news", "vocabulary": 10_000, "documents": 0, "epochs": 300, "refits": 300,
    },
}  # fmt: skip
PAIRS = {
    "tight pair, its posterior": ("text_rbm", "posterior"),
    "tight pair, linear guide": ("text_rbm", "linear_counts"),
    "fair bits, linear guide": ("text", "linear_counts"),
}
REFITTED = ", refitted"


def cell(
    study: Study,
    name: str,
    seed: int,
    *,
    bits: int,
    corpus: str,
    vocabulary: int,
    documents: int,
    epochs: int,
    refits: int,
) -> dict[str, Tensor]:
    """One pair trained on documents, and its guide refitted on documents drawn from the model, both measured."""
    data = load_corpus(corpus, vocabulary=vocabulary, seed=seed)
    splits = (split.values for split in data.splits.values())
    train, validation, test = (x[: documents or len(x)].to(study.device) for x in splits)
    model_name, guide_name = PAIRS[name]
    model, guide = study.pair(model_name, guide_name, train, seed, bits=bits)
    settings = Settings(schedule=[(epochs, 1)], learning_rate=3e-3, decay="cosine", seed=seed, clip=0.0)
    study.train(f"{slug(name)}-{seed}", model, guide, train, settings, validation=validation)

    def measured(title: str) -> dict[str, Tensor]:
        splits = {"train": train, "test": test}
        rows = {split: gap_rows(split_gap(model, guide, x)) for split, x in splits.items()}
        return {f"{title} {split} {part}": value for split in splits for part, value in rows[split].items()}

    values = measured(name)
    if guide_name != "posterior":
        # The model draws any number of documents: no guide overfits them.
        several = train[torch.arange(5 * len(train)) % len(train)]
        _, drawn = simulate(model, several)
        settings = Settings(
            schedule=[(max(1, refits // 5), 1)], learning_rate=1e-2, decay="cosine", seed=seed, clip=0.0
        )
        with frozen(model):
            study.train(f"{slug(name)}-refit-{seed}", model, guide, drawn, settings)
        values |= measured(name + REFITTED)
    return values


def run(study: Study, *, seeds: int, **what: Any) -> Report:
    """The experiment.

    Arguments:
        study: Folder of the results.
        seeds: Number of repetitions, each with its own validation documents, parameters and draws.
        what: ``bits``, ``corpus`` and its ``vocabulary``; the number of ``documents`` of each split, 0 for all;
            ``epochs`` of training, and ``refits``, those of refitting, counted in training documents.
    """
    cells = Grid(study, PAIRS, seeds).compute(partial(cell, study, **what))
    pairs = {name: name for name in PAIRS}
    pairs |= {name + REFITTED: name for name, (_, guide) in PAIRS.items() if guide != "posterior"}
    rows = [
        Row(
            f"{split} {part}",
            cells.means(name, f"{title} {split} {part}"),
            limit=0.0 if "tight" in name and "gap" in part else None,
            group=title,
            digits=4,
        )
        for title, name in sorted(pairs.items(), key=lambda pair: list(PAIRS).index(pair[1]))
        for split in ("test", "train")
        for part in GAP_ROWS
    ]
    study.figure("tight-text", partial(draw, rows=rows), (10, 4.8))
    title = f"Tight and fair-bit text pairs, {what['bits']} bits, {what['corpus']}, {what['vocabulary']:,} words"
    return Report(title, rows, claims(rows), NOTES)


NOTES = (
    "refitted: the model as trained; its guide is trained further, on documents drawn from the model, as long as the "
    "training documents. The gap that is left is not due to too few data",
)


def claims(rows: list[Row]) -> list[Claim]:
    """What corollary 1 says, and which model is better."""
    values = {(row.group, row.quantity): row.values for row in rows}
    exact, linear, fair = PAIRS
    largest = max(map(abs, values[exact, "test gap"]))
    small = [
        Claim.below(f"{name}: gap below 0.02 on {split} documents", values[name, f"{split} gap"], 0.02)
        for name in (linear, linear + REFITTED)
        for split in ("train", "test")
    ]

    def more(key: str, high: str, low: str) -> list[float]:
        return [one - other for one, other in zip(values[high, key], values[low, key], strict=True)]

    return [
        Claim.exact(
            "the analytic guide of the tight pair leaves no gap: below 1e-4",
            largest < 1e-4,
            f"{largest:.2g}",
        ),
        *small,
        Claim.greater("what the family costs is less in the tight pair", more("test family gap", fair, linear)),
        Claim.greater("the tight pair has the higher test evidence", more("test evidence", exact, fair)),
    ]


def draw(figure: Figure, rows: list[Row]) -> None:
    """Evidence and the parts of the gap below it, on test documents."""
    draw_gap_bars(figure.subplots(), gap_levels(rows))
    figure.suptitle("Evidence and ELBO on test documents: the pair that can be tight, and the one with fair bits")
