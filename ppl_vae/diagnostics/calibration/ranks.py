r"""Places of the latents that simulated data were made from among the guide's samples for these data.

For data simulated from the model, :math:`z^* \sim p(z)` and :math:`x \sim p(x \mid z^*)`, the latents are a sample of
the posterior :math:`p(z \mid x)`. If the guide is the posterior, then :math:`z^*` and the guide's samples :math:`z_1,
\dots, z_L` for this datum are independent and of one distribution, so that the place of :math:`t(x, z^*)` among the
:math:`t(x, z_l)` is uniform for every function t. A place is the number

.. math:: u = \frac{\#\{l : t_l < t^*\} + V (1 + \#\{l : t_l = t^*\})}{L + 1}, \qquad V \sim \mathrm{Uniform}(0, 1),

which takes ties in random order, and so is uniform on the unit interval for discrete latents, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.distributions import constraints

from ppl_vae.data.inputs import Batch
from ppl_vae.diagnostics.information.active_units import unit_names
from ppl_vae.distributions import exponential_family
from ppl_vae.distributions.canonical_forms import Family
from ppl_vae.programs.blocks import rows_at_once
from ppl_vae.programs.densities import Site, element_support
from ppl_vae.programs.handlers import SubstituteLatents, check_cover, latents, run
from ppl_vae.programs.log_weight import log_parts
from ppl_vae.programs.simulate import simulate
from ppl_vae.programs.types import Program, Progress
from ppl_vae.programs.unobserved import check_none

__all__ = ["Kind", "Places", "places"]

Kind = Literal["rank", "probability integral", "density", "distance"]

LIKELIHOOD, JOINT, ALL = "log p(x | z)", "log p(x, z)", "all latents"


@dataclass(frozen=True)
class Places:
    """Places in the unit interval, each uniform if the guide is the posterior.

    Arguments:
        units: Places of the numbers of each site among those of the guide's samples, ``(data, units)``.
        bits: Probability integrals of the bits of each site whose guide gives them probabilities, ``(data, bits)``.
        densities: Places of the log-densities among those of the guide's samples, ``(data,)``.
        distances: Places of the distances from random reference points, ``(data,)``, by site and of all together.
        names: Names of the units of each site.
    """

    units: dict[str, Tensor]
    bits: dict[str, Tensor]
    densities: dict[str, Tensor]
    distances: dict[str, Tensor]
    names: dict[str, list[str]]

    def quantities(self) -> Iterator[tuple[str, str, Kind, Tensor]]:
        """Name, site, kind and places ``(data,)`` of each quantity."""
        kinds: tuple[tuple[Kind, dict[str, Tensor]], ...] = (("rank", self.units), ("probability integral", self.bits))
        for site, names in self.names.items():
            for kind, values in kinds:
                if site in values:
                    yield from ((name, site, kind, values[site][:, i]) for i, name in enumerate(names))
        for name, value in self.densities.items():
            yield name, name, "density", value
        for name, value in self.distances.items():
            label = f"coverage, {name}"
            yield label, label, "distance", value


def places(model: Program, guide: Program, x: Batch, draws: int, progress: Progress | None = None) -> Places:
    """The places of latents of data simulated in the shape of these; networks are in evaluation mode already.

    Arguments:
        model: The model.
        guide: Its guide.
        x: Data, each of which gives one simulated datum its shape and what the model does not observe.
        draws: Samples of the guide per datum.
        progress: Called with the number of samples done since the last call.

    Raises:
        ValueError: If the model draws no data of its own, or the guide does not draw its latents, naming the site.
    """
    scored, drawn = run(model, (x[:2],), {}, draws=1), run(guide, (x[:2],), {}, draws=1)
    check_cover(scored, drawn)
    check_none(scored, "calibration")
    sites = latents(scored)
    truth, data = simulate(model, x)
    references = simulate(model, x)[0]  # of the prior alone: their data are others
    scales = {name: _scale(site, references[name]) for name, site in sites.items()}
    parts = list(_blocks(model, guide, data, truth, references, sites, scales, draws, progress))

    def joined(kind: str) -> dict[str, Tensor]:
        return {name: torch.cat([getattr(part, kind)[name] for part in parts]) for name in getattr(parts[0], kind)}

    return Places(joined("units"), joined("bits"), joined("densities"), joined("distances"), parts[0].names)


def _blocks(
    model: Program,
    guide: Program,
    data: Batch,
    truth: Mapping[str, Tensor],
    references: Mapping[str, Tensor],
    sites: Mapping[str, Site],
    scales: Mapping[str, Tensor | None],
    draws: int,
    progress: Progress | None,
) -> Iterator[Places]:
    names = {name: unit_names({name: site["fn"]}) for name, site in sites.items()}
    size = max(1, rows_at_once(data) // (draws + 1))
    for start in range(0, len(data), size):
        x = data[start : start + size]
        true = {name: value[None, start : start + size] for name, value in truth.items()}
        proposed = run(guide, (x,), {}, draws=draws).values_of_latents()
        # The true latents stand at a random place among the samples: not even rounding can tell them apart.
        order = torch.arange(draws + 1)[:, None].repeat(1, len(x))
        order[0] = torch.randint(draws + 1, (len(x),))
        order.scatter_(0, order[:1].clone(), 0)
        place, rows = order[:1].clone(), torch.arange(len(x))
        order, place = order.to(x.device), place.to(x.device)
        stacked = {name: torch.cat([value, proposed[name]])[order, rows] for name, value in true.items()}
        likelihood, prior = log_parts(model, x, stacked)
        densities = {LIKELIHOOD: likelihood, JOINT: sum(prior.values(), likelihood)}
        numbers = {name: _as_units(sites[name], value) for name, value in stacked.items()}
        from_reference = {
            name: _distance(value, _as_units(sites[name], references[name][None, start : start + size]), scales[name])
            for name, value in numbers.items()
        }
        distances = {ALL: sum(from_reference.values(), torch.zeros(()))} | (from_reference if len(sites) > 1 else {})
        yield Places(
            {name: _place(value, place) for name, value in numbers.items()},
            _integrals(guide, x, true),
            {name: _place(value.expand(draws + 1, len(x)), place) for name, value in densities.items()},
            {name: _place(value, place) for name, value in distances.items()},
            names,
        )
        if progress:
            progress(draws * len(x))


def _as_units(site: Site, value: Tensor) -> Tensor:
    """Values ``(draws, data, *event)`` as numbers ``(draws, data, units)``; of a one-hot vector the position."""
    if exponential_family.family(site["fn"]) == Family.ONE_HOT:
        value = value.argmax(-1)
    return value.reshape(*value.shape[:2], -1)


def _scale(site: Site, reference: Tensor) -> Tensor | None:
    """Deviation of each unit over the references, ``(units,)``; None where values are equal or not."""
    fn = site["fn"]
    if exponential_family.family(fn) in (Family.CATEGORICAL, Family.ONE_HOT):
        return None
    if element_support(fn.support) is constraints.boolean:
        return None
    numbers = _as_units(site, reference[None])[0].double()
    return numbers.std(0, correction=0).clamp(min=1e-30).nan_to_num(1.0, posinf=1.0)


def _distance(numbers: Tensor, reference: Tensor, scale: Tensor | None) -> Tensor:
    """Share of the units that differ, or mean squared difference of the standardised ones, ``(draws, data)``."""
    if scale is None:
        return (numbers != reference).double().mean(-1)
    return ((numbers.double() - reference.double()) / scale).square().mean(-1)


def _place(values: Tensor, place: Tensor) -> Tensor:
    """The place of the value that stands at ``place``, ``(1, data)``, among ``(draws + 1, data, ...)``."""
    values = values.detach().nan_to_num(-torch.inf, torch.inf, -torch.inf)  # an undefined density is that of nothing
    count, data, *event = values.shape
    true = values.gather(0, place.reshape(1, data, *(1 for _ in event)).expand(1, data, *event))
    below, equal = (values < true).sum(0).double(), (values == true).sum(0).double()
    return (below + equal * torch.rand_like(below)) / count


def _integrals(guide: Program, x: Batch, true: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Randomised probability integrals of the true bits under the guide, given those before, ``(data, bits)``."""
    integrals = {}
    for name, site in run(guide, (x,), {}, draws=1, handler=SubstituteLatents(true)).items():
        logits = exponential_family.bit_logits(site["fn"])
        if logits is None:
            continue
        bits = true[name].reshape(len(x), -1).double()
        probability = logits.detach().expand(1, len(x), -1)[0].double().sigmoid()
        uniform = torch.rand_like(bits)
        # Below 1 - probability for a zero, above it for a one.
        integrals[name] = torch.where(bits > 0, 1 - probability * uniform, (1 - probability) * uniform)
    return integrals
