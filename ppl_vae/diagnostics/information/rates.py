"""Rate and distortion of each datum, in closed form, by enumeration, or from draws."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial, reduce

import torch
from torch import Tensor
from torch.distributions import Distribution

from ppl_vae.data.inputs import Batch, dense_width
from ppl_vae.diagnostics.information.active_units import Units, analytic, as_numbers, beside, independent_kl, unit_names
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.methods.enumeration import has_cheap_density
from ppl_vae.nn.modes import evaluating
from ppl_vae.programs.blocks import data_block, rows_at_once
from ppl_vae.programs.handlers import check_cover, latents, run
from ppl_vae.programs.log_weight import log_joint, log_parts, log_proposal, log_proposals
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.sampled import in_blocks
from ppl_vae.programs.sites import guide_sites, model_sites
from ppl_vae.programs.states import States, obstacle
from ppl_vae.programs.types import Program, Progress
from ppl_vae.programs.unobserved import check_none, has_partial_latents

__all__ = ["Probed", "Rates", "measure_rates", "probe", "rate_and_distortion"]

CELLS = 2**22
"""Largest number of (code, datum) cells held at once."""


@dataclass(frozen=True)
class Rates:
    """Rate, distortion and ELBO of each datum.

    Arguments:
        rate: Divergence of the guide from the prior.
        distortion: Expected negative log-likelihood.
        elbo: The ELBO, minus the sum of both.
        units: Units of the code.
    """

    rate: Estimate
    distortion: Estimate
    elbo: Estimate
    units: Units


@dataclass(frozen=True)
class Probed:
    """How rate and distortion of a pair can be computed.

    Arguments:
        states: Joint states of its code, where they can be enumerated under model and guide; else None.
        closed: Whether the rate has a closed form, unit by unit.
        names: Names of the units.
        priors: Distributions of the latents under the model that have units, by site: those that count for all data.
        latents: Names of all latents.
    """

    states: States | None
    closed: bool
    names: list[str]
    priors: dict[str, Distribution]
    latents: tuple[str, ...]


def probe(model: Program, guide: Program, x: Batch, most_bits: int = 16, *, partial_latents: bool = False) -> Probed:
    """Finds out on a few data how rate and distortion can be computed; networks are in evaluation mode already.

    Arguments:
        model: The model.
        guide: Its guide.
        x: The data.
        most_bits: Length of the longest code to enumerate.
        partial_latents: Whether there may be latents that count for some data only.

    Raises:
        ValueError: If the guide does not draw the model's latents, or one counts for some data only.
    """
    sites, guided = model_sites(model, x), guide_sites(guide, (x[:2],))
    with fork_random_state():
        drawn, scored = run(guide, (x[:2],), {}, draws=1), run(model, (x[:2],), {}, draws=1)
    check_cover(scored, drawn)
    if not partial_latents:
        check_none(scored, "the information of latents")
    prior = latents(scored)
    whole = not has_partial_latents(scored)
    few = whole and not obstacle(sites, most_bits) and has_cheap_density(guide, x, sites)
    priors = {name: site["fn"] for name, site in prior.items() if "free" not in site}
    return Probed(
        States(sites, model, x[:3]) if few else None,
        whole and analytic(prior, latents(drawn), sites, guided),
        unit_names(priors),
        priors,
        tuple(prior),
    )


def measure_rates(
    model: Program, guide: Program, x: Batch, known: Probed, draws: int, progress: Progress | None = None
) -> Rates:
    """Returns rate, distortion and units of these data; networks are in evaluation mode already."""
    if known.states is None and draws < 2:
        raise ValueError(
            f"the distortion needs at least 2 draws per datum, got {draws}; raise the draws (--draws, draws=)"
        )
    count = len(x)
    if known.states is not None:
        sums = _enumerate(model, guide, x, known, progress)
    else:
        sums = _draw(model, guide, x, known, draws, progress)
    values, errors = sums.values, sums.errors
    precise = values["rate"].dtype
    kl = torch.zeros(len(known.names), dtype=precise, device=x.device)
    if known.closed:
        for start in range(0, count, block := rows_at_once(x)):
            part = slice(start, start + block)
            divergence, means = independent_kl(model, guide, x[part])
            values["rate"][part], errors["rate"][part] = divergence.to(precise).sum(1), 0
            kl += divergence.to(precise).sum(0) / count
            sums.spread.add(means.to(precise))
        values["elbo"], errors["elbo"] = -values["rate"] - values["distortion"], errors["distortion"]
    method = f"{draws} draws" if known.states is None else f"enumeration of {known.states.count} states"

    def estimate(name: str, method: str, exact: bool) -> Estimate:
        if exact:
            return Estimate(values[name], method, "exact")
        return Estimate(values[name], method, "unbiased", draws, errors[name])

    exact = known.states is not None
    return Rates(
        estimate("rate", "closed form" if known.closed else method, exact or known.closed),
        estimate("distortion", method, exact),
        estimate("elbo", method, exact),
        Units(known.names, *sums.spread.variance(), kl if known.closed else None, {} if known.closed else sums.sites),
    )


def rate_and_distortion(model: Program, guide: Program, x: Batch, elbo: Estimate, draws: int) -> Rates:
    """Returns the rate and distortion that add up to minus a measured bound, and the units of the code.

    Where the rate has a closed form, the distortion is the remainder of the bound, with its error; else both are
    measured again, by enumeration up to 10 bits and from draws beyond.

    Arguments:
        model: The model.
        guide: Its guide.
        x: The data.
        elbo: The measured bound of these data.
        draws: Number of draws per datum, where they are needed.
    """
    with evaluating(model, guide), fork_random_state():
        known = probe(model, guide, x, most_bits=10, partial_latents=True)
        if not known.closed:
            rates = measure_rates(model, guide, x, known, max(2, draws))
        else:
            block = rows_at_once(x)
            parts = [independent_kl(model, guide, x[i : i + block]) for i in range(0, len(x), block)]
            divergence, means = (torch.cat(each).to(elbo.pointwise) for each in zip(*parts, strict=True))
            rate = Estimate(divergence.sum(1), "closed form", "exact")
            distortion = replace(elbo, pointwise=-elbo.pointwise - rate.pointwise, notes=(), common_se=0.0)
            spread = _Spread()
            spread.add(means)
            rates = Rates(rate, distortion, elbo, Units(known.names, *spread.variance(), divergence.mean(0), {}))
    if elbo.common_se:
        rates = replace(rates, rate=replace(rates.rate, bound="approximate", common_se=elbo.common_se))
    return rates


class _Spread:
    """Variance over the data of posterior means, without the noise of the draws they come from, and its error."""

    def __init__(self) -> None:
        self.count = 0
        self.powers: list[Tensor | float] = [0.0, 0.0, 0.0, 0.0]
        self.noise: Tensor | float = 0.0
        self.shift: Tensor | None = None

    def add(self, means: Tensor, noise: Tensor | float = 0.0) -> None:
        """Adds means ``(data, units, states)`` and the variances of their errors."""
        self.shift = means[0] if self.shift is None else self.shift
        centred = means - self.shift
        self.count += len(means)
        self.powers = [total + centred.pow(k).sum(0) for k, total in enumerate(self.powers, 1)]
        self.noise = self.noise + (noise.sum(0) if isinstance(noise, Tensor) else noise)

    def variance(self) -> tuple[Tensor, Tensor]:
        r"""The variance and its standard error, ``(units,)`` each; for a categorical of its most variable state.

        The error of a variance :math:`s^2` over n data with fourth central moment :math:`m_4` is
        :math:`\sqrt{(m_4 - s^4 (n - 3) / (n - 1)) / n}`; the noise of the draws adds to it.
        """
        if not self.count:  # no latent has units
            return torch.zeros(0), torch.zeros(0)
        count, (total, squares, cubes, fourths) = self.count, map(torch.as_tensor, self.powers)
        mean = total / count
        spread = squares - total**2 / count
        fourth = fourths / count - 4 * mean * cubes / count + 6 * mean**2 * squares / count - 3 * mean**4
        error = (fourth - (spread / count) ** 2 * (count - 3) / (count - 1)).clamp(min=0).div(count).sqrt()
        variance = ((spread - self.noise * (count - 1) / count) / (count - 1)).clamp(min=0)
        largest = variance.max(-1, keepdim=True)
        return largest.values[..., 0], error.gather(-1, largest.indices)[..., 0]


class _Sums:
    """Rate, distortion and ELBO of each datum with their errors, mean rates of the sites, and spread of the means."""

    def __init__(self, known: Probed, x: Batch) -> None:
        dtype = torch.float32 if x.device.type == "mps" else torch.float64
        names = ("rate", "distortion", "elbo")
        self.values = {name: torch.zeros(len(x), dtype=dtype, device=x.device) for name in names}
        self.errors = {name: torch.zeros_like(value) for name, value in self.values.items()}
        self.sites = {name: 0.0 for name in known.latents}
        self.spread = _Spread()


def _enumerate(model: Program, guide: Program, x: Batch, known: Probed, progress: Progress | None) -> _Sums:
    states, sums = known.states, _Sums(known, x)
    assert states is not None
    values, sites = sums.values, sums.sites
    shared = states.shared(partial(log_joint, model), partial(log_proposal, guide))
    width = dense_width(x)
    for start in range(0, len(x), size := data_block(x)):
        part = x[start : start + size]
        place = slice(start, start + len(part))
        block = max(1, min(2**11, CELLS // (len(part) * width)))
        mass: Tensor = torch.zeros_like(values["rate"][place])
        rates, means = dict.fromkeys(sites, torch.zeros_like(mass)), torch.zeros_like(mass)[:, None, None]
        for first in range(0, states.count, block):
            codes = states.codes(first, first + block, len(part), shared)
            likelihood, prior = log_parts(model, part, codes)
            proposal = log_proposals(guide, part, codes)
            probability = reduce(torch.add, proposal.values()).to(mass).exp()
            mass += probability.sum(0)
            values["distortion"][place] -= _expected(probability, likelihood)
            for name in sites:
                rates[name] = rates[name] + _expected(probability, proposal[name].to(mass) - prior[name])
            if not known.closed:
                numbers = beside([as_numbers(fn, codes[name][:, :1]) for name, fn in known.priors.items()])[:, 0]
                means = means + torch.einsum("sb,suk->buk", probability, numbers.to(mass))
            if progress:
                progress(likelihood.numel())
        values["distortion"][place] /= mass
        values["rate"][place] = reduce(torch.add, rates.values()) / mass
        for name, value in rates.items():
            sites[name] += (value / mass).sum().item() / len(x)
        if not known.closed:
            sums.spread.add(means / mass[:, None, None])
    values["elbo"] = -values["rate"] - values["distortion"]
    return sums


def _expected(probability: Tensor, value: Tensor) -> Tensor:
    """Sum over states; one that is never drawn adds nothing, however improbable."""
    return torch.where(probability > 0, probability * value, 0).sum(0)


def _draw(model: Program, guide: Program, x: Batch, known: Probed, draws: int, progress: Progress | None) -> _Sums:
    sums = _Sums(known, x)
    sites, like = sums.sites, sums.values["rate"]
    for place, parts in in_blocks(model, guide, x, draws, progress):
        blocks: dict[str, list[Tensor]] = {}
        numbers = [torch.zeros(()), torch.zeros(())]
        for terms in parts:
            rates = {name: terms.proposal[name].to(like) - terms.prior[name] for name in sites}
            values = {"rate": reduce(torch.add, rates.values()), "distortion": -terms.likelihood.to(like)}
            values["elbo"] = -values["rate"] - values["distortion"]
            for name, value in values.items():
                blocks.setdefault(name, []).append(value)
            for name, value in rates.items():
                sites[name] += value.sum().item() / draws / len(x)
            if known.priors and not known.closed:
                units = beside([as_numbers(fn, terms.values[name]) for name, fn in known.priors.items()]).to(like)
                numbers = [numbers[0] + units.sum(0), numbers[1] + units.square().sum(0)]
        for name, block in blocks.items():
            together = torch.cat(block)
            sums.values[name][place] = together.mean(0)
            sums.errors[name][place] = together.std(0) / draws**0.5
        if known.priors and not known.closed:
            mean = numbers[0] / draws
            sums.spread.add(mean, (numbers[1] / draws - mean.square()) / (draws - 1))
    return sums
