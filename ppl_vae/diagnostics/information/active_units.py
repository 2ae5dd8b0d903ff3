"""Units of the latent code: the KL divergence of each from the prior, and whether it is active."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Distribution, Normal, kl_divergence
from torch.nn import functional

from ppl_vae.data.inputs import Batch
from ppl_vae.distributions import exponential_family
from ppl_vae.evidence.estimate import finite
from ppl_vae.evidence.figures import OKABE_ITO
from ppl_vae.evidence.tables import in_short
from ppl_vae.programs.clamped import note_clamped, rounding_on_average
from ppl_vae.programs.handlers import Site, SubstituteLatents, latents, run
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.sites import GuideSite
from ppl_vae.programs.types import Program

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ACTIVE", "Units", "analytic", "as_numbers", "beside", "independent_kl", "unit_names"]

ACTIVE = 0.01
"""Variance of a posterior mean over the data above which its unit counts as active."""

STATES = ("categorical", "one-hot categorical")


@dataclass(frozen=True)
class Units:
    r"""The scalar latents, or units, of a code.

    A unit is active if its posterior mean moves with the data,
    :math:`\mathrm{Var}_x(\mathbb{E}_{q(z \mid x)} z_j) > 0.01` (Burda, Grosse and Salakhutdinov 2016, section 5.2).
    The mean of a bit is its probability; a categorical has one probability per state, of which the most variable
    counts.

    Arguments:
        names: Name of each unit, ``site[index]``.
        variance: Variance of the posterior mean of each unit over the data, ``(units,)``.
        variance_se: Its standard error as that of the population of the data, ``(units,)``.
        kl: Mean over the data of the divergence of each unit from its prior in nats, ``(units,)``, where the guide
            and the prior are independent over units; else None.
        sites: Mean divergence of each site from its prior in nats, where draws or enumeration estimate it.
    """

    names: list[str]
    variance: Tensor
    variance_se: Tensor
    kl: Tensor | None
    sites: dict[str, float]

    @property
    def active(self) -> Tensor:
        """Whether each unit is active, ``(units,)``."""
        return self.variance > ACTIVE

    @property
    def collapsed(self) -> list[str]:
        """Names of the units that are not active."""
        return [name for name, active in zip(self.names, self.active.tolist(), strict=True) if not active]

    @property
    def undecided(self) -> list[str]:
        """Names of the units of which these data do not show whether they are active: 0.01 is within two errors.

        A variance that is known to some digits has its error on the scale of its logarithm.
        """
        relative = self.variance_se / self.variance
        by_ratio = (self.variance / ACTIVE).log().abs() <= 2 * relative
        near = torch.where(relative < 0.5, by_ratio, (self.variance - ACTIVE).abs() <= 2 * self.variance_se)
        return [name for name, is_near in zip(self.names, near.tolist(), strict=True) if is_near]

    def to_json(self) -> dict[str, Any]:
        divergence = [None] * len(self.names) if self.kl is None else [finite(kl) for kl in self.kl.tolist()]
        variance, error = (map(finite, each.tolist()) for each in (self.variance, self.variance_se))
        rows = zip(self.names, divergence, variance, error, self.active.tolist(), strict=True)
        return {
            "active": int(self.active.sum()),
            "share_active": finite(self.active.double().mean().item()),
            "collapsed": self.collapsed,
            "undecided": self.undecided,
            "units": [{"name": n, "kl": k, "variance": v, "variance_se": e, "active": a} for n, k, v, e, a in rows],
            "kl_of_sites": {name: finite(kl) for name, kl in self.sites.items()},
        }

    def __str__(self) -> str:
        near = f" ({len(self.undecided)} within the error of the limit)" if self.undecided else ""
        summary = f"active units: {int(self.active.sum())} of {len(self.names)}{near}"
        if not self.collapsed:
            return summary
        return f"{summary}; collapsed: {in_short(self.collapsed, 8)}"

    def draw(self, axes: Axes) -> None:
        """Draws bars of each unit's divergence, or of its variance where single units have no divergence."""
        values = self.variance if self.kl is None else self.kl
        order = values.argsort(descending=True)
        colours = [OKABE_ITO.blue if active else OKABE_ITO.orange for active in self.active[order].tolist()]
        axes.bar(range(len(order)), values[order].clamp(min=1e-12).cpu().numpy(), color=colours)
        if len(order) <= 16:
            axes.set_xticks(range(len(order)), [self.names[i] for i in order.tolist()], rotation=45 * (len(order) > 8))
        count = int(self.active.sum())
        for name, colour, number in (
            ("active", OKABE_ITO.blue, count),
            ("collapsed", OKABE_ITO.orange, len(order) - count),
        ):
            if number:
                axes.bar(0, 0, color=colour, label=f"{name}: {number}")
        axes.legend(frameon=False)
        if self.kl is None:
            axes.set(yscale="log", ylim=(1e-5, None), ylabel="variance of E[z] over the data")
            axes.axhline(0.01, color="0.3", linestyle=":")
        else:
            highest = values[values.isfinite()].max().item() if values.isfinite().any() else 1.0
            axes.set(ylabel="KL from the prior (nats per datum)", ylim=(0, 1.35 * max(highest, 1e-6)))
        axes.set(xlabel="unit of the code, sorted", title="Where the rate goes" if self.kl is not None else "Units")


def unit_names(prior: dict[str, Distribution]) -> list[str]:
    """Returns a name for each unit of the latents drawn from these distributions, in order."""
    names = []
    for name, fn in prior.items():
        shape = _unit_shape(fn)
        names += [name + (f"[{','.join(map(str, index))}]" if index else "") for index in product(*map(range, shape))]
    return names


def analytic(prior: dict[str, Site], drawn: dict[str, Site], sites: list[GuideSite], guided: list[GuideSite]) -> bool:
    """Returns whether all latents are independent under prior and guide, of one known family, and unscaled."""
    known = ("Bernoulli", "normal", *STATES)
    independent = all(site.independent for site in (*sites, *guided))
    plain = all(site["scale"] == 1 and site["mask"] is None for site in (*prior.values(), *drawn.values()))
    families = [(exponential_family.family(prior[n]["fn"]), exponential_family.family(drawn[n]["fn"])) for n in prior]
    return independent and plain and all(p == q and p in known for p, q in families)


def independent_kl(model: Program, guide: Program, x: Batch) -> tuple[Tensor, Tensor]:
    r"""Returns the divergence from the prior and the posterior mean of each unit of each datum, in closed form.

    .. math:: \mathrm{KL}(q(z_j \mid x_i) \,\|\, p(z_j)), \qquad \mathbb{E}_{q(z_j \mid x_i)} z_j

    Arguments:
        model: A model for which :func:`analytic` holds.
        guide: The guide.
        x: A batch.

    Returns:
        ``(batch, units)`` in nats, and ``(batch, units, states)``: one state but for categoricals.
    """
    with fork_random_state():
        proposed = run(guide, (x,), {}, draws=1)
        prior = latents(run(model, (x,), {}, draws=1, handler=SubstituteLatents(proposed.values_of_latents())))
    divergences, means = [], []
    for name, site in prior.items():
        note_clamped(name, site["fn"])
        q, p = exponential_family.base(proposed[name]["fn"]), exponential_family.base(site["fn"])
        shape = (len(x), _unit_shape(site["fn"]).numel())
        whole = torch.Size((1, len(x), *_unit_shape(site["fn"])))
        mean = _mean(q)
        divergence = kl_divergence(q, p) + rounding_on_average(p, mean)
        divergences.append(divergence.expand(whole).reshape(shape))
        means.append(mean.expand(*whole, mean.shape[-1]).reshape(*shape, -1))
    return torch.cat(divergences, 1), beside(means)


def as_numbers(fn: Distribution, value: Tensor) -> Tensor:
    """Returns values ``(draws, batch, *event)`` as ``(draws, batch, units, states)``, one indicator per state."""
    shape, kind = _unit_shape(fn), exponential_family.family(fn)
    if kind == "categorical":
        value = functional.one_hot(value.long(), exponential_family.base(fn).logits.shape[-1])
    return value.reshape(*value.shape[:2], shape.numel(), -1)


def beside(parts: list[Tensor]) -> Tensor:
    """Concatenates the units of several sites, ``(..., units, states)``; missing states are padded with zeros."""
    states = max(part.shape[-1] for part in parts)
    return torch.cat([functional.pad(part, (0, states - part.shape[-1])) for part in parts], -2)


def _mean(q: Distribution) -> Tensor:
    """Posterior means with a last dimension of states, of size 1 for numbers."""
    if isinstance(q, Bernoulli | Normal):
        return q.mean[..., None]
    probabilities: Tensor = q.probs  # type: ignore[attr-defined]
    return probabilities


def _unit_shape(fn: Distribution) -> torch.Size:
    """Shape of one datum's units: a one-hot vector is one unit."""
    one_hot = exponential_family.family(fn) == "one-hot categorical"
    return torch.Size(fn.event_shape[:-1] if one_hot else fn.event_shape)
