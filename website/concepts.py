"""The figure of the concepts, from a pair of two bits of which every number is a sum."""

from __future__ import annotations

from functools import cache
from math import factorial, prod
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

import ppl_vae as pv
from ppl_vae.evidence.figures import OKABE_ITO

__all__ = ["draw", "numbers", "table"]

FIGURE = Path(__file__).parents[1] / "docs" / "figures" / "concepts.png"

CENTRES = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]], dtype=torch.float64)

DRAWS = (1, 2, 3, 5, 8, 12, 18, 25)
"""Numbers of samples of the bounds."""


def model(x: Tensor) -> None:
    """Four Gaussians at the corners of a square, numbered by two bits in the order of counting."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Bernoulli(0.5 * x.new_ones(2)).to_event(1))
        centre = CENTRES[(2 * z[..., 0] + z[..., 1]).long()]
        pyro.sample("x", dist.Normal(centre, x.new_tensor(1.0)).to_event(1), obs=x)


def guide(x: Tensor) -> None:
    """Independent bits, whose network is too flat."""
    logits = torch.stack([2.5 * x[:, 1], -x[:, 0] * x[:, 1]], -1)
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Bernoulli(logits=logits).to_event(1))


@cache
def numbers() -> dict[str, float]:
    """The means over the data, in nats per datum, from enumeration of the four codes."""
    x = _data()
    gap, rates = pv.split_gap(model, guide, x), pv.information(model, guide, x).rates
    elbo = gap.elbo.mean
    assert abs(elbo + rates.rate.mean + rates.distortion.mean) < 1e-9
    return {
        "distortion": rates.distortion.mean,
        "rate": rates.rate.mean,
        "ELBO": elbo,
        "amortisation gap": gap.amortisation_gap.mean,
        "family gap": gap.family_gap.mean,
        "evidence": gap.evidence.mean,
    }


def table() -> str:
    """The numbers of the figure."""
    meanings = {
        "distortion": "D = -E_q log p(x given z): how badly the code describes the data",
        "rate": "R = KL(q(z given x) to p(z)): what the code costs",
        "ELBO": "-(D + R)",
        "amortisation gap": "best member of the guide's family, datum by datum, minus ELBO",
        "family gap": "evidence minus that best member",
        "evidence": "log p(x)",
    }
    rows = [f"| {name} | {value:.3f} | {meanings[name]} |" for name, value in numbers().items()]
    return "\n".join(["| | nats per datum | |", "|---|---:|---|", *rows])


def draw() -> None:
    """Writes the figure."""
    figure = Figure(figsize=(9, 3.9), layout="constrained")
    parts, bounds = figure.subplots(1, 2, width_ratios=[6, 5])
    _draw_parts(parts)
    _draw_bounds(bounds)
    figure.savefig(FIGURE, dpi=160)


def _draw_parts(axes: Axes) -> None:
    known = numbers()
    steps = (
        ("distortion D", -known["distortion"], "0.75"),
        ("rate R", -known["rate"], "0.55"),
        ("amortisation gap", known["amortisation gap"], OKABE_ITO.orange),
        ("family gap", known["family gap"], OKABE_ITO.blue),
    )
    level, places = 0.0, [0, 1, 3, 4]
    for place, (name, step, colour) in zip(places, steps, strict=True):
        axes.barh(place, step, left=level, color=colour, height=0.7)
        text = f" {name}  {abs(step):.2f}"
        axes.annotate(text, (max(level, level + step), place), va="center", ha="left")
        level += step
        axes.plot([level, level], [place, place + 1], color="0.4", linewidth=0.8)
    for place, name in ((2, "ELBO"), (5, "evidence")):
        axes.barh(place, known[name], color="black", height=0.12)
        axes.plot([known[name]], [place], "D" if name == "ELBO" else "o", color="black")
        label = "log p(x), evidence" if name == "evidence" else "ELBO = -(D + R)"
        axes.annotate(f"{label}  {known[name]:.2f}", (0, place), (4, 0), textcoords="offset points", va="center")
    axes.set(
        yticks=[],
        xlim=(1.05 * known["ELBO"], 2.8),
        xticks=range(-3, 1),
        ylim=(5.6, -0.6),
        xlabel="nats per datum, on average",
    )
    axes.set_title("What lies between ELBO and evidence", fontsize=11)
    axes.spines[["top", "left", "right"]].set_visible(False)


def _draw_bounds(axes: Axes) -> None:
    lower, upper, evidence = (np.array(values) for values in _bounds())
    axes.plot(DRAWS, upper, "v-", color=OKABE_ITO.vermilion, label="from above: one of them from the posterior")
    axes.axhline(evidence, color="black", label="evidence")
    axes.plot(DRAWS, lower, "^-", color=OKABE_ITO.green, label="from below: importance weights of K samples")
    axes.annotate("ELBO", (1, lower[0]), (8, -3), textcoords="offset points", va="center")
    axes.set(xscale="log", xlabel="samples K", ylabel="nats, of one datum, in expectation")
    axes.set_xticks(DRAWS, [str(draws) for draws in DRAWS])
    axes.minorticks_off()
    axes.set_title("Bounds and their directions", fontsize=11)
    axes.set_ylim(top=upper[0] + 0.45 * (upper[0] - lower[0]))
    axes.legend(frameon=False, fontsize=9, loc="upper right")
    axes.spines[["top", "right"]].set_visible(False)


def _bounds() -> tuple[list[float], list[float], float]:
    """Expected bounds of the datum whose gap is nearest to the mean, as sums over how often each code is drawn."""
    x = _data()
    log_joint, log_q = (_tables(program, x) for program in (model, guide))
    gaps = log_joint.logsumexp(1) - (log_q.exp() * (log_joint - log_q)).sum(1)
    typical = (gaps - gaps.mean()).abs().argmin()
    weights = (log_joint - log_q)[typical].exp().numpy()
    q, posterior = log_q[typical].exp().numpy(), log_joint[typical].softmax(0).numpy()
    lower, upper = [], []
    for draws in DRAWS:
        mean = {counts: np.log(np.dot(counts, weights) / draws) for counts in _counts(draws)}
        lower.append(sum(_multinomial(counts, q) * value for counts, value in mean.items()))
        # One sample of the posterior, the others of the guide.
        upper.append(
            sum(
                posterior[code] * _multinomial(rest, q) * mean[tuple(rest[i] + (i == code) for i in range(4))]
                for rest in _counts(draws - 1)
                for code in range(4)
            )
        )
    return lower, upper, log_joint[typical].logsumexp(0).item()


def _data() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(4, (1000,), generator=generator)
    return CENTRES[codes] + torch.randn(1000, 2, generator=generator, dtype=torch.float64)


def _tables(program: object, x: Tensor) -> Tensor:
    """Log-densities of each datum with each code, ``(data, 4)``."""
    columns = []
    for code in range(4):
        z = torch.tensor([code // 2, code % 2], dtype=x.dtype).expand(len(x), 2)
        trace = pyro.poutine.trace(pyro.poutine.condition(program, {"z": z})).get_trace(x)
        trace.compute_log_prob()
        sites = [site["log_prob"] for site in trace.nodes.values() if site["type"] == "sample" and "log_prob" in site]
        columns.append(sum(log_prob for log_prob in sites if log_prob.shape == (len(x),)))
    return torch.stack(columns, 1)


def _counts(total: int) -> list[tuple[int, ...]]:
    """All ways to draw four codes so many times in all."""
    return [
        (a, b, c, total - a - b - c)
        for a in range(total + 1)
        for b in range(total + 1 - a)
        for c in range(total + 1 - a - b)
    ]


def _multinomial(counts: tuple[int, ...], q: np.ndarray) -> float:
    ways = factorial(sum(counts)) / prod(factorial(count) for count in counts)
    return float(ways * np.prod(q ** np.array(counts)))
