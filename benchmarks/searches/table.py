"""Searches judged by an exhaustive one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.searches.models import KINDS, make
from ppl_vae.diagnostics.gap.gap import Gap
from ppl_vae.diagnostics.gap.split import SplitMethod, split_gap

__all__ = ["Row", "judge", "markdown"]

DATA = 8
"""Data of each model."""


@dataclass(frozen=True)
class Row:
    """How one search did on the models of one kind.

    Arguments:
        kind: Kind of the models.
        search: The search.
        data: Number of data.
        slightly: Data whose best member is better by more than 0.01 nats than that found.
        seriously: By more than 0.1 nats.
        largest: The largest difference, in nats.
        warned: Models with a warning of the search, among those with a datum that is seriously short.
        short: Models with such a datum.
        decided: Data for which branch and bound decides whether the best member was missed by 0.01 nats.
        wrong: Data for which it decides wrongly, or whose upper bound is below a member.
    """

    kind: str
    search: str
    data: int
    slightly: int
    seriously: int
    largest: float
    warned: int
    short: int
    decided: int
    wrong: int


def judge(models: int, ascents: int, kinds: Sequence[str] = KINDS, most_bits: int = 8, steps: int = 600) -> list[Row]:
    """One row for each kind of model and search.

    Arguments:
        models: Number of models of each kind; a normal latent is searched for by ascent alone.
        ascents: Number of these that are searched by gradient ascent.
        kinds: Kinds of models.
        most_bits: Length of the longest code.
        steps: Steps of the gradient ascents.
    """
    found: dict[tuple[str, str], list[tuple[np.ndarray, Gap]]] = defaultdict(list)
    for kind in kinds:
        for seed in range(ascents if kind == "normal" else models):
            case = make(kind, seed, DATA, most_bits)
            methods: list[SplitMethod] = [] if kind == "normal" else ["enumeration"]
            for method in [*methods, *(["ascent"] if seed < ascents else [])]:
                torch.manual_seed(seed)
                with torch.no_grad():
                    gap = split_gap(case.model, case.guide, case.x, method=method, check=DATA, steps=steps)
                found[kind, method].append((case.best - gap.best.pointwise.numpy(), gap))
    return [_row(kind, method, gaps) for (kind, method), gaps in found.items()]


def _row(kind: str, search: str, gaps: list[tuple[np.ndarray, Gap]]) -> Row:
    error = [0 if g.best.pointwise_se is None else 3 * g.best.pointwise_se.numpy() for _, g in gaps]
    short = np.stack([difference - e for (difference, _), e in zip(gaps, error, strict=True)])
    serious = (short > 0.1).any(1)
    decided = wrong = 0
    for difference, gap in gaps:
        if not gap.missed:
            continue
        least, most = (gap.missed[name].pointwise.numpy() for name in ("at least", "at most"))
        said, fine = least > 0.01, most <= 0.0101
        decided += int((said | fine).sum())
        wrong += int(((most < difference - 1e-6) | (least > np.maximum(difference, 0) + 1e-3)).sum())
    return Row(
        kind,
        search,
        short.size,
        int((short > 0.01).sum()),
        int((short > 0.1).sum()),
        float(short.max()),
        sum(any("missed" in line for line in gap.warnings) for (_, gap), bad in zip(gaps, serious, strict=True) if bad),
        int(serious.sum()),
        decided,
        wrong,
    )


def markdown(rows: list[Row]) -> str:
    """The rows as a table."""
    lines = [
        "| latents | search | data | > 0.01 nats short | > 0.1 nats short | largest | models warned of "
        "| decided by branch and bound | of these wrong |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        warned = f"{r.warned} of {r.short}"
        bounded = [r.decided, r.wrong] if r.search == "enumeration" else ["", ""]
        cells = [r.kind, r.search, r.data, r.slightly, r.seriously, f"{max(r.largest, 0):.3f}", warned, *bounded]
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(lines)
