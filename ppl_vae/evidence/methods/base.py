"""The interface of evidence methods."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from ppl_vae.data.inputs import Batch
from ppl_vae.evidence.results import Evidence
from ppl_vae.evidence.shortfall import Shortfall
from ppl_vae.programs.blocks import data_block
from ppl_vae.programs.sites import GuideSite
from ppl_vae.programs.types import Program, Progress

__all__ = ["EvidenceMethod", "NotApplicableError"]


class NotApplicableError(ValueError):
    """A method turns out to be impossible for a block of data, although its obstacle was none."""


@dataclass(frozen=True)
class EvidenceMethod(ABC):
    """A way to measure log p(x) of each datum.

    A method is one file: ``ppl_vae/evidence/methods/NAME.py``, or ``evidence/NAME.py`` of the working folder, with one
    subclass. Its name is that of the file, its summary the first line of the docstring, and its options are the
    arguments of the constructor.

    Arguments:
        draws: Samples per datum: of the evidence, or of the ELBO beside an exact evidence.
    """

    exact: ClassVar[bool]
    """Whether the evidence is exact wherever the method has no obstacle."""

    priority: ClassVar[int] = 50
    """Position in the automatic choice: exact methods are tried first, among them those of lower priority."""

    fewest_draws: ClassVar[int] = 1
    """Fewest samples per datum that give an estimate and its error."""

    remedy: ClassVar[str] = (
        "raise the draws (--draws, draws=), or take another method (--method, method=; of a gap --evidence, evidence=)"
    )
    """What helps where the method misses much of the evidence."""

    bounds_of_check: ClassVar[int] = 1
    """Number of bounds that a check on simulated data computes, each at the cost of a measurement of as many data."""

    is_quick: ClassVar[bool] = False
    """Whether a datum takes a single run of model and guide, however many samples."""

    draws: int = 1000

    @property
    def name(self) -> str:
        """The name of its file."""
        return Path(inspect.getfile(type(self))).stem

    @property
    def title(self) -> str:
        """The name in a sentence."""
        return self.name.replace("_", " ")

    def obstacle(self, model: Program, x: Batch, sites: list[GuideSite]) -> str | None:
        """Why the method is impossible, naming the site; None if it is possible.

        Arguments:
            model: The model.
            x: All data, or a block of them.
            sites: The latent sites of the model.
        """
        return None

    def concerns(self, sites: list[GuideSite]) -> bool:
        """Whether the method is for latents of such kinds; else nobody asks why it is impossible."""
        return True

    def too_costly(self, model: Program, x: Batch, sites: list[GuideSite]) -> str | None:
        """Why a possible method is left out of the automatic choice; None if it is not."""
        return None

    def reason(self, sites: list[GuideSite]) -> str:
        """The property of the model that lets an exact method measure it."""
        return f"{self.title} is exact here"

    def cost(self, x: Batch, sites: list[GuideSite]) -> int:
        """Number of cells that the progress of all data adds up to, the same for every datum."""
        return len(x) * self.draws

    def block(self, x: Batch) -> int:
        """Number of data measured, and stored, together."""
        return data_block(x, self.draws)

    @abstractmethod
    def measure(self, model: Program, guide: Program, x: Batch, sites: list[GuideSite], progress: Progress) -> Evidence:
        """ELBO, evidence and gap of each datum of a block, in nats.

        Arguments:
            model: The model.
            guide: Its guide.
            x: A block of data.
            sites: The latent sites of the model.
            progress: Called with the number of cells done since the last call.

        Raises:
            NotApplicableError: If the method is impossible for these data; before any progress. The automatic choice
                then measures the block by the next method.
        """

    def shortfall(self, model: Program, guide: Program, x: Batch, posterior: Mapping[str, Tensor]) -> Shortfall | None:
        r"""Upper minus lower bound of data with a known sample of the posterior.

        The lower bound is this method's; the upper one uses the sample, so that in expectation the difference is at
        least what the lower bound misses. None if the method has no such upper bound.

        Arguments:
            model: The model.
            guide: Its guide.
            x: Data simulated from the model.
            posterior: The latents they were generated from, by site, ``(data, *event)``.
        """
        return None

    def conclude(self, model: Program, guide: Program, x: Batch, evidence: Evidence) -> Evidence:
        """The evidence of all data from that of the joined blocks."""
        return evidence
