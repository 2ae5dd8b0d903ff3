"""The gap between evidence and ELBO of each datum, and its two parts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ppl_vae.evidence.bracket import Bracket, bracket_of, bracket_of_gap
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.figures import draw_gap_bars, draw_spread, folded
from ppl_vae.evidence.intervals import Ends, ends, minus
from ppl_vae.evidence.results import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ANY", "GAINED", "LEAD", "MISSED", "NEGLIGIBLE", "OVERFITTED", "SHARE", "STRUCTURE", "Gap"]

SMALLEST = 1e-6
"""Nats below which parts of a gap are drawn as equal."""

ANY = "all distributions of the code"
"""The family whose best member is the posterior."""

STRUCTURE = "the guide's own structure"
"""How the name of a family begins that no other guide has, since its members are corrections of the guide's output."""

GAINED, LEAD = "gain in last half of steps", "best minus second-best start"
"""The estimates by which a search from several starts is judged."""

MISSED = 0.01
"""A best member that is better by more than this was missed, in nats."""

NEGLIGIBLE = 0.05
"""Nats per datum below which a gap, or a part of it, is not worth mending."""

SHARE = 3.0
"""How many times larger one part has to be to be named alone."""

OVERFITTED = 0.6
"""Share of the gap, or of the network's part, that training data have at most where the guide's network overfits."""

ALONE, MOST_ALONE = 0.1, 0.1
"""Nats by which the best start is alone, and the share of data for which it may be."""


@dataclass(frozen=True)
class Gap(Result):
    r"""The gap between evidence and ELBO of each datum, and its two parts.

    .. math:: \log p(x) = \mathrm{ELBO} + \text{amortisation gap} + \text{family gap}

    (Cremer, Li and Duvenaud 2018, section 3.1.) The family gap is the loss of the best member of the guide's
    family, chosen for this datum alone; the amortisation gap is the loss of the guide's network against that member.

    Arguments:
        evidence: log p(x).
        best: The ELBO of the best member of the family.
        elbo: The ELBO of the guide.
        family: Name of the family.
        optimisation: Estimates of the error of the search for the best member, by name.
        missed: What the search missed of the best member's ELBO, of a sample of the data: ``"at most"``, where that is
            proved, and ``"at least"``, by a better member found.
        training: What the checks of the training's numbers found.
        refined: The ELBO of the guide refined for each datum by some steps of gradient ascent; None if it is not.
    """

    evidence: Estimate
    best: Estimate
    elbo: Estimate
    family: str
    optimisation: dict[str, Estimate] = field(default_factory=dict)
    missed: dict[str, Estimate] = field(default_factory=dict)
    training: tuple[str, ...] = ()
    refined: Estimate | None = None

    @property
    def family_gap(self) -> Estimate:
        """Evidence minus best member; an upper bound if the search missed the best member."""
        return replace(self.evidence.minus(self.best), method="evidence minus best of family")

    @property
    def amortisation_gap(self) -> Estimate:
        """Best member minus guide; a lower bound if the search missed the best member."""
        return replace(self.best.minus(self.elbo), method="best of family minus ELBO")

    def __post_init__(self) -> None:
        if self.family == ANY:  # also of blocks read from a file
            object.__setattr__(self, "best", self.evidence)

    def normalised(self, error: float) -> Gap:
        """Returns the same for a model whose log-normaliser has this standard error, which all three share."""
        evidence, best, elbo = (each.normalised(error) for each in (self.evidence, self.best, self.elbo))
        return replace(self, evidence=evidence, best=best, elbo=elbo)

    def with_refined(self, refined: Estimate | None) -> Gap:
        """Returns the same with the ELBO of the guide refined for each datum."""
        return replace(self, refined=refined and replace(refined, common_se=self.elbo.common_se))

    def rows(self) -> dict[str, Estimate]:
        return {
            "evidence": self.evidence,
            "family gap": self.family_gap,
            "best of family": self.best,
            "amortisation gap": self.amortisation_gap,
            "ELBO": self.elbo,
            **({} if self.refined is None else {"refined ELBO": self.refined}),
            **self.optimisation,
        }

    def ends(self, name: str) -> Ends:
        parts = {"family gap": (self.evidence, self.best), "amortisation gap": (self.best, self.elbo)}
        return minus(*map(ends, parts[name])) if name in parts else super().ends(name)

    def brackets(self) -> dict[str, Bracket]:
        found = {"evidence": bracket_of(self.evidence), "gap": bracket_of_gap(self.evidence, self.elbo)}
        if self.best is not self.evidence:
            found["family gap"] = bracket_of_gap(self.evidence, self.best, of="mean family gap", best=True)
        return {name: bracket for name, bracket in found.items() if bracket is not None}

    def remarks(self) -> Iterator[str]:
        for name, gap, remedy in (
            (
                "family",
                self.family_gap,
                "the evidence is too low: measure it with more draws (--evidence-draws, evidence_draws=), or by "
                "annealing (--evidence annealing, evidence='annealing')",
            ),
            (
                "amortisation",
                self.amortisation_gap,
                "the best member was not found: take more steps (--steps, steps=)",
            ),
        ):
            if gap.mean < -3 * gap.se - 1e-6:
                yield f"the {name} gap is negative, which is impossible without error; {remedy}"
        if self.missed and (count := int((self.missed["at least"].pointwise > MISSED).sum())):
            checked = self.missed["at least"].pointwise
            yield (
                f"the best member was missed in {count} of {len(checked)} data checked, by up to {checked.max():.3f} "
                "nats: the family gap is narrower there"
            )
        lead = self.optimisation.get(LEAD)
        if lead is not None:
            error = 0 if lead.pointwise_se is None else 2 * lead.pointwise_se
            alone = (lead.pointwise > ALONE + error).double().mean().item()
            if alone > MOST_ALONE:
                yield (
                    f"the best member was found from one start only for {alone:.0%} of the data, over {ALONE} nats "
                    "above all other starts: better ones may have been missed; take more restarts"
                )
        yield from (f"of the training: {note}" for note in self.training)

    def facts(self) -> dict[str, Any]:
        gap = self.brackets().get("gap")
        bracket = {} if gap is None else {"gap_bracket": gap.to_json()}
        return {"family": self.family} | bracket | ({"search_check": self._check()} if self.missed else {})

    def _check(self) -> dict[str, Any]:
        """How often the search missed the best member of the data that were checked, and by how much."""
        least, most = self.missed["at least"].pointwise, self.missed.get("at most")
        proved = {} if most is None else {"at_most": most.pointwise.max().item()}
        undecided = least <= MISSED if most is None else (least <= MISSED) & (most.pointwise > MISSED)
        return {
            "data": len(least),
            "missed": int((least > MISSED).sum()),
            "not_decided": int(undecided.sum()),
            "at_least": least.max().item(),
            **proved,
            "method": self.missed["at least"].method,
        }

    def losses(self) -> Tensor:
        return self.evidence.pointwise - self.elbo.pointwise

    def title(self) -> str:
        return f"nats per datum over {self.data} data; family: {self.family}"

    def caption(self) -> str:
        total = f"gap (evidence minus ELBO, both parts together): {self.figure(self.evidence.minus(self.elbo))}"
        return "; ".join([*self._checked(), total])

    def _checked(self) -> Iterator[str]:
        """What the check of the search has shown, in words."""
        if not self.missed:
            return
        check = self._check()
        missed = f"{check['method']}: the best member was missed in {check['missed']} of {check['data']} data checked"
        if "at_most" not in check:
            yield f"{missed}, by at least {max(check['at_least'], 0):.3f} nats"
            return
        open_ = f" (not decided in {check['not_decided']})" if check["not_decided"] else ""
        yield f"{missed}{open_}, by at most {check['at_most']:.3f} nats"

    def draw_panels(self, *axes: Axes) -> None:
        bars, spread = axes
        draw_gap_bars(bars, {"": self.rows()})
        bars.set_title(folded(f"family: {self.family}", 4.5))
        gaps = {"family gap": self.family_gap, "amortisation gap": self.amortisation_gap}
        values = {name: gap.pointwise for name, gap in gaps.items()}
        if all(bool((each >= -SMALLEST).all()) for each in values.values()):
            logs = {name: each.clamp(min=SMALLEST).log10() for name, each in values.items()}
            draw_spread(spread, logs, xlabel=f"log10 of nats (at most {SMALLEST:g} at {math.log10(SMALLEST):g})")
        else:  # estimates below zero have no logarithm
            draw_spread(spread, values, xlabel="nats (below zero: of the draws' noise)")
