"""Bernoulli pairs of digits: a Boltzmann machine is tight, and the ELBO pulls its neighbours towards it.

Example 2 of Schlesinger, Shekhovtsov and Flach (2021): of all pairs of binary data and independent bits only the
restricted Boltzmann machine is tight. Here the same decoder has the prior of a Boltzmann machine, independent bits
("free"), or any distribution of the codes, that of a Boltzmann machine among them, and is trained by the ELBO under
guides of growing capacity or by the likelihood. All sums over codes are exact.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from ppl_vae.models.rbm import Rbm
from torch import Tensor

from ppl_vae.data import load_corpus
from ppl_vae.diagnostics.gap.split import split_gap
from ppl_vae.distributions.bits import bit_states
from ppl_vae.evidence.figures import OKABE_ITO, diverging, draw_gap_bars, show_sheet
from ppl_vae.objectives.importance_weighted import ImportanceWeightedELBO
from ppl_vae.programs.log_weight import log_joint
from ppl_vae.programs.simulate import simulate
from ppl_vae.studies.claims import Claim
from ppl_vae.studies.grid import Cells, Grid, slug
from ppl_vae.studies.report import GAP_ROWS, Report, Row, gap_levels, gap_rows
from ppl_vae.studies.study import Study
from ppl_vae.training.settings import Settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {"seeds": 1, "bits": 3, "corpus": "bars", "data": 500, "epochs": 4},
    "cpu": {"seeds": 3, "bits": 8, "corpus": "mnist8_binary", "data": 5_000, "epochs": 60},
    "paper": {"seeds": 10, "bits": 10, "corpus": "mnist8_binary", "data": 60_000, "epochs": 300},
}
# By name: the prior, the guide, and whether the likelihood is maximised instead of the bound.
PAIRS = {
    "RBM, its posterior": ("rbm", "posterior", False),
    "RBM, linear guide": ("rbm", "linear_counts", False),
    "free prior, linear guide": ("free", "linear_counts", False),
    "free prior, deep guide": ("free", "mean_field", False),
    "free prior, likelihood": ("free", "mean_field", True),
    "any prior, linear guide": ("any", "linear_counts", False),
    "any prior, deep guide": ("any", "mean_field", False),
    "any prior, likelihood": ("any", "mean_field", True),
}
SHOWN = 10
SHEET = 7
"""Images in a line of the figure."""


def distance_from_machine(model: Rbm, x: Tensor) -> tuple[float, float]:
    r"""How far a pair is from a Boltzmann machine with the same decoder, in nats.

    For it :math:`\log p(z) - \sum_i \log(1 + \exp(W_i z + u_i))` is affine in z; this is what the best affine function
    leaves of it, as a standard deviation over the codes of the data, and as a share of what the constant leaves.
    """
    states = bit_states(model.bits, like=x)
    with torch.no_grad():
        joint = log_joint(model, x, {"z": states[:, None].expand(-1, len(x), -1)}).double()
        weights = joint.softmax(0).mean(1)  # of the codes, by how much the data use them
        # log p(0, z) = log p(z) - sum log(1 + exp(Wz + u)): the very function.
        values = log_joint(model, torch.zeros_like(x[:1]), {"z": states[:, None]})[:, 0].double()
    root = weights.sqrt()[:, None]
    left = []
    for terms in (torch.cat([states, torch.ones_like(states[:, :1])], 1), torch.ones_like(states[:, :1])):
        terms = terms.double()
        best = torch.linalg.lstsq(root * terms, root * values[:, None]).solution
        left.append((weights * (values - (terms @ best)[:, 0]).square()).sum().sqrt().item())
    return left[0], left[0] / max(left[1], 1e-12)


def fit(study: Study, name: str, seed: int, bits: int, corpus: str, data: int, epochs: int) -> dict[str, Tensor]:
    """One pair, trained and measured on training and on test data."""
    prior, guide_name, by_likelihood = PAIRS[name]
    images = load_corpus(corpus, validation=0.0, seed=seed)
    x, test = images.train.values[:data].to(study.device), images.test.values.to(study.device)
    options = {"width": 128} if guide_name == "mean_field" else {}
    model, guide = study.pair("rbm", guide_name, x, seed, guide_options=options, bits=bits, prior=prior)
    model.linear.bias.data.copy_((x.mean(0).clamp(0.01, 0.99)).logit())
    # At a tenth of this rate training ends far from any optimum, and what is compared is how fast each pair learns.
    settings = Settings(schedule=[(epochs, 1)], learning_rate=5e-2, decay="cosine", seed=seed, clip=0.0)
    objective = ImportanceWeightedELBO() if by_likelihood else None
    study.train(f"{slug(name)}-{seed}", model, guide, x, settings, objective=objective)
    values = {}
    for split, batch in (("train", x), ("test", test)):
        values |= {f"{split} {part}": value for part, value in gap_rows(split_gap(model, guide, batch)).items()}
    distance, share = distance_from_machine(model, x[:2_000])
    return values | {
        "distance": torch.tensor(distance),
        "share": torch.tensor(share),
        "samples": simulate(model, x[:SHOWN])[1],
        "weights": model.linear.weight.T[:SHOWN],
    }


def run(study: Study, *, seeds: int, **what: Any) -> Report:
    """The experiment.

    Arguments:
        study: Folder of the results.
        seeds: Number of repetitions, each with its own parameters and draws.
        what: ``bits`` of the code; ``corpus`` of binary data, of which the first ``data`` are trained on for
            ``epochs``.
    """
    cells = Grid(study, PAIRS, seeds).compute(lambda name, seed: fit(study, name, seed, **what))
    rows = []
    for name in PAIRS:
        for part in GAP_ROWS:
            limit = 0.0 if name.startswith("RBM") and "gap" in part else None
            rows.append(Row(f"test {part}", cells.means(name, f"test {part}"), limit=limit, group=name, digits=4))
        rows.append(Row("approximation error, eq. (4), train", lost(cells, name), group=name, digits=4))
        rows.append(Row("distance from a Boltzmann machine", cells.means(name, "distance"), group=name))
        rows.append(Row("its share", cells.means(name, "share"), group=name, unit=""))
    images = load_corpus(what["corpus"], validation=0.0).test.values[:SHOWN]
    study.figure("rbm", partial(draw, cells=cells, rows=rows, data=images), (14, 8.5))
    return Report(f"Bernoulli pairs of {what['corpus']}, {what['bits']} bits", rows, claims(cells), NOTES)


NOTES = (
    "the approximation error is against the same prior trained on the likelihood, that of a Boltzmann machine against "
    "any prior: optima found, not proven ones",
    "distance: what the best affine function of z leaves of log p(z) - sum log(1 + exp(Wz + u)), the standard "
    "deviation over the codes that the data use, and as a share of what the best constant leaves",
)


def lost(cells: Cells[str], name: str) -> list[float]:
    """Returns the approximation error of eq. (4): likelihood lost against the best found for the pair's prior."""
    prior = "any" if PAIRS[name][0] == "rbm" else PAIRS[name][0]
    best = cells.means(f"{prior} prior, likelihood", "train evidence")
    return [high - low for high, low in zip(best, cells.means(name, "train evidence"), strict=True)]


def claims(cells: Cells[str]) -> list[Claim]:
    """What theorem 1 says of these pairs."""
    exact, linear = (cells.means(name, "test gap") for name in list(PAIRS)[:2])
    largest = max(map(abs, exact))
    claims = [
        Claim.exact(
            "the posterior of a Boltzmann machine leaves no gap: below 1e-4",
            largest < 1e-4,
            f"at most {largest:.2g}",
        ),
        Claim.below("a linear guide that is learned leaves less than 0.02", linear, 0.02),
    ]
    for prior in ("free", "any"):
        likelihood = f"{prior} prior, likelihood"
        for guide in ("linear guide", "deep guide"):
            name = f"{prior} prior, {guide}"
            title = f"with {'a free' if prior == 'free' else 'any'} prior the ELBO under a {guide}"
            claims += [
                Claim.greater(
                    f"{title} ends nearer to a Boltzmann machine than the likelihood",
                    cells.differences(likelihood, name, "distance"),
                    figures=f"of {cells.means(likelihood, 'distance')[0]:.4g} nats",
                ),
                Claim.greater(f"{title} loses likelihood, eq. (4)", lost(cells, name)),
            ]
    return claims


def draw(figure: Figure, cells: Cells[str], rows: list[Row], data: Tensor) -> None:
    """Draws and weights of each pair as images, its evidence and ELBO, and its distance from a Boltzmann machine."""
    left, right = figure.subfigures(1, 2, width_ratios=[1, 1])
    side = int(data.shape[1] ** 0.5)
    panels = left.subplots(1 + len(PAIRS), 2)
    for axes in panels.flat:
        axes.set_axis_off()
    show_sheet(panels[0, 0], 1 - data[:SHEET].reshape(-1, side, side), SHEET)
    panels[0, 0].set_title("test data", fontsize=8, loc="left")
    for (samples, weights), name in zip(panels[1:], PAIRS, strict=True):
        cell = cells[name][0]
        show_sheet(samples, 1 - cell["samples"][:SHEET].reshape(-1, side, side), SHEET)
        samples.set_title(f"{name}: draws", fontsize=8, loc="left")
        show_sheet(weights, diverging(cell["weights"].reshape(-1, side, side)), len(cell["weights"]))
        weights.set_title("weights of its bits", fontsize=8, loc="left")
    gaps, distances = right.subplots(1, 2, sharey=True, width_ratios=[5, 2])
    draw_gap_bars(gaps, gap_levels(rows))
    gaps.set_xlabel("nats per test datum")
    gaps.locator_params(axis="x", nbins=5)
    for place, name in enumerate(PAIRS):
        values = cells.means(name, "distance")
        distances.barh(place, sum(values) / len(values), 0.6, color=OKABE_ITO.green)
        distances.plot(values, [place] * len(values), "k.", markersize=4)
    distances.set_xlabel("distance from a Boltzmann\nmachine (nats; dots: seeds)")
    figure.suptitle(
        "Of Bernoulli pairs only a Boltzmann machine is tight: what each learned, and how far it is from one"
    )
