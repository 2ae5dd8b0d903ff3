"""The gap between evidence and ELBO, split into what the guide's family costs and what its amortisation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional

from ppl_vae import exponential_family
from ppl_vae.bits import UNIVERSAL
from ppl_vae.diagnostics.family import best_factorised
from ppl_vae.evidence.enumeration import States
from ppl_vae.evidence.results import Estimate
from ppl_vae.log_weight import check_cover, latents, log_joint, log_proposal, run
from ppl_vae.modes import evaluating
from ppl_vae.randomness import kept_random_state
from ppl_vae.sites import GuideSite, guide_sites

__all__ = ["Gap", "split_gap"]

Program = Callable[..., Any]

CELLS = 2**24
"""Largest number of (datum, state) cells held at once: 128 MB in float64."""


@dataclass(frozen=True)
class Gap:
    r"""Where the nats between evidence and ELBO go, datum by datum.

    .. math:: \log p(x) = \mathrm{ELBO} + \text{amortisation gap} + \text{family gap}

    (Cremer, Li and Duvenaud 2018, section 3.1.) The family gap is what the best member of the guide's family loses,
    chosen for this datum alone; the amortisation gap is what the guide's network loses against that member.

    Arguments:
        evidence: log p(x).
        best: The ELBO of the best member of the family.
        elbo: The ELBO of the guide.
        family: The family, in words.
    """

    evidence: Estimate
    best: Estimate
    elbo: Estimate
    family: str

    @property
    def family_gap(self) -> Estimate:
        bound = "upper" if self.best.bound == "lower" else self.best.bound
        return Estimate(self.evidence.pointwise - self.best.pointwise, self.best.method, bound)

    @property
    def amortisation_gap(self) -> Estimate:
        return Estimate(self.best.pointwise - self.elbo.pointwise, self.best.method, self.best.bound)

    def rows(self) -> dict[str, Estimate]:
        """The five numbers from the evidence down to the ELBO."""
        return {
            "evidence": self.evidence,
            "family gap": self.family_gap,
            "best of family": self.best,
            "amortisation gap": self.amortisation_gap,
            "ELBO": self.elbo,
        }

    def worst(self, count: int = 5) -> list[int]:
        """Positions of the data with the widest gaps, widest first."""
        return (
            (self.evidence.pointwise - self.elbo.pointwise).topk(min(count, len(self.elbo.pointwise))).indices.tolist()
        )

    def pointwise(self) -> dict[str, Tensor]:
        """All values a datum by name, for keeping."""
        return {name.replace(" ", "_").lower(): estimate.pointwise for name, estimate in self.rows().items()}

    def to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {name.replace(" ", "_").lower(): e.to_json() for name, e in self.rows().items()}
        return found | {"family": self.family, "data": len(self.elbo.pointwise), "worst": self.worst()}

    def __str__(self) -> str:
        table = Table(title=f"nats per datum over {len(self.elbo.pointwise)} data; family: {self.family}")
        for column in ("", "mean", "smallest", "median", "largest"):
            table.add_column(column, justify="right" if column else "left")
        for name, estimate in self.rows().items():
            values = estimate.pointwise
            figures = (values.mean(), values.min(), values.median(), values.max())
            table.add_row(name, *(f"{figure.item():.3f}" for figure in figures))
        table.caption = f"evidence: {self.evidence.method}, {self.evidence.bound}; best of family: {self.best.method}"
        console = Console(width=90)
        with console.capture() as captured:
            console.print(table)
        return captured.get().rstrip()

    def draw(self, figure: Any, title: str) -> None:
        """A waterfall from evidence to ELBO, and how the two gaps are spread over the data."""
        fall, spread = figure.subplots(1, 2, width_ratios=[3, 2])
        family, amortisation = self.family_gap.mean, self.amortisation_gap.mean
        evidence, elbo = self.evidence.mean, self.elbo.mean
        total = max(evidence - elbo, 1e-9)
        floor = elbo - 0.6 * total
        steps = (
            ("family\ngap", evidence - family, family, "#0072B2"),
            ("amortisation\ngap", elbo, amortisation, "#E69F00"),
        )
        fall.bar("evidence", evidence - floor, bottom=floor, color="0.75")
        for name, bottom, height, colour in steps:
            fall.bar(name, height, bottom=bottom, color=colour)
            fall.annotate(f"{height:.3f}", (name, bottom + height), ha="center", va="bottom")
        fall.bar("ELBO", elbo - floor, bottom=floor, color="0.75")
        fall.annotate(f"{evidence:.2f}", ("evidence", evidence), ha="center", va="bottom")
        fall.annotate(f"{elbo:.2f}", ("ELBO", elbo), ha="center", va="bottom")
        fall.set(ylim=(floor, evidence + 0.2 * total), ylabel="nats per datum", title="From evidence to ELBO (means)")
        for (name, *_, colour), estimate in zip(steps, (self.family_gap, self.amortisation_gap), strict=True):
            values = estimate.pointwise.clamp(min=1e-6).log10().cpu().numpy()
            spread.hist(values, bins=40, color=colour, alpha=0.6, label=name.replace("\n", " "))
        spread.set(xlabel="log10 of nats (below -6 drawn at -6)", ylabel="data", title="Spread over the data")
        spread.legend(frameon=False, loc="center left")
        figure.suptitle(title)


def split_gap(
    model: Program, guide: Program, x: Any, *, most_bits: int = 16, progress: Callable[[int], None] | None = None
) -> Gap:
    """Splits the gap of each datum exactly, for discrete latents few enough to enumerate.

    Arguments:
        model: The generative model.
        guide: Its guide: independent latents, or one site that can be any distribution of the codes.
        x: The data; worked through in blocks.
        most_bits: Longest code to enumerate.
        progress: Called with the number of data done since the last call.

    Returns:
        A :class:`Gap`. The best member is that of coordinate ascent from several starts, the guide's own among them: a
        lower bound of the best, exact where ascent finds it, so the family gap is from above.

    Raises:
        ValueError: If the latents cannot be enumerated, or the guide's family is not known, naming the site.
    """
    with evaluating(model, guide):
        sites, drawn = guide_sites(model, (x[:2],)), guide_sites(guide, (x[:2],))
        for site in sites:
            if site.kind not in ("bits", "states"):
                raise ValueError(f"the gap is split by enumeration, but site {site.name!r} is {site.family}")
        count = prod(site.states for site in sites)
        if count > 2**most_bits:
            raise ValueError(
                f"the gap is split by enumeration, but the latents have {count} states, over 2^{most_bits}"
            )
        with kept_random_state():
            few = run(guide, (x[:2],), {}, draws=1)
        check_cover(States(sites, model, x[:2]).run, few)
        factorised = all(site.independent and site.kind in ("bits", "states") for site in drawn)
        universal = len(drawn) == 1 and isinstance(next(iter(few.values()))["fn"], UNIVERSAL)
        if not (factorised or universal):
            names = ", ".join(repr(site.name) for site in drawn)
            raise ValueError(
                f"the family of a guide whose sites {names} depend on each other is not known; use evidence"
            )
        block = max(1, CELLS // count)
        found = []
        for start in range(0, len(x), block):
            part = x[start : start + block]
            found.append(_split(model, guide, part, sites, universal))
            if progress:
                progress(len(part))
    evidence, best, elbo = (torch.cat(parts) for parts in zip(*found, strict=True))
    words = f"enumeration of {count} states"
    method = "the posterior" if universal else "coordinate ascent"
    return Gap(
        Estimate(evidence, words, "exact"),
        Estimate(best, method, "exact" if universal else "lower"),
        Estimate(elbo, words, "exact"),
        "all distributions of the code" if universal else "independent latents",
    )


def _split(
    model: Program, guide: Program, x: Any, sites: list[GuideSite], universal: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Evidence, bound of the family's best member, and bound of the guide, ``(data,)`` each."""
    states = States(sites, model, x[:3])
    shared = states.shared(partial(log_joint, model), partial(log_proposal, guide))
    joints, proposals = [], []
    for start in range(0, states.count, 2**11):
        codes = states.codes(start, start + 2**11, len(x), shared)
        joints.append(log_joint(model, x, codes))
        proposals.append(log_proposal(guide, x, codes))
    precise = torch.float32 if states.device.type == "mps" else torch.float64
    joint = torch.cat(joints).T.to(precise).contiguous()
    proposal = torch.cat(proposals).T.to(precise).log_softmax(1)
    evidence = joint.logsumexp(1)
    probability = proposal.exp()
    elbo = torch.where(probability > 0, probability * (joint - proposal), 0).sum(1)
    if universal:
        return evidence, evidence.clone(), elbo
    own = _factors(guide, x, sites, precise)
    sizes = [factor.shape[1] for factor in own]
    uniform = [torch.zeros_like(factor).log_softmax(1) for factor in own]
    starts = [own, _marginals(joint - evidence[:, None], sizes), uniform]
    best, _ = best_factorised(joint, sizes, starts)
    return evidence, torch.maximum(best, elbo), elbo


def _factors(guide: Program, x: Any, sites: list[GuideSite], dtype: torch.dtype) -> list[Tensor]:
    """Log-probabilities of each factor of a factorised guide, in the order of the model's sites, ``(data, states)``."""
    with kept_random_state():
        drawn = latents(run(guide, (x,), {}, draws=1))
    found = []
    for site in sites:
        fn = drawn[site.name]["fn"]
        logits = exponential_family.bit_logits(fn)
        if logits is not None:
            both = torch.stack([-logits[0], logits[0]], -1).to(dtype)
            found += list(functional.logsigmoid(both).unbind(1))
        else:
            support = fn.enumerate_support(expand=False)
            found.append(fn.log_prob(support.expand(-1, *fn.shape()[1:])).T.to(dtype).log_softmax(1))
    return found


def _marginals(posterior: Tensor, sizes: list[int]) -> list[Tensor]:
    """Log-marginals of each factor under joint log-probabilities ``(data, states)``."""
    probability, found, left = posterior.exp(), [], 1
    for size in sizes:
        found.append(probability.reshape(len(posterior), left, size, -1).sum((1, 3)).clamp(min=1e-30).log())
        left *= size
    return found
