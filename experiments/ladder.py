"""The gap against the guide's family, for four models whose evidence is exact.

Theorem 1 of Schlesinger, Shekhovtsov and Flach (2021) says that a deeper network cannot close the gap of a family; this
draws what a richer family buys instead. Models are the truth or trained on the likelihood, so that no guide has pulled
them towards itself; then each guide is fitted to the fixed model on data drawn from it, and measured on fresh ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

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
from ppl_vae.programs.loading import facts, find
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.simulate import simulate
from ppl_vae.studies.claims import Claim
from ppl_vae.studies.grid import Grid
from ppl_vae.studies.report import Report, Row
from ppl_vae.studies.study import Study
from ppl_vae.training.settings import Settings

PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "seeds": 1,
        "bits": 3,
        "data": 200,
        "test": 40,
        "epochs": 1,
        "steps": 20,
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
        title: In words.
        guides: By name, in the order in which they are drawn.
        build: Makes the model and an example of its data.
        learns: Whether the model is trained on the likelihood of real data, which ``build`` gives.
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
        return Rbm(**facts(x), bits=bits, prior="free"), x

    def text() -> tuple[torch.nn.Module, Any]:
        x = load_corpus(corpus, vocabulary=vocabulary).train.values
        return Text(**facts(x), bits=bits, hidden=1, width=64), x

    def gaussian() -> tuple[torch.nn.Module, Any]:
        x = load_corpus("gaussians" if digits == "bars" else "mnist8").train.values
        return Ppca(**facts(x), latents=2, hidden=1, width=64), x

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
    settings = Settings(schedule=[(epochs, 1)], learning_rate=2e-3, decay="cosine", seed=seed)
    if system.learns:
        proposal = find("guides", "mean_field", own=False).target(model, x[:2], width=128)
        learning = Settings(schedule=[(epochs, 16)], learning_rate=2e-3, decay="cosine", seed=seed)
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
            guides[guide] = find("guides", guide, own=False).target(model, fit[:2], width=128)
            study.train(f"{name}-{guide}-{seed}", model, guides[guide], fit, settings)
    found = ladder(model, guides, fresh, draws=1_000, steps=steps)
    return found.pointwise()


def run(study: Study, *, seeds: int, data: int, test: int, epochs: int, steps: int, **what: Any) -> Report:
    """The experiment.

    Arguments:
        study: Where it is kept.
        seeds: Repetitions, each with a model, guides and data of its own.
        data: Drawn from each model to fit guides to.
        test: Drawn to measure them.
        epochs: Of each training.
        steps: Of the search for the best member of a family.
        what: ``bits`` of the codes; ``digits``, ``corpus`` and ``vocabulary`` of the data that models learn from.
    """
    every = systems(**what)

    def cell(name: str, seed: int) -> dict[str, Tensor]:
        return climb(study, name, every[name], seed, data, test, epochs, steps)

    found = Grid(study, every, seeds).compute(cell)
    rows = []
    for name, system in every.items():
        for guide in system.guides:
            gaps = [(each["evidence"] - each[f"{guide}.elbo"]).mean().item() for each in found[name]]
            best = [each for each in found[name] if f"{guide}.best_of_family" in each]
            family = [(each["evidence"] - each[f"{guide}.best_of_family"]).mean().item() for each in best]
            limit = sum(family) / len(family) if family else None
            rows.append(Row(guide, gaps, limit=limit, group=system.title, digits=4))
    study.figure("ladder", lambda figure: draw(figure, every, rows), (11, 6.5))
    title = "The gap of trained guides, and (limit) of the best member of their family for each datum"
    return Report(title, rows, [claim for name in every for claim in claims(every[name], found[name])])


def claims(system: System, found: list[dict[str, Tensor]]) -> list[Claim]:
    """Gaps do not rise along any chain of nested families: of trained guides over seeds, of best members over data."""

    def steps(what: str) -> dict[str, list[Tensor]]:
        pairs = {p for chain in NESTED for p in pairwise(name for name in chain if f"{name}.{what}" in found[0])}
        return {f"{a} to {b}": [each[f"{b}.{what}"] - each[f"{a}.{what}"] for each in found] for a, b in sorted(pairs)}

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


def draw(figure: Any, every: dict[str, System], rows: list[Row]) -> None:
    """A panel a model: gap of the trained guide and of the best member, against the family."""
    panels = figure.subplots(2, 2).flat
    floor = 1e-5
    for axes, system in zip(panels, every.values(), strict=True):
        own = [row for row in rows if row.group == system.title]
        places = list(range(len(own)))
        gaps = [max(row.mean, floor) for row in own]
        errors = [0.0 if row.se != row.se else row.se for row in own]
        axes.errorbar(
            places,
            gaps,
            errors,
            fmt="o",
            color=OKABE_ITO.blue,
            markersize=7,
            label="trained guide",
            capsize=3,
            zorder=3,
        )
        known = [(i, max(row.limit, floor)) for i, row in zip(places, own, strict=True) if row.limit is not None]
        axes.plot(
            *zip(*known, strict=True),
            "D",
            color=OKABE_ITO.orange,
            markeredgecolor="black",
            label="best member of the family; 0 at the lower edge",
        )
        for i, gap in zip(places, gaps, strict=True):
            axes.annotate(f"{own[i].mean:.3g}", (i, gap), (9, 4), textcoords="offset points", fontsize=8)
        axes.set_yscale("log")
        axes.set_ylim(floor / 2, 5 * max(gaps))
        axes.set_xlim(-0.5, len(own) - 0.2)
        axes.set_xticks(places, [row.quantity.replace("_", " ") for row in own])
        axes.set_title(system.title, fontsize=10)
        axes.set_ylabel("gap (nats per datum)")
        axes.grid(axis="y", color="0.9")
    axes.legend(frameon=False, fontsize=9)
    figure.suptitle("What a richer family buys: evidence minus ELBO, the model fixed")
