"""Rate and distortion of each datum, in closed form, by enumeration, or from draws."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial, reduce

import torch
from torch import Tensor
from torch.distributions import Distribution

from ppl_vae.data.counts import Batch, PackedCounts
from ppl_vae.diagnostics.information.active_units import Units, analytic, as_numbers, beside, independent_kl, unit_names
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.methods.enumeration import has_cheap_density
from ppl_vae.nn.modes import evaluating
from ppl_vae.programs.blocks import data_block, in_blocks, rows_at_once
from ppl_vae.programs.handlers import check_cover, latents, run
from ppl_vae.programs.log_weight import log_joint, log_parts, log_proposal, log_proposals
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.sites import guide_sites
from ppl_vae.programs.states import States, obstacle
from ppl_vae.programs.types import Program, Progress

__all__ = ["Probed", "Rates", "measure_rates", "probe", "rate_and_distortion"]

CELLS = 2**22
"""Largest number of (code, datum) cells held at once."""


@dataclass(frozen=True)
class Rates:
    """Rate and distortion.

    Arguments:
        rate: Divergence of the guide from the prior.
        distortion: Expected negative log-likelihood.
        elbo: Minus both.
        units: Of the code.
    """

    rate: Estimate
    distortion: Estimate
    elbo: Estimate
    units: Units


@dataclass(frozen=True)
class Probed:
    """What a pair allows.

    Arguments:
        states: Of its code, where they can be enumerated under model and guide.
        closed: Whether the rate has a closed form, unit by unit.
        names: Of the units.
        priors: Distributions of the latents under the model, by site.
    """

    states: States | None
    closed: bool
    names: list[str]
    priors: dict[str, Distribution]


def probe(model: Program, guide: Program, x: Batch, most_bits: int = 16) -> Probed:
    """Reads off a few data what a pair allows; networks are in evaluation mode already.

    Raises:
        ValueError: If the guide does not draw the model's latents.
    """
    sites, guided = guide_sites(model, (x[:2],)), guide_sites(guide, (x[:2],))
    with fork_random_state():
        drawn, scored = run(guide, (x[:2],), {}, draws=1), run(model, (x[:2],), {}, draws=1)
    check_cover(scored, drawn)
    prior = latents(scored)
    few = not obstacle(sites, most_bits) and has_cheap_density(guide, x, sites)
    priors = {name: site["fn"] for name, site in prior.items()}
    return Probed(
        States(sites, model, x[:3]) if few else None,
        analytic(prior, latents(drawn), sites, guided),
        unit_names(priors),
        priors,
    )


def measure_rates(
    model: Program, guide: Program, x: Batch, known: Probed, draws: int, progress: Progress | None = None
) -> Rates:
    """Rate, distortion and units of these data; networks are in evaluation mode already."""
    if known.states is None and draws < 2:
        raise ValueError(f"the distortion needs at least 2 draws per datum, got {draws}; raise the draws")
    precise = torch.float32 if x.device.type == "mps" else torch.float64
    count = len(x)
    kept = {name: torch.zeros(count, dtype=precise, device=x.device) for name in ("rate", "distortion", "elbo")}
    errors = {name: torch.zeros_like(value) for name, value in kept.items()}
    sites = {name: 0.0 for name in known.priors}
    moved, kl = _Spread(), torch.zeros(len(known.names), dtype=precise, device=x.device)
    if known.states is not None:
        _enumerate(model, guide, x, known, kept, sites, moved, progress)
    else:
        _draw(model, guide, x, known, draws, kept, errors, sites, moved, progress)
    if known.closed:
        for start in range(0, count, block := rows_at_once(x)):
            part = slice(start, start + block)
            divergence, means = independent_kl(model, guide, x[part])
            kept["rate"][part], errors["rate"][part] = divergence.to(precise).sum(1), 0
            kl += divergence.to(precise).sum(0) / count
            moved.add(means.to(precise))
        kept["elbo"], errors["elbo"] = -kept["rate"] - kept["distortion"], errors["distortion"]
    method = f"{draws} draws" if known.states is None else f"enumeration of {known.states.count} states"

    def estimate(name: str, method: str, exact: bool) -> Estimate:
        if exact:
            return Estimate(kept[name], method, "exact")
        return Estimate(kept[name], method, "unbiased", draws, errors[name])

    exact = known.states is not None
    return Rates(
        estimate("rate", "closed form" if known.closed else method, exact or known.closed),
        estimate("distortion", method, exact),
        estimate("elbo", method, exact),
        Units(known.names, moved.variance(), kl if known.closed else None, {} if known.closed else sites),
    )


def rate_and_distortion(
    model: Program, guide: Program, x: Batch, elbo: Estimate, draws: int
) -> tuple[Estimate, Estimate]:
    """What a bound that was measured is made of.

    Where the rate has a closed form the distortion is the rest of the bound, with its error; else both are measured
    anew, by enumeration up to 10 bits and from draws beyond.

    Arguments:
        model: The model.
        guide: Its guide.
        x: The data.
        elbo: The bound of these data.
        draws: Draws per datum, where they are needed.
    """
    with evaluating(model, guide), fork_random_state():
        known = probe(model, guide, x, most_bits=10)
        if not known.closed:
            result = measure_rates(model, guide, x, known, max(2, draws))
            rate, distortion = result.rate, result.distortion
        else:
            block = rows_at_once(x)
            parts = [independent_kl(model, guide, x[i : i + block])[0].sum(1) for i in range(0, len(x), block)]
            rate = Estimate(torch.cat(parts).to(elbo.pointwise), "closed form", "exact")
            distortion = replace(elbo, pointwise=-elbo.pointwise - rate.pointwise, notes=(), common_se=0.0)
    if elbo.common_se:
        rate = replace(rate, bound="approximate", common_se=elbo.common_se)
    return rate, distortion


class _Spread:
    """Variance over the data of posterior means, without the noise of the draws they come from."""

    def __init__(self) -> None:
        self.count = 0
        self.total: Tensor | float = 0.0
        self.squares: Tensor | float = 0.0
        self.noise: Tensor | float = 0.0
        self.shift: Tensor | None = None

    def add(self, means: Tensor, noise: Tensor | float = 0.0) -> None:
        """Takes in means ``(data, units, states)`` and the variances of their errors."""
        self.shift = means[0] if self.shift is None else self.shift
        centred = means - self.shift
        self.count += len(means)
        self.total = self.total + centred.sum(0)
        self.squares = self.squares + centred.square().sum(0)
        self.noise = self.noise + (noise.sum(0) if isinstance(noise, Tensor) else noise)

    def variance(self) -> Tensor:
        """``(units,)``; of a categorical that of its most variable state."""
        spread = torch.as_tensor(self.squares - self.total**2 / self.count)
        variance: Tensor = (spread - self.noise * (self.count - 1) / self.count) / (self.count - 1)
        return variance.clamp(min=0).amax(-1)


def _enumerate(
    model: Program,
    guide: Program,
    x: Batch,
    known: Probed,
    kept: dict[str, Tensor],
    sites: dict[str, float],
    moved: _Spread,
    progress: Progress | None,
) -> None:
    states = known.states
    assert states is not None
    shared = states.shared(partial(log_joint, model), partial(log_proposal, guide))
    width = 1 if isinstance(x, PackedCounts) else x[0].numel()
    for start in range(0, len(x), size := data_block(x)):
        part = x[start : start + size]
        place = slice(start, start + len(part))
        block = max(1, min(2**11, CELLS // (len(part) * width)))
        mass: Tensor = torch.zeros_like(kept["rate"][place])
        rates, means = dict.fromkeys(sites, torch.zeros_like(mass)), torch.zeros_like(mass)[:, None, None]
        for first in range(0, states.count, block):
            codes = states.codes(first, first + block, len(part), shared)
            likelihood, prior = log_parts(model, part, codes)
            proposal = log_proposals(guide, part, codes)
            probability = reduce(torch.add, proposal.values()).to(mass).exp()
            mass += probability.sum(0)
            kept["distortion"][place] -= _expected(probability, likelihood)
            for name in sites:
                rates[name] = rates[name] + _expected(probability, proposal[name].to(mass) - prior[name])
            if not known.closed:
                numbers = beside([as_numbers(fn, codes[name][:, :1]) for name, fn in known.priors.items()])[:, 0]
                means = means + torch.einsum("sb,suk->buk", probability, numbers.to(mass))
            if progress:
                progress(likelihood.numel())
        kept["distortion"][place] /= mass
        kept["rate"][place] = reduce(torch.add, rates.values()) / mass
        for name, value in rates.items():
            sites[name] += (value / mass).sum().item() / len(x)
        if not known.closed:
            moved.add(means / mass[:, None, None])
    kept["elbo"] = -kept["rate"] - kept["distortion"]


def _expected(probability: Tensor, value: Tensor) -> Tensor:
    """Sum over states; one that is never drawn adds nothing, however improbable."""
    return torch.where(probability > 0, probability * value, 0).sum(0)


def _draw(
    model: Program,
    guide: Program,
    x: Batch,
    known: Probed,
    draws: int,
    kept: dict[str, Tensor],
    errors: dict[str, Tensor],
    sites: dict[str, float],
    moved: _Spread,
    progress: Progress | None,
) -> None:
    for place, parts in in_blocks(model, guide, x, draws, progress):
        sums: dict[str, list[Tensor]] = {}
        numbers = [torch.zeros(()), torch.zeros(())]
        for terms in parts:
            rates = {name: terms.proposal[name].to(kept["rate"]) - terms.prior[name] for name in sites}
            values = {"rate": reduce(torch.add, rates.values()), "distortion": -terms.likelihood.to(kept["rate"])}
            values["elbo"] = -values["rate"] - values["distortion"]
            for name, value in values.items():
                sums.setdefault(name, []).append(value)
            for name, value in rates.items():
                sites[name] += value.sum().item() / draws / len(x)
            if not known.closed:
                result = beside([as_numbers(fn, terms.values[name]) for name, fn in known.priors.items()])
                result = result.to(kept["rate"])
                numbers = [numbers[0] + result.sum(0), numbers[1] + result.square().sum(0)]
        for name, parts_of in sums.items():
            together = torch.cat(parts_of)
            kept[name][place] = together.mean(0)
            errors[name][place] = together.std(0) / draws**0.5
        if not known.closed:
            mean = numbers[0] / draws
            moved.add(mean, (numbers[1] / draws - mean.square()) / (draws - 1))
