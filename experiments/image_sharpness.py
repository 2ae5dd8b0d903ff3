"""Gaussian image models: squared error, a learned sigma, one for each pixel, and where the likelihood diverges.

Berger and Sebag (2020, section 4.3) report an ELBO of 0.06 bits per pixel on MNIST with squared error (sigma 1/sqrt 2)
and 4.89 with a sigma for each pixel by the decoder. Pixels that are constant in all data make the second unbounded:
the same model is trained with several floors under sigma, and on bytes made continuous, where a bound has a meaning.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from ppl_vae.guides.convolutional import Convolutional
from ppl_vae.models.image import Image
from torch import Tensor

from ppl_vae.corpora import load_corpus
from ppl_vae.evidence import measure
from ppl_vae.modes import evaluating
from ppl_vae.report import Claim, Report, Row
from ppl_vae.sharpness import bits_per_number, sharpness
from ppl_vae.simulate import simulate
from ppl_vae.study import Study
from ppl_vae.training import Settings

PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "seeds": 1, "corpus": "bars", "data": 300, "epochs": 2, "floors": [1e-2, 1e-3], "latents": 4, "channels": 2,
        "blocks": 1, "tested": 20, "draws": 20,
    },
    "cpu": {
        "seeds": 1, "corpus": "mnist", "data": 10_000, "epochs": 5, "floors": [1e-2, 1e-3, 1e-4], "latents": 32,
        "channels": 8, "blocks": 4, "tested": 200, "draws": 200,
    },
    "paper": {
        "seeds": 5, "corpus": "mnist", "data": 60_000, "epochs": 1_000, "floors": [1e-2, 1e-3, 1e-4, 1e-5],
        "latents": 256, "channels": 64, "blocks": 4, "tested": 1_000, "draws": 1_000,
    },
}  # fmt: skip
SQUARED, SCALAR, BYTES_SCALAR, BYTES_VECTOR = "F, squared error", "LS", "LS, dequantised", "LV, dequantised"
COLOURS = ("#0072B2", "#E69F00", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442")
PAPER = {"F": 0.06, "LV": 4.89}
SHOWN = 8


def kinds_of(floors: list[float]) -> dict[str, tuple[str, float, bool]]:
    """Each way of training: sigma, its floor, and whether the data are dequantised."""
    return {
        SQUARED: (str(2**-0.5), 0.0, False),
        SCALAR: ("learned", 0.0, False),
        **{f"LV, floor {floor:g}": ("vector", floor, False) for floor in floors},
        BYTES_SCALAR: ("learned", 0.0, True),
        BYTES_VECTOR: ("vector", 0.0, True),
    }


def data_of(corpus: str, data: int, tested: int, dequantise: bool) -> tuple[Tensor, Tensor]:
    """Training and test pictures; bars get a margin, so that they have constant pixels as digits do."""
    found = load_corpus(corpus, validation=0, dequantise=dequantise and corpus != "bars")
    x, test = found.train[:data], found.test[:tested]
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
    found = measure(model, guide, test, method="importance", draws=sizes["draws"])
    sharp = sharpness(model, x)
    assert sharp is not None and found.evidence.k_hat is not None
    with evaluating(model, guide), torch.no_grad():
        codes = guide.members(guide.encoder(test[:SHOWN]))["z"].mean
        again, _ = model.law(codes)
        z, drawn = simulate(model, test[:SHOWN])
        means, _ = model.law(z["z"])
    return found.pointwise() | {
        "k_hat": found.evidence.k_hat,
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


def run(
    study: Study,
    *,
    seeds: int,
    corpus: str,
    data: int,
    epochs: int,
    floors: list[float],
    latents: int,
    channels: int,
    blocks: int,
    tested: int,
    draws: int,
) -> Report:
    """The experiment.

    Arguments:
        study: Where it is kept.
        seeds: Repetitions.
        corpus: Pictures: ``mnist``, an IDX file, or a folder of pictures.
        data: Training pictures.
        epochs: Of each training.
        floors: Under the sigma of each pixel, on data as they are; falling.
        latents: Of the model.
        channels: Of the networks' first layer.
        blocks: Residual blocks of each.
        tested: Test pictures.
        draws: A test picture, of the importance weights.
    """
    sizes = {"data": data, "tested": tested, "latents": latents, "channels": channels, "blocks": blocks, "draws": draws}
    shown: dict[str, list[dict[str, Tensor]]] = {}
    for seed in range(seeds):
        settings = Settings([(epochs, 1)], batch_size=100, learning_rate=1e-3, decay="cosine", seed=seed)
        for kind, how in kinds_of(floors).items():
            name = f"{kind.replace(',', '').replace(' ', '-')}-{seed}"
            compute = partial(trained, study, name, how, corpus, settings, sizes)
            shown.setdefault(kind, []).append(study.values(name, compute))
    numbers = shown[SQUARED][0]["test"][0].numel()
    study.figure("sheet", partial(draw_sheet, shown=shown), (13.0, 1.5 * len(shown) + 0.6))
    study.figure("bits", partial(draw_bits, shown=shown, floors=floors, mnist=corpus == "mnist"), (9.0, 3.8))
    rows = [row for kind, cells in shown.items() for row in rows_of(kind, cells, numbers, corpus == "mnist")]
    return Report("Gaussian image models and their sharpness", rows, claims_of(shown, floors, numbers), NOTES)


NOTES = (
    "bits per pixel is the log-density of pixels scaled to [0, 1], higher is better, as the paper counts; the length "
    "of a code for the bytes is 8 less it, and has a meaning for dequantised data alone",
    "the paper says neither how pixels are scaled nor whether it counts log 2 pi; all constants are counted here",
    "evidence: importance weights, a lower bound; where k-hat is above 0.7 it is a loose one",
)


def bits(cells: list[dict[str, Tensor]], key: str = "elbo") -> list[float]:
    """A log-density in bits per pixel, higher is better, a seed."""
    return [8 - bits_per_number(each[key].mean().item(), each["test"][0].numel()) for each in cells]


def rows_of(kind: str, cells: list[dict[str, Tensor]], numbers: int, mnist: bool) -> list[Row]:
    """What was measured of one way of training."""
    paper = PAPER["F"] if kind == SQUARED else PAPER["LV"] if kind.startswith("LV") and kind != BYTES_VECTOR else None
    dequantised, length = kind in (BYTES_SCALAR, BYTES_VECTOR), {"unit": "bits/pixel", "group": kind}
    rows = [
        Row("ELBO", bits(cells), paper=paper if mnist else None, **length),  # type: ignore[arg-type]
        Row("evidence, at least", bits(cells, "evidence"), **length),  # type: ignore[arg-type]
        Row("ELBO", [each["elbo"].mean().item() for each in cells], group=kind, digits=1),
        Row("gap, at least", [each["gap"].mean().item() for each in cells], group=kind, digits=2),
    ]
    if dequantised:
        rows.append(Row("code for the bytes, at most", [8 - b for b in bits(cells)], **length))  # type: ignore[arg-type]
    high = [(each["k_hat"] > 0.7).double().mean().item() for each in cells]
    rows.append(Row("data with k-hat above 0.7", high, unit="share", group=kind))
    rows.append(Row("smallest sigma", [each["least"].item() for each in cells], unit="", group=kind, digits=5))
    if not dequantised:
        rows.append(Row("of constant pixels", [each["constant bits"].item() for each in cells], **length))  # type: ignore[arg-type]
    return rows


def claims_of(shown: dict[str, list[dict[str, Tensor]]], floors: list[float], numbers: int) -> list[Claim]:
    """What theory and the paper lead to expect."""
    constants = int(shown[SQUARED][0]["constants"])
    tenfold = constants / numbers * math.log2(10)
    one, ten = (torch.distributions.Normal(0.0, s).log_prob(torch.tensor(0.0)).item() for s in (1e-3, 1e-2))
    rise = constants * (one - ten) / (numbers * math.log(2))
    vectors = [bits(shown[f"LV, floor {floor:g}"]) for floor in floors]
    means = [sum(each) / len(each) for each in vectors]
    words = ", ".join(f"{floor:g}: {mean:.2f}" for floor, mean in zip(floors, means, strict=True))
    lowest = shown[f"LV, floor {floors[-1]:g}"]
    lengths = [8 - b for kind in (BYTES_SCALAR, BYTES_VECTOR) for b in bits(shown[kind])]
    quiet = [bool(each["diverges"]) for kind in (SQUARED, BYTES_SCALAR, BYTES_VECTOR) for each in shown[kind]]
    fixed, scalar = (sum(bits(shown[kind])) / len(shown[kind]) for kind in (SQUARED, SCALAR))
    return [
        Claim(
            "in the limit the constant pixels alone add a fixed number of bits for each tenth of the floor",
            abs(rise - tenfold) < 1e-5,
            f"{constants} of {numbers} pixels, {tenfold:.2f} bits per pixel",
        ),
        Claim("the ELBO with a sigma for each pixel rises as its floor falls", means == sorted(means), words),
        Claim(
            "the divergence is detected at the lowest floor",
            all(bool(each["diverges"]) for each in lowest),
            f"smallest sigma {max(each['least'].item() for each in lowest):.2g}",
        ),
        Claim("it is not reported of squared error nor of dequantised data", not any(quiet), f"{sum(quiet)} reports"),
        Claim(
            "a learned sigma exceeds squared error", scalar > fixed, f"{scalar:.2f} against {fixed:.2f} bits per pixel"
        ),
        Claim("dequantised, every code is longer than nothing", min(lengths) > 0, f"at least {min(lengths):.2f} bits"),
    ]


def tiles(pictures: Tensor) -> Tensor:
    """Pictures side by side, ``(height, width)`` or with colours last, as they are shown: cut to [0, 1]."""
    cut = pictures.clamp(0, 1)
    side = torch.nn.functional.pad(cut, (1, 1, 1, 1), value=1.0)
    row = torch.cat(list(side), -1)
    return row.movedim(0, -1) if row.ndim == 3 else row


def draw_sheet(figure: Any, shown: dict[str, list[dict[str, Tensor]]]) -> None:
    """Each way of training a line: test data over their reconstructions, means of p(x given z), samples of it."""
    panels = figure.subplots(len(shown), 2, squeeze=False)
    for line, (kind, cells) in zip(panels, shown.items(), strict=True):
        first, rate = cells[0], bits(cells)[0]
        for axes, upper, lower in ((line[0], "test", "reconstructions"), (line[1], "means", "samples")):
            axes.imshow(torch.cat([tiles(first[upper]), tiles(first[lower])]).numpy(), cmap="gray", vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[])
        line[0].set_ylabel(f"{kind}\n{rate:.2f} bits/pixel", rotation=0, ha="right", va="center", fontsize=9)
    panels[0, 0].set_title("test data, and below their reconstructions", fontsize=9)
    panels[0, 1].set_title("means of p(x | z), z from the prior, and below samples x", fontsize=9)


def draw_bits(figure: Any, shown: dict[str, list[dict[str, Tensor]]], floors: list[float], mnist: bool) -> None:
    """The ELBO of each way of training, and how that of the vector follows its floor."""
    bars, curve = figure.subplots(1, 2, width_ratios=[3, 2])
    for place, (kind, cells) in enumerate(shown.items()):
        values = bits(cells)
        colour = COLOURS[0] if "dequantised" in kind else COLOURS[2] if kind.startswith("LV") else COLOURS[1]
        bars.barh(place, sum(values) / len(values), color=colour, height=0.6)
        bars.plot(values, [place] * len(values), "k.", markersize=4)
    bars.set_yticks(range(len(shown)), shown)
    bars.invert_yaxis()
    bars.axvline(8, color="black", linewidth=1, label="8: no code of bytes is beyond")
    means = [bits(shown[f"LV, floor {floor:g}"]) for floor in floors]
    curve.plot(floors, [sum(each) / len(each) for each in means], "o-", color=COLOURS[2], label="LV, data as they are")
    best = bits(shown[BYTES_VECTOR])
    curve.axhline(sum(best) / len(best), color=COLOURS[0], label="LV, dequantised")
    if mnist:
        for draw in (bars.axvline, curve.axhline):
            draw(PAPER["LV"], color="0.5", linestyle="--", label="paper's LV, 4.89")
        bars.axvline(PAPER["F"], color="0.5", linestyle=":", label="paper's F, 0.06")
    curve.set(xscale="log", xlabel="floor under sigma (pixels in [0, 1])", ylabel="test ELBO (bits per pixel)")
    curve.set_title("Constant pixels: the bound follows the floor", fontsize=9)
    curve.invert_xaxis()
    bars.set_xlabel("test ELBO (bits per pixel, higher is better)")
    bars.legend(frameon=False, fontsize=7)
    curve.legend(frameon=False, fontsize=7)
