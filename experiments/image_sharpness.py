"""Gaussian image models: squared error, a learned sigma, one for each pixel, and where the likelihood diverges.

Berger and Sebag (2020, section 4.3) report an ELBO of 0.06 bits per pixel on MNIST with squared error (sigma 1/sqrt 2)
and 4.89 with a sigma for each pixel by the decoder. Pixels that are constant in all data make the second unbounded:
the same model is trained with floors under sigma and with none, and on bytes made continuous, where a bound has a
meaning. Training and test digits are both measured: a sigma that fell where the training data never vary meets test
data that do.
"""

from __future__ import annotations

import itertools
import math
from functools import partial
from typing import Any

import torch
from ppl_vae.guides.convolutional import Convolutional
from ppl_vae.models.image import Image
from torch import Tensor

from ppl_vae.data import load_corpus
from ppl_vae.data.images import bits_per_number
from ppl_vae.diagnostics.images.scale_collapse import sharpness
from ppl_vae.evidence.figures import OKABE_ITO, tiled
from ppl_vae.evidence.measure import measure
from ppl_vae.nn.modes import evaluating
from ppl_vae.programs.simulate import simulate
from ppl_vae.studies.claims import Claim
from ppl_vae.studies.grid import Grid, slug
from ppl_vae.studies.report import Report, Row
from ppl_vae.studies.study import Study
from ppl_vae.training.trainer import Settings

PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "seeds": 1, "corpus": "bars", "data": 300, "epochs": 2, "batch": 100, "floors": [1e-2, 0.0], "latents": 4,
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
COLOURS = (OKABE_ITO.blue, OKABE_ITO.orange)
PAPER = {"F": 0.06, "LV": 4.89}
TWO_PI = math.log2(2 * math.pi) / 2
"""What the constant of a normal density takes from each number, in bits; the paper's eqs. 10 and 11 leave it out."""
SHOWN = 8

Cells = dict[str, list[dict[str, Tensor]]]
"""Measured tensors by way of training and seed."""


def vector(floor: float) -> str:
    """The name of a sigma for each pixel with this floor."""
    return f"LV, floor {floor:g}" if floor else "LV, no floor"


def kinds_of(floors: list[float]) -> dict[str, tuple[str, float, bool]]:
    """Each way of training: sigma, its floor, and whether the data are dequantised."""
    return {
        SQUARED: (str(2**-0.5), 0.0, False),
        SCALAR: ("learned", 0.0, False),
        **{vector(floor): ("vector", floor, False) for floor in floors},
        BYTES_SCALAR: ("learned", 0.0, True),
        BYTES_VECTOR: ("vector", 0.0, True),
    }


def data_of(corpus: str, data: int, tested: int, dequantise: bool) -> tuple[Tensor, Tensor]:
    """Training and test images; bars get a margin, so that they have constant pixels as digits do."""
    found = load_corpus(corpus, validation=0, **({} if corpus == "bars" else {"dequantise": dequantise}))
    x, test = found.train.values[:data], found.test.values[:tested]
    if corpus == "bars":
        x, test = (torch.nn.functional.pad(part.unflatten(1, (4, 4)), (1, 1, 1, 1)) for part in (x, test))
        if dequantise:
            noise = torch.Generator().manual_seed(0)
            x, test = ((255 * part + torch.rand(part.shape, generator=noise)) / 256 for part in (x, test))
    return x, test


def trained(
    study: Study, name: str, kind: tuple[str, float, bool], corpus: str, settings: Settings, sizes: dict[str, int]
) -> dict[str, Tensor]:
    """A pair trained in one of the ways, measured on test data in nats, and what it draws."""
    sigma, floor, dequantise = kind
    x, test = (part.to(study.device) for part in data_of(corpus, sizes["data"], sizes["tested"], dequantise))
    torch.manual_seed(settings.seed)
    shape = tuple(x.shape[1:])
    model = Image(sizes["latents"], sizes["channels"], sizes["blocks"], sigma, scale=0.3, floor=floor, shape=shape)
    guide = Convolutional(model, x[:2], sizes["channels"], sizes["blocks"])
    trainer = study.train(name, model, guide, x, settings)
    found, seen = (
        measure(model, guide, part, method="importance", draws=sizes["draws"]) for part in (test, x[: len(test)])
    )
    sharp = sharpness(model, x)
    assert sharp is not None and found.evidence.k_hat is not None
    with evaluating(model, guide), torch.no_grad():
        codes = guide.members(guide.encoder(test[:SHOWN]))["z"].mean
        again, _ = model.decode(codes)
        z, drawn = simulate(model, test[:SHOWN])
        means, _ = model.decode(z["z"])
        part = x[: len(test)]
        law = torch.distributions.Normal(*model.decode(guide.members(guide.encoder(part))["z"].sample()))
        density = law.log_prob(part) / math.log(2)
    return found.pointwise() | {
        "k_hat": found.evidence.k_hat,
        "train": seen.elbo.pointwise,
        "density": density.mean(0),
        "of zeros": torch.where((256 * part).floor() == 0, density, 0.0).mean(),
        "zeros": ((256 * part).floor() == 0).double().mean(),
        "least": torch.tensor(sharp.least),
        "constants": torch.tensor(sharp.constants),
        "constant bits": torch.tensor(sharp.bits),
        "diverges": torch.tensor(sharp.diverges),
        "curve": torch.tensor([row["train_elbo"] for row in trainer.rows]),
        "test": test[:SHOWN],
        "reconstructions": again,
        "means": means,
        "samples": drawn,
    }


def run(study: Study, *, seeds: int, corpus: str, epochs: int, batch: int, floors: list[float], **sizes: int) -> Report:
    """The experiment.

    Arguments:
        study: Folder of the results.
        seeds: Number of repetitions.
        corpus: Images: ``mnist``, an IDX file, or a folder of images.
        epochs: Epochs of each training.
        batch: Images per step.
        floors: Floors under the sigma of each pixel, on data as they are; falling, 0 for none.
        sizes: ``data`` and ``tested``, numbers of training and test images; ``latents``, ``channels`` of the networks'
            first layer and residual ``blocks`` of each; ``draws`` of the importance weights per test image.
    """
    kinds = kinds_of(floors)

    def cell(kind: str, seed: int) -> dict[str, Tensor]:
        settings = Settings([(epochs, 1)], batch_size=batch, learning_rate=1e-3, decay="cosine", seed=seed)
        return trained(study, f"{slug(kind)}-{seed}", kinds[kind], corpus, settings, sizes)

    shown = Grid(study, kinds, seeds).compute(cell)
    study.figure("sheet", partial(draw_sheet, shown=shown), (13.0, 0.62 * len(shown) + 1.4))
    study.figure("bits", partial(draw_bits, shown=shown, mnist=corpus == "mnist"), (12.0, 4.2))
    study.figure("where", partial(draw_where, shown=shown), (2.0 * len(shown) + 1.0, 2.8))
    rows = [row for kind, cells in shown.items() for row in rows_of(kind, cells, corpus == "mnist")]
    return Report(
        "Gaussian image models and their sharpness", rows, claims_of(shown, floors, corpus == "mnist"), notes_of(shown)
    )


def notes_of(shown: Cells) -> tuple[str, ...]:
    """What a reader must know before believing the figures."""
    first = shown[SQUARED][0]
    constants, numbers = int(first["constants"]), first["test"][0].numel()
    tenfold = constants / numbers * math.log2(10)
    return (
        f"{constants} of {numbers} pixels are constant in the training data: a tenth of their sigma is "
        f"{tenfold:.2f} bits per pixel, whatever the model",
        *NOTES,
    )


NOTES = (
    "bits per pixel is the log-density of pixels scaled to [0, 1], higher is better; the length of a code for the "
    "bytes is 8 less it, and has a meaning for dequantised data alone",
    "the paper's eqs. 10 and 11 leave out log 2 pi, 1.33 bits per pixel: its figures stand beside ours without it; how "
    "its pixels are scaled, and whether it measured training or test data, it does not say",
    "evidence: importance weights, a lower bound; where k-hat is above 0.7 it is a loose one",
)


def bits(cells: list[dict[str, Tensor]], key: str = "elbo") -> list[float]:
    """Returns a log-density in bits per pixel, higher is better, one per seed."""
    return [8 - bits_per_number(each[key].mean().item(), each["test"][0].numel()) for each in cells]


def rows_of(kind: str, cells: list[dict[str, Tensor]], mnist: bool) -> list[Row]:
    """What was measured of one way of training."""
    paper = PAPER["F"] if kind == SQUARED else PAPER["LV"] if kind == vector(0) else None
    dequantised = kind in (BYTES_SCALAR, BYTES_VECTOR)

    def length(quantity: str, values: list[float], paper: float | None = None) -> Row:
        return Row(quantity, values, paper if mnist else None, unit="bits/pixel", group=kind)

    rows = [
        length("ELBO", bits(cells)),
        length("ELBO without log 2 pi", [b + TWO_PI for b in bits(cells)], paper),
        length("ELBO of training data", bits(cells, "train")),
        length("evidence, at least", bits(cells, "evidence")),
        Row("ELBO", [each["elbo"].mean().item() for each in cells], group=kind, digits=1),
        Row("gap, at least", [each["gap"].mean().item() for each in cells], group=kind, digits=2),
    ]
    if dequantised:
        rows.append(length("code for the bytes, at most", [8 - b for b in bits(cells)]))
    high = [(each["k_hat"] > 0.7).double().mean().item() for each in cells]
    rows.append(Row("data with k-hat above 0.7", high, unit="share", group=kind))
    rows.append(Row("smallest sigma", [each["least"].item() for each in cells], unit="", group=kind, digits=7))
    rows.append(length("density of the training data's zeros", [each["of zeros"].item() for each in cells]))
    if not dequantised:
        rows.append(length("of constant pixels", [each["constant bits"].item() for each in cells]))
    return rows


def claims_of(shown: Cells, floors: list[float], mnist: bool) -> list[Claim]:
    """What theory and the paper lead to expect."""

    def more(one: str, other: str, key: str = "elbo") -> list[float]:
        return [a - b for a, b in zip(bits(shown[one], key), bits(shown[other], key), strict=True)]

    def detected(kind: str) -> list[float]:
        return [float(each["diverges"]) for each in shown[kind]]

    lowest = vector(floors[-1])
    lengths = [8 - b for kind in (BYTES_SCALAR, BYTES_VECTOR) for b in bits(shown[kind])]
    zeros = [
        each["of zeros"].item() - b / 2 for each, b in zip(shown[lowest], bits(shown[lowest], "train"), strict=True)
    ]
    rises = [
        Claim.greater(f"{low}, not {high}", more(low, high, "train"))
        for high, low in itertools.pairwise(vector(floor) for floor in floors)
    ]
    claims = [
        Claim.every("on training data the ELBO with a sigma for each pixel rises as its floor falls", rises),
        Claim.greater(
            "the divergence is detected at the lowest floor",
            detected(lowest),
            by=0.5,
            figures=f"smallest sigma {max(each['least'].item() for each in shown[lowest]):.2g}",
        ),
        Claim.every(
            "it is not reported of squared error nor of dequantised data",
            [Claim.below(kind, detected(kind), 0.5) for kind in (SQUARED, BYTES_SCALAR, BYTES_VECTOR)],
        ),
        Claim.greater(
            "at the lowest floor more than half of the density, in bits, is that of exact zeros",
            zeros,
            figures=f"bits above half; the zeros are {shown[lowest][0]['zeros'].item():.0%} of the numbers",
        ),
        Claim.greater("a learned sigma exceeds squared error, in bits per pixel", more(SCALAR, SQUARED)),
        Claim.greater(
            "one for each pixel exceeds one for all where the comparison has a meaning, on dequantised test data",
            more(BYTES_VECTOR, BYTES_SCALAR),
        ),
        Claim.exact(
            "dequantised, every code is longer than nothing", min(lengths) > 0, f"from {min(lengths):.2f} bits"
        ),
    ]
    if mnist:
        ours = {vector(floor): [b + TWO_PI for b in bits(shown[vector(floor)], "train")] for floor in floors}
        sides = [
            Claim.some("below", [Claim.below(kind, values, PAPER["LV"]) for kind, values in ours.items()]),
            Claim.some("above", [Claim.greater(kind, values, PAPER["LV"]) for kind, values in ours.items()]),
        ]
        claims.append(Claim.every("the choice of the floor alone carries the bound across the paper's 4.89", sides))
    return claims


def draw_sheet(figure: Any, shown: Cells) -> None:
    """Test data, and below them each way of training a line: reconstructions, means and samples of the prior."""
    panels = figure.subplots(1 + len(shown), 3, squeeze=False)
    for axes in panels.flat:
        axes.set(xticks=[], yticks=[])
    lines = {"": shown[SQUARED][0]} | {kind: cells[0] for kind, cells in shown.items()}
    for line, (kind, found) in zip(panels, lines.items(), strict=True):
        for axes, key in zip(line, ("reconstructions", "means", "samples") if kind else ("test",), strict=False):
            axes.imshow(tiled(found[key], len(found[key])).numpy(), cmap="gray", vmin=0, vmax=1)
        trained, tested = (in_words(bits([found], key)[0]) for key in ("train", "elbo"))
        words = f"{kind}\n{trained} bits/pixel\n(test {tested})" if kind else "test data"
        line[0].set_ylabel(words, rotation=0, ha="right", va="center", fontsize=9)
    for axes in panels[0, 1:]:
        axes.axis("off")
    for axes, words in zip(
        panels[1],
        ("reconstructions", "means of p(x | z), z from the prior", "samples of p(x | z), same z"),
        strict=True,
    ):
        axes.set_title(words, fontsize=9)


def in_words(value: float) -> str:
    """A number that may be far off."""
    return f"{value:.2f}" if abs(value) < 100 else f"{value:.0e}"


LOWEST = -2.0
"""Where the axis of bits begins."""


def draw_bits(figure: Any, shown: Cells, mnist: bool) -> None:
    """The ELBO of each way of training, on training and test data, and its course in training."""
    bars, course = figure.subplots(1, 2, width_ratios=[3, 2])
    for place, cells in enumerate(shown.values()):
        for key, colour, shift in (("train", COLOURS[0], -0.18), ("elbo", COLOURS[1], 0.18)):
            values = bits(cells, key)
            mean = sum(values) / len(values)
            label = {"train": "training data", "elbo": "test data"}[key] if place == 0 else None
            bars.barh(place + shift, max(mean, LOWEST), color=colour, height=0.34, label=label)
            bars.plot(values, [place + shift] * len(values), "k.", markersize=4)
            if mean < LOWEST:
                bars.annotate(f" {in_words(mean)}", (0, place + shift), va="center", fontsize=8)
    bars.set_yticks(range(len(shown)), shown)
    bars.invert_yaxis()
    bars.axvline(8, color="black", linewidth=1, label="8: limit for dequantised bytes")
    bars.set(xlim=(LOWEST, 9), xlabel="ELBO (bits per pixel, higher is better)")
    styles = {kind: ("--" if "dequantised" in kind else "-") for kind in shown}
    for (kind, cells), colour in zip(shown.items(), LINES, strict=False):
        numbers = cells[0]["test"][0].numel()
        curve = torch.stack([each["curve"] for each in cells]).double().mean(0) / (numbers * math.log(2))
        course.plot(range(1, len(curve) + 1), curve.numpy(), styles[kind], color=colour, label=kind)
    course.set(xlabel="epoch", ylabel="training ELBO (bits per pixel)", ylim=(LOWEST, None))
    if mnist:
        for draw in (bars.axvline, course.axhline):
            draw(PAPER["LV"] - TWO_PI, color="0.5", linestyle="--", label="paper's LV, 4.89 less log 2 pi")
    bars.legend(edgecolor="none", framealpha=1.0, fontsize=7, loc="upper right")
    course.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))


LINES = (*(OKABE_ITO[i] for i in (6, 3, 5, 2, 1, 4, 0, 7)), "0.5", "0.7")


def draw_where(figure: Any, shown: Cells) -> None:
    """Where in an image the density comes from."""
    panels = figure.subplots(1, len(shown), squeeze=False)[0]
    maps = {kind: torch.stack([each["density"] for each in cells]).mean(0) for kind, cells in shown.items()}
    most = max(each.max().item() for each in maps.values())
    for axes, (kind, found) in zip(panels, maps.items(), strict=True):
        flat = found if found.ndim == 2 else found.mean(0)
        image = axes.imshow(flat.numpy(), cmap="PuOr", vmin=-most, vmax=most)
        axes.set(xticks=[], yticks=[])
        axes.set_title(f"{kind}\nmean {found.mean():.2f}", fontsize=9)
    figure.colorbar(image, ax=list(panels), label="log-density of a pixel (bits)", shrink=0.8)
