"""The measurement of one split of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.images import bits_per_number
from ppl_vae.data.inputs import Batch
from ppl_vae.evidence.bracket import Bracket
from ppl_vae.evidence.estimate import Estimate, finite
from ppl_vae.evidence.intervals import Ends
from ppl_vae.evidence.results import Evidence, Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Split"]


@dataclass(frozen=True)
class Split(Result):
    """A measurement of one split, and the distances by which its kind of data is usually compared.

    Arguments:
        measurement: ELBO, evidence and gap.
        rate: Divergence of the guide from the prior, one part of the ELBO.
        distortion: Expected negative log-likelihood, the other part.
        saturated: Mean log-likelihood of documents under their own word frequencies; None for other data.
        pixels: Number of values of an image, if the model gives it a density; None for other data and models.
    """

    measurement: Evidence
    rate: Estimate
    distortion: Estimate
    saturated: float | None = None
    pixels: int | None = None

    @classmethod
    def of(
        cls, measurement: Evidence, x: Batch, rate: Estimate, distortion: Estimate, pixels: int | None = None
    ) -> Split:
        saturated = x.saturated.cpu().double().mean().item() if isinstance(x, PackedCounts) else None
        return cls(measurement, rate, distortion, saturated, pixels)

    def rows(self) -> dict[str, Estimate]:
        return {**self.measurement.rows(), "rate": self.rate, "distortion": self.distortion}

    def brackets(self) -> dict[str, Bracket]:
        return self.measurement.brackets()

    def ends(self, name: str) -> Ends:
        return self.measurement.ends(name) if name in self.measurement.rows() else super().ends(name)

    def losses(self) -> Tensor:
        return self.measurement.losses()

    def draw_panels(self, *axes: Axes) -> None:
        self.measurement.draw_panels(*axes)

    @property
    def imbalance(self) -> float:
        """Rate plus distortion plus ELBO: zero, except for the errors of separate draws."""
        return self.rate.mean + self.distortion.mean + self.measurement.elbo.mean

    @property
    def bits(self) -> float | None:
        """Code length of images of bytes by the ELBO, in bits per number: an upper bound for dequantised bytes."""
        return None if self.pixels is None else bits_per_number(self.measurement.elbo.mean, self.pixels)

    @property
    def bits_se(self) -> float:
        """Standard error of the code length, that of the ELBO in bits per number."""
        return (self.measurement.elbo.se or 0.0) / ((self.pixels or 1) * math.log(2))

    @property
    def deviance(self) -> float | None:
        """The saturated model's log-likelihood minus the ELBO: an upper bound, comparable with published NELBOs."""
        return None if self.saturated is None else self.saturated - self.measurement.elbo.mean

    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = self.measurement.facts() | {"saturated": self.saturated, "pixels": self.pixels}
        if self.saturated is not None and self.deviance is not None:
            facts["deviance"] = finite(self.deviance)
            facts["deviance_se"] = finite(self.measurement.elbo.se)
            facts["evidence_deviance"] = finite(self.saturated - self.measurement.evidence.mean)
        if self.pixels is not None and self.bits is not None:
            facts["bits_per_number"], facts["bits_per_number_se"] = finite(self.bits), finite(self.bits_se)
            facts["evidence_bits_per_number"] = finite(bits_per_number(self.measurement.evidence.mean, self.pixels))
        return facts

    @classmethod
    def stored(cls, content: Mapping[str, Any], values: Mapping[str, Tensor]) -> Split:
        """The measurement whose JSON and pointwise values were stored."""
        names = ("elbo", "evidence", "gap", "rate", "distortion")
        elbo, evidence, gap, rate, distortion = (Estimate.stored(content[name], values, name) for name in names)
        measurement = Evidence(elbo, evidence, gap, content["why"])
        split = cls(measurement, rate, distortion, content["saturated"], content["pixels"])
        return split.of_sample(values.get("rows"), content.get("split_size"))
