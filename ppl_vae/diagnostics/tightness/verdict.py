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

Status = Literal["tight", "not linear", "in the family", "outside", "not known"]

COLOURS: dict[Proposal, str] = {"guide": OKABE_ITO.blue, "prior": OKABE_ITO.orange}


@dataclass(frozen=True)
class Example:
    """One datum's log p(x, z) - log h'(z) beside its best affine fit, at z of the guide.

    Arguments:
        datum: Its position.
        name: Why it is shown.
        values: Less their mean, ``(z,)``, in nats.
        fitted: ``(z,)``, in nats.
        weights: ``(z,)``.
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
        affine: What the best affine function of :math:`\psi(z)` leaves of log p(x, z) - log h'(z), each datum with its
            own coefficients, by law of z.
        linear: What coefficients that are affine in the observation leave; empty where they could not be had.
        guides: The linear guides of ``linear``.
        why: Where they come from, or why there are none.
        saturated: Whether the family holds every distribution of the latents, so that nothing can be left.
        family: Of the guide, in words.
        count: Of its statistics.
        method: How z were found, in words.
        gap: The gap of every datum split, where the posterior is outside and the states can be enumerated.
        examples: A typical datum and the worst.
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

    panels: ClassVar[tuple[float, ...]] = (1, 1)

    def of_sample(self, sample: Tensor | None) -> Tightness:
        examples = [replace(each, datum=positions([each.datum], sample)[0]) for each in self.examples]
        return replace(self, examples=tuple(examples), sample=sample)

    @property
    def status(self) -> Status:
        """The verdict as one of five words; see :attr:`verdict`."""
        if not self.saturated and not any(left.data for left in self.affine.values()):
            return "not known"
        if not (self.saturated or all(left.vanishes for left in self.affine.values() if left.data)):
            return "outside"
        judged = [left for left in self.linear.values() if left.data]
        if not judged:
            return "in the family"
        return "tight" if all(left.vanishes for left in judged) else "not linear"

    @property
    def verdict(self) -> str:
        """One sentence."""
        if self.status == "tight":
            return "the posterior is in the family and a linear guide reaches it"
        if self.status == "not linear":
            lost = ", ".join(
                f"{_figure(left)} nats at z of the {law}" for law, left in self.linear.items() if left.data
            )
            return f"the posterior is in the family, but no linear guide reaches it: the best leaves {lost}"
        if self.status == "not known":
            return "nothing is known: the draws are too few different codes to judge any datum by"
        if self.status == "in the family":
            return f"the posterior is in the family; whether a linear guide reaches it is not known: {self.why}"
        lost = ", ".join(f"{_figure(left)} nats at z of the {law}" for law, left in self.affine.items() if left.data)
        if self.gap is None:
            return f"the posterior is outside the family: its best affine function leaves {lost}"
        return (
            f"the posterior is outside the family, by {self.gap.family_gap.mean:.3g} nats per datum (the best member "
            "that coordinate ascent found; the true loss is no larger)"
        )

    @property
    def data(self) -> int:
        return len(self.affine["guide"].known)

    def rows(self) -> dict[str, Estimate]:
        return {} if self.gap is None else {"family gap": self.gap.family_gap}

    def remarks(self) -> Iterator[str]:
        for law, left in self.affine.items():
            unknown = len(left.known) - left.data
            if unknown:
                yield (
                    f"at z of the {law} the draws of {unknown} of {len(left.known)} data are too few different codes "
                    "to judge by; these data are left out"
                )
            if left.data and not left.varies:
                yield f"log p(x, z) does not vary over z of the {law}: nothing is to be explained"
        if self.status == "outside" and self._hardly():
            yield "what is left is little more than rounding: repeat the test with the pair in float64"

    def _hardly(self) -> bool:
        """Whether what is left is so near to rounding that float32 may have made it."""
        return all(left.deviation < 100 * left.tolerance for left in self.affine.values() if left.data)

    def losses(self) -> Tensor:
        return self.affine["guide"].residual

    def pointwise(self) -> dict[str, Tensor]:
        """Residual standard deviations in nats and shares of every datum, by law of z; zero where not known."""
        values = super().pointwise()
        for law, left in self.affine.items():
            values[f"{law}_residual"], values[f"{law}_share"] = left.residual.sqrt() * left.known, left.shares()
            values[f"{law}_known"] = left.known
        for law, left in self.linear.items():
            values[f"{law}_linear_residual"] = left.residual.sqrt() * left.known
            values[f"{law}_linear_share"] = left.shares()
        return values

    def facts(self) -> dict[str, Any]:
        fits: dict[str, Any] = {
            law: {"affine": left.to_json(), "linear": self.linear[law].to_json() if law in self.linear else None}
            for law, left in self.affine.items()
        }
        return {
            "status": self.status,
            "verdict": self.verdict,
            "family": self.family,
            "statistics": self.count,
            "method": self.method,
            "linear_guide": self.why,
            **fits,
        }

    def table(self) -> str:
        rows = [
            (law, coefficients, *_cells(fits[law]))
            for law in self.affine
            for coefficients, fits in (("a datum's own", self.affine), ("linear in x", self.linear))
            if law in fits
        ]
        table = text_table(
            f"log p(x, z) as an affine function of z: {self.data} data; family: {self.family}",
            ("z of the", "coefficients", "share left", "left, nats", "rounding, nats"),
            rows,
            left=("z of the", "coefficients"),
            caption=f"{self.count} statistics; {self.method}; linear: {self.why}",
        )
        return f"{table}\n{self.verdict}"

    def draw_panels(self, *axes: Axes) -> None:
        """The residuals of all data, and two data whose log-density is plotted against its best affine fit."""
        spread, fit = axes
        known = {law: left for law, left in self.affine.items() if left.data}
        values = {law: left.residual[left.known].sqrt().clamp(min=1e-17).cpu() for law, left in known.items()}
        rounding = {law: left.precision[left.known].median().item() for law, left in known.items()}
        ends = [*(v.amin().item() for v in values.values()), *(v.amax().item() for v in values.values())]
        bins = torch.logspace(log10(min(ends)) - 0.1, log10(max(ends)) + 0.1, 41).tolist()
        for law in known:
            spread.hist(values[law].numpy(), bins=bins, color=COLOURS[law], alpha=0.6, label=f"z of the {law}")
            spread.axvline(rounding[law], color=COLOURS[law], ls=":")
        spread.set(xscale="log", xlabel="left by the best affine fit, nats (dotted: rounding)", ylabel="data")
        spread.set(title="Residual of each datum")
        bars_of_counts(spread)
        colours = (OKABE_ITO.green, OKABE_ITO.vermilion)
        for example, marker, colour in zip(self.examples, "o^", colours, strict=False):
            size = 40 * (example.weights / example.weights.max()).sqrt()
            shown = size > 0.04  # a millionth of the most probable
            label = f"{example.name}: datum {example.datum}"
            points = (part[shown].cpu().numpy() for part in (example.fitted, example.values, size))
            fit.scatter(*points, marker=marker, color=colour, alpha=0.5, linewidths=0, label=label)
        if self.examples:
            fit.axline((0, 0), slope=1, color="0.5", lw=0.8, zorder=0)
            fit.legend(frameon=False)
        fit.set(
            xlabel="best affine fit, nats",
            ylabel="log p(x, z) - log h'(z), nats",
            title="z of the guide, less the mean",
        )


def _figure(left: Unexplained) -> str:
    return f"{left.deviation:.3g}{f' +- {left.deviation_se:.2g}' if left.deviation_se else ''}"


def _cells(left: Unexplained) -> tuple[str, str, str]:
    if not left.data:
        return "not known", "not known", "not known"
    if left.vanishes:
        share = "none" if left.varies else "nothing varies"
        return share, f"{left.deviation:.1e}", f"{left.tolerance:.1e}"
    error = f" +- {left.share_se:.1g}" if left.share_se else ""
    return f"{left.share:.4g}{error}", _figure(left), f"{left.tolerance:.1e}"
