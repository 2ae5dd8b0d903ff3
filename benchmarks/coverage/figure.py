"""A figure of how often promises were kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.coverage.rates import Rate
from ppl_vae.evidence.figures import OKABE_ITO

__all__ = ["draw"]

FEWEST = 10
"""Replications of a rate that is drawn."""

HOLDS, FAILS = (OKABE_ITO.blue, "o"), (OKABE_ITO.vermilion, "s")


def draw(rates: Sequence[Rate], picture: Path) -> None:
    """Draws the share of replications that kept each promise, with its error, beside the share that is promised."""
    from matplotlib.figure import Figure

    promised = [rate for rate in rates if rate.stated is not None and rate.runs >= FEWEST]
    promised.sort(key=lambda rate: (rate.holds is False, -_kept(rate)[0]))
    figure = Figure((9.0, 1.4 + 0.21 * len(promised)), layout="constrained")
    axes = figure.subplots()
    for i, rate in enumerate(promised):
        kept, low, high, stated = _kept(rate)
        colour, marker = HOLDS if rate.holds else FAILS
        axes.plot([low, high], [i, i], color=colour, linewidth=2)
        axes.plot(kept, i, marker, color=colour, markersize=5)
        axes.plot(stated, i, "|", color="black", markersize=9)
    axes.set_yticks(range(len(promised)), [_label(rate) for rate in promised], fontsize=7)
    axes.set_ylim(len(promised), -1)
    axes.set(
        xlabel="share of replications that kept the promise",
        xlim=(min(_kept(rate)[1] for rate in promised) - 0.02, 1.01),
    )
    axes.grid(axis="x", alpha=0.3)
    kept_all = sum(bool(rate.holds) for rate in promised)
    figure.suptitle(f"{kept_all} of {len(promised)} promises held within the error of their count")
    for (colour, marker), text in ((HOLDS, "holds"), (FAILS, "does not"), (("black", "|"), "promised")):
        axes.plot([], [], marker, color=colour, label=text)
    axes.legend(loc="upper left", fontsize=8)
    figure.savefig(picture, dpi=130)


def _kept(rate: Rate) -> tuple[float, float, float, float]:
    """Share kept, its interval and the promised share: of what is promised to be rare, the share without it."""
    low, high = rate.interval
    stated = rate.stated or 0.0
    if rate.side == "at least":
        return rate.rate, low, high, stated
    return 1 - rate.rate, 1 - high, 1 - low, 1 - stated


def _label(rate: Rate) -> str:
    text = rate.statement.replace("`", "")
    return f"{'not: ' if rate.side == 'at most' else ''}{text} ({rate.runs})"
