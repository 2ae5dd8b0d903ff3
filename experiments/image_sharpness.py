"""Gaussian image models: squared error, a learned sigma, one for each pixel, and where the likelihood diverges.

Berger and Sebag (2020, section 4.3) report an ELBO of 0.06 bits per pixel on MNIST with squared error (sigma 1/sqrt 2)
and 4.89 with a sigma for each pixel by the decoder. Pixels that are constant in all data make the second unbounded:
the same model is trained with floors under sigma and with none, and on bytes made continuous, where a bound has a
meaning. Training and test digits are both measured: a sigma that fell where the training data never vary meets test
data that do.
"""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ppl_vae.data.images import bits_per_number
from ppl_vae.diagnostics.images.scale_collapse import sharpness
from ppl_vae.evidence.figures import OKABE_ITO, whole
from ppl_vae.evidence.measure import measure
from ppl_vae.nn.modes import evaluating
from ppl_vae.programs.simulate import simulate
from ppl_vae.studies.claims import Claim
from ppl_vae.studies.figures import draw_bars, draw_course, show_image_table, show_maps
from ppl_vae.studies.grid import Cells, Grid, slug
from ppl_vae.studies.image_data import images_with_margins
from ppl_vae.studies.report import Report, Row
from ppl_vae.studies.study import Study
from ppl_vae.training.settings import Settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "seeds": 1, "corpus": "bars", "data": 100, "epochs": 2, "batch": 50, "floors": [1e-2, 0.0], "latents": 4,
        "channels": 2, "blocks": 1, "tested": 20, "draws": 20,
    },
    "cpu": {
        "seeds": 1, "corpus": "mnist", "data": 10_000, "epochs": 10, "batch": 50, "floors": [1e-2, 1e-3, 0.0],
        "latents": 32, "channels": 8, "blocks": 2, "tested": 200, "draws": 100,
    },
    "paper": {
        "seeds": 5, "corpus": "mnist", "data": 60_000, "epochs": 1_000, "batch": 100,
        "floors": [1e-2, 1e-3, 1e-4, 1e-5, 0.0], "latents": 256, "channels": 64, "blocks": 4, "tested": 1_000,
        "draws": 1_000,
    },
}  # fmt: skip
SQUARED, SCALAR, BYTES_SCALAR, BYTES_VECTOR = "F, squared error", "LS", "LS, dequantised", "LV, dequantised"
PAPER = {"F": 0.06, "LV": 4.89}
TWO_PI = math.log2(2 * math.pi) / 2
"""What the constant of a normal density takes from each number, in bits; the paper's eqs. 10 and 11 leave it out."""
SHOWN = 8
SHEETS = {
    "reconstructions": "reconstructions",
    "means": "means of p(x | z), z from the prior",
    "samples": "samples of p(x | z), same z",
}
LOWEST = -2.0
"""Where the axis of bits begins."""
Condition = tuple[str, float, bool]
"""The sigma of the model, its floor, and whether the data are dequantised."""


def vector(floor: float) -> str:
    """Name of the condition of a sigma for each pixel with this floor."""
    return f"LV, floor {floor:g}" if floor else "LV, no floor"


def conditions_of(floors: list[float]) -> dict[str, Condition]:
    """Conditions by name."""
    shared: dict[str, Condition] = {SQUARED: (str(2**-0.5), 0.0, False), SCALAR: ("learned", 0.0, False)}
    own: dict[str, Condition] = {vector(floor): ("vector", floor, False) for floor in floors}
    return shared | own | {BYTES_SCALAR: ("learned", 0.0, True), BYTES_VECTOR: ("vector", 0.0, True)}


def cell(
    study: Study, conditions: dict[str, Condition], corpus: str, sizes: dict[str, int], name: str, seed: int
) -> dict[str, Tensor]:
    """A pair trained under one condition, measured on test data in nats, and what it draws."""
    sigma, floor, dequantise = conditions[name]
    images = images_with_margins(corpus, sizes["data"], sizes["tested"], dequantise)
    x, test = (part.to(study.device) for part in images)
    networks = {key: sizes[key] for key in ("channels", "blocks")}
    options = {"latents": sizes["latents"], "sigma": sigma, "scale": 0.3, "floor": floor, **networks}
    model, guide = study.pair("image", "convolutional", x, seed, guide_options=networks, **options)
    settings = Settings([(sizes["epochs"], 1)], sizes["batch"], learning_rate=1e-3, decay="cosine", seed=seed, clip=0.0)
    rows = study.train(f"{slug(name)}-{seed}", model, guide, x, settings).rows
    part = x[: len(test)]
    result, seen = (measure(model, guide, each, method="importance", draws=sizes["draws"]) for each in (test, part))
    sharp = sharpness(model, x)
    assert sharp is not None and result.evidence.k_hat is not None
    with evaluating(model, guide), torch.no_grad():
        again, _ = model.decode(guide.members(guide.encoder(test[:SHOWN]))["z"].mean)
        z, drawn = simulate(model, test[:SHOWN])
        means, _ = model.decode(z["z"])
        likelihood = torch.distributions.Normal(*model.decode(guide.members(guide.encoder(part))["z"].sample()))
        density = likelihood.log_prob(part) / math.log(2)
    zero = (256 * part).floor() == 0
    facts = {name: torch.tensor(getattr(sharp, name)) for name in ("least", "constants", "bits", "diverges")}
    pictures = {"test": test[:SHOWN], "reconstructions": again, "means": means, "samples": drawn}
    values = {
        "high k-hat": (result.evidence.k_hat > 0.7).double(),
        "train": seen.elbo.pointwise,
        "density": density.mean(0),
        "of zeros": torch.where(zero, density, 0.0).mean(),
        "zeros": zero.double().mean(),
        "curve": torch.tensor([row["train_elbo"] for row in rows]),
    }
    return result.pointwise() | values | facts | pictures


def run(study: Study, *, seeds: int, corpus: str, floors: list[float], **sizes: int) -> Report:
    """The experiment.

    Arguments:
        study: Folder of the results.
        seeds: Number of repetitions.
        corpus: Images: ``mnist``, an IDX file, or a folder of images.
        floors: Floors under the sigma of each pixel, on data as they are; falling, 0 for none.
        sizes: ``data`` and ``tested``, numbers of training and test images; ``epochs`` of each training in batches of
            ``batch``; ``latents``, ``channels`` of the networks' first layer and residual ``blocks`` of each; ``draws``
            of the importance weights per test image.
    """
    conditions, mnist = conditions_of(floors), corpus == "mnist"
    cells = Grid(study, conditions, seeds).compute(partial(cell, study, conditions, corpus, sizes))
    study.figure("sheet", partial(draw_sheet, cells=cells), (13.0, 0.62 * len(cells) + 1.4))
    study.figure("bits", partial(draw_bits, cells=cells, mnist=mnist), (12.0, 4.2))
    where = {name: cells.stacked(name, "density").flatten(0, -3).mean(0) for name in cells}
    maps = partial(show_maps, maps=where, label="log-density of a pixel (bits)")
    study.figure("where", maps, (2.0 * len(cells) + 1.0, 2.8))
    rows = [row for name in cells for row in rows_of(name, cells, mnist)]
    title = "Gaussian image models and their sharpness"
    return Report(title, rows, claims_of(cells, floors, mnist), notes_of(cells))


def notes_of(cells: Cells[str]) -> tuple[str, ...]:
    """What a reader must know before believing the figures."""
    first = cells[SQUARED][0]
    constants, numbers = int(first["constants"]), first["test"][0].numel()
    tenfold = constants / numbers * math.log2(10)
    return (
        f"{constants} of {numbers} pixels are constant in the training data: a tenth of their sigma is "
        f"{tenfold:.2f} bits per pixel, whatever the model",
        "bits per pixel is the log-density of pixels scaled to [0, 1], higher is better; the length of a code for the "
        "bytes is 8 less it, and has a meaning for dequantised data alone",
        "the paper's eqs. 10 and 11 leave out log 2 pi, 1.33 bits per pixel: its figures stand beside ours without it; "
        "how its pixels are scaled, and whether it measured training or test data, it does not say",
        "evidence: importance weights, a lower bound; where k-hat is above 0.7 it is a loose one",
    )


def bits(cells: Cells[str], name: str, key: str = "elbo") -> list[float]:
    """Returns a log-density in bits per pixel, higher is better, one per seed."""
    numbers = cells[name][0]["test"][0].numel()
    return [8 - bits_per_number(mean, numbers) for mean in cells.means(name, key)]


def rows_of(name: str, cells: Cells[str], mnist: bool) -> list[Row]:
    """The rows of one condition."""
    paper = {SQUARED: PAPER["F"], vector(0): PAPER["LV"]}.get(name) if mnist else None
    dequantised = name in (BYTES_SCALAR, BYTES_VECTOR)
    elbo, means = bits(cells, name), partial(cells.means, name)
    row = partial(Row, group=name)
    length = partial(row, unit="bits/pixel")
    return [
        length("ELBO", elbo),
        length("ELBO without log 2 pi", [b + TWO_PI for b in elbo], paper),
        length("ELBO of training data", bits(cells, name, "train")),
        length("evidence, at least", bits(cells, name, "evidence")),
        row("ELBO", means("elbo"), digits=1),
        row("gap, at least", means("gap"), digits=2),
        *([length("code for the bytes, at most", [8 - b for b in elbo])] if dequantised else []),
        row("data with k-hat above 0.7", means("high k-hat"), unit="share"),
        row("smallest sigma", means("least"), unit="", digits=7),
        length("density of the training data's zeros", means("of zeros")),
        *([] if dequantised else [length("of constant pixels", means("bits"))]),
    ]


def claims_of(cells: Cells[str], floors: list[float], mnist: bool) -> list[Claim]:
    """What theory and the paper lead to expect."""

    def more(one: str, other: str, key: str = "elbo") -> list[float]:
        return [a - b for a, b in zip(bits(cells, one, key), bits(cells, other, key), strict=True)]

    lowest = vector(floors[-1])
    least, zero = max(cells.means(lowest, "least")), cells[lowest][0]["zeros"].item()
    codes = {name: [8 - b for b in bits(cells, name)] for name in (BYTES_SCALAR, BYTES_VECTOR)}
    zeros = [z - b / 2 for z, b in zip(cells.means(lowest, "of zeros"), bits(cells, lowest, "train"), strict=True)]
    falling = pairwise(map(vector, floors))
    rises = [Claim.greater(f"{low}, not {high}", more(low, high, "train")) for high, low in falling]
    silent = [Claim.below(name, cells.means(name, "diverges"), 0.5) for name in (SQUARED, BYTES_SCALAR, BYTES_VECTOR)]
    detected = "the divergence is detected at the lowest floor"
    half = "at the lowest floor more than half of the density, in bits, is that of exact zeros"
    vectors = "one for each pixel exceeds one for all where the comparison has a meaning, on dequantised test data"
    coded = "dequantised, every code is longer than nothing"
    claims = [
        Claim.every("on training data the ELBO with a sigma for each pixel rises as its floor falls", rises),
        Claim.greater(detected, cells.means(lowest, "diverges"), by=0.5, figures=f"smallest sigma {least:.2g}"),
        Claim.every("it is not reported of squared error nor of dequantised data", silent),
        Claim.greater(half, zeros, figures=f"bits above half; the zeros are {zero:.0%} of the numbers"),
        Claim.greater("a learned sigma exceeds squared error, in bits per pixel", more(SCALAR, SQUARED)),
        Claim.greater(vectors, more(BYTES_VECTOR, BYTES_SCALAR)),
        Claim.every(coded, [Claim.greater(name, lengths) for name, lengths in codes.items()]),
    ]
    if mnist:
        ours = {name: [b + TWO_PI for b in bits(cells, name, "train")] for name in map(vector, floors)}
        sides = [
            Claim.some("below", [Claim.below(name, values, PAPER["LV"]) for name, values in ours.items()]),
            Claim.some("above", [Claim.greater(name, values, PAPER["LV"]) for name, values in ours.items()]),
        ]
        claims.append(Claim.every("the choice of the floor alone carries the bound across the paper's 4.89", sides))
    return claims


def draw_sheet(figure: Figure, cells: Cells[str]) -> None:
    """Test data, and below them a line per condition: reconstructions, means and samples of the prior."""
    rows = {"test data": [cells[SQUARED][0]["test"]]}
    for name in cells:
        trained, tested = (f"{bits(cells, name, key)[0]:.3g}" for key in ("train", "elbo"))
        rows[f"{name}\n{trained} bits/pixel\n(test {tested})"] = [cells[name][0][key] for key in SHEETS]
    show_image_table(figure, rows, list(SHEETS.values()))


def draw_bits(figure: Figure, cells: Cells[str], mnist: bool) -> None:
    """The ELBO of each condition, on training and test data, and its course in training."""
    bars, course = figure.subplots(1, 2, width_ratios=[3, 2])
    splits = (("train", "training data", "0.75", -0.18), ("elbo", "test data", "0.35", 0.18))
    for key, label, colour, shift in splits:
        values = {name: bits(cells, name, key) for name in cells}
        draw_bars(bars, values, colour, least=LOWEST, shift=shift, height=0.34, label=label)
    bars.axvline(8, color="black", linewidth=1, label="8: limit for dequantised bytes")
    bars.set(xlim=(LOWEST, 9), xlabel="ELBO (bits per pixel, higher is better)")
    for name, colour in zip(cells, (*OKABE_ITO, "0.5", "0.7"), strict=False):
        numbers = cells[name][0]["test"][0].numel()
        curves = cells.stacked(name, "curve").double() / (numbers * math.log(2))
        draw_course(course, curves, colour=colour, label=name, linestyle="--" if "dequantised" in name else "-")
    course.set(xlabel="epoch", ylabel="training ELBO (bits per pixel)", ylim=(LOWEST, None))
    whole(course.xaxis)
    if mnist:
        for draw in (bars.axvline, course.axhline):
            draw(PAPER["LV"] - TWO_PI, color="0.5", linestyle="--", label="paper's LV, 4.89 less log 2 pi")
    figure.suptitle("ELBO of Gaussian models of images, by how their noise is chosen", fontsize=11)
    bars.legend(edgecolor="none", framealpha=1.0, fontsize=7, loc="upper right")
    course.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
