"""A Gaussian VAE on a curved surface: does ELBO training straighten the decoder, and what does that cost?

Example 1 of Schlesinger, Shekhovtsov and Flach (2021) says that a diagonal guide is tight under a linear decoder alone,
and that ELBO training pulls the decoder there. Decoders with hidden layers learn a known surface with more and less
noise around it, and digits: by the ELBO of a diagonal guide, from scratch and from the end of a training by importance
weights; by the ELBO of a guide with full covariance; and by importance weights, a tight bound on the likelihood. With
two latent dimensions the evidence of surfaces is exact, and the true surface says what is lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import torch
from ppl_vae.guides.full import Full
from ppl_vae.guides.mean_field import MeanField
from ppl_vae.models.ppca import Ppca
from torch import Tensor

from ppl_vae.data import load_corpus
from ppl_vae.data.scaling import scaled
from ppl_vae.diagnostics.gap.split import split_gap
from ppl_vae.evidence.figures import OKABE_ITO, draw_seeds
from ppl_vae.evidence.measure import measure
from ppl_vae.objectives.importance_weighted import ImportanceWeightedELBO
from ppl_vae.programs.simulate import simulate
from ppl_vae.studies.claims import Claim
from ppl_vae.studies.curvature import curvature, mesh, surface
from ppl_vae.studies.grid import Cells, Grid, slug
from ppl_vae.studies.report import Report, Row, gap_rows
from ppl_vae.studies.study import Study
from ppl_vae.training.settings import Settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "seeds": 1, "noises": [1.0], "digits": False, "points": 200, "epochs": 3, "draws": 4, "tested": 40, "split": 0,
    },
    "cpu": {
        "seeds": 3, "noises": [0.5, 1.0, 2.0], "digits": True, "points": 10_000, "epochs": 50, "draws": 16,
        "tested": 500, "split": 40,
    },
    "paper": {
        "seeds": 10, "noises": [0.25, 0.5, 1.0, 1.5, 2.0], "digits": True, "points": 50_000, "epochs": 100, "draws": 64,
        "tested": 2_000, "split": 200,
    },
}  # fmt: skip
WEIGHTS, ELBO, FROM_THERE, FULL = "importance weights", "ELBO", "ELBO from there", "ELBO, full covariance"
COLOURS = {WEIGHTS: OKABE_ITO.blue, ELBO: OKABE_ITO.vermilion, FROM_THERE: OKABE_ITO.purple, FULL: OKABE_ITO.orange}
"""Ways of training; the third starts from the end of the first."""
LIMIT = "reference"
"""The condition without training: the true surface, and the best linear decoder."""
DIGITS = "digits, 8 x 8"
PARTS = ("family gap", "amortisation gap")


class CurvedSurface(Ppca):
    """The surface of :func:`~ppl_vae.studies.curvature.surface` with noise.

    Arguments:
        noise: Standard deviation of the noise.
    """

    def __init__(self, noise: float) -> None:
        super().__init__(2, scale=noise, shape=(5,))

    def mean(self, z: Tensor) -> Tensor:
        return surface(z)


def data_of(study: Study, noise: float | None, seed: int, points: int, tested: int) -> tuple[Tensor, Tensor]:
    """Returns training and test data: draws around the surface, or digits if no noise is given."""
    if noise is None:
        corpus = load_corpus("mnist8", validation=0)
        train, test = scaled(corpus.train.values[:points].flatten(1), corpus.test.values[: tested // 5].flatten(1))
        return train.to(study.device), test.to(study.device)
    torch.manual_seed(seed)
    truth = CurvedSurface(noise).to(study.device)
    _, x = simulate(truth, torch.zeros(points + tested, 5, device=study.device))
    return x[:points], x[points:]


def reference(noise: float | None, x: Tensor, test: Tensor) -> dict[str, Tensor]:
    """Evidence of the test data under the best linear decoder, and under the true surface where there is one."""
    line = Ppca.maximum_likelihood(x.cpu().double(), 2).marginal()
    values = {"linear": line.log_prob(test.cpu().double()), "x": x[:300]}
    if noise is not None:
        truth = CurvedSurface(noise).to(x.device)
        any_guide = MeanField(truth, x[:2], layers=1, width=2, activation="relu").to(x.device)
        exact = measure(truth, any_guide, test, method="quadrature").evidence
        values |= {"evidence": exact.pointwise, "curvature": curvature(truth), "sheet": mesh(truth)}
    return values


def cell(study: Study, sizes: Mapping[str, Any], condition: tuple[str, str], seed: int) -> Mapping[str, Tensor]:
    """A decoder with hidden layers, trained in one of the ways and measured on the test data; or the reference."""
    name, kind = condition
    noise = None if name == DIGITS else float(name.removeprefix("noise "))
    x, test = data_of(study, noise, seed, sizes["points"], sizes["tested"])
    if kind == LIMIT:
        return reference(noise, x, test)
    settings = Settings([(sizes["epochs"], sizes["draws"])], learning_rate=5e-3, decay="cosine", seed=seed, clip=0.0)
    torch.manual_seed(seed)
    model = Ppca(2, hidden=2, shape=tuple(x.shape[1:]))
    guide = (Full if kind == FULL else MeanField)(model, x[:2], layers=2, width=64, activation="relu")
    if kind in (WEIGHTS, FROM_THERE):
        study.train(f"{slug((name, WEIGHTS))}-{seed}", model, guide, x, settings, objective=ImportanceWeightedELBO())
    if kind != WEIGHTS:
        settings = replace(settings, schedule=[(settings.epochs, 1)])
        study.train(f"{slug(condition)}-{seed}", model, guide, x, settings)
    values = {"curvature": curvature(model), "sheet": mesh(model), "sigma": model.log_scale.exp()}
    if noise is not None:
        evidence = measure(model, guide, test, method="quadrature")
        values |= evidence.pointwise() | {"exact": torch.tensor(evidence.evidence.bound == "exact")}
        if split := sizes["split"]:
            parts = gap_rows(split_gap(model, guide, test[:split], method="ascent", steps=300, draws=100, restarts=2))
            values |= {part: parts[part] for part in PARTS}
        return values
    # Posteriors of digits are so narrow that quadrature would take hours.
    weighed = measure(model, guide, test, method="importance", draws=5_000)
    gap = split_gap(model, guide, test, steps=300, draws=500, restarts=2, measurement=weighed)
    assert gap.evidence.k_hat is not None
    return values | {name.lower(): row for name, row in gap_rows(gap).items()} | {"k_hat": gap.evidence.k_hat}


def run(study: Study, *, seeds: int, noises: list[float], digits: bool, **sizes: Any) -> Report:
    """The experiment.

    Arguments:
        study: Folder of the results.
        seeds: Number of repetitions, each with its own draws of the surface.
        noises: Standard deviations of the noise around the surface.
        digits: Whether to train on MNIST pooled to 8 x 8, too.
        sizes: Number of training ``points``; ``epochs`` of each training; number of ``draws`` per datum and step of
            the importance weights; number of test data of each surface, ``tested``, a fifth as many of digits; and
            ``split``, the number of those whose gap is split (0 leaves that out).
    """
    problems = [*(f"noise {noise:g}" for noise in noises), *([DIGITS] if digits else [])]
    # Trainings of the second grid may start from the end of one of the first.
    cells = Grid(study, product(problems, (LIMIT, WEIGHTS)), seeds).compute(partial(cell, study, sizes))
    cells |= Grid(study, product(problems, (ELBO, FROM_THERE, FULL)), seeds).compute(partial(cell, study, sizes))
    shown = {name: Cells({kind: cells[name, kind] for kind in (LIMIT, *COLOURS)}) for name in problems}
    rows = [row for name, of_name in shown.items() for row in rows_of(name, of_name)]
    claims = [claim for name, of_name in shown.items() for claim in claims_of(name, of_name)]
    study.figure("curvature", partial(draw_curvature, shown=shown), (11.0, 4.0))
    study.figure("sheets", partial(draw_sheets, shown=shown), (11.0, 2.3 * len(noises) + 0.6))
    return Report("Gaussian VAEs on curved surfaces (example 1)", rows, claims, NOTES)


NOTES = (
    "limit: the truth. Evidence is that of test data, less that of the best linear decoder: of surfaces exact, "
    "by quadrature; of digits a lower bound, by 5,000 importance weights, or 500 of the best member for each datum",
    "curvature: share of the variance of the mean of x under the prior that no linear function of z explains. It is a "
    "property of the decoder, not of p(x) alone: two decoders of one p(x) may differ in it",
    "family and amortisation gap: by gradient ascent for each datum, of surfaces on the first test data only",
    "importance weights maximise a bound, too: the evidence they lose is due to that bound, the network and training",
)


def above(cells: Cells[str], kind: str, key: str = "evidence") -> list[float]:
    """Test evidence, or another value, less that of the best linear decoder, one per seed."""
    pairs = zip(cells[kind], cells[LIMIT], strict=True)
    return [(cell[key] - limit["linear"]).mean().item() for cell, limit in pairs]


def rows_of(name: str, cells: Cells[str]) -> list[Row]:
    """What was measured on one surface."""
    reference, rows = cells[LIMIT][0], list[Row]()
    truth = Row("", above(cells, LIMIT)).mean if "evidence" in reference else None
    bent = reference["curvature"].item() if "curvature" in reference else None
    for kind in COLOURS:
        group = f"{name}, {kind}"
        rows += [
            Row("evidence above the best line", above(cells, kind), limit=truth, group=group),
            Row("ELBO above it", above(cells, kind, "elbo"), limit=truth, group=group),
            Row("gap", cells.means(kind, "gap"), limit=0.0, group=group),
            *(Row(part, cells.means(kind, part), group=group) for part in PARTS if part in cells[kind][0]),
            Row("curvature", cells.means(kind, "curvature"), limit=bent, unit="share", group=group),
        ]
    return rows


def claims_of(name: str, cells: Cells[str]) -> list[Claim]:
    """What example 1 leads to expect, tested by differences within a seed."""
    claims = []
    for kind in (ELBO, FROM_THERE):
        for words, key in (("straighter", "curvature"), ("of lower likelihood", "evidence")):
            text = f"{name}, {kind}: the decoder is {words} than by importance weights"
            claims.append(Claim.greater(text, cells.differences(WEIGHTS, kind, key)))
    if name != DIGITS:
        exact = all(bool(cell["exact"]) for kind in COLOURS for cell in cells[kind])
        return [*claims, Claim.exact(f"{name}: quadrature is exact to 0.0001", exact, "checked datum by datum")]
    text = f"{name}: the weights of at least 95 data in 100 can be trusted, with a k-hat up to 0.7"
    shares = {kind: (cells.stacked(kind, "k_hat") > 0.7).double().mean(1).tolist() for kind in COLOURS}
    return [*claims, Claim.every(text, [Claim.below(kind, share, 0.05) for kind, share in shares.items()])]


def draw_curvature(figure: Figure, shown: dict[str, Cells[str]]) -> None:
    """Curvature, evidence lost and gap by surface and way of training."""
    bends, losses, gaps = figure.subplots(1, 3)
    for axes in (losses, gaps):  # before the points, or its limits leave some of them out
        axes.set_yscale("symlog", linthresh=0.01)
    for place, cells in enumerate(shown.values()):
        if has_truth := "curvature" in cells[LIMIT][0]:
            bends.hlines(cells.means(LIMIT, "curvature")[0], place - 0.4, place + 0.4, "black", ":")
        # The truth of digits is unknown: the training by importance weights stands in for it.
        highest = above(cells, LIMIT if has_truth else WEIGHTS)
        for index, (kind, colour) in enumerate(COLOURS.items()):
            x, label = place + 0.16 * (index - 1.5), kind if place == 0 else None
            lost = [high - value for value, high in zip(above(cells, kind), highest, strict=True)]
            draw_seeds(bends, {x: cells.means(kind, "curvature")}, colour, label=label)
            draw_seeds(losses, {x: lost}, colour)
            draw_seeds(gaps, {x: cells.means(kind, "gap")}, colour)
    for axes, title, label in (
        (bends, "Curvature of the decoder (dotted: truth)", "share of variance not linear in z"),
        (losses, "Evidence lost against truth\n(digits: against importance weights)", "nats per datum"),
        (gaps, "Gap", "nats per datum"),
    ):
        axes.set_xticks(range(len(shown)), shown)
        axes.set(xlim=(-0.5, len(shown) - 0.5), ylabel=label)
        axes.set_title(title, fontsize=9)
        axes.axhline(0, color="0.8", linewidth=0.8, zorder=0)
    figure.legend(loc="outside upper center", ncols=len(COLOURS), frameon=False, fontsize=9)


def draw_sheets(figure: Figure, shown: dict[str, Cells[str]]) -> None:
    """The surfaces, true and learned, in the plane in which the true one is a parabola; and some of the data."""
    surfaces = {name: cells for name, cells in shown.items() if "sheet" in cells[LIMIT][0]}
    panels = figure.subplots(len(surfaces), 1 + len(COLOURS), sharex="row", sharey="row", squeeze=False)
    for axes, kind in zip(panels[0], (LIMIT, *COLOURS), strict=True):
        axes.set_title("truth" if kind == LIMIT else kind, fontsize=9)
    for line, (name, cells) in zip(panels, surfaces.items(), strict=True):
        x = cells[LIMIT][0]["x"]
        for axes, kind in zip(line, (LIMIT, *COLOURS), strict=True):
            axes.plot(x[:, 0], x[:, 2], ".", color="0.8", markersize=2, zorder=0)
            for points in cells[kind][0]["sheet"]:
                axes.plot(points[:, 0], points[:, 2], color=COLOURS.get(kind, "black"), linewidth=0.7)
            axes.set(xlim=(-4, 4), ylim=(-2.5, 4), xlabel="$x_1$")
        line[0].set_ylabel(f"{name}\n$x_3$", fontsize=9)
    figure.suptitle("Means of x for latents within two standard deviations", fontsize=11)
