"""Documents: the pair that theorem 1 makes tight beside the text model with a linear decoder.

Example 3 of Schlesinger, Shekhovtsov and Flach (2021), eq. (23). Words given the code are the same multinomial in
both; the tight pair (``models/text_rbm.py``) has the prior of the code for which a linear guide is the exact posterior,
``models/text.py`` has fair bits. At eight bits evidence, bound and the parts of the gap are exact.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from ppl_vae.data import load_corpus
from ppl_vae.diagnostics.gap.split import split_gap
from ppl_vae.nn.modes import frozen
from ppl_vae.programs.loading import facts, find
from ppl_vae.programs.simulate import simulate
from ppl_vae.studies.claims import Claim
from ppl_vae.studies.report import Report, Row
from ppl_vae.studies.study import Study
from ppl_vae.training.settings import Settings

PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {"seeds": 1, "bits": 3, "corpus": "docstrings", "vocabulary": 60, "epochs": 2, "refits": 1},
    "cpu": {"seeds": 2, "bits": 8, "corpus": "20news", "vocabulary": 2_000, "epochs": 60, "refits": 60},
    "paper": {"seeds": 5, "bits": 8, "corpus": "20news", "vocabulary": 10_000, "epochs": 300, "refits": 300},
}
PAIRS = {
    "tight pair, its posterior": ("text_rbm", "posterior"),
    "tight pair, linear guide": ("text_rbm", "linear_counts"),
    "fair bits, linear guide": ("text", "linear_counts"),
}
REFITTED = ", refitted"
PARTS = ("ELBO", "evidence", "gap", "family gap", "amortisation gap")


def fit(
    study: Study, name: str, seed: int, bits: int, corpus: str, vocabulary: int, epochs: int, refits: int
) -> dict[str, Tensor]:
    """One pair trained on documents, and its guide refitted on documents drawn from the model, both measured."""
    data = load_corpus(corpus, vocabulary=vocabulary, seed=seed)
    train, validation, test = (split.values.to(study.device) for split in data.splits.values())
    torch.manual_seed(seed)
    model_name, guide_name = PAIRS[name]
    model = find("models", model_name, own=False).target(**facts(train), bits=bits)
    model.to(study.device)
    guide = find("guides", guide_name, own=False).target(model, train[:2])
    settings = Settings(schedule=[(epochs, 1)], learning_rate=3e-3, decay="cosine", seed=seed)
    label = name.replace(",", "").replace(" ", "-")
    study.train(f"{label}-{seed}", model, guide, train, settings, validation=validation)

    def measured(title: str) -> dict[str, Tensor]:
        found = {}
        for split, x in (("train", train), ("test", test)):
            gap = split_gap(model, guide, x)
            rows = (gap.elbo, gap.evidence, gap.evidence.minus(gap.elbo), gap.family_gap, gap.amortisation_gap)
            found |= {f"{title} {split} {part}": row.pointwise for part, row in zip(PARTS, rows, strict=True)}
        return found

    found = measured(name)
    if guide_name != "posterior":
        # Documents drawn from the model are as many as one likes: no guide can overfit them.
        several = train[torch.arange(5 * len(train)) % len(train)]
        _, drawn = simulate(model, several)
        settings = Settings(schedule=[(max(1, refits // 5), 1)], learning_rate=1e-2, decay="cosine", seed=seed)
        with frozen(model):
            study.train(f"{label}-refit-{seed}", model, guide, drawn, settings)
        found |= measured(name + REFITTED)
    return found


def run(study: Study, *, seeds: int, **what: Any) -> Report:
    """The experiment.

    Arguments:
        study: Where it is kept.
        seeds: Repetitions, each with validation documents, parameters and draws of its own.
        what: ``bits``, ``corpus`` and its ``vocabulary``; ``epochs`` of training and, counted in training documents,
            of refitting.
    """
    found: dict[str, list[dict[str, Tensor]]] = {}
    for name in PAIRS:
        label = name.replace(",", "").replace(" ", "-")
        runs = [study.values(f"{label}-{seed}", partial(fit, study, name, seed, **what)) for seed in range(seeds)]
        found[name] = runs
        if f"{name}{REFITTED} test gap" in runs[0]:
            found[name + REFITTED] = runs
    rows = [
        Row(
            f"{split} {part}",
            [each[f"{name} {split} {part}"].mean().item() for each in runs],
            limit=0.0 if "tight" in name and "gap" in part else None,
            group=name,
            digits=4,
        )
        for name, runs in found.items()
        for split in ("test", "train")
        for part in PARTS
    ]
    study.figure("tight-text", partial(draw, rows=rows), (9, 4))
    title = f"Tight and fair-bit text pairs, {what['bits']} bits, {what['corpus']}, {what['vocabulary']:,} words"
    return Report(title, rows, claims(rows), NOTES)


NOTES = (
    "refitted: the model as trained, the guide trained on, on documents drawn from the model of the lengths of the "
    "training documents; what is left of its gap is not for want of data",
)


def claims(rows: list[Row]) -> list[Claim]:
    """What Corollary 1 says, and which model is better."""
    value = {(row.group, row.quantity): row for row in rows}
    exact = value["tight pair, its posterior", "test gap"]
    found = [
        Claim.exact(
            "the analytic guide of the tight pair leaves no gap: below 1e-4, in the limit",
            abs(exact.mean) < 1e-4,
            f"{exact.mean:.2g}",
        )
    ]
    for name in ("tight pair, linear guide", f"tight pair, linear guide{REFITTED}"):
        for split in ("train", "test"):
            row = value[name, f"{split} gap"]
            found.append(Claim.below(f"{name}: gap below 0.02 on {split} documents", row.values, 0.02))
    families = [value[name, "test family gap"] for name in ("tight pair, linear guide", "fair bits, linear guide")]
    less = [other - one for one, other in zip(*(row.values for row in families), strict=True)]
    found.append(Claim.greater("what the family costs is less in the tight pair", less))
    tight, fair = (value[name, "test evidence"] for name in ("tight pair, its posterior", "fair bits, linear guide"))
    gains = [one - other for one, other in zip(tight.values, fair.values, strict=True)]
    return [*found, Claim.greater("the tight pair has the higher test evidence", gains)]


def draw(figure: Any, rows: list[Row]) -> None:
    """Evidence and the parts of the gap below it, on test documents."""
    axes = figure.subplots()
    names = list(dict.fromkeys(row.group for row in rows))
    value = {(row.group, row.quantity): row for row in rows}
    for place, name in enumerate(names):
        left = value[name, "test ELBO"].mean
        axes.plot(left, place, "D", color="black", markersize=5, label=None if place else "ELBO")
        for part, colour in (("amortisation gap", "#56B4E9"), ("family gap", "#E69F00")):
            width = max(value[name, f"test {part}"].mean, 0.0)
            axes.barh(place, width, left=left, color=colour, height=0.5, label=None if place else part)
            left += width
        axes.plot(left, place, "o", color="#0072B2", label=None if place else "evidence")
        axes.annotate(f"gap {value[name, 'test gap'].mean:.3f}", (left, place), (6, -3), textcoords="offset points")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    low = min(value[name, "test ELBO"].mean for name in names)
    high = max(value[name, "test evidence"].mean for name in names)
    axes.set_xlim(low - 0.1 * (high - low), high + 0.2 * (high - low))
    axes.set_xlabel("nats per test document")
    axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.4, -0.15), ncols=4)
    figure.suptitle("Evidence and bound of the pair that can be tight, and of the one with fair bits")
