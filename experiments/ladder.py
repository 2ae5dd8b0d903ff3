"""The gap against the guide's family, for four models whose evidence is exact.

Theorem 1 of Schlesinger, Shekhovtsov and Flach (2021) says that a deeper network cannot close the gap of a family; this
draws what a richer family buys instead. Models are the truth or trained on the likelihood, so that no guide has pulled
them towards itself; then each guide is fitted to the fixed model on data drawn from it, and measured on fresh ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from ppl_vae.models.gmm import Gmm
from ppl_vae.models.ppca import Ppca
from ppl_vae.models.rbm import Rbm
from ppl_vae.models.text import Text
from torch import Tensor

from ppl_vae.data import load_corpus
from ppl_vae.diagnostics.gap.ladder import ladder
from ppl_vae.evidence.figures import OKABE_ITO
from ppl_vae.nn.modes import frozen
from ppl_vae.objectives.importance_weighted import ImportanceWeightedELBO
from ppl_vae.programs.loading import find
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.simulate import simulate
from ppl_vae.studies.claims import Claim
from ppl_vae.studies.grid import Grid
from ppl_vae.studies.report import Report, Row
from ppl_vae.studies.study import Study, documented_guide
from ppl_vae.training.settings import Settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "seeds": 1,
        "bits": 3,
        "data": 100,
        "test": 10,
        "epochs": 1,
        "steps": 10,
        "digits": "bars",
        "corpus": "docstrings",
        "vocabulary": 50,
    },
    "cpu": {
        "seeds": 1,
        "bits": 6,
        "data": 10_000,
        "test": 1_000,
        "epochs": 30,
        "steps": 600,
        "digits": "mnist8_binary",
        "corpus": "20news",
        "vocabulary": 2_000,
    },
    "paper": {
        "seeds": 5,
        "bits": 8,
        "data": 100_000,
        "test": 5_000,
        "epochs": 50,
        "steps": 1_000,
        "digits": "mnist8_binary",
        "corpus": "20news",
        "vocabulary": 10_000,
    },
}
OF_BITS = ("mean_field", "tree", "mixture", "autoregressive", "full")
OF_NORMALS = ("mean_field", "low_rank", "full", "flow")
NESTED = (
    ("mean_field", "tree", "full"),
    ("mean_field", "tree", "autoregressive"),
    ("mean_field", "mixture", "full"),
    ("mean_field", "low_rank", "full"),
    ("mean_field", "flow"),
)
"""Families of which each holds those before it."""
RISE = 1e-4
"""Nats of rounding, and of what a gradient ascent leaves."""


@dataclass(frozen=True)
class System:
    """A model and the guides that go with it.

    Arguments:
        title: Title of its rows and its panel.
        guides: Names of the guides, in the order of the figure.
        build: Builds the model, and returns it with its data.
        learns: Whether the model is trained on the likelihood of those data.
    """

    title: str
    guides: tuple[str, ...]
    build: Callable[[], tuple[torch.nn.Module, Any]]
    learns: bool = True


def systems(bits: int, digits: str, corpus: str, vocabulary: int) -> dict[str, System]:
    """The four models by name."""

    def mixture() -> tuple[torch.nn.Module, Any]:
        model = Gmm(bits=min(bits, 4), centres="random")
        model.centres.mul_(2)
        return model, torch.zeros(1, 2)

    def boltzmann() -> tuple[torch.nn.Module, Any]:
        x = load_corpus(digits).train.values
        return Rbm(**find("models", "rbm").facts(x), bits=bits, prior="free"), x

    def text() -> tuple[torch.nn.Module, Any]:
        x = load_corpus(corpus, vocabulary=vocabulary).train.values
        return Text(**find("models", "text").facts(x), bits=bits, hidden=1, width=64), x

    def gaussian() -> tuple[torch.nn.Module, Any]:
        x = load_corpus("gaussians" if digits == "bars" else "mnist8").train.values
        return Ppca(**find("models", "ppca").facts(x), latents=2, hidden=1, width=64), x

    return {
        "mixture": System(f"mixture of {2 ** min(bits, 4)} Gaussians", OF_BITS, mixture, learns=False),
        "boltzmann": System(f"Bernoulli VAE of digits, {bits} bits", OF_BITS, boltzmann),
        "text": System(f"text, {bits} bits, one hidden layer", OF_BITS, text),
        "gaussian": System("Gaussian VAE of digits, 2 latents, one hidden layer", OF_NORMALS, gaussian),
    }


def climb(
    study: Study, name: str, system: System, seed: int, data: int, test: int, epochs: int, steps: int
) -> dict[str, Tensor]:
    """Returns the ELBO of each guide and of the best member of its family, and the evidence, on fresh data."""
    torch.manual_seed(seed)
    model, x = system.build()
    x = x.to(study.device)
    settings = Settings(schedule=[(epochs, 1)], learning_rate=2e-3, decay="cosine", seed=seed, clip=0.0)
    if system.learns:
        proposal = documented_guide("mean_field", model, x, width=128)
        learning = Settings(schedule=[(epochs, 16)], learning_rate=2e-3, decay="cosine", seed=seed, clip=0.0)
        study.train(f"{name}-{seed}", model, proposal, x[:data], learning, objective=ImportanceWeightedELBO())
    model.to(study.device)
    with fork_random_state(seed):
        rows = torch.randint(len(x), (data + test,), device=study.device)
        _, drawn = simulate(model, x[rows])
    fit, fresh = drawn[torch.arange(data)], drawn[torch.arange(data, data + test)]
    guides = {}
    with frozen(model):
        for guide in system.guides:
            torch.manual_seed(seed)
            guides[guide] = documented_guide(guide, model, fit, width=128)
            study.train(f"{name}-{guide}-{seed}", model, guides[guide], fit, settings)
    return ladder(model, guides, fresh, draws=1_000, steps=steps).pointwise()


def run(study: Study, *, seeds: int, data: int, test: int, epochs: int, steps: int, **sizes: Any) -> Report:
    """The experiment.

    Arguments:
        study: Folder of the results.
        seeds: Number of repetitions, each with its own model, guides and data.
        data: Number of data drawn from each model to fit guides to.
        test: Number of data drawn to measure them.
        epochs: Epochs of each training.
        steps: Steps of the search for the best member of a family.
        sizes: ``bits`` of the codes; ``digits``, ``corpus`` and ``vocabulary`` of the data that models are trained on.
    """
    models = systems(**sizes)

    def cell(name: str, seed: int) -> dict[str, Tensor]:
        return climb(study, name, models[name], seed, data, test, epochs, steps)

    cells = Grid(study, models, seeds).compute(cell)
    rows = []
    for name, system in models.items():
        for guide in system.guides:
            gaps = [(each["evidence"] - each[f"{guide}.elbo"]).mean().item() for each in cells[name]]
            best = [each for each in cells[name] if f"{guide}.best_of_family" in each]
            family = [(each["evidence"] - each[f"{guide}.best_of_family"]).mean().item() for each in best]
            limit = sum(family) / len(family) if family else None
            rows.append(Row(guide, gaps, limit=limit, group=system.title, digits=4))
    study.figure("ladder", partial(draw, models=models, rows=rows), (11, 6.5))
    title = "The gap of trained guides, and (limit) of the best member of their family for each datum"
    return Report(title, rows, [claim for name in models for claim in claims(models[name], cells[name])])


def claims(system: System, cells: list[dict[str, Tensor]]) -> list[Claim]:
    """Gaps do not rise along any chain of nested families: of trained guides over seeds, of best members over data."""

    def steps(key: str) -> dict[str, list[Tensor]]:
        pairs = {p for chain in NESTED for p in pairwise(name for name in chain if f"{name}.{key}" in cells[0])}
        return {f"{a} to {b}": [cell[f"{b}.{key}"] - cell[f"{a}.{key}"] for cell in cells] for a, b in sorted(pairs)}

    title = f"{system.title}: gaps do not rise by more than {RISE:g} nats as the family grows"
    trained = [
        Claim.greater(name, [step.mean().item() for step in each], by=-RISE) for name, each in steps("elbo").items()
    ]
    best = [
        Claim.greater(name, step.tolist(), by=-RISE, over="data")
        for name, each in steps("best_of_family").items()
        for step in each
    ]
    return [Claim.every(f"{title}, as trained", trained), Claim.every(f"{title}, of the best members", best)]


def draw(figure: Figure, models: dict[str, System], rows: list[Row]) -> None:
    """A panel per model: gap of the trained guide and of the best member, against the family."""
    panels = figure.subplots(2, 2).flat
    floor = 1e-5
    for axes, system in zip(panels, models.values(), strict=True):
        shown = [row for row in rows if row.group == system.title]
        places = list(range(len(shown)))
        gaps = [max(row.mean, floor) for row in shown]
        style = {"color": OKABE_ITO.blue, "markersize": 7, "capsize": 3, "zorder": 3}
        axes.errorbar(places, gaps, [row.se for row in shown], fmt="o", label="trained guide", **style)
        best = {place: max(row.limit, floor) for place, row in zip(places, shown, strict=True) if row.limit is not None}
        style = {"color": OKABE_ITO.orange, "markeredgecolor": "black"}
        axes.plot(
            best.keys(), best.values(), "D", label="best member of the family (below the dotted line: 0)", **style
        )
        for place, gap, row in zip(places, gaps, shown, strict=True):
            axes.annotate(f"{row.mean:.3g}", (place, gap), (9, 4), textcoords="offset points", fontsize=8)
        axes.set_yscale("log")
        axes.set_ylim(floor / 2, 5 * max(gaps))
        axes.axhline(3 * floor, color="0.6", linewidth=0.8, linestyle=":")
        powers = [10.0**power for power in range(-4, 1) if 10.0**power < 5 * max(gaps)]
        axes.set_yticks([floor, *powers], ["0", *(f"{power:g}" for power in powers)])
        axes.set_xlim(-0.5, len(shown) - 0.2)
        axes.set_xticks(places, [row.quantity.replace("_", " ") for row in shown])
        axes.set_title(system.title, fontsize=10)
        axes.set_ylabel("gap (nats per datum)")
        axes.grid(axis="y", color="0.9")
    handles = axes.get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    figure.suptitle("What a richer family buys: evidence minus ELBO, the model fixed")
