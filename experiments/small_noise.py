"""A curved decoder as its noise vanishes: does the gap vanish, and which part of it?

Dai and Wipf (2019) say that a Gaussian VAE whose decoder variance goes to zero loses nothing by its Gaussian guide;
Schlesinger, Shekhovtsov and Flach (2021) leave that limit of their example 1 to future work. Where little noise is
left, the posterior is normal with precision :math:`J^\\top J / \\sigma^2 + I` with J the decoder's Jacobian: a guide
with full covariance contains it, a diagonal one only where the columns of J are orthogonal, and a network must hit a
posterior ever narrower. VAEs learn a curved surface with noise from 2 to 0.01 around it, and their gaps are bracketed
and split.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import torch
from ppl_vae.guides.full import Full
from ppl_vae.guides.mean_field import MeanField
from ppl_vae.models.ppca import Ppca
from torch import Tensor

from ppl_vae.diagnostics.gap.split import split_gap
from ppl_vae.evidence.figures import OKABE_ITO, draw_seeds
from ppl_vae.evidence.measure import measure
from ppl_vae.studies.claims import Claim
from ppl_vae.studies.curvature import surface
from ppl_vae.studies.grid import Cells, Grid, slug
from ppl_vae.studies.report import Report, Row, gap_rows
from ppl_vae.studies.study import Study
from ppl_vae.training.settings import Settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "seeds": 1, "noises": [1.0, 0.1], "points": 200, "epochs": 3, "tested": 20, "draws": 50, "split": 8,
        "steps": 10,
    },
    "cpu": {
        "seeds": 3, "noises": [2.0, 1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01], "points": 10_000, "epochs": 100,
        "tested": 200, "draws": 5_000, "split": 40, "steps": 300,
    },
    "paper": {
        "seeds": 10, "noises": [2.0, 1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01], "points": 50_000, "epochs": 500,
        "tested": 1_000, "draws": 20_000, "split": 200, "steps": 1_000,
    },
}  # fmt: skip
GUIDES = {"diagonal": MeanField, "full covariance": Full}
COLOURS = {"diagonal": OKABE_ITO.vermilion, "full covariance": OKABE_ITO.blue}
FAMILY, NETWORK = "family gap", "amortisation gap"
SMALL = 0.02
"""Nats that are little beside the differences between conditions."""

Condition = tuple[float, str]
"""The noise, and the guide's family."""


def cell(study: Study, sizes: Mapping[str, Any], condition: Condition, seed: int) -> Mapping[str, Tensor | float]:
    """A pair trained by the ELBO, its gap bracketed and split on test data, and what little noise predicts."""
    noise, kind = condition
    torch.manual_seed(seed)
    means = surface(torch.randn(sizes["points"] + sizes["tested"], 2, device=study.device))
    x, test = (means + noise * torch.randn_like(means)).split([sizes["points"], sizes["tested"]])
    model = Ppca(2, hidden=2, shape=tuple(x.shape[1:]))
    guide = GUIDES[kind](model, x[:2], layers=2, width=64)
    settings = Settings([(sizes["epochs"], 1)], learning_rate=5e-3, decay="cosine", seed=seed)
    study.train(f"{slug(condition)}-{seed}", model, guide, x, settings)
    found = measure(model, guide, test, method="importance", draws=sizes["draws"])
    bracket = found.brackets().get("gap")
    options = {"method": "ascent", "steps": sizes["steps"], "draws": 100, "restarts": 2}
    parts = gap_rows(split_gap(model, guide, test[: sizes["split"]], **options))
    codes = guide.members(guide.encoder(test))["z"].mean.detach()
    return found.pointwise() | {
        "sigma": model.log_scale.exp().detach(),
        "lower": bracket.lower if bracket else torch.nan,
        "upper": bracket.upper if bracket and bracket.upper is not None else torch.inf,
        FAMILY: parts[FAMILY],
        NETWORK: parts[NETWORK],
        "predicted": predicted(model, codes),
    }


def predicted(model: Ppca, z: Tensor) -> Tensor:
    r"""What a diagonal guide loses at least where the posterior is normal, ``(data,)``, in nats.

    .. math:: \tfrac12 \sum_i \log P_{ii} - \tfrac12 \log\det P, \qquad P = J^\top J / \sigma^2 + I

    Arguments:
        model: The decoder.
        z: Where its Jacobian J is taken, ``(data, latents)``.
    """
    slopes = torch.func.vmap(torch.func.jacrev(lambda one: model.mean(one[None])[0]))(z).detach()
    precision = slopes.mT @ slopes / model.log_scale.exp().detach() ** 2 + torch.eye(z.shape[-1], device=z.device)
    half: Tensor = (precision.diagonal(dim1=-2, dim2=-1).log().sum(-1) - torch.logdet(precision)) / 2
    return half


def run(study: Study, *, seeds: int, noises: list[float], **sizes: Any) -> Report:
    """The experiment.

    Arguments:
        study: Folder of the results.
        seeds: Number of repetitions, each with its own data.
        noises: Standard deviations of the noise around the surface.
        sizes: Number of training ``points``; ``epochs`` of each training; number of test data whose gap is bracketed,
            ``tested``, by so many importance ``draws``; number of those whose gap is ``split``, by gradient ascent in
            so many ``steps``.
    """
    cells = Grid(study, product(noises, GUIDES), seeds).compute(partial(cell, study, sizes))
    rows = [row for condition in cells for row in rows_of(condition, cells)]
    study.figure("gaps", partial(draw, cells=cells, noises=noises), (8.4, 3.6))
    return Report("Gaps of a curved decoder as its noise vanishes", rows, claims_of(cells, noises), NOTES)


NOTES = (
    "gap: of test data, evidence by importance weights; its ends are those of 95% brackets, means over seeds",
    "family and amortisation gap: by gradient ascent for each datum, of the first test data; limit: what a diagonal "
    "guide loses under a normal posterior with the precision of the learned decoder's Jacobian, 0 for a full one",
)


def average(cells: Cells[Condition], condition: Condition, key: str) -> float:
    """Mean of a value over the seeds."""
    return Row(key, cells.means(condition, key)).mean


def rows_of(condition: Condition, cells: Cells[Condition]) -> list[Row]:
    """What was measured of one family at one noise."""
    noise, kind = condition
    group = f"noise {noise:g}, {kind}"
    limit = average(cells, condition, "predicted") if kind == "diagonal" else 0.0
    names = {"gap": "gap", "lower": "gap, lower end", "upper": "gap, upper end", FAMILY: FAMILY, NETWORK: NETWORK}
    return [
        *(
            Row(name, cells.means(condition, key), limit=limit if key == FAMILY else None, group=group)
            for key, name in names.items()
        ),
        Row("sigma", cells.means(condition, "sigma"), unit="data", group=group),
    ]


def claims_of(cells: Cells[Condition], noises: list[float]) -> list[Claim]:
    """What the limit leads to expect, at the smallest noise."""
    least, most = min(noises), max(noises)
    claims = [
        Claim.below(
            f"noise {least:g}, {kind}: the family gap is below {SMALL} nats", cells.means((least, kind), FAMILY), SMALL
        )
        for kind in GUIDES
    ]
    for kind in GUIDES:
        text = f"{kind}: the network's part is wider at noise {least:g} than at {most:g}"
        claims.append(Claim.greater(text, cells.differences((least, kind), (most, kind), NETWORK)))
        text = f"noise {least:g}, {kind}: the whole gap is below {SMALL} nats"
        claims.append(Claim.below(text, cells.means((least, kind), "upper"), SMALL))
    return claims


def draw(figure: Figure, cells: Cells[Condition], noises: list[float]) -> None:
    """The parts of the gap against the noise."""
    panels = figure.subplots(1, 3, sharey=True)
    for axes, key, title in zip(
        panels, ("gap", FAMILY, NETWORK), ("Gap", "Family's part", "Network's part"), strict=True
    ):
        axes.set_xscale("log")
        axes.set_yscale("symlog", linthresh=0.01)
        for kind, colour in COLOURS.items():
            draw_seeds(
                axes, {noise: cells.means((noise, kind), key) for noise in noises}, colour, label=f"{kind} guide"
            )
            if key == "gap":
                ends = [[average(cells, (noise, kind), end) for noise in noises] for end in ("lower", "upper")]
                axes.fill_between(noises, *ends, color=colour, alpha=0.2, linewidth=0)
        if key == FAMILY:
            means = [average(cells, (noise, "diagonal"), "predicted") for noise in noises]
            axes.plot(noises, means, ":", color="black", label="Jacobian's prediction, diagonal")
        axes.axhline(0, color="0.8", linewidth=0.8, zorder=0)
        axes.set(xlabel="noise of the data")
        axes.set_title(title, fontsize=9)
    panels[0].set_ylabel("nats per datum")
    handles = {
        label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=3, frameon=False, fontsize=9)
