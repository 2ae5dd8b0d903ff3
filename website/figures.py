"""Figures of the manual whose numbers stand in the tables of its pages: ``python -m website.figures`` draws them.

They are of experiments that take hours. Figure and page have the same numbers, since there is one place for them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ppl_vae.evidence.figures import OKABE_ITO

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FIGURES", "rows_of"]

DOCS = Path(__file__).parents[1] / "docs"

MARKERS = "osD^v"
"""Those of the families of the rate-distortion plane."""


def rows_of(page: str, head: str) -> dict[str, list[str]]:
    """The rows of the table of a page that begins with a head, by their first cell, without emphasis.

    Arguments:
        page: Name of the page.
        head: The first cells of the table's first line, as they stand there.

    Raises:
        ValueError: If the page has no such table.
    """
    text = (DOCS / page).read_text(encoding="utf-8")
    start = text.find(f"\n{head}")
    if start < 0:
        raise ValueError(f"{page} has no table that begins with {head!r}; name another in website/figures.py")
    lines = text[start + 1 :].split("\n\n", 1)[0].splitlines()[2:]
    cells = [[cell.strip(" *`") for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in cells}


def number(cell: str) -> float:
    """The first number of a cell; thousands are separated by commas."""
    found = re.search(r"-?\d[\d,]*\.?\d*", cell)
    return float(found[0].replace(",", "")) if found else 0.0


def error(cell: str) -> float:
    """The error of a cell, ``mean ± error``; 0 without one."""
    return number(cell.partition("\u00b1")[2])


def plane(figure: Figure) -> None:
    """Rate and distortion of every run, and how far each is from the best bound."""
    rows = rows_of("rates.md", "| beta | Gaussian, deconvolution, normal |")
    names = [
        "Gaussian guide, deconvolution",
        "... with a flow as the prior",
        "... with a VampPrior",
        "IAF guide, deconvolution",
        "Gaussian guide, autoregressive decoder",
    ]
    points = {beta: [tuple(map(number, cell.split("=")[0].split("+"))) for cell in row] for beta, row in rows.items()}
    best = min(sum(point) for row in points.values() for point in row)
    left, right = figure.subplots(1, 2)
    rates = (0.0, 85.0)
    left.fill_between(rates, [best - rate for rate in rates], 0, color="0.9")
    left.annotate(f"below the best bound,\nD + R < {best:.1f}", (2.0, 58.0), fontsize=8, color="0.35")
    for place, (name, colour) in enumerate(zip(names, OKABE_ITO, strict=False)):
        rate, distortion = zip(*(row[place] for row in points.values()), strict=True)
        style = {"marker": MARKERS[place], "color": colour, "linewidth": 1, "markersize": 5}
        left.plot(rate, distortion, label=name, **style)
        right.plot(range(len(rows)), [r + d - best for r, d in zip(rate, distortion, strict=True)], **style)
    left.set(xlim=rates, ylim=(48, 106), xlabel="rate R (nats)", ylabel="distortion D (nats)")
    left.set_title("one line per family, beta from 3 (left) to 0.1", fontsize=10)
    right.set_xticks(range(len(rows)), list(rows))
    right.set(xlabel="weight beta of the rate", ylabel="D + R above the best bound (nats)", ylim=(-1, None))
    right.set_title("what each run loses", fontsize=10)
    figure.suptitle("A decoder that does not need the code has the best bound and next to no rate", fontsize=11)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=8)


def raises(figure: Figure) -> None:
    """Precision of the codes of 32 bits after each change."""
    rows = rows_of("hashing.md", "| what is changed | precision@100 |")
    lengths = rows_of("hashing.md", "| bits | `linear_counts` |")
    values = {"signs, 45 epochs": number(lengths["32"][0])}
    for name, (cell,) in rows.items():
        values |= dict(zip(name.split(", "), map(number, cell.split(", ")), strict=True))
    signs, axes = next(iter(values.values())), figure.subplots()
    colours = [OKABE_ITO.blue, *(OKABE_ITO.orange if v > signs else "0.75" for v in list(values.values())[1:])]
    axes.barh(range(len(values)), list(values.values()), color=colours, height=0.6)
    axes.axvline(signs, color=OKABE_ITO.blue, linewidth=1, linestyle=":")
    for place, value in enumerate(values.values()):
        style = {"va": "center", "fontsize": 9, "color": "black" if place else "white"}
        axes.annotate(f"{value:.3f}", (0, place), (6, 0), textcoords="offset points", **style)
    axes.set_yticks(range(len(values)), list(values))
    axes.invert_yaxis()
    axes.set(xlabel="precision@100 of 7,505 test documents")
    axes.set_title("Only the query left as probabilities raises it (linear_counts, 32 bits)", fontsize=10)


def harm(figure: Figure) -> None:
    """Gap, likelihood lost and distance from the truth, by what was maximised."""
    rows = rows_of("gan.md", "| | ELBO | Frechet, samples |")
    names = [name.replace(", mean field", "\nmean field").replace(", low rank", "\nlow rank") for name in rows]
    colours = (OKABE_ITO.blue, OKABE_ITO.sky_blue, OKABE_ITO.orange, OKABE_ITO.vermilion) * 2
    panels = figure.subplots(1, 3, sharey=True)
    heads = {4: "gap, at least\n(nats per image)", 5: "likelihood lost, at most\n(nats per image; the truth loses 0)"}
    for axes, (column, head) in zip(
        panels, [*heads.items(), (1, "Frechet distance of samples\nfrom the truth")], strict=True
    ):
        cells = [row[column] for row in rows.values()]
        values, errors = [number(cell) for cell in cells], [error(cell) for cell in cells]
        axes.barh(range(len(rows)), values, xerr=errors, color=colours, height=0.6, error_kw={"linewidth": 1})
        for place, (value, cell) in enumerate(zip(values, cells, strict=True)):
            text = f"{value:,.0f}" if column > 1 else "the truth's" if "truth" in cell else f"{value:.1f}"
            end = (value + errors[place], place)
            axes.annotate(text, end, (4, 0), textcoords="offset points", va="center", fontsize=8)
        axes.set(xlabel=head, xlim=(0, 1.25 * max(map(sum, zip(values, errors, strict=True)))))
    panels[0].set_xticks(range(0, 40_000, 10_000), ["0", "10,000", "20,000", "30,000"])
    panels[0].set_yticks(range(len(rows)), names)
    panels[0].invert_yaxis()
    figure.suptitle("The ELBO moves a decoder that was right: samples leave the truth, likelihood is lost", fontsize=11)


def image_bits(figure: Figure) -> None:
    """ELBO of Gaussian models of images on training and test data, by how their noise is chosen."""
    rows = rows_of("images.md", "| | training digits | test digits |")
    axes = figure.subplots()
    splits = (("training digits", 0, "0.75", -0.19), ("test digits", 1, OKABE_ITO.blue, 0.19))
    for label, column, colour, shift in splits:
        cells = [row[column] for row in rows.values()]
        places = [place + shift for place in range(len(rows))]
        errors = [error(cell) for cell in cells]
        style = {"color": colour, "height": 0.36, "label": label, "error_kw": {"linewidth": 1}}
        axes.barh(places, [number(cell) for cell in cells], xerr=errors, **style)
    axes.axvline(8, color="black", linewidth=1, label="8: limit for dequantised bytes")
    axes.axvline(4.89 - 1.33, color="0.5", linestyle="--", linewidth=1, label="the paper's LV, 4.89 less log 2 pi")
    axes.set_yticks(range(len(rows)), list(rows))
    axes.invert_yaxis()
    axes.set(xlabel="ELBO (bits per pixel, higher is better)", xlim=(-1.2, 8.3))
    axes.set_title("The floor of sigma sets the ELBO of one sigma a pixel; without one the training fails", fontsize=10)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8)


FIGURES: dict[str, tuple[Callable[[Figure], None], tuple[float, float]]] = {
    "rates-plane.png": (plane, (10.0, 4.6)),
    "hashing-raises.png": (raises, (7.5, 3.4)),
    "gan-harm.png": (harm, (12.0, 4.6)),
    "image-bits.png": (image_bits, (8.5, 4.0)),
}
"""Each figure of ``docs/figures``: what draws it, and its size in inches."""


def main() -> None:
    """Draws all figures."""
    from matplotlib.figure import Figure

    for name, (draw, size) in FIGURES.items():
        figure = Figure(size, layout="constrained")
        draw(figure)
        figure.savefig(DOCS / "figures" / name, dpi=130)
        print(f"written: docs/figures/{name}")


if __name__ == "__main__":
    main()
