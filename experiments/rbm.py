"""Bernoulli pairs of digits: a Boltzmann machine is tight, and the ELBO pulls its neighbours towards it.

Example 2 of Schlesinger, Shekhovtsov and Flach (2021): of all pairs of binary data and independent bits only the
restricted Boltzmann machine is tight. Here the same decoder has the prior of a Boltzmann machine, independent bits
("free"), or any distribution of the codes, that of a Boltzmann machine among them, and is trained by the ELBO under
guides of growing capacity or by the likelihood. All sums over codes are exact.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from ppl_vae.models.rbm import Rbm
from torch import Tensor
from torch.nn import functional

from ppl_vae.data import load_corpus
from ppl_vae.diagnostics.gap.split import split_gap
from ppl_vae.distributions.bits import bit_states
from ppl_vae.objectives.importance_weighted import ImportanceWeightedELBO
from ppl_vae.programs.loading import facts, find
from ppl_vae.programs.log_weight import log_joint
from ppl_vae.programs.simulate import simulate
from ppl_vae.studies.report import Claim, Report, Row
from ppl_vae.studies.study import Study
from ppl_vae.training.settings import Settings

PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {"seeds": 1, "bits": 3, "corpus": "bars", "data": 500, "epochs": 4},
    "cpu": {"seeds": 3, "bits": 8, "corpus": "mnist8_binary", "data": 5_000, "epochs": 60},
    "paper": {"seeds": 10, "bits": 10, "corpus": "mnist8_binary", "data": 60_000, "epochs": 300},
}
# By name: the prior, the guide, and whether the likelihood is climbed instead of the bound.
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
Found = dict[str, list[dict[str, Tensor]]]
"""What is kept of each pair, by its name: tensors by name, a seed each."""
PARTS = ("ELBO", "evidence", "gap", "family gap", "amortisation gap")
SHOWN = 10


def from_a_machine(model: Rbm, x: Tensor) -> tuple[float, float]:
    r"""How far a pair is from a Boltzmann machine with the same decoder, in nats.

    There :math:`\log p(z) - \sum_i \log(1 + \exp(W_i z + u_i))` is affine in z; this is what the best affine function
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
    prior, guide_name, climbs = PAIRS[name]
    found = load_corpus(corpus, validation=0.0, seed=seed)
    x, test = found.train.values[:data].to(study.device), found.test.values.to(study.device)
    torch.manual_seed(seed)
    model = Rbm(**facts(x), bits=bits, prior=prior)
    model.to(study.device)
    model.linear.bias.data.copy_((x.mean(0).clamp(0.01, 0.99)).logit())
    options = {"width": 128} if guide_name == "mean_field" else {}
    guide = find("guides", guide_name, own=False).target(model, x[:2], **options)
    # At a tenth of this rate training ends far from any optimum, and what is compared is how fast each pair learns.
    settings = Settings(schedule=[(epochs, 1)], learning_rate=5e-2, decay="cosine", seed=seed)
    label = name.replace(",", "").replace(" ", "-")
    study.train(f"{label}-{seed}", model, guide, x, settings, objective=ImportanceWeightedELBO() if climbs else None)
    values = {}
    for split, batch in (("train", x), ("test", test)):
        gap = split_gap(model, guide, batch)
        rows = (gap.elbo, gap.evidence, gap.evidence.minus(gap.elbo), gap.family_gap, gap.amortisation_gap)
        values |= {f"{split} {part}": row.pointwise for part, row in zip(PARTS, rows, strict=True)}
    distance, share = from_a_machine(model, x[:2_000])
    return values | {
        "distance": torch.tensor(distance),
        "share": torch.tensor(share),
        "samples": simulate(model, x[:SHOWN])[1],
        "weights": model.linear.weight.T[:SHOWN],
    }


def run(study: Study, *, seeds: int, bits: int, corpus: str, data: int, epochs: int) -> Report:
    """The experiment.

    Arguments:
        study: Where it is kept.
        seeds: Repetitions, each with parameters and draws of its own.
        bits: Of the code.
        corpus: Binary data.
        data: How many of them are trained on.
        epochs: Of each training.
    """
    found = {
        name: [
            study.values(
                f"{name.replace(',', '').replace(' ', '-')}-{seed}",
                partial(fit, study, name, seed, bits, corpus, data, epochs),
            )
            for seed in range(seeds)
        ]
        for name in PAIRS
    }
    rows = []
    for name, runs in found.items():
        for part in PARTS:
            limit = 0.0 if name.startswith("RBM") and "gap" in part else None
            means = [each[f"test {part}"].mean().item() for each in runs]
            rows.append(Row(f"test {part}", means, limit=limit, group=name, digits=4))
        rows.append(Row("approximation error, eq. (4), train", lost(found, name).tolist(), group=name, digits=4))
        rows.append(Row("distance from a Boltzmann machine", [r["distance"].item() for r in runs], group=name))
        rows.append(Row("its share", [r["share"].item() for r in runs], group=name, unit="", digits=3))
    images = load_corpus(corpus, validation=0.0).test.values[:SHOWN]
    study.figure("rbm", partial(draw, found={name: runs[0] for name, runs in found.items()}, data=images), (12, 8.5))
    return Report(f"Bernoulli pairs of {corpus}, {bits} bits", rows, claims(found), NOTES)


NOTES = (
    "the approximation error is against the same prior trained on the likelihood, that of a Boltzmann machine against "
    "any prior: optima found, not proven ones",
    "distance: what the best affine function of z leaves of log p(z) - sum log(1 + exp(Wz + u)), the standard "
    "deviation over the codes that the data use, and as a share of what the best constant leaves",
)


def per_seed(found: Found, name: str, key: str) -> Tensor:
    """The mean over the data, a seed each."""
    return torch.tensor([each[key].double().mean().item() for each in found[name]], dtype=torch.float64)


def lost(found: Found, name: str) -> Tensor:
    """The approximation error of eq. (4): likelihood lost against the best that was found for the pair's prior."""
    prior = "any" if PAIRS[name][0] == "rbm" else PAIRS[name][0]
    return per_seed(found, f"{prior} prior, likelihood", "train evidence") - per_seed(found, name, "train evidence")


def claims(found: Found) -> list[Claim]:
    """What theorem 1 says of these pairs."""

    def words(values: Tensor) -> str:
        error = f" +- {values.std() / len(values) ** 0.5:.2g}" if len(values) > 1 else ""
        return f"{values.mean():.4g}{error}"

    def more(values: Tensor) -> bool:
        return bool(values.mean() > 2 * (values.std() / len(values) ** 0.5 if len(values) > 1 else 0))

    exact, linear = (per_seed(found, name, "test gap") for name in list(PAIRS)[:2])
    made = [
        Claim(
            "the posterior of a Boltzmann machine leaves no gap: below 1e-4, in the limit",
            bool(exact.abs().max() < 1e-4),
            words(exact),
        ),
        Claim("a linear guide that is learned leaves less than 0.02", bool(linear.mean() < 0.02), words(linear)),
    ]
    for prior in ("free", "any"):
        far = per_seed(found, f"{prior} prior, likelihood", "distance")
        for guide in ("linear guide", "deep guide"):
            name = f"{prior} prior, {guide}"
            nearer, error = far - per_seed(found, name, "distance"), lost(found, name)
            title = f"with {'a free' if prior == 'free' else 'any'} prior the ELBO under a {guide}"
            made += [
                Claim(
                    f"{title} ends nearer to a Boltzmann machine than the likelihood",
                    more(nearer),
                    f"by {words(nearer)} of {words(far)} nats",
                ),
                Claim(f"{title} loses likelihood, eq. (4)", more(error), f"{words(error)} nats"),
            ]
    return made


def draw(figure: Any, found: dict[str, dict[str, Tensor]], data: Tensor) -> None:
    """Draws and weights of each pair as images, and its evidence and bound."""
    left, right = figure.subfigures(1, 2, width_ratios=[4, 5])
    side = int(data.shape[1] ** 0.5)
    rows = {"data": (data, None)} | {name: (each["samples"], each["weights"]) for name, each in found.items()}
    panels = left.subplots(len(rows), 2, width_ratios=[1, 1])
    for (samples, weights), name, (first, second) in zip(rows.values(), rows, panels, strict=True):
        for axes, images, colours in ((first, samples, "gray_r"), (second, weights, "PuOr")):
            axes.set_axis_off()
            if images is not None:
                strip = functional.pad(images.reshape(-1, side, side), (0, 1))
                high = float(images.abs().max())
                low = 0.0 if colours == "gray_r" else -high
                axes.imshow(strip.transpose(0, 1).reshape(side, -1).numpy(), cmap=colours, vmin=low, vmax=high)
        first.set_title(f"{name}: draws" if name != "data" else "test data", fontsize=8, loc="left")
        if weights is not None:
            second.set_title("weights of its bits", fontsize=8, loc="left")
    axes, distances = right.subplots(1, 2, sharey=True, width_ratios=[3, 2])
    for place, each in enumerate(found.values()):
        evidence, bound = each["test evidence"].mean().item(), each["test ELBO"].mean().item()
        axes.plot([bound, evidence], [place, place], color="0.6", zorder=1)
        axes.plot(evidence, place, "o", color="#0072B2", label=None if place else "evidence")
        axes.plot(bound, place, "D", color="#E69F00", label=None if place else "ELBO")
        axes.annotate(f"gap {evidence - bound:.3f}", (evidence, place), (4, 6), textcoords="offset points", fontsize=8)
    axes.set_yticks(range(len(found)), list(found))
    axes.margins(x=0.3)
    axes.invert_yaxis()
    axes.set_xlabel("nats per test datum")
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.3, -0.08), ncols=2)
    distances.barh(range(len(found)), [each["distance"].item() for each in found.values()], 0.5, color="#009E73")
    distances.set_xlabel("distance from a\nBoltzmann machine, nats")
    figure.suptitle(
        "Of Bernoulli pairs only a Boltzmann machine is tight: what each learned, and how far it is from one"
    )
