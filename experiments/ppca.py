"""A Gaussian VAE with a linear decoder is probabilistic PCA: ELBO training against the closed form.

Example 1 of Schlesinger, Shekhovtsov and Flach (2021): with a linear decoder the posterior is Gaussian, a rotation of z
makes it factorise, and so the maximum of the ELBO of a diagonal guide is that of the likelihood (Dai, Wang, Aston, Hua
and Wipf 2018; Lucas, Tucker, Grosse and Norouzi 2019), which eigenvalues give (Tipping and Bishop 1999). Whether
training gets there is measured with exact evidence, on data of five true dimensions and on digits, for latents fewer
and more than those.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from ppl_vae.models.ppca import Ppca
from torch import Tensor

from ppl_vae.data import load_corpus
from ppl_vae.data.scaling import scaled
from ppl_vae.diagnostics.information.active_units import ACTIVE
from ppl_vae.diagnostics.information.rates import measure_rates, probe
from ppl_vae.evidence.figures import OKABE_ITO, whole
from ppl_vae.evidence.measure import measure
from ppl_vae.nn.modes import evaluating
from ppl_vae.studies.claims import Claim
from ppl_vae.studies.grid import Cells, Grid, slug
from ppl_vae.studies.report import Report, Row
from ppl_vae.studies.study import Study
from ppl_vae.training.settings import Settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {"seeds": 1, "points": 200, "latents": [2, 6], "digits": [], "epochs": 5},
    "cpu": {"seeds": 2, "points": 10_000, "latents": [1, 3, 5, 6, 8], "digits": [2, 4, 8, 16], "epochs": 1_000},
    "paper": {
        "seeds": 10,
        "points": 10_000,
        "latents": [1, 2, 3, 4, 5, 6, 8, 12],
        "digits": [1, 2, 4, 8, 16, 32],
        "epochs": 5_000,
    },
}
SPREADS = (3.0, 2.5, 2.0, 1.5, 1.0)
"""Standard deviations of the five true components of the synthetic data, beside noise of 0.5 in all 20 directions."""
NEAR = 0.01
"""Nats per datum that count as arrived."""
SYNTHETIC, DIGITS = "5 in 20 dimensions", "digits, 8 x 8"


def synthetic(points: int) -> Tensor:
    """Data of five true dimensions among twenty."""
    torch.manual_seed(0)
    axes = torch.linalg.qr(torch.randn(20, 5)).Q * torch.tensor(SPREADS)
    return scaled(torch.randn(points, 5) @ axes.T + 0.5 * torch.randn(points, 20))[0]


def family_gap(model: Ppca, x: Tensor) -> Tensor:
    r"""What the best diagonal Gaussian loses: :math:`\frac12 (\sum_j \log P_{jj} - \log \det P)`, P the precision."""
    precision = model.posterior(x[:1])["z"].precision_matrix[0]
    return (precision.diagonal().log().sum() - precision.logdet()) / 2


def limits(x: Tensor, most: int) -> dict[str, Tensor]:
    """The closed form for each number of latents up to the most, and the spectrum of the data."""
    x = x.cpu().double()
    best = [Ppca.maximum_likelihood(x, k) for k in range(1, most + 1)]
    return {
        "evidence": torch.stack([model.marginal().log_prob(x).mean() for model in best]),
        "variance": torch.stack([(2 * model.log_scale).exp() for model in best]),
        "family gap": torch.stack([family_gap(model, x) for model in best]),
        "spectrum": torch.linalg.eigvalsh(torch.cov(x.T, correction=0)).flip(0),
    }


def cell(
    study: Study, data: dict[str, Tensor], epochs: int, condition: tuple[str, int], seed: int
) -> dict[str, Tensor]:
    """A linear decoder and a linear guide, trained by the ELBO: its bound, evidence and units."""
    name, latents = condition
    x = data[name].to(study.device)
    # A high rate that ends at zero: the guide's directions differ in scale by orders of magnitude.
    settings = Settings([(epochs, 1)], batch_size=len(x) // 4, learning_rate=0.05, decay="cosine", seed=seed, clip=0.0)
    model, guide = study.pair("ppca", "linear_counts", x, seed, latents=latents)
    with torch.no_grad():
        for parameter in guide.parameters():
            parameter.mul_(0.01)  # near the prior: a guide that is wrong from the start costs more than one that waits
    study.train(f"{slug(condition)}-{seed}", model, guide, x, settings)
    model, guide, x = model.cpu().double(), guide.cpu().double(), x.cpu().double()
    evidence = measure(model, guide, x, method="closed_form")
    with evaluating(model, guide):
        units = measure_rates(model, guide, x, probe(model, guide, x), draws=2).units
    return evidence.pointwise() | {
        "family gap": family_gap(model, x),
        "unit variance": units.variance.sort(descending=True).values,
        "active units": (units.variance > ACTIVE).double().sum(),
    }


def run(study: Study, *, seeds: int, points: int, latents: list[int], digits: list[int], epochs: int) -> Report:
    """The experiment.

    Arguments:
        study: Folder of the results.
        seeds: Number of repetitions of every training; the data stay the same, as does the maximum.
        points: Number of data in each set.
        latents: Dimensions to train with on the synthetic data.
        digits: The same on MNIST pooled to 8 x 8; none leaves the digits out.
        epochs: Epochs of each training, four steps each.
    """
    data, sizes = {SYNTHETIC: synthetic(points)}, {SYNTHETIC: latents}
    if digits:
        (data[DIGITS],) = scaled(load_corpus("mnist8", validation=0).train.values[:points].flatten(1))
        sizes[DIGITS] = digits
    conditions = [(name, size) for name in data for size in sizes[name]]
    cells = Grid(study, conditions, seeds).compute(partial(cell, study, data, epochs))
    limit = {
        name: study.values(f"limits-{slug(name)}", partial(limits, x, max(sizes[name]) + 2)) for name, x in data.items()
    }
    rows = [row for condition in conditions for row in rows_of(condition, cells, limit[condition[0]])]
    claims = [claim for name in data for claim in claims_of(name, limit[name], rows)]
    study.figure("likelihood", partial(draw_likelihood, cells=cells, limit=limit), (1.6 + 4.4 * len(data), 6.4))
    study.figure("units", partial(draw_units, cells=cells, limit=limit), (1.6 + 4.4 * len(data), 3.8))
    return Report("Linear Gaussian VAEs and probabilistic PCA (example 1)", rows, claims, NOTES)


NOTES = (
    "limit: the closed-form maximum of the likelihood on the same data, where a diagonal guide is tight. Evidence and "
    "gap are closed forms in float64: se is that over seeds of the training, on the same data",
    "the data are centred and divided by one number, their standard deviation: likelihoods are those of scaled data",
    f"a unit is active if the variance of its posterior mean over the data is above {ACTIVE}; at the maximum that "
    "variance is 1 - sigma^2 / eigenvalue",
)


def rows_of(condition: tuple[str, int], cells: Cells[tuple[str, int]], limit: dict[str, Tensor]) -> list[Row]:
    """What was measured for one number of latents, beside what the closed form gives."""
    name, size = condition
    best, variance = limit["evidence"][size - 1].item(), limit["variance"][size - 1]
    active = int((1 - variance / limit["spectrum"][:size] > ACTIVE).sum())
    group = f"{name}, {size} latent{'s' * (size > 1)}"
    expected = {"likelihood": ("evidence", best), "ELBO": ("elbo", best), "gap": ("gap", 0.0)}
    expected["family gap"] = ("family gap", 0.0)
    rows = [
        Row(quantity, cells.means(condition, key), limit=ideal, group=group, digits=4)
        for quantity, (key, ideal) in expected.items()
    ]
    units = cells.means(condition, "active units")
    return [*rows, Row("active units", units, limit=active, unit="units", group=group, digits=1)]


def claims_of(name: str, limit: dict[str, Tensor], rows: list[Row]) -> list[Claim]:
    """What is tested on one set of data."""
    split = float(limit["family gap"].max())
    cases: dict[str, list[Claim]] = {}
    for row in rows:
        data, size, ideal = *row.group.rsplit(", ", 1), row.limit or 0.0
        if data == name:
            tolerance = 0.5 if row.quantity == "active units" else NEAR
            near = Claim.within(size, [value - ideal for value in row.values], tolerance)
            cases.setdefault(row.quantity, []).append(near)
    return [
        Claim.exact(f"in the limit a diagonal guide is tight ({name})", split < 1e-9, f"at most {split:.1g}"),
        Claim.every(f"the trained likelihood is within {NEAR} of its maximum ({name})", cases["likelihood"]),
        Claim.every(f"the gap is within {NEAR} of 0 ({name})", cases["gap"]),
        Claim.every(f"as many units are active as eigenvalues say ({name})", cases["active units"]),
    ]


def panels_of(cells: Cells[tuple[str, int]]) -> dict[str, list[int]]:
    """Numbers of latents by the name of the data."""
    names = dict.fromkeys(name for name, _ in cells)
    return {name: [size for each, size in cells if each == name] for name in names}


def draw_likelihood(figure: Figure, cells: Cells[tuple[str, int]], limit: dict[str, dict[str, Tensor]]) -> None:
    """Above, likelihood and ELBO on the curve of the closed form; below, by how much they miss it."""
    panels = figure.subplots(2, len(limit), sharex="col", squeeze=False, height_ratios=[3, 2])
    for (top, bottom), (name, sizes) in zip(panels.T, panels_of(cells).items(), strict=True):
        best = limit[name]["evidence"]
        top.plot(range(1, len(best) + 1), best, color="0.6", label="closed form, probabilistic PCA")
        misses = {"likelihood": ("evidence", OKABE_ITO.blue, "o"), "ELBO": ("elbo", OKABE_ITO.orange, "x")}
        for quantity, (key, colour, marker) in misses.items():
            look = {"color": colour, "linestyle": "", "marker": marker, "fillstyle": "none"}
            dots = [(size, value) for size in sizes for value in cells.means((name, size), key)]
            top.plot(*zip(*dots, strict=True), label=f"{quantity}, trained by the ELBO", **look)
            lost = [(size, max(best[size - 1].item() - value, 1e-6)) for size, value in dots]
            bottom.plot(*zip(*lost, strict=True), label=f"closed form less {quantity}", **look)
        bottom.axhline(NEAR, color="0.6", linestyle=":")
        bottom.set(yscale="log", xlabel="latent dimensions", ylabel="nats per datum")
        whole(bottom.xaxis)
        top.set(title=name, ylabel="nats per datum")
        bottom.legend(frameon=False, fontsize=8)
    panels[0, 0].legend(frameon=False, fontsize=8)
    figure.suptitle("ELBO training beside the closed form of probabilistic PCA", fontsize=11)


def draw_units(figure: Figure, cells: Cells[tuple[str, int]], limit: dict[str, dict[str, Tensor]]) -> None:
    """The variance of each unit's posterior mean beside what the spectrum says it is at the maximum."""
    panels = figure.subplots(1, len(limit), squeeze=False)[0]
    for axes, (name, sizes) in zip(panels, panels_of(cells).items(), strict=True):
        most, best = max(sizes), limit[name]
        ideal = (1 - best["variance"][most - 1] / best["spectrum"][:most]).clamp(min=1e-5)
        axes.plot(range(1, most + 1), ideal, color="0.6", label=r"closed form, $1 - \sigma^2 / \lambda_j$")
        for i, each in enumerate(cells[name, most]):
            variance, label = each["unit variance"].clamp(min=1e-5), "_" if i else "ELBO training, units by size"
            axes.plot(range(1, most + 1), variance, "o", color=OKABE_ITO.green, fillstyle="none", label=label)
        axes.axhline(ACTIVE, color="0.6", linestyle=":")
        axes.annotate("active", (1, ACTIVE), (0, 3), textcoords="offset points", fontsize=8)
        label = "variance of E[z | x] over the data"
        axes.set(yscale="log", title=f"{name}: {most} latents", xlabel="unit", ylabel=label)
        whole(axes.xaxis)
        axes.legend(frameon=False, fontsize=8)
    figure.suptitle("What each unit tells of the data, beside what the spectrum says it can", fontsize=11)
