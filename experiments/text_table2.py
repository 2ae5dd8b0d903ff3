"""Table 2 of the paper: codes of documents, four lengths, three decoders and three guides, each with its gap split.

Schlesinger, Shekhovtsov and Flach (2021), section 4.3: 20 Newsgroups, 10,000 words, Bernoulli codes of 8 to 64 bits, a
decoder with 0 to 2 hidden layers, and the guides e1 (linear on counts), e2 (deep on frequencies) and e3 (linear on
frequencies). The paper reports the lowest NELBO of any epoch, on the test documents too; here the epoch is chosen on
validation documents, and the pair trained again on all training documents for as many. Beside the bound stand the
evidence, exact up to 16 bits, and what of the gap is the family's and what the network's.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise, product
from typing import Any

from ppl_vae.programs.loading import find
from ppl_vae.runs.config import CorpusConfig, ProgramChoice, RunConfig
from ppl_vae.runs.gap import measure_gap
from ppl_vae.studies.claims import Claim
from ppl_vae.studies.report import Report, Row
from ppl_vae.studies.study import Study
from ppl_vae.training.settings import Settings

GUIDES = {"linear_counts": "e1", "deep_frequencies": "e2", "linear_frequencies": "e3"}
PAPER: dict[str, Any] = {"schedule": [(1000, 1), (500, 10)]}
OURS = PAPER | {"patience": 15, "optimizer": "AdamW", "weight_decay": 0.1}
SHORT = {"decay": "cosine", "optimizer": "AdamW", "weight_decay": 0.1}
KINDS = ("linear decoder, up to 16 bits", "linear decoder, longer codes", "hidden layers")
Recipes = dict[str, dict[str, dict[str, Any]]]
"""How pairs are trained: by one of the kinds above, and by guide."""


def shorter(epochs: tuple[int, int, int], rates: tuple[float, float, float], patience: int) -> dict[str, Any]:
    """Recipes of the three guides."""
    return {
        guide: SHORT | {"schedule": [(length, 1)], "learning_rate": rate, "patience": patience}
        for guide, length, rate in zip(GUIDES, epochs, rates, strict=True)
    }


# A deep guide takes small steps, or its bits saturate. Under few bits it is long until anything is learned by heart;
# hidden layers have learned the training documents some epochs after they fit best.
SHORTER: Recipes = {
    KINDS[0]: shorter((100, 160, 50), (3e-3, 1e-3, 1e-2), 15),
    KINDS[1]: shorter((50, 100, 50), (3e-3, 1e-3, 1e-2), 15),
    KINDS[2]: shorter((25, 30, 25), (3e-3, 1e-3, 3e-3), 8),
}
PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "seeds": 1,
        "bits": (2,),
        "hidden": (0,),
        "recipes": dict.fromkeys(KINDS, dict.fromkeys(GUIDES, {"schedule": [(1, 1)]})),
        "estimators": ("auto",),
        "corpus": "docstrings",
        "vocabulary": 50,
    },
    "cpu": {
        "seeds": 1,
        "bits": (8, 64),
        "hidden": (0, 1),
        "recipes": SHORTER,
        "estimators": ("auto",),
        "corpus": "20news",
        "vocabulary": 10_000,
    },
    "paper": {
        "seeds": 3,
        "bits": (8, 16, 32, 64),
        "hidden": (0, 1, 2),
        "recipes": dict.fromkeys(KINDS, dict.fromkeys(GUIDES, OURS)),
        "estimators": ("arm", "auto"),
        "corpus": "20news",
        "vocabulary": 10_000,
    },
}
# Deviances as printed: by split and bits, e1 e2 e3 for no hidden layer, then for one, then for two.
PRINTED = {
    "train": {
        8: (419, 429, 439, 321, 390, 415, 325, 370, 421),
        16: (382, 398, 419, 201, 329, 407, 164, 269, 413),
        32: (337, 358, 412, 165, 189, 403, 132, 159, 411),
        64: (296, 324, 407, 171, 189, 398, 134, 149, 409),
    },
    "test": {
        8: (423, 429, 435, 413, 421, 424, 418, 423, 427),
        16: (409, 417, 421, 404, 422, 420, 410, 416, 422),
        32: (396, 413, 416, 399, 413, 418, 406, 416, 421),
        64: (392, 411, 414, 398, 413, 417, 406, 417, 422),
    },
}
SAMPLE = 100
"""Documents whose gap is split where it takes a gradient ascent."""


def printed(split: str, bits: int, hidden: int, guide: str) -> float | None:
    """The paper's figure of a cell; None where it has none."""
    row = PRINTED[split].get(bits)
    return None if row is None or hidden > 2 else float(row[3 * hidden + list(GUIDES).index(guide)])


def config(bits: int, hidden: int, guide: str, estimator: str, seed: int, **what: Any) -> RunConfig:
    """The training of a cell: early stopping for us, the whole schedule for the paper."""
    paper = estimator == "arm"
    kind = KINDS[2 if hidden else 0 if bits <= 16 else 1]
    model = find("models", "text", own=False)
    return RunConfig(
        model=ProgramChoice.of(model, {"bits": bits, "hidden": hidden, "width": 512}),
        guide=ProgramChoice.of(find("guides", guide, own=False)),
        corpus=CorpusConfig(what["corpus"], seed=seed, options={"vocabulary": what["vocabulary"]}),
        settings=Settings(**(PAPER if paper else what["recipes"][kind][guide]), seed=seed),
        estimator=estimator,
        control="none" if paper else None,
        device=what["device"],
        retrain=not paper,
    )


def cell(study: Study, name: str, bits: int, chosen: RunConfig) -> dict[str, float]:
    """Figures of one cell: deviance, evidence and the parts of the gap, by split."""
    summary = study.finished(name, chosen)
    few = bits <= 16
    found = {"epoch": float(summary["best_epoch"])}
    for split in ("train", "test"):
        figures = summary["splits"][split]
        found |= {f"{split} {key}": figures[key]["mean"] for key in ("elbo", "evidence", "gap")}
        found[f"{split} deviance"] = figures["deviance"]
        gap = measure_gap(study.folder / "runs" / name, split, 0 if few else SAMPLE)
        found[f"{split} family gap"], found[f"{split} amortisation gap"] = (
            gap.family_gap.mean,
            gap.amortisation_gap.mean,
        )
    return found


def name_of(seed: int, bits: int, hidden: int, guide: str, estimator: str) -> str:
    """Of a cell, below the study's folder."""
    return f"{estimator}-{bits}-{hidden}-{guide}-{seed}"


def run(
    study: Study,
    *,
    seeds: int,
    bits: tuple[int, ...],
    hidden: tuple[int, ...],
    estimators: tuple[str, ...],
    **what: Any,
) -> Report:
    """The experiment.

    Arguments:
        study: Where it is kept.
        seeds: Repetitions, each with validation documents of its own.
        bits: Lengths of the code.
        hidden: Numbers of hidden layers of the decoder.
        estimators: ``"arm"`` goes through the schedule whole, as the paper; others stop early and train again.
        what: ``corpus``, its ``vocabulary``, and ``recipes``: how each guide is trained under each kind of decoder,
            as :class:`~ppl_vae.training.settings.Settings` has it.
    """
    what["device"] = study.device.type
    comparable = what["corpus"] == "20news" and what["vocabulary"] == 10_000
    rows: list[Row] = []
    grid = list(product(bits, hidden, GUIDES, estimators))
    # The longest cells first: with several jobs they would else be waited for at the end.
    cells = {
        name_of(seed, *where): partial(cell, study, name_of(seed, *where), where[0], config(*where, seed, **what))
        for seed in range(seeds)
        for where in sorted(grid, key=lambda where: -where[0] * (1 + 8 * where[1]))
    }
    values = study.together(cells)
    for length, layers, guide, estimator in grid:
        found = [values[name_of(seed, length, layers, guide, estimator)] for seed in range(seeds)]
        group = f"{length} bits, {layers} hidden, {GUIDES[guide]} {guide}, {estimator}"
        for split, key in product(("test", "train"), ("deviance", "evidence", "gap", "family gap", "amortisation gap")):
            own = [each[f"{split} {key}"].item() for each in found]
            paper = printed(split, length, layers, guide) if key == "deviance" and comparable else None
            rows.append(Row(f"{split} {key}", own, paper, group=group, digits=2))
    study.figure("table-2", partial(draw, rows=rows), (10, 0.5 * len(rows) / 10 + 2.5))
    notes = (
        "deviance: saturated log-likelihood minus ELBO, lower is better, the scale of the paper's table",
        "beyond 16 bits the evidence is a lower bound of 100 draws, and the gap's parts are those of "
        f"{SAMPLE} documents by gradient ascent: the family gap is measured against a bound, too",
        "the paper's figures are the lowest of all epochs, also on the test documents; ours are those of the epoch "
        "that validation documents chose, trained again on all training documents (cells of arm: of the last epoch)",
    )
    return Report("Table 2 of Schlesinger et al. (2021)", rows, claims(rows), notes)


def claims(rows: list[Row]) -> list[Claim]:
    """What can be said of the cells that the paper has, too, and of the order of the guides."""
    found = []
    for guide in GUIDES:
        cells = [row for row in rows if guide in row.group and row.quantity == "test deviance" and row.paper]
        if cells:
            below = [Claim.below(row.group, row.values, row.paper or 0.0) for row in cells]
            found.append(Claim.every(f"{guide}: test deviance below the paper's in every cell", below))
    order = {guide: [r for r in rows if guide in r.group and r.quantity == "test deviance"] for guide in GUIDES}
    better = [
        Claim.greater(f"{one.group}, not {other.group}", less(other, one))
        for cells in zip(*order.values(), strict=True)
        for one, other in pairwise(cells)
    ]
    found.append(Claim.every("e1 is better than e2, and e2 than e3, in every cell", better))
    exact = [row for row in rows if int(row.group.split()[0]) <= 16]
    families, networks = (
        [row for row in exact if row.quantity == f"test {part} gap"] for part in ("family", "amortisation")
    )
    if exact:
        smaller = [Claim.greater(f.group, less(n, f)) for f, n in zip(families, networks, strict=True)]
        claim = "where it is exact, what the family costs is less than half of the gap on test documents"
        found.append(Claim.every(claim, smaller))
    return found


def less(one: Row, other: Row) -> list[float]:
    """Returns one minus the other, one per seed."""
    return [a - b for a, b in zip(one.values, other.values, strict=True)]


def draw(figure: Any, rows: list[Row]) -> None:
    """A bar a cell from the saturated model down to the bound: deviance of the evidence, then the parts of the gap."""
    axes = figure.subplots()
    groups = list(dict.fromkeys(row.group for row in rows))
    colours = {"test family gap": "#E69F00", "test amortisation gap": "#56B4E9"}
    for place, group in enumerate(groups):
        own = {row.quantity: row for row in rows if row.group == group}
        left = own["test deviance"].mean - own["test gap"].mean
        axes.barh(place, left, color="0.8", label="deviance of the evidence" if not place else None)
        parts = {name: max(own[name].mean, 0.0) for name in colours}
        for name, colour in colours.items():
            # Those of a sample are of another gap than all documents have: their shares are shown.
            width = own["test gap"].mean * parts[name] / (sum(parts.values()) or 1.0)
            axes.barh(place, width, left=left, color=colour, label=name.removeprefix("test ") if not place else None)
            left += width
        if own["test deviance"].paper:
            axes.plot(own["test deviance"].paper, place, "kd", label="paper, NELBO" if not place else None)
    axes.set_yticks(range(len(groups)), groups, fontsize=8)
    axes.invert_yaxis()
    low = min(row.mean for row in rows if row.quantity == "test deviance")
    axes.set(xlim=(0.9 * low, None), xlabel="test deviance (nats per document, lower is better)")
    axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=4)
    figure.suptitle("What the NELBO of Table 2 is made of")
