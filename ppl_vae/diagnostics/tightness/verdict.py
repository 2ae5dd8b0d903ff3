"""The answer to whether a posterior lies in a guide's family, and whether a linear guide would reach it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import log10
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor

from ppl_vae.diagnostics.gap.gap import Gap
from ppl_vae.diagnostics.tightness.latent_samples import Proposal
from ppl_vae.diagnostics.tightness.least_squares import Unexplained
from ppl_vae.diagnostics.tightness.linear_guide import LinearGuide
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.figures import OKABE_ITO, bars_of_counts
from ppl_vae.evidence.results import Result
from ppl_vae.evidence.tables import text_table
from ppl_vae.programs.random_state import positions

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Example", "Status", "Tightness"]

Status = Literal["tight", "not linear", "in the family", "not read", "outside", "not known"]

LEAST = 1e-4
"""Nats below which what a guide does not read may be rounding."""

COLOURS: dict[Proposal, str] = {"guide": OKABE_ITO.blue, "prior": OKABE_ITO.orange}


@dataclass(frozen=True)
class Example:
    """One datum's log p(x, z) - log h'(z) beside its best affine fit, at z of the guide.

    Arguments:
        datum: Position of the datum.
        name: Reason for which it is shown.
        values: Values minus their mean, ``(z,)``, in nats.
        fitted: Values of the affine fit, ``(z,)``, in nats.
        weights: Weight of each z, ``(z,)``.
    """

    datum: int
    name: str
    values: Tensor
    fitted: Tensor
    weights: Tensor


@dataclass(frozen=True)
class Tightness(Result):
    r"""Whether a pair can be tight, and what keeps it from being so; see
    :func:`ppl_vae.diagnostics.tightness.tightness`.

    Arguments:
        affine: Variance of log p(x, z) - log h'(z) that the best affine function of :math:`\psi(z)` for each datum
            leaves unexplained, by the proposal of z.
        linear: Variance that coefficients affine in the observation leave unexplained; empty where there are none.
        guides: The linear guides of ``linear``.
        why: How the linear guides were obtained, or why there are none.
        saturated: Whether the family holds every distribution of the latents, so that nothing can be unexplained.
        family: Name of the guide's family.
        count: Number of its statistics.
        method: How the z were chosen, in words.
        gap: The gap of each datum split, where the posterior is outside and the states can be enumerated.
        examples: A typical datum and the worst.
        unread: What a guide that does not read the lengths of documents loses at least
            (:func:`~ppl_vae.diagnostics.tightness.unread.lost_to_length`); None where it reads them, or where that is
            not known.
    """

    affine: Mapping[Proposal, Unexplained]
    linear: Mapping[Proposal, Unexplained]
    guides: Mapping[Proposal, LinearGuide]
    why: str
    saturated: bool
    family: str
    count: int
    method: str
    gap: Gap | None
    examples: tuple[Example, ...]
    unread: Estimate | None = None

    panels: ClassVar[tuple[float, ...]] = (1, 1)

    def of_sample(self, sample: Tensor | None, split_size: int | None = None) -> Tightness:
        examples = [replace(each, datum=positions([each.datum], sample)[0]) for each in self.examples]
        return replace(self, examples=tuple(examples), sample=sample, split_size=split_size)

    @property
    def status(self) -> Status:
        """The verdict in short; see :attr:`verdict`."""
        if not self.saturated and not any(fit.data for fit in self.affine.values()):
            return "not known"
        if not (self.saturated or all(fit.vanishes for fit in self.affine.values() if fit.data)):
            return "outside"
        if self._loses_length:
            return "not read"
        judged = [fit for fit in self.linear.values() if fit.data]
        if not judged:
            return "in the family"
        return "tight" if all(fit.vanishes for fit in judged) else "not linear"

    @property
    def verdict(self) -> str:
        """The verdict as a sentence."""
        if self.status == "tight":
            return "the posterior is in the family and a linear guide reaches it"
        if self.status == "not linear":
            lost = _residuals(self.linear)
            return f"the posterior is in the family, but no linear guide reaches it: the best leaves {lost} unexplained"
        if self.status == "not read":
            return f"the posterior is in the family, but not in what the guide reads: {self._unread}"
        if self.status == "not known":
            return "not known: the draws hold too few different codes to judge any datum"
        if self.status == "in the family":
            return f"the posterior is in the family; whether a linear guide reaches it is not known: {self.why}"
        lost = _residuals(self.affine)
        if self.gap is None:
            return f"the posterior is outside the family: its best affine function leaves {lost} unexplained"
        return (
            f"the posterior is outside the family, by {self.gap.family_gap.mean:.3g} nats per datum (the best member "
            "that coordinate ascent found; the true loss is no larger)"
        )

    @property
    def _loses_length(self) -> bool:
        return self.unread is not None and self.unread.mean > LEAST

    @property
    def _unread(self) -> str:
        assert self.unread is not None
        return (
            "a document and the same one written twice have the same word frequencies, but posteriors for which every "
            f"guide of frequencies loses at least {self.unread.mean:.3g} nats on average over the two"
        )

    @property
    def data(self) -> int:
        return len(self.affine["guide"].known)

    def rows(self) -> dict[str, Estimate]:
        return {} if self.gap is None else {"family gap": self.gap.family_gap}

    def remarks(self) -> Iterator[str]:
        for proposal, fit in self.affine.items():
            unknown = len(fit.known) - fit.data
            if unknown:
                yield (
                    f"at z of the {proposal} the draws of {unknown} of {len(fit.known)} data hold too few different "
                    "codes to judge them; these data are left out"
                )
            if fit.data and not fit.varies:
                yield f"log p(x, z) does not vary over z of the {proposal}: there is nothing to explain"
        if self.status == "outside" and self._hardly():
            yield "the residual is little more than rounding: repeat the test with the pair in float64"
        if self.gap is not None:
            yield from self.gap.warnings
        if self.status == "outside" and self._loses_length:
            yield f"nor does the guide read enough: {self._unread}"

    def _hardly(self) -> bool:
        """Whether the residual is so near to rounding that it may come from float32."""
        return all(fit.deviation < 100 * fit.tolerance for fit in self.affine.values() if fit.data)

    def losses(self) -> Tensor:
        return self.affine["guide"].residual

    def pointwise(self) -> dict[str, Tensor]:
        """Residual standard deviations in nats and unexplained shares by proposal; zero where not known."""
        values = super().pointwise()
        for proposal, fit in self.affine.items():
            values[f"{proposal}_residual"], values[f"{proposal}_share"] = fit.residual.sqrt() * fit.known, fit.shares()
            values[f"{proposal}_known"] = fit.known
        for proposal, fit in self.linear.items():
            values[f"{proposal}_linear_residual"] = fit.residual.sqrt() * fit.known
            values[f"{proposal}_linear_share"] = fit.shares()
        return values

    def facts(self) -> dict[str, Any]:
        fits: dict[str, Any] = {
            name: {"affine": fit.to_json(), "linear": self.linear[name].to_json() if name in self.linear else None}
            for name, fit in self.affine.items()
        }
        return {
            "status": self.status,
            "verdict": self.verdict,
            "family": self.family,
            "statistics": self.count,
            "method": self.method,
            "linear_guide": self.why,
            "unread": None if self.unread is None else self.unread.to_json(),
            **fits,
        }

    def table(self) -> str:
        rows = [
            (proposal, coefficients, *_cells(fits[proposal]))
            for proposal in self.affine
            for coefficients, fits in (("per datum", self.affine), ("linear in x", self.linear))
            if proposal in fits
        ]
        table = text_table(
            f"log p(x, z) as an affine function of z: {self.data} data; family: {self.family}",
            ("z of the", "coefficients", "unexplained share", "unexplained, nats", "rounding, nats"),
            rows,
            left=("z of the", "coefficients"),
            caption=f"{self.count} statistics; {self.method}; linear: {self.why}",
        )
        return f"{table}\n{self.verdict}"

    def draw_panels(self, *axes: Axes) -> None:
        """The residuals of all data, and two data whose log-density is plotted against its best affine fit."""
        spread, scatter = axes
        known = {proposal: fit for proposal, fit in self.affine.items() if fit.data}
        values = {proposal: fit.residual[fit.known].sqrt().clamp(min=1e-17).cpu() for proposal, fit in known.items()}
        rounding = {proposal: fit.precision[fit.known].median().item() for proposal, fit in known.items()}
        ends = [*(v.amin().item() for v in values.values()), *(v.amax().item() for v in values.values())]
        bins = torch.logspace(log10(min(ends)) - 0.1, log10(max(ends)) + 0.1, 41).tolist()
        for proposal in known:
            spread.hist(
                values[proposal].numpy(), bins=bins, color=COLOURS[proposal], alpha=0.6, label=f"z of the {proposal}"
            )
            spread.axvline(rounding[proposal], color=COLOURS[proposal], ls=":")
        spread.set(xscale="log", xlabel="residual of the best affine fit, nats (dotted: rounding)", ylabel="data")
        spread.set(title="Residual of each datum")
        bars_of_counts(spread)
        colours = (OKABE_ITO.green, OKABE_ITO.vermilion)
        for example, marker, colour in zip(self.examples, "o^", colours, strict=False):
            size = 40 * (example.weights / example.weights.max()).sqrt()
            shown = size > 0.04  # a millionth of the most probable
            label = f"{example.name}: datum {example.datum}"
            points = (part[shown].cpu().numpy() for part in (example.fitted, example.values, size))
            scatter.scatter(*points, marker=marker, color=colour, alpha=0.5, linewidths=0, label=label)
        if self.examples:
            scatter.axline((0, 0), slope=1, color="0.5", lw=0.8, zorder=0)
            scatter.legend(frameon=False)
        scatter.set(
            xlabel="best affine fit, nats",
            ylabel="log p(x, z) - log h'(z), nats",
            title="z of the guide, minus the mean",
        )


def _residuals(fits: Mapping[Proposal, Unexplained]) -> str:
    return ", ".join(f"{_figure(fit)} nats at z of the {proposal}" for proposal, fit in fits.items() if fit.data)


def _figure(fit: Unexplained) -> str:
    return f"{fit.deviation:.3g}{f' +- {fit.deviation_se:.2g}' if fit.deviation_se else ''}"


def _cells(fit: Unexplained) -> tuple[str, str, str]:
    if not fit.data:
        return "not known", "not known", "not known"
    if fit.vanishes:
        share = "none" if fit.varies else "nothing varies"
        return share, f"{fit.deviation:.1e}", f"{fit.tolerance:.1e}"
    error = f" +- {fit.share_se:.1g}" if fit.share_se else ""
    return f"{fit.share:.4g}{error}", _figure(fit), f"{fit.tolerance:.1e}"
