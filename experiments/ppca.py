"""A Gaussian VAE with a linear decoder is probabilistic PCA: ELBO training against the closed form.

Example 1 of Schlesinger, Shekhovtsov and Flach (2021): with a linear decoder the posterior is Gaussian, a rotation of z
makes it factorise, and so the maximum of the ELBO of a diagonal guide is that of the likelihood (Dai, Wang, Aston, Hua
and Wipf 2018; Lucas, Tucker, Grosse and Norouzi 2019), which eigenvalues give (Tipping and Bishop 1999). Whether
training gets there is measured with exact evidence, on data of five true dimensions and on digits, for latents fewer
and more than those.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from ppl_vae.guides.linear_counts import LinearCounts
from ppl_vae.models.ppca import Ppca
from torch import Tensor

from ppl_vae.data import load_corpus
from ppl_vae.diagnostics.information.active_units import ACTIVE
from ppl_vae.diagnostics.information.rates import measure_rates, probe
from ppl_vae.evidence.measure import measure
from ppl_vae.nn.modes import evaluating
from ppl_vae.studies.claims import Claim
from ppl_vae.studies.report import Report, Row
from ppl_vae.studies.study import Study
from ppl_vae.training.trainer import Settings

PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {"seeds": 1, "points": 1_000, "latents": [2, 5, 6], "digits": [], "epochs": 80},
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
BLUE, ORANGE, GREEN = "#0072B2", "#E69F00", "#009E73"


def scaled(x: Tensor) -> Tensor:
    """Data centred, and divided by one number: no gap or difference of likelihoods changes, but training is easier."""
    x = x - x.mean(0)
    return x / x.std()


def synthetic(points: int) -> Tensor:
    """Data of five true dimensions among twenty."""
    torch.manual_seed(0)
    axes = torch.linalg.qr(torch.randn(20, 5)).Q * torch.tensor(SPREADS)
    return scaled(torch.randn(points, 5) @ axes.T + 0.5 * torch.randn(points, 20))


def family_gap(model: Ppca, x: Tensor) -> Tensor:
    r"""What the best diagonal Gaussian loses: :math:`\frac12 (\sum_j \log P_{jj} - \log \det P)`, P the precision."""
    precision = model.posterior(x[:1])["z"].precision_matrix[0]
    return (precision.diagonal().log().sum() - precision.logdet()) / 2


def limits(x: Tensor, most: int) -> dict[str, Tensor]:
    """The closed form for 1 to so many latents, and the spectrum of the data."""
    x = x.cpu().double()
    best = [Ppca.maximum_likelihood(x, k) for k in range(1, most + 1)]
    return {
        "evidence": torch.stack([model.marginal().log_prob(x).mean() for model in best]),
        "variance": torch.stack([(2 * model.log_scale).exp() for model in best]),
        "family gap": torch.stack([family_gap(model, x) for model in best]),
        "spectrum": torch.linalg.eigvalsh(torch.cov(x.T, correction=0)).flip(0),
    }


def trained(study: Study, name: str, x: Tensor, latents: int, settings: Settings) -> dict[str, Tensor]:
    """A linear decoder and a linear guide, trained by the ELBO: its bound, evidence and units."""
    torch.manual_seed(settings.seed)
    model = Ppca(latents, shape=tuple(x.shape[1:]))
    guide = LinearCounts(model, x[:2])
    with torch.no_grad():
        for parameter in guide.parameters():
            parameter.mul_(0.01)  # near the prior: a guide that is wrong from the start costs more than one that waits
    study.train(name, model, guide, x, settings)
    model, guide, x = model.cpu().double(), guide.cpu().double(), x.cpu().double()
    found = measure(model, guide, x, method="closed_form")
    with evaluating(model, guide):
        units = measure_rates(model, guide, x, probe(model, guide, x), draws=2).units
    return found.pointwise() | {
        "family gap": family_gap(model, x),
        "unit variance": units.variance.sort(descending=True).values,
    }


def run(study: Study, *, seeds: int, points: int, latents: list[int], digits: list[int], epochs: int) -> Report:
    """The experiment.

    Arguments:
        study: Where it is kept.
        seeds: Repetitions of every training; the data stay the same, as does the maximum.
        points: Data of each set.
        latents: Dimensions to train with on the synthetic data.
        digits: The same on MNIST pooled to 8 x 8; none leaves the digits out.
        epochs: Of each training, four steps each.
    """
    data = {"5 in 20 dimensions": (synthetic(points), latents)}
    if digits:
        data["digits, 8 x 8"] = (scaled(load_corpus("mnist8", validation=0).train.values[:points].flatten(1)), digits)
    rows, claims, shown = list[Row](), list[Claim](), {}
    for place, (name, (x, sizes)) in enumerate(data.items()):
        x = x.to(study.device)
        limit = study.values(f"limits-{place}", partial(limits, x, max(sizes) + 2))
        # A high rate that ends at zero: the guide's directions differ in scale by orders of magnitude.
        settings = [
            Settings([(epochs, 1)], batch_size=points // 4, learning_rate=0.05, decay="cosine", seed=seed)
            for seed in range(seeds)
        ]
        cells = {
            k: [
                study.values(n, partial(trained, study, n, x, k, own))
                for own in settings
                for n in [cell(place, k, own)]
            ]
            for k in sizes
        }
        rows += [
            row for k, found in cells.items() for row in rows_of(f"{name}, {k} latent{'s' * (k > 1)}", k, found, limit)
        ]
        claims += claims_of(name, limit, [row for row in rows if row.group.startswith(name)])
        shown[name] = (limit, cells)
    study.figure("likelihood", partial(draw_likelihood, shown=shown), (1.6 + 4.4 * len(shown), 6.4))
    study.figure("units", partial(draw_units, shown=shown), (1.6 + 4.4 * len(shown), 3.8))
    return Report("Linear Gaussian VAEs and probabilistic PCA (example 1)", rows, claims, NOTES)


NOTES = (
    "limit: the closed-form maximum of the likelihood on the same data, where a diagonal guide is tight. Evidence and "
    "gap are closed forms in float64: se is that over seeds of the training, on the same data",
    "the data are centred and divided by one number, their standard deviation: likelihoods are those of scaled data",
    f"a unit is active if the variance of its posterior mean over the data is above {ACTIVE}; at the maximum that "
    "variance is 1 - sigma^2 / eigenvalue",
)


def cell(place: int, latents: int, settings: Settings) -> str:
    """Name of a training."""
    return f"data{place}-latents{latents}-seed{settings.seed}"


def rows_of(group: str, latents: int, found: list[dict[str, Tensor]], limit: dict[str, Tensor]) -> list[Row]:
    """What was measured for one number of latents, beside what the closed form gives."""
    best, variance = limit["evidence"][latents - 1].item(), limit["variance"][latents - 1]
    above = int((1 - variance / limit["spectrum"][:latents] > ACTIVE).sum())
    wanted = {"likelihood": ("evidence", best), "ELBO": ("elbo", best), "gap": ("gap", 0.0)}
    wanted["family gap"] = ("family gap", 0.0)
    rows = [
        Row(quantity, [each[key].mean().item() for each in found], limit=ideal, group=group, digits=4)
        for quantity, (key, ideal) in wanted.items()
    ]
    active = [(each["unit variance"] > ACTIVE).double().sum().item() for each in found]
    return [*rows, Row("active units", active, limit=above, unit="units", group=group, digits=1)]


def claims_of(name: str, limit: dict[str, Tensor], rows: list[Row]) -> list[Claim]:
    """What is tested on one set of data."""
    split = float(limit["family gap"].max())
    short, gaps, units = list[Claim](), list[Claim](), list[Claim]()
    for row in rows:
        size, limit_of_row = row.group.split(", ")[-1], row.limit or 0.0
        if row.quantity == "likelihood":
            short.append(Claim.below(size, [limit_of_row - value for value in row.values], NEAR))
        if row.quantity == "gap":
            gaps.append(Claim.below(size, row.values, NEAR))
        if row.unit == "units":
            units.append(Claim.within(size, row.values, 0.5, of=limit_of_row))
    tight = Claim.exact(f"in the limit a diagonal guide is tight ({name})", split < 1e-9, f"at most {split:.1g}")
    return [
        tight,
        Claim.every(f"the trained likelihood is within {NEAR} of its maximum ({name})", short),
        Claim.every(f"the gap is below {NEAR} ({name})", gaps),
        Claim.every(f"as many units are active as eigenvalues say ({name})", units),
    ]


def draw_likelihood(figure: Any, shown: dict[str, Any]) -> None:
    """Above, likelihood and ELBO on the curve of the closed form; below, by how much they miss it."""
    panels = figure.subplots(2, len(shown), sharex="col", squeeze=False, height_ratios=[3, 2])
    for (top, bottom), (name, (limit, cells)) in zip(panels.T, shown.items(), strict=True):
        best = limit["evidence"]
        top.plot(range(1, len(best) + 1), best, color="0.6", label="closed form, probabilistic PCA")
        misses = {"likelihood": ("evidence", BLUE, "o"), "ELBO": ("elbo", ORANGE, "x")}
        for words, (key, colour, marker) in misses.items():
            dots = [(k, each[key].mean().item()) for k, found in cells.items() for each in found]
            top.plot(
                *zip(*dots, strict=True), marker, color=colour, fillstyle="none", label=f"{words}, trained by the ELBO"
            )
            lost = [(k, max(best[k - 1].item() - value, 1e-6)) for k, value in dots]
            bottom.plot(
                *zip(*lost, strict=True), marker, color=colour, fillstyle="none", label=f"closed form less {words}"
            )
        bottom.axhline(NEAR, color="0.6", linestyle=":")
        bottom.set(yscale="log", xlabel="latent dimensions", ylabel="nats per datum")
        bottom.xaxis.get_major_locator().set_params(integer=True)
        top.set(title=name, ylabel="nats per datum")
        bottom.legend(frameon=False, fontsize=8)
    panels[0, 0].legend(frameon=False, fontsize=8)
    figure.suptitle("ELBO training beside the closed form of probabilistic PCA", fontsize=11)


def draw_units(figure: Any, shown: dict[str, Any]) -> None:
    """The variance of each unit's posterior mean beside what the spectrum says it is at the maximum."""
    for axes, (name, (limit, cells)) in zip(
        figure.subplots(1, len(shown), squeeze=False)[0], shown.items(), strict=True
    ):
        most = max(cells)
        ideal = (1 - limit["variance"][most - 1] / limit["spectrum"][:most]).clamp(min=1e-5)
        axes.plot(range(1, most + 1), ideal, color="0.6", label=r"closed form, $1 - \sigma^2 / \lambda_j$")
        for i, found in enumerate(cells[most]):
            variance = found["unit variance"].clamp(min=1e-5)
            words = "ELBO training, units by size" if i == 0 else None
            axes.plot(range(1, most + 1), variance, "o", color=GREEN, fillstyle="none", label=words)
        axes.axhline(ACTIVE, color="0.6", linestyle=":")
        axes.annotate("active", (1, ACTIVE), (0, 3), textcoords="offset points", fontsize=8)
        axes.set(
            yscale="log", title=f"{name}: {most} latents", xlabel="unit", ylabel="variance of E[z | x] over the data"
        )
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(frameon=False, fontsize=8)
    figure.suptitle("What each unit tells of the data, beside what the spectrum says it can", fontsize=11)
