"""A Gaussian VAE on a curved surface: does ELBO training straighten the decoder, and what does that cost?

Example 1 of Schlesinger, Shekhovtsov and Flach (2021) says that a diagonal guide is tight under a linear decoder alone,
and that ELBO training pulls the decoder there. Decoders with hidden layers learn a surface that is known, with more and
less noise around it, and digits: by the ELBO of a diagonal guide, from scratch and from where the likelihood led; by
that of a guide with full covariance; and by importance weights, the likelihood as nearly as can be. Two latent
dimensions make the evidence of surfaces exact, and the surface itself says what is lost.
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
from ppl_vae.diagnostics.gap.gap import Gap
from ppl_vae.diagnostics.gap.split import split_gap
from ppl_vae.evidence.figures import OKABE_ITO
from ppl_vae.evidence.measure import measure
from ppl_vae.objectives.importance_weighted import ImportanceWeightedELBO
from ppl_vae.programs.simulate import simulate
from ppl_vae.studies.claims import Claim
from ppl_vae.studies.grid import Grid, slug
from ppl_vae.studies.report import Report, Row
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
COLOURS = {
    WEIGHTS: OKABE_ITO.blue,
    ELBO: OKABE_ITO.vermilion,
    FROM_THERE: OKABE_ITO.purple,
    FULL: OKABE_ITO.orange,
}
"""Ways of training; the third begins where the first ended."""
LIMIT = "reference"
"""What is known without training."""
DIGITS = "digits, 8 x 8"
Kinds = Mapping[str, list[dict[str, Tensor]]]
"""Cells of one surface by way of training, one per seed."""


class Curved(Ppca):
    r"""The surface :math:`\mu(z) = (z_1, z_2, (z_1^2 - 1) / 2, z_1 z_2 / \sqrt2, (z_2^2 - 1) / 2)` with noise.

    Its parts are uncorrelated; the first two have variance 1, the others 1/2, and these are uncorrelated with z: three
    sevenths of the variance are out of a linear decoder's reach.
    """

    def __init__(self, noise: float) -> None:
        super().__init__(2, scale=noise, shape=(5,))

    def mean(self, z: Tensor) -> Tensor:
        one, two = z.unbind(-1)
        return torch.stack([one, two, (one**2 - 1) / 2, one * two / 2**0.5, (two**2 - 1) / 2], -1)


def curvature(model: Ppca) -> Tensor:
    """Share of the variance of the mean of x, under the prior, that no linear function of z explains."""
    z = torch.randn(50_000, model.latents, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        mean = model.mean(z.to(model.linear.bias)).cpu().double()
    mean, z = mean - mean.mean(0), torch.cat([z, torch.ones(len(z), 1)], 1).double()
    left = mean - z @ torch.linalg.lstsq(z, mean).solution
    return left.square().sum() / mean.square().sum()


def sheet(model: Ppca) -> Tensor:
    """Circles and spokes of the plane of latents as the decoder places them, ``(lines, points, *shape)``."""
    turn = torch.linspace(0, 2 * torch.pi, 97)
    circles = torch.stack([turn.cos(), turn.sin()], -1)
    rings = torch.tensor([0.5, 1.0, 1.5, 2.0])[:, None, None] * circles
    spokes = circles[:-1:12, None] * torch.linspace(0, 2, 97)[:, None]
    with torch.no_grad():
        return model.mean(torch.cat([rings, spokes]).to(model.linear.bias))


def data_of(study: Study, noise: float | None, seed: int, points: int, tested: int) -> tuple[Tensor, Tensor]:
    """Training and test data: draws of the surface, or digits where there is no noise to draw with."""
    if noise is None:
        corpus = load_corpus("mnist8", validation=0)
        x, test = corpus.train.values[:points].flatten(1), corpus.test.values[: tested // 5].flatten(1)
        # One number for all pixels: no gap or difference of likelihoods changes, but training is easier.
        centre = x.mean(0)
        scale = (x - centre).std()
        return tuple(((part - centre) / scale).to(study.device) for part in (x, test))  # type: ignore[return-value]
    torch.manual_seed(seed)
    truth = Curved(noise).to(study.device)
    _, x = simulate(truth, torch.zeros(points + tested, 5, device=study.device))
    return x[:points], x[points:]


def reference(noise: float | None, x: Tensor, test: Tensor) -> dict[str, Tensor]:
    """What the test data are worth under the best linear decoder, and under the truth where it is known."""
    line = Ppca.maximum_likelihood(x.cpu().double(), 2).marginal()
    found = {"linear": line.log_prob(test.cpu().double()), "x": x[:300]}
    if noise is not None:
        truth = Curved(noise).to(x.device)
        any_guide = MeanField(truth, x[:2], layers=1, width=2).to(x.device)
        exact = measure(truth, any_guide, test, method="quadrature").evidence
        found |= {"evidence": exact.pointwise, "curvature": curvature(truth), "sheet": sheet(truth)}
    return found


def cell(study: Study, sizes: Mapping[str, Any], condition: tuple[str, str], seed: int) -> Mapping[str, Tensor]:
    """A decoder with hidden layers, trained in one of the ways, and measured on the test data; or what is known."""
    name, kind = condition
    noise = None if name == DIGITS else float(name.removeprefix("noise "))
    x, test = data_of(study, noise, seed, sizes["points"], sizes["tested"])
    if kind == LIMIT:
        return reference(noise, x, test)
    settings = Settings([(sizes["epochs"], sizes["draws"])], learning_rate=5e-3, decay="cosine", seed=seed)
    torch.manual_seed(seed)
    model = Ppca(2, hidden=2, shape=tuple(x.shape[1:]))
    guide = (Full if kind == FULL else MeanField)(model, x[:2], layers=2, width=64)
    if kind in (WEIGHTS, FROM_THERE):
        objective = ImportanceWeightedELBO()
        study.train(f"{slug((name, WEIGHTS))}-{seed}", model, guide, x, settings, objective=objective)
    if kind != WEIGHTS:
        one = replace(settings, schedule=[(settings.epochs, 1)])
        study.train(f"{slug(condition)}-{seed}", model, guide, x, one)
    values = {"curvature": curvature(model), "sheet": sheet(model), "sigma": model.log_scale.exp()}
    if noise is not None:
        found = measure(model, guide, test, method="quadrature")
        values |= found.pointwise() | {"exact": torch.tensor(found.evidence.bound == "exact")}
        if split := sizes["split"]:
            values |= parts_of(split_gap(model, guide, test[:split], method="ascent", steps=300, draws=100, restarts=2))
        return values
    # So narrow are the posteriors of digits that a grid fine enough would take hours.
    weighed = measure(model, guide, test, method="importance", draws=5_000)
    parts = split_gap(model, guide, test, steps=300, draws=500, restarts=2, measurement=weighed)
    evidence, k_hat = parts.evidence.pointwise, parts.evidence.k_hat
    assert k_hat is not None
    values |= {"evidence": evidence, "elbo": parts.elbo.pointwise, "gap": evidence - parts.elbo.pointwise}
    return values | parts_of(parts) | {"k_hat": k_hat}


def parts_of(split: Gap) -> dict[str, Tensor]:
    """Both parts of the gap, pointwise."""
    return {"family gap": split.family_gap.pointwise, "amortisation gap": split.amortisation_gap.pointwise}


def run(study: Study, *, seeds: int, noises: list[float], digits: bool, **sizes: Any) -> Report:
    """The experiment.

    Arguments:
        study: Folder of the results.
        seeds: Number of repetitions, each with its own draws of the surface.
        noises: Standard deviations around the surface.
        digits: Whether MNIST pooled to 8 x 8 is learned, too.
        sizes: ``points`` of training data; ``epochs`` of each training; ``draws`` of the importance weights per datum
            and step; ``tested`` data of each surface, and a fifth as many of digits; ``split``, how many of them the
            gap is split on (0 leaves that out).
    """
    problems = [*(f"noise {noise:g}" for noise in noises), *([DIGITS] if digits else [])]
    compute = partial(cell, study, sizes)
    # What begins where the importance weights ended waits for them.
    cells = Grid(study, product(problems, (LIMIT, WEIGHTS)), seeds).compute(compute)
    cells |= Grid(study, product(problems, (ELBO, FROM_THERE, FULL)), seeds).compute(compute)
    shown = {name: {kind: cells[name, kind] for kind in (LIMIT, *COLOURS)} for name in problems}
    rows = [row for name, of_name in shown.items() for row in rows_of(name, of_name)]
    claims = [claim for name, of_name in shown.items() for claim in claims_of(name, of_name)]
    study.figure("curvature", partial(draw_curvature, shown=shown), (11.0, 4.0))
    study.figure("sheets", partial(draw_sheets, shown=shown), (11.0, 2.3 * len(noises) + 0.6))
    return Report("Gaussian VAEs on curved surfaces (example 1)", rows, claims, NOTES)


NOTES = (
    "limit: the truth. Evidence is that of test data, counted from that of the best linear decoder: of surfaces exact, "
    "by quadrature; of digits a lower bound, by 5,000 importance weights, or 500 of the best member for each datum",
    "curvature: share of the variance of the mean of x under the prior that no linear function of z explains. It is a "
    "property of the decoder, not of p(x) alone: two decoders of one p(x) may differ in it",
    "family and amortisation gap: by gradient ascent for each datum, of surfaces on the first test data only",
    "importance weights climb a bound, too: what they lose is that bound's, the network's and training's",
)


def above(cells: Kinds, kind: str, key: str = "evidence") -> list[float]:
    """Test evidence, or another value, less that of the best linear decoder, one per seed."""
    return [
        (found[key] - limit["linear"]).mean().item() for found, limit in zip(cells[kind], cells[LIMIT], strict=True)
    ]


def rows_of(name: str, cells: Kinds) -> list[Row]:
    """What was measured on one surface."""
    known = "evidence" in cells[LIMIT][0]
    rows, best = list[Row](), above(cells, LIMIT) if known else []
    ideal = Row("", best).mean if known else None
    bent = cells[LIMIT][0]["curvature"].item() if known else None
    for kind in COLOURS:
        found, group = cells[kind], f"{name}, {kind}"
        rows += [
            Row("evidence above the best line", above(cells, kind), limit=ideal, group=group),
            Row("ELBO above it", above(cells, kind, "elbo"), limit=ideal, group=group),
            Row("gap", [each["gap"].mean().item() for each in found], limit=0.0, group=group),
            *(
                Row(part, [each[part].mean().item() for each in found], group=group)
                for part in ("family gap", "amortisation gap")
                if part in found[0]
            ),
            Row("curvature", [each["curvature"].item() for each in found], limit=bent, unit="share", group=group),
        ]
    return rows


def claims_of(name: str, cells: Kinds) -> list[Claim]:
    """What example 1 leads to expect, tested by differences within a seed."""
    claims = []
    for kind in (ELBO, FROM_THERE):
        pairs = list(zip(cells[WEIGHTS], cells[kind], strict=True))
        for words, key in (("straighter", "curvature"), ("of lower likelihood", "evidence")):
            lost = [(one[key] - other[key]).mean().item() for one, other in pairs]
            text = f"{name}, {kind}: the decoder is {words} than by importance weights"
            claims.append(Claim.greater(text, lost))
    found = [each for kind in COLOURS for each in cells[kind]]
    if name != DIGITS:
        exact = all(bool(each["exact"]) for each in found)
        return [*claims, Claim.exact(f"{name}: quadrature is exact to 0.0001", exact, "checked datum by datum")]
    text = f"{name}: the weights of at least 95 data in 100 can be trusted, with a k-hat up to 0.7"
    shares = {kind: [(each["k_hat"] > 0.7).double().mean().item() for each in cells[kind]] for kind in COLOURS}
    return [*claims, Claim.every(text, [Claim.below(kind, share, 0.05) for kind, share in shares.items()])]


def draw_curvature(figure: Figure, shown: dict[str, Kinds]) -> None:
    """Curvature, evidence lost and gap by surface and way of training."""
    bends, losses, gaps = figure.subplots(1, 3)
    for axes in (losses, gaps):
        axes.set_yscale("symlog", linthresh=0.01)  # before there are points, or the limits leave some of them out
    for place, cells in enumerate(shown.values()):
        truth = cells[LIMIT][0].get("curvature")
        if truth is not None:
            bends.plot([place - 0.4, place + 0.4], [truth, truth], color="black", linestyle=":")
        # What cannot be known of digits is measured from the training that climbs the likelihood.
        highest = above(cells, LIMIT if truth is not None else WEIGHTS)
        for index, (kind, colour) in enumerate(COLOURS.items()):
            where = [place + 0.16 * (index - 1.5)] * len(cells[kind])
            style = {"color": colour, "marker": "o", "linestyle": "", "fillstyle": "none"}
            words = kind if place == 0 else None
            bends.plot(where, [each["curvature"].item() for each in cells[kind]], label=words, **style)
            losses.plot(where, [b - a for a, b in zip(above(cells, kind), highest, strict=True)], **style)
            gaps.plot(where, [each["gap"].mean().item() for each in cells[kind]], **style)
    for axes, title, label in (
        (bends, "Curvature of the decoder (dotted: truth)", "share of variance not linear in z"),
        (losses, "Evidence lost against truth\n(digits: against importance weights)", "nats per datum"),
        (gaps, "Gap", "nats per datum"),
    ):
        axes.set_xticks(range(len(shown)), shown)
        axes.set(ylabel=label)
        axes.set_title(title, fontsize=9)
        axes.axhline(0, color="0.8", linewidth=0.8, zorder=0)
    figure.legend(loc="outside upper center", ncols=len(COLOURS), frameon=False, fontsize=9)


def draw_sheets(figure: Figure, shown: dict[str, Kinds]) -> None:
    """The surfaces, truth and learned, seen along the direction in which a parabola shows; and some of the data."""
    surfaces = {name: cells for name, cells in shown.items() if "sheet" in cells[LIMIT][0]}
    panels = figure.subplots(len(surfaces), 1 + len(COLOURS), sharex="row", sharey="row", squeeze=False)
    for row, (line, (name, cells)) in enumerate(zip(panels, surfaces.items(), strict=True)):
        x = cells[LIMIT][0]["x"]
        for axes, kind in zip(line, (LIMIT, *COLOURS), strict=True):
            axes.plot(x[:, 0], x[:, 2], ".", color="0.8", markersize=2, zorder=0)
            for points in cells[kind][0]["sheet"]:
                axes.plot(points[:, 0], points[:, 2], color=COLOURS.get(kind, "black"), linewidth=0.7)
            if row == 0:
                axes.set_title("truth" if kind == LIMIT else kind, fontsize=9)
            axes.set(xlim=(-4, 4), ylim=(-2.5, 4))
        line[0].set_ylabel(f"{name}\n$x_3$", fontsize=9)
    for axes in panels[-1]:
        axes.set_xlabel("$x_1$")
    figure.suptitle("Means of x for latents within two standard deviations", fontsize=11)
