"""A noisy bit sent as one of thirty levels: every rate has the same ELBO, and what an aim at the true rate recovers.

Reproduces the toy model of Alemi et al. (2018): tables for marginal and decoder that can model the data whatever the
code says of them, trained by the ELBO and by aiming at the information of the true process. Everything is finite, so
rate, distortion and information are exact. The encoder's logits are affine in the level in one half of the trainings,
as those of the true posterior are, and a free table in the other.
"""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import pyro
import pyro.distributions as dist
import torch
from ppl_vae.models.toy_channel import ToyChannel
from pyro.nn import PyroModule
from torch import Tensor, nn

from ppl_vae.data.readers.channel import CHANNEL_LEVELS, channel_law
from ppl_vae.distributions.tables import entropy
from ppl_vae.evidence.figures import OKABE_ITO, draw_seeds, whole
from ppl_vae.objectives.elbo import DiscreteELBO
from ppl_vae.objectives.rate_cost import RateCost
from ppl_vae.studies.claims import Claim
from ppl_vae.studies.coded_tables import exact, optimal_codes
from ppl_vae.studies.grid import Cells, Grid, slug
from ppl_vae.studies.report import Report, Row
from ppl_vae.studies.study import Study
from ppl_vae.training.settings import Settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {"seeds": 1, "steps": 10, "data": 200},
    "cpu": {"seeds": 3, "steps": 2_000, "data": 400},
    "paper": {"seeds": 10, "steps": 10_000, "data": 10_000},
}
INFORMATION = 0.5
COSTS = {
    "ELBO": RateCost(),
    "D + |R - 0.5|": RateCost(rate=INFORMATION),
    "least D at R = 0.5": RateCost(rate=INFORMATION, lagrangian=True),
}
ENCODERS = {"affine": "affine in the level", "table": "free table"}
COLOURS = dict(zip(COSTS, (OKABE_ITO.blue, OKABE_ITO.orange, OKABE_ITO.green), strict=True))


class LevelGuide(PyroModule):
    """A guide whose logits are affine in the level, or a free table.

    Arguments:
        states: Number of states of the latent.
        kind: ``"affine"`` or ``"table"``.
    """

    def __init__(self, states: int, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.register_buffer("levels", torch.from_numpy(CHANNEL_LEVELS).to(torch.get_default_dtype())[:, None])
        self.logits = nn.Linear(1 if kind == "affine" else len(CHANNEL_LEVELS), states)

    def forward(self, x: Tensor) -> None:
        logits = self.logits(x @ self.levels if self.kind == "affine" else x)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Categorical(logits=logits))


def sample(law: Tensor, count: int) -> Tensor:
    """Returns about ``count`` levels, one-hot, in the proportions of the true process, rounded."""
    counts = (count * law.sum(0)).round().long()
    return torch.eye(law.shape[1]).repeat_interleave(counts, 0)


def cell(study: Study, steps: int, data: int, condition: tuple[str, str], seed: int) -> dict[str, Tensor]:
    """The tables after a training, their exact values, and the rate after each step."""
    kind, cost = condition
    law = torch.from_numpy(channel_law(INFORMATION))
    x = sample(law, data).to(study.device)
    torch.manual_seed(seed)
    model, guide = ToyChannel(), LevelGuide(30, kind)
    settings = Settings([(steps, 1)], batch_size=len(x), learning_rate=0.02, seed=seed, clip=0.0)
    objective = DiscreteELBO("enumerate", beta=COSTS[cost])
    rows = study.train(f"{slug(condition)}-{seed}", model, guide, x, settings, objective=objective).rows
    with torch.no_grad():
        levels = torch.eye(law.shape[1], device=study.device)
        logits = guide.logits(levels @ guide.levels if kind == "affine" else levels)
        tables = {
            "encoder": logits.double().softmax(1).cpu(),
            "marginal": model.prior.double().softmax(0).cpu(),
            "decoder": model.decoder.double().softmax(1).cpu(),
        }
    return tables | exact(law, **tables) | {"rates": torch.tensor([row["train_rate"] for row in rows])}


def run(study: Study, *, seeds: int, steps: int, data: int) -> Report:
    """The experiment.

    Arguments:
        study: Folder of the results.
        seeds: Number of repetitions, each from other tables.
        steps: Number of steps of each training, each with all data.
        data: Number of data, but for rounding, in the proportions of the true process.
    """
    law = torch.from_numpy(channel_law(INFORMATION))
    known = optimal_codes(law, INFORMATION)
    cells = Grid(study, product(ENCODERS, COSTS), seeds).compute(partial(cell, study, steps, data))
    rows = []
    for kind, cost in cells:
        for quantity, truth in known["true process"].items():
            unit, group = "probability" if quantity == "distance" else "nats", f"encoder {ENCODERS[kind]}, {cost}"
            rows.append(Row(quantity, cells.means((kind, cost), quantity), None, truth, unit, group))
    study.figure("toy-channel", lambda figure: draw_tables(figure, law, cells), (11, 9.6))
    study.figure("plane", lambda figure: draw_plane(figure, law, known, cells), (10.5, 4.2))
    title = "A noisy bit as one of thirty levels (the toy model of Alemi et al. 2018)"
    return Report(title, rows, claims(known, cells), NOTES)


NOTES = (
    "limit: the true process, a bit of probability 0.7 in noise that leaves I(x; bit) = 0.5 nats",
    "distance: total variation between the true distribution of bit and level and the model's, states of z gathered by "
    "the bit they more probably come from; 0.3 is what a code that says nothing leaves",
    "rate, distortion and information are sums over all levels and states, with the true probabilities of the levels; "
    "the data have these rounded, for which a trained ELBO is lower by about 0.01",
)


def claims(known: dict[str, dict[str, float]], cells: Cells[tuple[str, str]]) -> list[Claim]:
    """Claims about the four optimal codes, and about the trained tables."""
    elbos = [code["ELBO"] for code in known.values()]
    aims = {name: code["distortion"] + abs(code["rate"] - INFORMATION) for name, code in known.items()}
    twice = {name: code["distortion"] + 2 * abs(code["rate"] - INFORMATION) for name, code in known.items()}
    shown = ", ".join(f"{name} {code['rate']:.3f}" for name, code in known.items())
    elbo, *aiming = COSTS
    tested = [
        Claim.exact(
            "codes of every rate have the same ELBO in the limit, minus the entropy of the data",
            max(elbos) - min(elbos) < 1e-9,
            f"{elbos[0]:.6f} at the rates {shown}",
        ),
        Claim.exact(
            "D + |R - I| does not tell the true process from a code that says all in the limit",
            abs(aims["true process"] - aims["all"]) < 1e-9 < aims["nothing"] - aims["true process"],
            ", ".join(f"{name} {value:.3f}" for name, value in aims.items()),
        ),
        Claim.exact(
            "D + 2 |R - I| does, but no cost of the rate tells it from an erasure in the limit",
            twice["all"] - twice["true process"] > 0.1 and abs(twice["erasure"] - twice["true process"]) < 1e-9,
            ", ".join(f"{name} {value:.3f}" for name, value in twice.items()),
        ),
        Claim.below(
            "with an encoder affine in the level, ELBO training leaves the code unused (rate below 0.05)",
            cells.means(("affine", elbo), "rate"),
            0.05,
        ),
    ]
    for cost in aiming:
        for kind in ENCODERS:
            title, rates = f"{cost}, encoder {ENCODERS[kind]}", cells.means((kind, cost), "rate")
            distances = cells.means((kind, cost), "distance")
            tested.append(Claim.within(f"{title}: the rate comes to 0.5 within 0.02", rates, 0.02, of=INFORMATION))
            tested.append(Claim.below(f"{title}: the true process is recovered (distance below 0.1)", distances, 0.1))
    return tested


def draw_tables(figure: Figure, law: Tensor, cells: Cells[tuple[str, str]]) -> None:
    """Data, code, encoder and decoder of the truth and of three trainings, one per column."""
    elbo, _, least = COSTS
    data = law.sum(0)
    shown = {
        "true process": ((law / data).T, law.sum(1), law / law.sum(1, keepdim=True)),
        **{
            f"{cost}\nencoder {ENCODERS[kind]}": tuple(
                cells[kind, cost][0][k] for k in ("encoder", "marginal", "decoder")
            )
            for kind, cost in (("affine", elbo), ("affine", least), ("table", least))
        },
    }
    panels = figure.subplots(4, len(shown), height_ratios=[1, 1, 1.3, 1.3])
    for column, (title, (encoder, marginal, decoder)) in enumerate(shown.items()):
        known = exact(law, encoder, marginal, decoder)
        sent = law @ encoder / law.sum(1, keepdim=True)
        used = (data @ encoder > 0.005).nonzero()[:, 0]
        order = used[(decoder[used] @ torch.from_numpy(CHANNEL_LEVELS)).argsort()]
        top, code, first, second = panels[:, column]
        top.bar(range(len(data)), data.tolist(), color="0.8", label="true p(x)")
        top.plot((marginal @ decoder).tolist(), color=OKABE_ITO.blue, label="model's p(x)")
        top.plot((data @ encoder @ decoder).tolist(), "--", color=OKABE_ITO.vermilion, label="reconstructions")
        top.set_title(f"{title}\nR {known['rate']:.3f}, D {known['distortion']:.3f}", fontsize=9)
        code.bar(range(len(order)), (data @ encoder)[order].tolist(), color="0.8", label="aggregate e(z)")
        code.plot(marginal[order].tolist(), "k_", markersize=12, label="marginal m(z)")
        for bit, colour in ((0, OKABE_ITO.purple), (1, OKABE_ITO.green)):
            code.plot(sent[bit][order].tolist(), ".", color=colour, label=f"e(z | true bit {bit})")
        code.set(ylim=(0, 1.9), yticks=(0, 0.5, 1), xlim=(-0.6, len(order) - 0.4))
        for axes, table, name in ((first, encoder[:, order], "e(z | x)"), (second, decoder[order].T, "d(x | z)")):
            image = axes.imshow(
                table.numpy(), origin="lower", aspect="auto", cmap="cividis", vmin=0, interpolation="nearest"
            )
            axes.set(xlabel="states z in use, by mean level")
            whole(axes.xaxis)
            figure.colorbar(image, ax=axes, label=name if column == len(shown) - 1 else "")
        top.set(xlabel="level x", ylim=(0, 1.6 * data.max().item()))
        code.set(xlabel="states z in use, by mean level")
        whole(code.xaxis)
    labels = ("probability of a level", "probability of a state", "level x", "level x")
    for axes, label in zip(panels[:, 0], labels, strict=True):
        axes.set(ylabel=label)
    for axes in panels[:2, 0]:
        axes.legend(frameon=False, fontsize=6.5, loc="upper left")
    figure.suptitle(
        "The ELBO is as content with an unused code; an aim at the true rate needs a smooth encoder to find the truth"
    )


def draw_plane(figure: Figure, law: Tensor, known: dict[str, dict[str, float]], cells: Cells[tuple[str, str]]) -> None:
    """Where trainings end in the plane of rate and distortion, and how the rate gets there."""
    plane, course = figure.subplots(1, 2)
    most = entropy(law.sum(0))
    plane.plot([0, most], [most, 0], color="0.6", label="D = H - R: ELBO = -H")
    plane.fill_between([0, most], [most, 0], color="0.93")
    plane.annotate("unattainable", (0.15 * most, 0.3 * most), color="0.4")
    for name, code in known.items():
        plane.plot(code["rate"], code["distortion"], "k+", markersize=9)
        if name != "erasure":
            plane.annotate(name, (code["rate"], code["distortion"]), (6, 4), textcoords="offset points", fontsize=8)
    for kind, cost in cells:
        rates, distortions = (cells.means((kind, cost), key) for key in ("rate", "distortion"))
        points = {rate: [distortion] for rate, distortion in zip(rates, distortions, strict=True)}
        draw_seeds(plane, points, COLOURS[cost], "o" if kind == "affine" else "s", label=f"{cost}, {kind}")
        for each in cells[kind, cost]:
            line = "-" if kind == "affine" else ":"
            course.plot(each["rates"].tolist(), line, color=COLOURS[cost], linewidth=1)
    course.axhline(INFORMATION, color="0.6", linewidth=0.8)
    plane.set(xlabel="rate R (nats)", ylabel="distortion D (nats)", title="Where they end")
    course.set(xlabel="step", ylabel="rate R (nats)", title="How the rate gets there (dotted: free table)")
    plane.set(xlim=(-0.15, 1.12 * most))
    plane.legend(frameon=False, fontsize=8)
    figure.suptitle("Every rate has the same ELBO; |R - 0.5| stops the rate from below only, the multiplier holds it")
