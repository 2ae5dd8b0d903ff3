"""Fixed or learned noise on a noisy curve: which fits the data better, and is it the model or the bound?

Berger and Sebag (2020, section 4, table 1, figures 4 and 6 to 10): a Gaussian VAE with residual networks learns points
near a curve in the plane, in three parts with moderate, small and large noise, with sigma fixed at five values (F), a
learned scalar (LS), an output of the decoder (LV), fixed at what LS ended with (F*), and following the course that it
took in LS (replay). The paper reports the ELBO; here the evidence stands beside it, and the law of the data is known,
so that the best that any model can reach is known too.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from math import log
from typing import Any

import numpy as np
import pyro.distributions as dist
import torch
from numpy.typing import NDArray
from ppl_vae.guides.residual import Residual
from ppl_vae.models.manifold import Manifold
from torch import Tensor

from ppl_vae.data.readers.manifold import curve_log_density, curve_points
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.importance import from_log_weights, sampled_elbo
from ppl_vae.nn.modes import evaluating
from ppl_vae.nn.observation_noise import read_trace
from ppl_vae.programs.log_weight import log_joint
from ppl_vae.programs.simulate import simulate
from ppl_vae.studies.claims import Claim
from ppl_vae.studies.grid import Grid, slug
from ppl_vae.studies.report import Report, Row
from ppl_vae.studies.study import Study
from ppl_vae.training.trainer import Settings

PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "seeds": 1, "fixed": [1.0, 0.1], "points": 500, "epochs": 2, "rate": 1e-3, "blocks": 1, "width": 20,
        "tested": 50, "draws": 20,
    },
    "cpu": {
        "seeds": 10, "fixed": [1.0, 0.3, 0.1, 0.03, 0.01], "points": 5_000, "epochs": 60, "rate": 4e-3, "blocks": 4,
        "width": 64, "tested": 500, "draws": 300,
    },
    "paper": {
        "seeds": 10, "fixed": [1.0, 0.3, 0.1, 0.03, 0.01], "points": 10_000, "epochs": 500, "rate": 1e-3, "blocks": 4,
        "width": 200, "tested": 5_000, "draws": 5_000,
    },
}  # fmt: skip
LS, LV, AGAIN, REPLAY = "LS", "LV", "F*", "replay"
LV_START = 0.3
"""Where the sigma of LV starts, which the paper does not print; that of LS starts at 1, as in the paper.

From 1 some of LV's sigmas grow to the deviation of the whole data before the decoder uses the latents. It then has
nothing to gain from them, and stays there.
"""
CONSTANT = float(np.log(2 * np.pi))
"""Of two Gaussian numbers: the paper's bounds leave it out."""
PRINTED = {
    "F 1": -1.14,
    "F 0.3": -0.063,
    "F 0.1": 0.773,
    "F 0.03": 0.141,
    "F 0.01": -0.961,
    AGAIN: 0.335,
    LS: 1.26,
    LV: 1.62,
}
"""Table 1 of the paper, mean ELBO of ten runs, without the constant."""
LOSSES = {"distortion": "reconstruction loss D", "rate": "latent loss R"}
SAME = 0.1
"""Nats, little beside what lies between the kinds."""
SHOWN = 800
"""Points in a panel."""
Cells = dict[str, list[dict[str, Tensor]]]


class Fresh:
    """Training data of which every batch is new.

    Arguments:
        points: How many make an epoch.
        device: Where they are wanted.
    """

    def __init__(self, points: int, device: torch.device) -> None:
        self.points, self.device = points, device

    def __len__(self) -> int:
        return self.points

    def __getitem__(self, index: slice | Tensor) -> Tensor:
        count = len(range(self.points)[index]) if isinstance(index, slice) else len(index)
        # From the state that a training keeps, so that one taken up goes on with the points it would have had.
        seed = int(torch.randint(2**31, ()))
        return torch.from_numpy(curve_points(count, seed)[0]).float().to(self.device)


@torch.no_grad()
def searched(model: Manifold, guide: Residual, x: Tensor, draws: int, spacing: float = 0.05) -> Estimate:
    r"""Evidence by weights of draws, half from the guide and half from where a grid over the latents finds mass.

    .. math:: r(z \mid x) = \frac12 q(z \mid x) + \frac{1}{2 h^2} \sum_k p_k(x)\, [z \text{ in the square around } z_k],
        \qquad p_k(x) \propto p(z_k)\, p(x \mid z_k)

    A folded latent space puts one point of the plane in several places, of which a normal guide knows one: its weights
    alone would miss the others, and their share of the evidence.

    Arguments:
        model: With two latents.
        guide: A factorised one.
        x: The data, ``(data, 2)``.
        draws: For each datum, an even number.
        spacing: Of the grid, h, which reaches to 5.

    Returns:
        A lower bound in expectation, ``(data,)``, in nats.
    """
    half = round(5 / spacing)
    axis = spacing * torch.arange(-half, half + 1, device=x.device, dtype=x.dtype)
    grid, found = torch.cartesian_prod(axis, axis), []
    with evaluating(model, guide):
        mean, sigma = model.mean(grid), model.noise(model.hidden(grid))
        # Within a square the mean moves as far as from one node to the next: the likelihood is taken that much wider.
        nodes = mean.unflatten(0, (len(axis), len(axis)))
        moves = [nodes.diff(dim=d, append=nodes.narrow(d, -1, 1)).flatten(0, 1) for d in (0, 1)]
        law = dist.Normal(mean, (sigma**2 + (moves[0] ** 2 + moves[1] ** 2) / 4).sqrt())
        for part in x.split(max(1, 2**16 // draws)):
            log_share = law.log_prob(part[:, None]).sum(-1) - (grid**2).sum(-1) / 2
            log_share = log_share.log_softmax(-1)
            q = guide.members(guide.encoder(part))["z"]
            nodes = grid[torch.multinomial(log_share.exp(), draws // 2, replacement=True).T]
            z = torch.cat([q.sample((draws // 2,)), nodes + spacing * (torch.rand_like(nodes) - 0.5)])
            at = (z / spacing).round().long() + half
            inside = ((at >= 0) & (at < len(axis))).all(-1)
            at = at.clamp(0, len(axis) - 1)
            other = log_share.T[at[..., 0] * len(axis) + at[..., 1], torch.arange(len(part), device=x.device)]
            other = other.where(inside, -torch.inf) - 2 * log(spacing)
            weights = log_joint(model, part, {"z": z}) - torch.logaddexp(q.log_prob(z), other) + log(2)
            found.append(
                from_log_weights(weights.double(), torch.ones(len(part), dtype=torch.bool, device=x.device)).evidence
            )
    return Estimate.join(found)


def test_points(count: int, seed: int) -> NDArray[np.float64]:
    """Test data of a seed, in the precision in which models see them."""
    return curve_points(count, 1_000 + seed)[0].astype(np.float32).astype(np.float64)


def trained(
    study: Study,
    name: str,
    sigma: str,
    x: Fresh,
    test: Tensor,
    settings: Settings,
    draws: int,
    **networks: int,
) -> dict[str, Tensor]:
    """A pair under one choice of sigma, its bound and evidence on test data, and what figures need."""
    torch.manual_seed(settings.seed)
    model = Manifold(sigma=sigma, scale=LV_START if sigma == "vector" else 1.0, **networks)
    guide = Residual(model, test[:2], **networks)
    trainer = study.train(name, model, guide, x, settings)
    elbo, evidence = sampled_elbo(model, guide, test, draws), searched(model, guide, test, draws)
    assert evidence.pointwise_se is not None
    model.eval()
    with torch.no_grad():
        latents, samples = simulate(model, test[torch.arange(SHOWN) % len(test)])
        codes = guide.members(guide.encoder(test[:SHOWN]))["z"].mean
        shown = {"reconstructed": model.mean(codes), "means": model.mean(latents["z"]), "samples": samples}
    return shown | {
        "test": test[:SHOWN],
        "elbo": elbo,
        "evidence": evidence.pointwise,
        "error": evidence.pointwise_se,
        **{what: torch.tensor([row[f"train_{what}"] for row in trainer.rows]) for what in LOSSES},
        "sigma": torch.tensor(read_trace(study.folder / "runs" / name)),
    }


def run(
    study: Study,
    *,
    seeds: int,
    fixed: list[float],
    points: int,
    epochs: int,
    rate: float,
    blocks: int,
    width: int,
    tested: int,
    draws: int,
) -> Report:
    """The experiment.

    Arguments:
        study: Where it is kept.
        seeds: Repetitions, each with data of its own.
        fixed: Values of sigma that stay.
        points: Training data of an epoch, new ones in every batch of 100, as the paper's.
        epochs: Of each training; the course of sigma is kept, and replayed, by epoch.
        rate: Of learning; it falls to zero.
        blocks: Residual blocks of decoder and guide.
        width: Units of each.
        tested: Test data.
        draws: Importance weights a datum.
    """
    kinds = {f"F {sigma:g}": f"{sigma:g}" for sigma in fixed}
    sigmas = {LS: "learned", **kinds, LV: "vector"}

    def cell(kind: str, seed: int) -> dict[str, Tensor]:
        test = torch.from_numpy(test_points(tested, seed)).float().to(study.device)
        settings = Settings([(epochs, 1)], batch_size=100, learning_rate=rate, decay="cosine", seed=seed)
        if kind == AGAIN:
            sigma = repr(cells[LS][seed]["sigma"][-1].item())
        elif kind == REPLAY:
            # From another start and with other points: else it would repeat LS step by step, which shows nothing.
            settings = replace(settings, seed=seed + 1_000)
            sigma = f"schedule:{study.folder / 'runs' / f'{LS}-{seed}'}"
        else:
            sigma = sigmas[kind]
        x, name = Fresh(points, study.device), f"{slug(kind)}-{seed}"
        return trained(study, name, sigma, x, test, settings, draws, blocks=blocks, width=width)

    cells = Grid(study, sigmas, seeds).compute(cell)
    cells |= Grid(study, (AGAIN, REPLAY), seeds).compute(cell)  # these need what LS learned
    cells = {kind: cells[kind] for kind in (*kinds, LS, LV, AGAIN, REPLAY)}
    truth = [curve_log_density(test_points(tested, seed)).mean().item() for seed in range(seeds)]
    limit = Row("", truth).mean
    rows = []
    for kind, found in cells.items():
        elbo = [each["elbo"].mean().item() for each in found]
        printed = PRINTED.get(kind)
        rows += [
            Row("ELBO", elbo, None if printed is None else printed - CONSTANT, limit, group=kind),
            Row("evidence, at least", [each["evidence"].mean().item() for each in found], limit=limit, group=kind),
            Row("gap, at least", [(each["evidence"] - each["elbo"]).mean().item() for each in found], group=kind),
            Row(
                "sigma at the end",
                [each["sigma"][-1].item() for each in found],
                0.043 if kind == LS else None,
                unit="length",
                group=kind,
                digits=4,
            ),
        ]
    study.figure("panels", partial(draw_panels, cells=cells), (7.2, 1.12 * len(cells) + 0.4))
    study.figure("table", partial(draw_table, cells=cells, limit=limit), (7.2, 3.6))
    study.figure("courses", partial(draw_courses, cells=cells), (9.6, 6.6))
    errors = [e["error"].square().sum().sqrt().item() / tested for found in cells.values() for e in found]
    notes = (
        "limit: the negative entropy of the test data under the law they were drawn from; no model exceeds it",
        f"the paper's bounds leave out the constant of two Gaussian numbers, {CONSTANT:.3f} nats, which is taken off "
        "them here; its curve and noise are not printed, so that ours differ, and only the order can be compared",
        f"evidence by {draws} importance weights, half of draws from the guide and half from a grid over the latents: "
        f"a lower bound in expectation; a run's standard error of it, over draws, is at most {max(errors):.3f}",
        "sigma of LV: the geometric mean over the last batch",
    )
    return Report("Fixed and learned noise on a noisy curve", rows, claims(cells, list(kinds)), notes)


def paired(cells: Cells, one: str, other: str, key: str) -> list[float]:
    """Returns mean differences on the same test data, one per seed."""
    return [(a[key] - b[key]).mean().item() for a, b in zip(cells[one], cells[other], strict=True)]


def claims(cells: Cells, kinds: list[str]) -> list[Claim]:
    """Table 1's order of the bounds, that of the evidence, and whether the course of sigma is what matters."""
    found = []
    for key, what in (("elbo", "ELBO"), ("evidence", "evidence")):

        def higher(text: str, one: str, other: str, key: str = key) -> Claim:
            return Claim.greater(text, paired(cells, one, other, key))

        found += [
            higher(f"LV has the higher {what} than LS", LV, LS),
            Claim.every(f"LS has the higher {what} than every F", [higher(kind, LS, kind) for kind in kinds]),
            Claim.some(f"some F has the higher {what} than F*", [higher(kind, kind, AGAIN) for kind in kinds]),
            higher(f"LS has the higher {what} than F*", LS, AGAIN),
        ]
    text = f"with its course of sigma replayed a fixed one ends within {SAME} nats of LS"
    return [*found, Claim.within(text, paired(cells, REPLAY, LS, "elbo"), SAME)]


def draw_panels(figure: Any, cells: Cells) -> None:
    """Test data and their reconstructions, the means of generated points, and the points themselves."""
    panels = figure.subplots(len(cells), 3, sharex=True, sharey=True, squeeze=False)
    for row, (kind, found) in zip(panels, cells.items(), strict=True):
        for axes, what in zip(row, ("reconstructed", "means", "samples"), strict=True):
            axes.plot(*found[0]["test"].T.tolist(), ".", color="#E69F00", markersize=2, markeredgewidth=0)
            axes.plot(*found[0][what].T.tolist(), ".", color="#0072B2", markersize=2, markeredgewidth=0)
            axes.set(xlim=(-3, 3), ylim=(-1.6, 1.6), xticks=[-2, 0, 2], yticks=[-1, 1], aspect="equal")
            axes.tick_params(labelsize=7)
        sigma = found[0]["sigma"][-1].item()
        row[0].set_ylabel(f"{kind.split()[0]}\n$\\sigma$ = {sigma:.2g}", rotation=0, ha="right", va="center")
    for axes, title in zip(panels[0], ("reconstructions", "means of samples", "samples"), strict=True):
        axes.set_title(title, fontsize=10)


def draw_table(figure: Any, cells: Cells, limit: float) -> None:
    """Bound and evidence of every kind, a point a seed, below what the law of the data allows."""
    axes = figure.subplots()
    for place, found in enumerate(cells.values()):
        for shift, key in ((-0.14, "elbo"), (0.14, "evidence")):
            values = [each[key].mean().item() for each in found]
            colour, label = SHOWN_AS[key]
            label = label if not place else None
            axes.plot([place + shift] * len(values), values, ".", color=colour, markersize=4, alpha=0.5)
            axes.plot(
                place + shift, Row("", values).mean, "_", color=colour, markersize=14, markeredgewidth=2.5, label=label
            )
    axes.axhline(limit, color="0.4", linestyle="--", linewidth=1, label="negative entropy of the data")
    axes.set_xticks(range(len(cells)), cells)
    axes.set_ylabel("nats per datum")
    axes.set_ylim(top=limit + 0.2)
    axes.legend(frameon=False, fontsize=9, loc="lower right")


SHOWN_AS = {"elbo": ("#D55E00", "ELBO"), "evidence": ("#0072B2", "evidence, lower bound")}


def draw_courses(figure: Any, cells: Cells) -> None:
    """The losses in training and sigma where it changes: the mean over the seeds, and where the seeds lie."""
    (bounds, sigmas), (distortions, rates) = figure.subplots(2, 2, sharex=True)
    course = {kind: COURSES.get(kind, ("0.75", "-")) for kind in cells}
    fixed = [kind for kind in cells if kind not in COURSES]
    for number, kind in enumerate(fixed):
        course[kind] = (f"{0.8 - 0.65 * number / max(1, len(fixed) - 1):.2f}", "-")
    for kind, found in cells.items():
        curves = {what: torch.stack([each[what] for each in found]) for what in (*LOSSES, "sigma")}
        curves["elbo"] = -curves["rate"] - curves["distortion"]
        plots = [(bounds, "elbo")]
        if kind in COURSES:
            plots += [(distortions, "distortion"), (rates, "rate")]
        if kind in (LS, LV, REPLAY):
            plots += [(sigmas, "sigma")]
        colour, line = course[kind]
        for axes, what in plots:
            values = curves[what].numpy()
            epochs = np.arange(values.shape[1]) + (what != "sigma")
            axes.fill_between(epochs, values.min(0), values.max(0), color=colour, alpha=0.15, linewidth=0)
            axes.plot(
                epochs, values.mean(0), color=colour, linestyle=line, linewidth=2.6 if kind == LS else 1.3, label=kind
            )
    last = [each["distortion"][-1].item() + each["rate"][-1].item() for found in cells.values() for each in found]
    bounds.set(ylabel="ELBO (nats per datum)", ylim=(-max(last) - 1.2, -min(last) + 0.3))
    sigmas.set(ylabel=r"$\sigma$", yscale="log")
    distortions.set(xlabel="epoch", ylabel=f"{LOSSES['distortion']} (nats)", ylim=(-5.2, 3))
    rates.set(xlabel="epoch", ylabel=f"{LOSSES['rate']} (nats)")
    figure.legend(*bounds.get_legend_handles_labels(), loc="outside upper center", frameon=False, ncols=len(cells))


COURSES = {AGAIN: ("#0072B2", "-"), LS: ("#D55E00", "-"), LV: ("#009E73", "-"), REPLAY: ("#000000", "--")}
