"""Points on a sphere under noise of a fixed scale: what is exact without training, as claims and as a map."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, sqrt
from typing import TYPE_CHECKING

import numpy as np

from ppl_vae.evidence.figures import OKABE_ITO
from ppl_vae.studies.claims import Claim
from ppl_vae.studies.sphere_guides import normal_limit, normal_threshold
from ppl_vae.studies.spheres import best_radius, log_density, threshold

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_density", "exact_claims", "scales"]

KNOWN = [2, 3, 4, 10, 50, 200, 1000]
"""Dimensions of the claims about all decoders."""
NORMAL = [2, 3, 10, 50]
"""Dimensions of the claim about normal guides."""


def scales(dimensions: int, shares: Sequence[float]) -> dict[str, float]:
    """Returns sigma by where it lies: below the sharp threshold, between it and the paper's, and above both (R = 1).

    Arguments:
        dimensions: D, of the space.
        shares: Those below the threshold, as shares of it.

    Example:
        >>> {place: round(sigma, 4) for place, sigma in scales(2, [0.5]).items()}
        {'0.5 R/sqrt(D)': 0.3536, 'between': 0.8536, 'above': 1.1}
    """
    sharp, paper = threshold(1.0, dimensions), 1 / sqrt(dimensions - 1)
    below = {f"{share:g} R/sqrt(D)": share * sharp for share in shares}
    return below | {"between": (sharp + paper) / 2, "above": 1.1 * paper}


def exact_claims() -> list[Claim]:
    """Claims that need no training: where the best radius and the best ELBO of normal guides are zero."""
    sharp = all(
        best_radius(1.0, threshold(1.0, d) * (1 - 1e-6), d) > 0 == best_radius(1.0, threshold(1.0, d) * (1 + 1e-6), d)
        for d in KNOWN
    )
    worst, lost = 0.0, inf
    for d in KNOWN:
        radii = np.linspace(0, 1.2, 2_401)
        for sigma in scales(d, [0.3, 0.7, 0.95]).values():
            by_search = radii[np.argmax(log_density(1.0, radii, sigma, d))]
            worst = max(worst, abs(by_search - best_radius(1.0, sigma, d)))
        between = scales(d, [])["between"]
        rise = log_density(1.0, np.linspace(0.01, 1.2, 120), between, d) - log_density(1.0, 0.0, between, d)
        lost = min(lost, float(-rise.max()))
    early = [normal_limit((normal_threshold(d) + threshold(1.0, d)) / 2, d)["radius"] for d in NORMAL]
    middle = ", ".join(f"{(normal_threshold(d) * sqrt(d) + 1) / 2:.3f}" for d in NORMAL)
    range_of_d = f"D from {KNOWN[0]} to {KNOWN[-1]}"
    return [
        Claim.exact(
            "in the limit the means collapse at sigma = R/sqrt(D), and not before",
            sharp,
            f"{range_of_d}, one part in a million to either side",
        ),
        Claim.exact(
            "in the limit they have collapsed between R/sqrt(D) and the paper's R/sqrt(D - 1)",
            bool(lost > 0),
            f"{range_of_d}: any radius loses",
        ),
        Claim.exact(
            "in the limit the best radius is that found by search",
            bool(worst < 5.1e-4),
            f"{range_of_d}: at most {worst:.1g} apart, half a step of the search",
        ),
        Claim.exact(
            "in the limit the ELBO of normal guides collapses before the likelihood does, for the decoder r z / |z|",
            not any(early),
            f"for D = {', '.join(map(str, NORMAL))} it has at sigma = {middle} R/sqrt(D)",
        ),
    ]


def draw_density(figure: Figure) -> None:
    """Figure 2 of Berger and Sebag (2020) in three spaces: density by the radii of data and means, and the best one."""
    panels = figure.subplots(1, 3)
    for axes, d in zip(panels, (2, 10, 50), strict=True):
        most = 2.5 * sqrt(d)
        ends = np.linspace(0, most, 400)
        density = log_density(ends[None, :], ends[:, None], 1.0, d)
        shown = axes.imshow(
            density - density.max(0),
            origin="lower",
            extent=(0, most, 0, most),
            vmin=-3,
            vmax=0,
            cmap="cividis",
            interpolation="bilinear",
        )
        inner = np.linspace(sqrt(d) * (1 + 1e-6), most, 80)
        curve = [best_radius(R, 1.0, d) for R in inner]
        axes.plot([0, *inner], [0, *curve], color=OKABE_ITO.vermilion, linewidth=2, label="best radius r*")
        axes.axvline(sqrt(d), color="white", linewidth=1.2, label=r"$\sqrt{D}$: sharp")
        axes.axvline(sqrt(d - 1), color="white", linewidth=1.2, linestyle=":", label=r"$\sqrt{D-1}$: theorem 1")
        axes.plot([0, most], [0, most], color="0.6", linewidth=0.8, linestyle="--", label="r = R")
        axes.set(xlabel=r"radius of the data, $R/\sigma$", ylabel=r"radius of the means, $r/\sigma$", title=f"D = {d}")
    handles = panels[0].get_legend_handles_labels()
    legend = figure.legend(*handles, loc="outside lower center", ncols=4, fontsize=8, facecolor="0.25", framealpha=1)
    for text in legend.get_texts():
        text.set_color("white")
    bar = figure.colorbar(shown, ax=panels, shrink=0.85)
    bar.set_label("log p(x) less that of the best r (nats)")
