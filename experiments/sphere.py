"""Points on a sphere under noise of a fixed scale: from R / sqrt(D) on, the best decoder knows nothing of the sphere.

Theorem 1 of Berger and Sebag (2020) says that a VAE whose noise sigma is at least R / sqrt(D - 1) must fail to find the
(D - 1)-sphere its data lie on. The best law of the means can be had exactly for every D
(:mod:`ppl_vae.studies.spheres`): the
sharp threshold is R / sqrt(D), and below it the best radius and evidence are known; trained VAEs are held against them.
"""

from __future__ import annotations

from functools import partial
from math import exp, inf, lgamma, sqrt
from typing import Any

import numpy as np
import torch
from ppl_vae.guides.full import Full
from ppl_vae.guides.linear_counts import LinearCounts
from ppl_vae.models.sphere import Sphere
from scipy.optimize import minimize
from torch import Tensor

from ppl_vae.evidence.measure import measure
from ppl_vae.objectives.importance_weighted import ImportanceWeightedELBO
from ppl_vae.studies.claims import Claim
from ppl_vae.studies.report import Report, Row
from ppl_vae.studies.spheres import best_evidence, best_radius, log_density, threshold
from ppl_vae.studies.study import Study
from ppl_vae.training.settings import Settings

PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "seeds": 1,
        "dimensions": [3],
        "shares": [0.5],
        "points": 100,
        "batch": 50,
        "epochs": 2,
        "draws": [4, 8],
        "tested": 20,
    },
    "cpu": {
        "seeds": 2,
        "dimensions": [2, 3, 10, 50],
        "shares": [0.5, 0.9],
        "points": 10_000,
        "batch": 250,
        "epochs": 12,
        "draws": [16, 64],
        "tested": 500,
    },
    "paper": {
        "seeds": 10,
        "dimensions": [2, 3, 10, 50],
        "shares": [0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98],
        "points": 20_000,
        "batch": 500,
        "epochs": 60,
        "draws": [64, 256],
        "tested": 2_000,
    },
}
WEIGHTS, ELBO = "importance weights", "ELBO"
COLOURS = {WEIGHTS: "#0072B2", ELBO: "#E69F00"}
MARKERS = {"radius": "o", "network": "^"}
NEAR = 0.02
"""Share of the radius, and nats, that count as arrived."""
KNOWN = [2, 3, 4, 10, 50, 200, 1000]
"""Dimensions in which what is exact is checked."""
NORMAL = [2, 3, 10, 50]
"""Those in which the best normal guide is."""


def frames(points: int, dimensions: int) -> Tensor:
    """Points uniform on the unit sphere: orthogonal frames turned by chance, and their opposites.

    Their mean is exactly zero and their covariance exactly that of the sphere, as in the large sample that the theorem
    is about. Independent points would have directions of more variance than others, which a decoder may find above the
    threshold.
    """
    turned = torch.linalg.qr(torch.randn(-(-points // (2 * dimensions)), dimensions, dimensions)).Q
    found = torch.cat([turned, -turned]).flatten(0, 1)
    return found[torch.randperm(len(found))]


def scales(dimensions: int, shares: list[float]) -> dict[str, float]:
    """Sigma by where it lies: below the threshold, between it and the paper's, and above both (R = 1)."""
    sharp, paper = threshold(1.0, dimensions), 1 / sqrt(dimensions - 1)
    below = {f"{share:g} R/sqrt(D)": share * sharp for share in shares}
    return below | {"between": (sharp + paper) / 2, "above": 1.1 * paper}


def normal_limit(sigma: float, dimensions: int) -> dict[str, float]:
    r"""The highest ELBO of the decoder r z / |z| under normal guides, and its radius (R = 1).

    The data and the prior look the same from every side, and so does the best guide: it has its mean at
    :math:`m\,x/R`, the variance a along x and b across it. With C the mean cosine between z and x under it,

    .. math:: -\frac D2 \log 2 \pi \sigma^2 - \frac{R^2 + r^2 - 2 r R\, C(m, a, b)}{2 \sigma^2}
        - \mathrm{KL}(m, a, b)

    is highest at r = R C; the other three are searched. With 1/|z| the integral of
    :math:`2 \pi^{-1/2} e^{-t^2 |z|^2}` over t, C is one over a single number,

    .. math:: C = \frac{2 m}{\sqrt \pi} \int_0^\infty
        \frac{e^{-m^2 t^2 / (1 + 2 a t^2)}}{(1 + 2 a t^2)^{3/2} (1 + 2 b t^2)^{(D - 1)/2}}\, dt.

    Returns:
        ``radius``, ``elbo``, and the guide's ``mean``, ``along`` and ``across``.
    """
    angle, weight = np.polynomial.legendre.leggauss(200)
    angle, weight = np.pi / 4 * (angle + 1), np.pi / 4 * weight
    t2 = np.tan(angle) ** 2 / dimensions
    weight = 2 / sqrt(np.pi * dimensions) * weight / np.cos(angle) ** 2

    def cosine(m: float, a: float, b: float) -> float:
        one, two = 1 + 2 * a * t2, 1 + 2 * b * t2
        exponent = -(m**2) * t2 / one - 1.5 * np.log(one) - (dimensions - 1) / 2 * np.log(two)
        return float(m * (weight * np.exp(exponent)).sum())

    def loss(parameters: Any) -> float:
        m, a, b = parameters[0], *np.exp(parameters[1:])
        divergence = (m**2 + a - 1 - np.log(a) + (dimensions - 1) * (b - 1 - np.log(b))) / 2
        return float(divergence - cosine(m, a, b) ** 2 / (2 * sigma**2))

    # From the prior, a saddle point, and from guides more and more certain.
    starts = [(share * sqrt(dimensions), -share, -share) for share in (0.01, 0.3, 0.6, 1.0)]
    options = {"ftol": 1e-14, "gtol": 1e-8}
    found = min(
        (minimize(loss, start, method="L-BFGS-B", options=options) for start in starts),
        key=lambda each: float(each.fun),
    )
    m, a, b = (float(found.x[0]), *np.exp(found.x[1:]).tolist()) if found.fun < -1e-9 else (0.0, 1.0, 1.0)
    elbo = float(log_density(1.0, 0.0, sigma, dimensions)) - min(float(found.fun), 0.0)
    return {"radius": abs(cosine(m, a, b)), "elbo": elbo, "mean": m, "along": a, "across": b}


def normal_threshold(dimensions: int) -> float:
    """Noise from which on r = 0 is a local maximum of the ELBO of r z / |z| under normal guides: R E|z| / D, for R = 1.

    Near r = 0 a guide can follow only what is linear in z of z / |z|, whose share of the variance is (E|z|)^2 / D.
    """
    return sqrt(2) * exp(lgamma((dimensions + 1) / 2) - lgamma(dimensions / 2)) / dimensions


def trained(
    study: Study, name: str, decoder: Any, way: str, sigma: float, x: Tensor, settings: Settings, tested: int
) -> dict[str, Tensor]:
    """A VAE with noise that stays as it is: the radius of its means, and its evidence on points it has not seen."""
    dimensions = x.shape[1]
    torch.manual_seed(settings.seed)
    model = Sphere(decoder, sigma=str(sigma), shape=(dimensions,))
    # In many dimensions the posterior is nearly normal, with its mean linear in x and a variance that hardly varies.
    guide = Full(model, x[:2], layers=1, width=64) if dimensions < 10 else LinearCounts(model, x[:2])
    first = guide.encoder if isinstance(guide, LinearCounts) else guide.encoder.linear
    with torch.no_grad():
        if isinstance(guide, LinearCounts):
            for parameter in guide.parameters():
                parameter.mul_(0.01)
        if decoder == "radius":
            # It starts where z points at x, far from collapse; a network must find out by itself where z should point.
            first.weight[:, :dimensions] = sqrt(dimensions) * torch.eye(dimensions)
    study.train(name, model, guide, x, settings, objective=ImportanceWeightedELBO() if way == WEIGHTS else None)
    model, guide = model.cpu(), guide.cpu()
    torch.manual_seed(settings.seed)
    test = torch.nn.functional.normalize(torch.randn(tested, dimensions), dim=-1)
    with torch.no_grad():
        radii = model.mean(torch.randn(10_000, dimensions)).norm(dim=-1)
    found = measure(model, guide, test, method="importance", draws=2_000)
    values = found.pointwise()
    if decoder == "radius":
        exact = log_density(test.norm(dim=-1).double().numpy(), radii.mean().item(), sigma, dimensions)
        values |= {"weighed": values["evidence"], "evidence": torch.as_tensor(exact)}
    return values | {"radius": radii.mean(), "spread": radii.std()}


def run(
    study: Study,
    *,
    seeds: int,
    dimensions: list[int],
    shares: list[float],
    points: int,
    batch: int,
    epochs: int,
    draws: list[int],
    tested: int,
) -> Report:
    """The experiment.

    Arguments:
        study: Where it is kept.
        seeds: Repetitions of every training.
        dimensions: Of the space, D.
        shares: Noise below the threshold, in its units; one between the thresholds and one above both are added.
        points: Training data.
        batch: Of them a step.
        epochs: Of each training; twice as many by the ELBO, whose steps are cheap.
        draws: A datum and step, of the importance weights, in the first two thirds of the epochs and in the last.
        tested: Points that the evidence is measured on.
    """
    cells: dict[tuple[int, str], dict[str, Any]] = {}
    for d in dimensions:
        for place, sigma in scales(d, shares).items():
            cell = cells[d, place] = {"sigma": sigma, "limit": normal_limit(sigma, d)}
            for decoder in MARKERS:
                for way in COLOURS:
                    cell[decoder, way] = []
                    for seed in range(seeds):
                        torch.manual_seed(seed)
                        x = frames(points, d).to(study.device)
                        first = epochs * 2 // 3
                        schedule = (
                            [(first, draws[0]), (epochs - first, draws[1])] if way == WEIGHTS else [(2 * epochs, 1)]
                        )
                        rate = (0.05 if d <= 10 else 0.1) if decoder == "radius" else 0.02
                        settings = Settings(schedule, batch_size=batch, learning_rate=rate, decay="cosine", seed=seed)
                        name = f"{d}-{slug(place)}-{decoder}-{slug(way)}-{seed}"
                        compute = partial(trained, study, name, decoder, way, sigma, x, settings, tested)
                        cell[decoder, way].append(study.values(name, compute))
    rows = [row for (d, place), cell in cells.items() for row in rows_of(d, place, cell)]
    study.figure("heat", draw_heat, (11.0, 3.9))
    study.figure("radii", partial(draw_radii, cells=cells), (3.0 * len(dimensions) + 0.8, 6.2))
    return Report("Spheres under fixed noise (theorem 1)", rows, [*exact_claims(), *trained_claims(cells)], NOTES)


def slug(words: str) -> str:
    """As part of a file's name."""
    return words.replace(" R/sqrt(D)", "").replace(" ", "-")


NOTES = (
    "R = 1. limit: of the radius and the evidence, the best that any decoder can have, exactly; of the ELBO of the "
    "decoder r z / |z|, the best of any normal guide, by a search over three numbers",
    "decoder 'radius' is r z / |z|, which can give the best law of the means, and its evidence is exact; 'network' is "
    "two tanh layers of 64, its radius the mean of |f(z)| under the prior, its evidence that of "
    "2,000 importance weights, a lower bound",
    "training points are orthogonal frames and their opposites, so that mean and covariance are those of the sphere; "
    "test points are independent",
)


def rows_of(d: int, place: str, cell: dict[str, Any]) -> list[Row]:
    """What was measured in one space with one noise."""
    sigma, rows = cell["sigma"], []
    for decoder in MARKERS:
        for way in COLOURS:
            group, found = f"D = {d}, sigma {place} = {sigma:.4f}, {decoder}, {way}", cell[decoder, way]
            bound = cell["limit"]["elbo"] if decoder == "radius" else None
            rows += [
                Row(
                    "radius",
                    [each["radius"].item() for each in found],
                    limit=best_radius(1.0, sigma, d),
                    unit="R",
                    group=group,
                    digits=4,
                ),
                Row(
                    "evidence",
                    [each["evidence"].mean().item() for each in found],
                    limit=best_evidence(1.0, sigma, d),
                    group=group,
                    digits=4,
                ),
                Row("ELBO", [each["elbo"].mean().item() for each in found], limit=bound, group=group, digits=4),
            ]
    return rows


def exact_claims() -> list[Claim]:
    """What is known without training."""
    sharp = all(
        best_radius(1.0, threshold(1.0, d) * (1 - 1e-6), d) > 0 == best_radius(1.0, threshold(1.0, d) * (1 + 1e-6), d)
        for d in KNOWN
    )
    worst, gained = 0.0, inf
    for d in KNOWN:
        radii = np.linspace(0, 1.2, 2_401)
        for sigma in scales(d, [0.3, 0.7, 0.95]).values():
            by_search = radii[np.argmax(log_density(1.0, radii, sigma, d))]
            worst = max(worst, abs(by_search - best_radius(1.0, sigma, d)))
        lost = log_density(1.0, np.linspace(0.01, 1.2, 120), scales(d, [])["between"], d) - log_density(
            1.0, 0.0, scales(d, [])["between"], d
        )
        gained = min(gained, float(-lost.max()))
    early = {d: normal_limit((normal_threshold(d) + threshold(1.0, d)) / 2, d)["radius"] for d in NORMAL}
    middle = ", ".join(f"{(normal_threshold(d) * sqrt(d) + 1) / 2:.3f}" for d in NORMAL)
    words = f"D from {KNOWN[0]} to {KNOWN[-1]}"
    return [
        Claim.exact(
            "in the limit the means collapse at sigma = R/sqrt(D), and not before",
            sharp,
            f"{words}, one part in a million to either side",
        ),
        Claim.exact(
            "in the limit they have collapsed between R/sqrt(D) and the paper's R/sqrt(D - 1)",
            bool(gained > 0),
            f"{words}: any radius loses",
        ),
        Claim.exact(
            "in the limit the best radius is that found by search",
            bool(worst < 5.1e-4),
            f"{words}: at most {worst:.1g} apart, half a step of the search",
        ),
        Claim.exact(
            "in the limit the ELBO of normal guides collapses before the likelihood does, for the decoder r z / |z|",
            not any(early.values()),
            f"for D = {', '.join(map(str, NORMAL))} it has at sigma = {middle} R/sqrt(D)",
        ),
    ]


def trained_claims(cells: dict[tuple[int, str], dict[str, Any]]) -> list[Claim]:
    """How near trained VAEs came."""
    claims = []
    for d in dict.fromkeys(d for d, _ in cells):
        here = {place: cell for (at, place), cell in cells.items() if at == d}
        for decoder in MARKERS:
            near, left, short = list[Claim](), list[Claim](), list[Claim]()
            for place, cell in here.items():
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
            for place, cell in here.items()
        ]
        title = f"D = {d}, radius, {ELBO}"
        claims.append(Claim.every(f"{title}: the radius is within 0.02 R of the best under a normal guide", apart))
    return claims


def draw_heat(figure: Any) -> None:
    """Figure 2 of Berger and Sebag (2020) for three numbers of dimensions, with the best radius drawn on it."""
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
        axes.plot([0, *inner], [0, *curve], color="#D55E00", linewidth=2, label="best radius r*")
        axes.axvline(sqrt(d), color="white", linewidth=1.2, label=r"$\sqrt{D}$: sharp")
        axes.axvline(sqrt(d - 1), color="white", linewidth=1.2, linestyle=":", label=r"$\sqrt{D-1}$: theorem 1")
        axes.plot([0, most], [0, most], color="0.6", linewidth=0.8, linestyle="--", label="r = R")
        axes.set(xlabel=r"$R/\sigma$", ylabel=r"$r/\sigma$", title=f"D = {d}")
    legend = panels[0].legend(loc="upper left", fontsize=8, facecolor="0.25", framealpha=0.9)
    for text in legend.get_texts():
        text.set_color("white")
    bar = figure.colorbar(shown, ax=panels, shrink=0.85)
    bar.set_label("log p(x) less that of the best r (nats)")


def draw_radii(figure: Any, cells: dict[tuple[int, str], dict[str, Any]]) -> None:
    """Radius and lost evidence of trained VAEs against the noise, with what is exact."""
    spaces = list(dict.fromkeys(d for d, _ in cells))
    panels = figure.subplots(2, len(spaces), sharex="col", sharey="row", squeeze=False)
    for (above, below), d in zip(panels.T, spaces, strict=True):
        here = [cell for (at, _), cell in cells.items() if at == d]
        most = 1.08 * max(cell["sigma"] for cell in here) * sqrt(d)
        shares = np.linspace(min(cell["sigma"] for cell in here) * sqrt(d) - 0.05, most, 200)
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
        for decoder, marker in MARKERS.items():
            for way, colour in COLOURS.items():
                style = {"color": colour, "marker": marker, "linestyle": "", "fillstyle": "none"}
                where = [cell["sigma"] * sqrt(d) for cell in here for _ in cell[decoder, way]]
                above.plot(
                    where,
                    [each["radius"] for cell in here for each in cell[decoder, way]],
                    label=f"{decoder}, {way}",
                    **style,
                )
                lost = [
                    best_evidence(1.0, cell["sigma"], d) - each["evidence"].mean().item()
                    for cell in here
                    for each in cell[decoder, way]
                ]
                below.plot(where, lost, **style)
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
