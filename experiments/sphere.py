"""Points on a sphere under noise of a fixed scale: from R / sqrt(D) on, the best decoder knows nothing of the sphere.

Theorem 1 of Berger and Sebag (2020) says that a VAE whose noise sigma is at least R / sqrt(D - 1) fails to find the
(D - 1)-sphere its data lie on. The best distribution of the means is known exactly for every D
(:mod:`ppl_vae.studies.spheres`): the sharp threshold is R / sqrt(D), and below it the best radius and evidence are
known. Trained VAEs are compared with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import product
from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ppl_vae.guides.full import Full
from ppl_vae.guides.linear_counts import LinearCounts
from ppl_vae.models.sphere import Sphere
from torch import Tensor

from ppl_vae.evidence.figures import OKABE_ITO, draw_seeds
from ppl_vae.evidence.measure import measure
from ppl_vae.objectives.importance_weighted import ImportanceWeightedELBO
from ppl_vae.studies.claims import Claim
from ppl_vae.studies.grid import Grid, slug
from ppl_vae.studies.report import Report, Row
from ppl_vae.studies.sphere_guides import frames, normal_limit
from ppl_vae.studies.sphere_limits import draw_density, exact_claims, scales
from ppl_vae.studies.spheres import best_evidence, best_radius, log_density
from ppl_vae.studies.study import Study
from ppl_vae.training.settings import Settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "seeds": 1, "dimensions": [3], "shares": [0.5], "points": 100, "batch": 50, "epochs": 2, "draws": [4, 8],
        "tested": 20,
    },
    "cpu": {
        "seeds": 2, "dimensions": [2, 3, 10, 50], "shares": [0.5, 0.9], "points": 10_000, "batch": 250, "epochs": 12,
        "draws": [16, 64], "tested": 500,
    },
    "paper": {
        "seeds": 10, "dimensions": [2, 3, 10, 50], "shares": [0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98],
        "points": 20_000, "batch": 500, "epochs": 60, "draws": [64, 256], "tested": 2_000,
    },
}  # fmt: skip
WEIGHTS, ELBO = "importance weights", "ELBO"
COLOURS = {WEIGHTS: OKABE_ITO.blue, ELBO: OKABE_ITO.orange}
MARKERS = {"radius": "o", "network": "^"}
Condition = tuple[int, str, str, str]
"""Dimensions, where the noise lies, decoder, and way of training."""
NEAR = 0.02
"""Share of the radius, and nats, that count as arrived."""


def cell(study: Study, sizes: Mapping[str, Any], condition: Condition, seed: int) -> dict[str, Tensor]:
    """A VAE with fixed noise: the radius of its means, and its evidence on test points."""
    dimensions, place, decoder, way = condition
    sigma, epochs, draws = scales(dimensions, sizes["shares"])[place], sizes["epochs"], sizes["draws"]
    torch.manual_seed(seed)
    x = frames(sizes["points"], dimensions).to(study.device)
    first = epochs * 2 // 3
    schedule = [(first, draws[0]), (epochs - first, draws[1])] if way == WEIGHTS else [(2 * epochs, 1)]
    rate = (0.05 if dimensions <= 10 else 0.1) if decoder == "radius" else 0.02
    settings = Settings(schedule, batch_size=sizes["batch"], learning_rate=rate, decay="cosine", seed=seed, clip=0.0)
    torch.manual_seed(seed)
    model = Sphere(decoder, sigma=str(sigma), shape=(dimensions,))
    # In many dimensions the posterior is nearly normal, with its mean linear in x and a variance that hardly varies.
    guide = Full(model, x[:2], layers=1, width=64, activation="relu") if dimensions < 10 else LinearCounts(model, x[:2])
    linear = guide.encoder if isinstance(guide, LinearCounts) else guide.encoder.linear
    with torch.no_grad():
        if isinstance(guide, LinearCounts):
            for parameter in guide.parameters():
                parameter.mul_(0.01)
        if decoder == "radius":
            # It starts where z points at x, far from collapse; a network has to learn where z points.
            linear.weight[:, :dimensions] = sqrt(dimensions) * torch.eye(dimensions)
    objective = ImportanceWeightedELBO() if way == WEIGHTS else None
    study.train(f"{slug(condition)}-{seed}", model, guide, x, settings, objective=objective)
    model, guide = model.cpu(), guide.cpu()
    torch.manual_seed(seed)
    test = torch.nn.functional.normalize(torch.randn(sizes["tested"], dimensions), dim=-1)
    with torch.no_grad():
        radii = model.mean(torch.randn(10_000, dimensions)).norm(dim=-1)
    values = measure(model, guide, test, method="importance", draws=2_000).pointwise()
    if decoder == "radius":
        exact = log_density(test.norm(dim=-1).double().numpy(), radii.mean().item(), sigma, dimensions)
        values |= {"weighed": values["evidence"], "evidence": torch.as_tensor(exact)}
    return values | {"radius": radii.mean(), "spread": radii.std()}


def run(study: Study, *, seeds: int, dimensions: list[int], **sizes: Any) -> Report:
    """The experiment.

    Arguments:
        study: Folder of the results.
        seeds: Number of repetitions of every training.
        dimensions: Dimensions D of the space.
        sizes: ``shares`` of the threshold, the noise below it (one between the thresholds and one above both are
            added); number of training ``points``, and of those in a ``batch``; ``epochs`` of each training, twice as
            many by the ELBO, whose steps are cheap; number of ``draws`` per datum and step of the importance weights,
            in the first two thirds of the epochs and in the last; number of test points, ``tested``.
    """
    noise = {d: scales(d, sizes["shares"]) for d in dimensions}
    conditions = [(d, p, decoder, way) for d in dimensions for p in noise[d] for decoder in MARKERS for way in COLOURS]
    trained = Grid(study, conditions, seeds).compute(partial(cell, study, sizes))
    cells: dict[tuple[int, str], dict[str, Any]] = {
        (d, place): {"sigma": sigma, "limit": normal_limit(sigma, d)}
        | {(decoder, way): trained[d, place, decoder, way] for decoder in MARKERS for way in COLOURS}
        for d in dimensions
        for place, sigma in noise[d].items()
    }
    rows = [row for (d, place), each in cells.items() for row in rows_of(d, place, each)]
    study.figure("heat", draw_density, (11.0, 3.9))
    study.figure("radii", partial(draw_radii, cells=cells), (3.0 * len(dimensions) + 0.8, 6.2))
    return Report("Spheres under fixed noise (theorem 1)", rows, [*exact_claims(), *trained_claims(cells)], NOTES)


NOTES = (
    "R = 1. limit: of the radius and the evidence, the best that any decoder can have, exactly; of the ELBO of the "
    "decoder r z / |z|, the best of any normal guide, by a search over three numbers",
    "decoder 'radius' is r z / |z|, which can give the best distribution of the means, and its evidence is exact; "
    "'network' is two tanh layers of 64, its radius the mean of |f(z)| under the prior, its evidence that of "
    "2,000 importance weights, a lower bound",
    "training points are orthogonal frames and their opposites, so that mean and covariance are those of the sphere; "
    "test points are independent",
)


def rows_of(d: int, place: str, cell: dict[str, Any]) -> list[Row]:
    """What was measured in one space with one noise."""
    sigma, rows = cell["sigma"], []
    radius, evidence = best_radius(1.0, sigma, d), best_evidence(1.0, sigma, d)
    for decoder, way in product(MARKERS, COLOURS):
        group = f"D = {d}, sigma {place} = {sigma:.4f}, {decoder}, {way}"
        bound = cell["limit"]["elbo"] if decoder == "radius" else None
        quantities = {"radius": (radius, "R"), "evidence": (evidence, "nats"), "ELBO": (bound, "nats")}
        for name, (limit, unit) in quantities.items():
            values = [each[name.lower()].mean().item() for each in cell[decoder, way]]
            rows.append(Row(name, values, limit=limit, unit=unit, group=group, digits=4))
    return rows


def trained_claims(cells: dict[tuple[int, str], dict[str, Any]]) -> list[Claim]:
    """How near trained VAEs come to what is exact."""
    claims = []
    for d in dict.fromkeys(d for d, _ in cells):
        space = {place: cell for (dimensions, place), cell in cells.items() if dimensions == d}
        for decoder in MARKERS:
            near, left, short = list[Claim](), list[Claim](), list[Claim]()
            for place, cell in space.items():
                best, top = best_radius(1.0, cell["sigma"], d), best_evidence(1.0, cell["sigma"], d)
                radii = [each["radius"].item() for each in cell[decoder, WEIGHTS]]
                if best:
                    near.append(Claim.within(place, [radius / best for radius in radii], NEAR, of=1.0))
                else:
                    left.append(Claim.below(place, radii, NEAR))
                lost = [top - each["evidence"].mean().item() for each in cell[decoder, WEIGHTS]]
                short.append(Claim.below(place, lost, NEAR))
            title = f"D = {d}, {decoder}, {WEIGHTS}"
            claims += [
                Claim.every(f"{title}: below the threshold the radius is within 2% of r*", near),
                Claim.every(f"{title}: from the threshold on it is below 0.02 R", left),
                Claim.every(f"{title}: evidence within {NEAR} nats of the best", short),
            ]
        apart = [
            Claim.within(place, [each["radius"].item() for each in cell["radius", ELBO]], NEAR, cell["limit"]["radius"])
            for place, cell in space.items()
        ]
        title = f"D = {d}, radius, {ELBO}"
        claims.append(Claim.every(f"{title}: the radius is within 0.02 R of the best under a normal guide", apart))
    return claims


def draw_radii(figure: Figure, cells: dict[tuple[int, str], dict[str, Any]]) -> None:
    """Radius and lost evidence of trained VAEs against the noise, with what is exact."""
    spaces = list(dict.fromkeys(d for d, _ in cells))
    panels = figure.subplots(2, len(spaces), sharex="col", sharey="row", squeeze=False)
    for (above, below), d in zip(panels.T, spaces, strict=True):
        space = [cell for (dimensions, _), cell in cells.items() if dimensions == d]
        most = 1.08 * max(cell["sigma"] for cell in space) * sqrt(d)
        shares = np.linspace(min(cell["sigma"] for cell in space) * sqrt(d) - 0.05, most, 200)
        above.plot(shares, [best_radius(1.0, share / sqrt(d), d) for share in shares], color="black", label="exact r*")
        coarse = shares[::4]
        above.plot(
            coarse,
            [normal_limit(share / sqrt(d), d)["radius"] for share in coarse],
            color=COLOURS[ELBO],
            linestyle="--",
            label="exact, best ELBO of r z/|z|",
        )
        tops = [best_evidence(1.0, share / sqrt(d), d) for share in shares]
        flat = [float(log_density(1.0, 0.0, share / sqrt(d), d)) for share in shares]
        below.plot(shares, np.array(tops) - flat, color="0.6", linestyle=":", label="lost by collapse (r = 0)")
        for (decoder, marker), (way, colour) in product(MARKERS.items(), COLOURS.items()):
            trained = {cell["sigma"]: cell[decoder, way] for cell in space}
            radii = {sigma * sqrt(d): [each["radius"].item() for each in seeds] for sigma, seeds in trained.items()}
            lost = {
                sigma * sqrt(d): [best_evidence(1.0, sigma, d) - each["evidence"].mean().item() for each in seeds]
                for sigma, seeds in trained.items()
            }
            draw_seeds(above, radii, colour, marker, label=f"{decoder}, {way}")
            draw_seeds(below, lost, colour, marker)
        for axes in (above, below):
            axes.axvline(1, color="0.5", linewidth=0.9)
            axes.axvline(sqrt(d / (d - 1)), color="0.5", linewidth=0.9, linestyle=":")
        above.set_title(f"D = {d}")
        below.set_xlabel(r"$\sigma\sqrt{D}/R$ (solid: 1; dotted: theorem 1)", fontsize=8)
        below.set_yscale("symlog", linthresh=0.01)
        below.set_ylim(bottom=-0.005)
    panels[0, 0].set_ylabel("radius of the means (R)")
    panels[1, 0].set_ylabel("evidence lost (nats per datum)")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    more, words = panels[1, 0].get_legend_handles_labels()
    figure.legend(
        handles + more, labels + words, loc="outside upper center", ncols=len(spaces), frameon=False, fontsize=8
    )
