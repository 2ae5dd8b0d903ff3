"""The consistent set of two parameters: where likelihood and ELBO have their optima, and how trainings get there.

Schlesinger, Shekhovtsov and Flach (2021), section 2 and figure 1: the models whose posteriors the guide can hold, the
consistent set, are few; the best model lies outside, and the ELBO pulls its own optimum towards them. Here the set can
be drawn. Two fair bits, causes of one number with normal noise, have two effects a and b; given the number the causes
depend on each other ("explaining away") unless a b = 0, and the guide has independent bits. Likelihood, ELBO of the
best such guide, and their gradients are sums over the codes and a grid of the number, for the whole population.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from math import log, pi
from typing import TYPE_CHECKING, Any, NamedTuple

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule
from torch import Tensor, nn

from ppl_vae.diagnostics.gap.coordinate_ascent import optimal_mean_field
from ppl_vae.evidence.figures import OKABE_ITO
from ppl_vae.objectives.importance_weighted import ImportanceWeightedELBO
from ppl_vae.studies.claims import Claim
from ppl_vae.studies.grid import Cells, Grid
from ppl_vae.studies.report import Report, Row
from ppl_vae.studies.study import Study
from ppl_vae.training.settings import Settings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {"seeds": 1, "side": 8, "nodes": 41, "steps": 10, "data": 200, "epochs": 2},
    "cpu": {"seeds": 5, "side": 89, "nodes": 161, "steps": 600, "data": 20_000, "epochs": 60},
    "paper": {"seeds": 20, "side": 177, "nodes": 321, "steps": 2_000, "data": 100_000, "epochs": 100},
}
TRUTH = (2.5, 1.5)
STARTS = (TRUTH, (3.6, 3.2), (0.4, 0.7), (3.6, 0.15), (0.3, 3.4))
"""Effects from which the paths in the figure begin."""
CODES = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
RANGE = (-0.4, 4.0)
LEVELS = [0, 0.003, 0.01, 0.03, 0.1, 0.2, 0.4, 0.8, 1.6]
RATE = 0.3  # of the paths, times the gradient
LIKELIHOOD, ELBO = "likelihood", "ELBO"
COLOURS = {LIKELIHOOD: OKABE_ITO.blue, ELBO: OKABE_ITO.vermilion}


Paths = Mapping[tuple[str, tuple[float, float]], Tensor]


class TwoCauses(PyroModule):
    r"""Two fair bits and a number, :math:`x \sim \mathcal{N}(a z_1 + b z_2, 1)`.

    Arguments:
        effects: a and b.
    """

    def __init__(self, effects: tuple[float, float] = TRUTH) -> None:
        super().__init__()
        self.effects = nn.Parameter(torch.tensor(effects))

    def forward(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(x.new_tensor(0.5)).expand([2]).to_event(1))
            pyro.sample("x", dist.Normal(z @ self.effects[:, None], 1.0).to_event(1), obs=x)


class Population:
    """The numbers that the true model draws, as nodes with weights.

    Arguments:
        nodes: Number of nodes.
    """

    def __init__(self, nodes: int) -> None:
        self.x = torch.linspace(-5.0, sum(TRUTH) + 5.0, nodes, dtype=torch.float64)
        density = self.table(torch.tensor([TRUTH], dtype=torch.float64))[0].logsumexp(-1).exp()
        self.weights = density / density.sum()

    def table(self, effects: Tensor) -> Tensor:
        """log p(x, z), ``(models, nodes, codes)``, of models with these effects, ``(models, 2)``."""
        means = effects @ CODES.T.to(effects)
        return -((self.x[:, None] - means[:, None]) ** 2) / 2 - log(len(CODES)) - log(2 * pi) / 2

    def values(self, effects: Tensor) -> dict[str, Tensor]:
        """Mean log-likelihood and ELBO of the best independent bits, ``(models,)``, in nats; both have gradients."""
        table = self.table(effects)
        with torch.no_grad():
            _, factors = optimal_mean_field(table.flatten(0, 1), (2, 2))
            joint = (factors[0][:, :, None] + factors[1][:, None]).flatten(1).view_as(table)
        bound = (joint.exp() * (table - joint)).sum(-1)
        return {LIKELIHOOD: table.logsumexp(-1) @ self.weights, ELBO: bound @ self.weights}

    def path(self, start: tuple[float, float], name: str, steps: int) -> Tensor:
        """Models on the way up along the gradient, ``(steps + 1, 2)``."""
        passed = [torch.tensor(start, dtype=torch.float64)]
        for _ in range(steps):
            at = passed[-1][None].clone().requires_grad_(True)
            (slope,) = torch.autograd.grad(self.values(at)[name].sum(), at)
            passed.append(passed[-1] + RATE * slope[0])
        return torch.stack(passed)


class Optimum(NamedTuple):
    """A model and its values; its coupling a b is zero in the consistent set."""

    effects: tuple[float, float]
    coupling: float
    likelihood: float
    gap: float


def valued(population: Population, effects: Tensor) -> Optimum:
    """A model and its values."""
    likelihood, bound = (value.item() for value in population.values(effects[None].double()).values())
    return Optimum((effects[0].item(), effects[1].item()), effects.prod().item(), likelihood, likelihood - bound)


def cell(study: Study, nodes: int, data: int, epochs: int, objective: str, seed: int) -> dict[str, Tensor]:
    """Where a training from the true model on drawn data ends; its guide is a network."""
    torch.manual_seed(seed)
    x = torch.randint(2, (data, 2)).float() @ torch.tensor(TRUTH)[:, None] + torch.randn(data, 1)
    model, guide = study.pair(TwoCauses(), "mean_field", x, seed)
    settings = Settings([(epochs, 1)], batch_size=500, learning_rate=0.01, decay="cosine", seed=seed)
    by = {"objective": ImportanceWeightedELBO()} if objective == LIKELIHOOD else {}
    study.train(f"{objective}-{seed}", model, guide, x, settings, **by)
    end = valued(Population(nodes), model.effects.detach().cpu().sort(descending=True).values)
    return {name: torch.tensor(getattr(end, name)) for name in ("effects", "likelihood", "gap", "coupling")}


def run(study: Study, *, seeds: int, side: int, nodes: int, steps: int, data: int, epochs: int) -> Report:
    """The experiment.

    Arguments:
        study: Folder of the results.
        seeds: Number of trainings by each objective, each with data of its own.
        side: Number of values of each effect for which the contours are computed.
        nodes: Number of values of x that stand for the population.
        steps: Number of steps of each path without noise.
        data: Number of data of a training.
        epochs: Epochs of a training.
    """
    population = Population(nodes)
    cells = Grid(study, COLOURS, seeds).compute(partial(cell, study, nodes, data, epochs))
    axis = torch.linspace(*RANGE, side, dtype=torch.float64)
    axis = torch.cat([axis, torch.zeros(1, dtype=torch.float64)]).unique()
    lines = [population.values(torch.stack([axis, b.expand_as(axis)], 1)) for b in axis]
    grid = {name: torch.stack([line[name] for line in lines]) for name in COLOURS}
    paths = {(name, start): population.path(start, name, steps) for name in COLOURS for start in STARTS}
    best = {name: valued(population, paths[name, TRUTH][-1]) for name in COLOURS}
    rows = []
    for name in COLOURS:
        for quantity, unit in {"likelihood": "nats", "gap": "nats", "coupling": "a b"}.items():
            limit = getattr(best[name], quantity)
            rows.append(Row(quantity, cells.means(name, quantity), None, limit, unit, f"by {name}"))
    study.figure(
        "consistent-set", partial(draw, axis=axis, grid=grid, paths=paths, best=best, cells=cells), (12.5, 4.6)
    )
    title = "Two causes of one number: the consistent set"
    return Report(title, rows, claims(population, axis, grid, best, cells), NOTES)


NOTES = (
    "limit: the optimum for the whole population, by gradients without noise from the true model",
    "gap: of the best pair of independent bits for each x; coupling: a b, zero in the consistent set and only there",
    "trainings start from the true model; their guide is a network",
)


def claims(
    population: Population, axis: Tensor, grid: Mapping[str, Tensor], best: Mapping[str, Optimum], cells: Cells[str]
) -> list[Claim]:
    """Claims about the population, and about trainings."""
    gaps, couplings = grid[LIKELIHOOD] - grid[ELBO], (axis[:, None] * axis).abs()
    inside, outside = gaps[couplings == 0].max().item(), gaps[couplings > 0.05].min().item()
    true, found = best[LIKELIHOOD], best[ELBO]
    at = torch.tensor([TRUTH], dtype=torch.float64, requires_grad=True)
    values = population.values(at)
    (slope,) = torch.autograd.grad((values[LIKELIHOOD] - values[ELBO]).sum(), at)
    towards = at.detach().flip(-1) / at.detach().norm()  # where a b grows fastest
    rises = (slope * towards).sum().item()
    lost = true.likelihood - found.likelihood
    ends = torch.stack([each["effects"] for each in cells[ELBO]])
    distances = (ends - torch.tensor(sorted(found.effects, reverse=True))).norm(dim=-1)
    differences = {name: cells.differences(LIKELIHOOD, ELBO, name) for name in ("coupling", "likelihood")}
    return [
        Claim.exact(
            "independent bits are tight where a b = 0, and nowhere else",
            inside < 1e-9 < outside,
            f"gap at most {inside:.1g} there, at least {outside:.2g} where |a b| > 0.05",
        ),
        Claim.exact(
            "at the optimum of the likelihood the gap pulls the ELBO towards smaller a b",
            rises > 0,
            f"where a b grows fastest the gap grows by {rises:.3f} nats for each unit of the effects",
        ),
        Claim.exact(
            "the ELBO's optimum has a smaller a b than the likelihood's, and is not in the consistent set",
            1e-3 < found.coupling < true.coupling,
            f"{found.coupling:.3f} and {true.coupling:.3f}",
        ),
        Claim.exact("it loses likelihood, eq. (4)", lost > 0, f"{lost:.4f} nats; the gap left is {found.gap:.4f}"),
        Claim.greater("trainings by the ELBO end at a smaller a b than by likelihood", differences["coupling"]),
        Claim.greater("trainings by the ELBO lose likelihood", differences["likelihood"]),
        Claim.below("trainings by the ELBO end at its optimum: within 0.2", distances.tolist(), 0.2),
    ]


def draw(
    figure: Figure,
    axis: Tensor,
    grid: Mapping[str, Tensor],
    paths: Paths,
    best: Mapping[str, Optimum],
    cells: Cells[str],
) -> None:
    """Likelihood, gap and ELBO of all models, with the consistent set, paths and ends of trainings."""
    from matplotlib.colors import BoundaryNorm

    panels: list[Axes] = list(figure.subplots(1, 3, sharex=True, sharey=True))
    shown = {
        "mean log-likelihood": (grid[LIKELIHOOD], LIKELIHOOD),
        "gap of the best independent bits": (grid[ELBO] - grid[LIKELIHOOD], None),
        "ELBO = log-likelihood - gap": (grid[ELBO], ELBO),
    }
    for axes, (title, (values, name)) in zip(panels, shown.items(), strict=True):
        shade = {"cmap": "Blues", "norm": BoundaryNorm(LEVELS, 256, extend="max"), "extend": "max", "alpha": 0.6}
        filled = axes.contourf(axis, axis, values.max() - values, LEVELS, **shade)
        axes.axhline(0, color=OKABE_ITO.green, linewidth=3, label="consistent set")
        axes.axvline(0, color=OKABE_ITO.green, linewidth=3)
        for (by, _), path in paths.items():
            if by == name:
                axes.plot(path[:, 0], path[:, 1], color=COLOURS[by], linewidth=1)
                axes.plot(*path[0], ".", color=COLOURS[by], markersize=4)
        if name is not None:
            ends = torch.stack([each["effects"] for each in cells[name]])
            axes.plot(ends[:, 0], ends[:, 1], "o", mfc="none", color="black", label="trained with a network")
        for by, optimum in best.items():
            for place in (optimum.effects, optimum.effects[::-1]):  # the causes can be swapped
                label = f"best {by}" if place is optimum.effects else None
                axes.plot(*place, "*", color=COLOURS[by], markersize=13, mec="white", label=label, zorder=3)
        axes.set(xlabel="effect a", title=title, aspect="equal", xlim=RANGE, ylim=RANGE)
    panels[0].set_ylabel("effect b")
    figure.colorbar(filled, ax=panels, label="nats below the best", shrink=0.8)
    figure.legend(*panels[2].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle("The ELBO draws the best model towards those whose posterior the guide can hold")
