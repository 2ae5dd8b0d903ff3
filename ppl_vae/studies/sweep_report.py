"""The report of a sweep on the plane of rate and distortion: table, claims and figures."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import partial

from ppl_vae.studies.claims import Claim
from ppl_vae.studies.rate_distortion_plane import REGIMES, TrainedPair, draw_curves, draw_plane, draw_sheet, regimes
from ppl_vae.studies.report import Report, Row
from ppl_vae.studies.study import Study

__all__ = ["claims", "report_of"]

PUBLISHED = {"binarized_mnist": 80.2}
"""The best bound on the entropy in the paper, by corpus, in nats."""
ROUNDING = -1e-6
"""What counts as at least zero."""


def report_of(study: Study, points: list[TrainedPair], title: str, failed: tuple[str, ...], corpus: str = "") -> Report:
    """Returns table and claims of a sweep, and draws its figures.

    Arguments:
        study: Folder of the figures.
        points: The measured pairs.
        title: Title of the sweep.
        failed: A line for each cell that failed.
        corpus: Name of the corpus if all cells have the same; else empty.
    """
    best = max(points, key=lambda point: point["evidence"])
    entropy, paper = -best["evidence"], PUBLISHED.get(corpus)
    smallest = min(points, key=lambda point: point.bound)
    least = min(point["measured entropy"] for point in points)
    true_entropy = points[0]["true entropy"] if "true entropy" in points[0].values else None
    rows = [
        Row("best negative ELBO", [smallest.bound], paper, digits=2),
        Row("best negative evidence, H below", [entropy], digits=2),
        Row(
            "smallest D + I, I by its smaller upper bound, of the measured data", [least], limit=true_entropy, digits=2
        ),
    ]
    groups: dict[tuple[str, str], list[TrainedPair]] = {}
    for point in points:
        groups.setdefault((point.family, point.description), []).append(point)
    quantities = {"rate": "R", "distortion": "D", "elbo": "ELBO", "evidence": "evidence", "measured information": "I"}
    for (family, description), cells in groups.items():
        for key, name in quantities.items():
            rows.append(Row(f"{description}: {name}", [cell[key] for cell in cells], group=family, digits=2))
    drawn = [point for point in points if "curve rate" in point.values]
    study.figure("plane", partial(draw_plane, points=points, entropy=entropy, title=title), (10.5, 5.2))
    if drawn:
        study.figure("curves", partial(draw_curves, points=drawn), (10.5, 4.4))
    notes = [
        f"all bounds on the entropy are of test data; H is that of {best.family}, {best.description}; "
        "se, if any, is over seeds",
        "I is the information of the measured data, at most the log of their number",
    ]
    if drawn and any(point.values["lost se"].any() for point in drawn):
        notes.append("an annealed curve lies above the true one on average: the loss of a guide may be underestimated")
    if entropy > 0 and all("images" in point.values for point in points):
        picked = regimes(points, entropy)
        study.figure("regimes", partial(draw_sheet, picked=picked), (13, 0.3 + 0.75 * (1 + len(picked))))
        missing = [f"{name} ({rule})" for name, (_, rule) in REGIMES.items() if name not in picked]
        notes.append(
            "regimes: " + "; ".join(f"{n} ({REGIMES[n][1]}): {p.family}, {p.description}" for n, p in picked.items())
        )
        notes += [f"no run is in the regime {', '.join(missing)}"] if missing else []
    return Report(title, rows, claims(points, paper), (*notes, *failed))


def not_negative(text: str, margins: Sequence[tuple[float, float]], points: Sequence[TrainedPair] = ()) -> Claim:
    """Returns the claim that all numbers are at least zero, up to rounding.

    Arguments:
        text: The claim.
        margins: Each number with its standard error.
        points: The run of each number, if each has one.
    """
    names = [f"{p.family}, {p.description}, seed {p.seed}" for p in points] or [
        f"case {i + 1}" for i in range(len(margins))
    ]
    cases = zip(names, margins, strict=True)
    return Claim.every(text, [Claim.estimate(name, *pair, by=ROUNDING) for name, pair in cases])


def claims(points: Sequence[TrainedPair], paper: float | None = None) -> list[Claim]:
    """Returns the claims of theory on every run, and those on training: the effect of beta, and the paper's bound.

    A run as trained has the Monte Carlo error of its measurement; what training achieves is decided over seeds.

    Arguments:
        points: All runs.
        paper: The best bound on the entropy in the paper.
    """

    def difference(p: TrainedPair, high: str, low: str) -> tuple[float, float]:
        return p[high] - p[low], math.hypot(p[f"{high} se"], p[f"{low} se"])

    margins = [difference(p, "measured rate", "measured information") for p in points]
    claimed = [not_negative("in every run I <= R", margins, points)]
    if all("true entropy" in p.values for p in points):
        margins = [difference(p, "measured entropy", "true entropy") for p in points]
        claimed.append(
            not_negative("in every run H - D <= I, with the true H and the smaller upper bound of I", margins, points)
        )
    drawn = [p for p in points if "curve rate" in p.values]
    if drawn:
        margins = [
            pair for p in drawn for pair in zip(p.values["lost"].tolist(), p.values["lost se"].tolist(), strict=True)
        ]
        claimed.append(not_negative("the guide is nowhere below the curve of its decoder", margins))
    if steps := rate_steps(points):
        claimed.append(Claim.every("a larger weight never raises the rate", steps))
    if paper is not None:
        margins_of: dict[str, list[float]] = {}
        for p in points:
            margins_of.setdefault(f"{p.family}, {p.description}", []).append(paper - p.bound)
        reached = [Claim.greater(name, values) for name, values in margins_of.items()]
        claimed.append(Claim.some(f"the best bound reaches the paper's {paper:g}", reached))
    return claimed


def rate_steps(points: Sequence[TrainedPair]) -> list[Claim]:
    """Returns one claim per step to the next larger beta, all else equal: over seeds, the rate does not rise.

    Seeds are paired; a step that no seed has both ends of is left out.
    """
    lines: dict[str, dict[float, dict[int, float]]] = {}
    for p in sorted(points, key=lambda p: p.beta):
        others = [f"{key} {value}" for key, value in p.at.items() if key != "beta"]
        rates = lines.setdefault(", ".join([p.family, *others]), {})
        rates.setdefault(p.beta, {})[p.seed] = p.rate
    return [
        Claim.greater(f"{name}, beta {low:g} to {high:g}", falls, by=ROUNDING)
        for name, rates in lines.items()
        for low, high in itertools.pairwise(rates)
        if (falls := [rate - rates[high][seed] for seed, rate in rates[low].items() if seed in rates[high]])
    ]
