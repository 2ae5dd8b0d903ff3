"""The latents at which a posterior is compared with a guide's family: every state of them, or draws."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol

import torch
from torch import Tensor

from ppl_vae.data.inputs import Batch, data_width
from ppl_vae.diagnostics.tightness.sufficient_statistics import SufficientStatistics, decoded, log_prior, precise
from ppl_vae.programs.handlers import latents, run
from ppl_vae.programs.log_weight import log_joint, log_proposal
from ppl_vae.programs.sites import GuideSite
from ppl_vae.programs.states import States
from ppl_vae.programs.types import Program

__all__ = [
    "PROPOSALS",
    "Samples",
    "AllStates",
    "SufficientStatistics",
    "Proposal",
    "Pool",
    "Source",
    "Table",
    "decoded",
    "log_prior",
    "precise",
]

Proposal = Literal["guide", "prior"]

PROPOSALS: tuple[Proposal, ...] = ("guide", "prior")

CELLS = 2**24
"""Largest number of (datum, z) cells, or of (draw, datum, observed number) cells, held at once."""

FITTED = 2**22
"""Largest number of (datum, z, statistic) cells held at once."""

ROUNDING = 32
"""Rounding errors of a log-density, in units of the last place of its size: sums of many terms that partly cancel."""


@dataclass(frozen=True)
class Table:
    r"""One block of data at z from one proposal.

    Arguments:
        statistics: :math:`\psi(z)`, ``(data or 1, z, statistics)``; None where they span everything.
        values: :math:`\log p(x, z) - \log h'(z)`, ``(data, z)``, in nats.
        weights: Weight of each z, ``(data or 1, z)``.
        precision: Residual standard deviations up to which may be rounding, ``(data,)``, in nats.
        eps: Relative rounding error of the model's numbers.
    """

    statistics: Tensor | None
    values: Tensor
    weights: Tensor
    precision: Tensor
    eps: float

    @property
    def centred(self) -> Tensor:
        """The values minus their mean, ``(data, z)``."""
        return self.values - (self.weights * self.values).sum(1, keepdim=True)

    def split(self) -> Iterator[tuple[slice, Table]]:
        """Parts small enough to be fitted, each with the slice of the data it holds."""
        width = 1 if self.statistics is None else self.statistics.shape[-1]
        step = max(1, FITTED // (self.values.shape[1] * width))

        def part(values: Tensor, rows: slice) -> Tensor:
            return values if len(values) == 1 else values[rows]

        for start in range(0, len(self.values), step):
            rows = slice(start, start + step)
            statistics = None if self.statistics is None else part(self.statistics, rows)
            values, precision = self.values[rows], self.precision[rows]
            yield rows, Table(statistics, values, part(self.weights, rows), precision, self.eps)


@dataclass(frozen=True)
class Pool:
    """Codes shared by all data.

    Arguments:
        values: Function from a start and an end index to these latents by site, ``(codes, 1, *event)``.
        statistics: Sufficient statistics of each code, ``(1, codes, statistics)``.
        weights: Weight of each code, ``(1, codes)``.
    """

    values: Callable[[int, int], dict[str, Tensor]]
    statistics: Tensor
    weights: Tensor


class Source(Protocol):
    """A set of latents at which log-densities are compared.

    ``drawn``: whether they are random draws; ``saturated``: whether the family holds every distribution of them;
    ``fitted``: whether tables have statistics; ``description``: what the latents are.
    """

    drawn: bool
    saturated: bool
    fitted: bool
    description: str

    def tables(self, x: Batch) -> Iterator[tuple[Batch, dict[Proposal, Table]]]:
        """Blocks of the data with the table of each proposal."""
        ...

    def pool(self, proposal: Proposal, x: Batch) -> Pool:
        """Codes from a proposal; the guide is averaged over the data."""
        ...


class AllStates:
    """All joint states of discrete latents, weighted by their probabilities under guide and prior."""

    drawn = False

    def __init__(
        self, model: Program, guide: Program, x: Batch, family: SufficientStatistics, sites: list[GuideSite], few: int
    ) -> None:
        self.model, self.guide, self.family = model, guide, family
        self.states = States(sites, model, x[:3])
        self.shared = self.states.shared(partial(log_joint, model), partial(log_proposal, guide))
        self.description = f"enumeration of {self.states.count} states"
        count = self.states.count
        # As many minimal statistics as states less one span every function of them.
        self.saturated = family.count + 1 >= count
        blocks = [self._codes(start, min(start + 2**11, count)) for start in range(0, count, 2**11)]
        self.base = torch.cat([precise(family.log_base(codes)) for codes in blocks]).T
        self.statistics = None
        self.fitted = not (self.saturated and family.count > few)
        if self.fitted:
            self.statistics = torch.cat([family.statistics(codes) for codes in blocks])[None, :, 0]
        self.prior = torch.cat([log_prior(decoded(model, x, codes)) for codes in blocks]).T.softmax(1)

    def _codes(self, start: int, stop: int) -> dict[str, Tensor]:
        return self.states.values(torch.arange(start, stop, device=self.states.device))

    def _proposal(self, x: Batch) -> Tensor:
        parts = []
        for start in range(0, self.states.count, 2**11):
            parts.append(log_proposal(self.guide, x, self.states.codes(start, start + 2**11, len(x), self.shared)))
        return precise(torch.cat(parts)).T.softmax(1)

    def tables(self, x: Batch) -> Iterator[tuple[Batch, dict[Proposal, Table]]]:
        block = max(1, CELLS // self.states.count)
        for begin in range(0, len(x), block):
            part, result = x[begin : begin + block], []
            for start in range(0, self.states.count, 2**11):
                codes = self.states.codes(start, start + 2**11, len(part), self.shared)
                result.append(log_joint(self.model, part, codes))
            joint = torch.cat(result).T
            weights: dict[Proposal, Tensor] = {"guide": self._proposal(part), "prior": self.prior}
            yield (
                part,
                {
                    proposal: _table(self.statistics, joint, self.base, weights[proposal], proposal, self.family.eps)
                    for proposal in PROPOSALS
                },
            )

    def pool(self, proposal: Proposal, x: Batch) -> Pool:
        assert self.statistics is not None
        weights, block = self.prior, max(1, CELLS // self.states.count)
        if proposal == "guide":
            sums = [self._proposal(x[start : start + block]).sum(0) for start in range(0, len(x), block)]
            weights = torch.stack(sums).sum(0)[None] / len(x)
        return Pool(self._codes, self.statistics, weights)


class Samples:
    """Independent draws for each datum, from its guide and from the prior."""

    drawn = True

    def __init__(self, model: Program, guide: Program, family: SufficientStatistics, draws: int) -> None:
        self.model, self.guide, self.family, self.draws = model, guide, family, draws
        self.description = f"{draws} draws per datum"
        self.saturated, self.fitted = family.universal, not family.universal

    def tables(self, x: Batch) -> Iterator[tuple[Batch, dict[Proposal, Table]]]:
        width = data_width(x)
        block = max(1, min(len(x), FITTED // (self.draws * (1 if self.saturated else self.family.count + 1))))
        block = max(1, min(block, CELLS // (width * min(self.draws, 8))))
        for begin in range(0, len(x), block):
            part = x[begin : begin + block]
            step = max(1, CELLS // (width * len(part)))
            entries: dict[Proposal, Table] = {}
            for proposal in PROPOSALS:
                program = self.guide if proposal == "guide" else self.model
                statistics_parts, joints, bases = [], [], []
                for done in range(0, self.draws, step):
                    sites = latents(run(program, (part,), {}, draws=min(step, self.draws - done)))
                    values = {name: site["value"] for name, site in sites.items()}
                    joints.append(log_joint(self.model, part, values).T)
                    bases.append(precise(self.family.log_base(values)).T)
                    if not self.saturated:
                        statistics_parts.append(self.family.statistics(values).transpose(0, 1))
                uniform = precise(joints[0]).new_full((1, self.draws), 1 / self.draws)
                statistics = torch.cat(statistics_parts, 1) if statistics_parts else None
                joint, base = torch.cat(joints, 1), torch.cat(bases, 1)
                entries[proposal] = _table(statistics, joint, base, uniform, proposal, self.family.eps)
            yield part, entries

    def pool(self, proposal: Proposal, x: Batch) -> Pool:
        count = max(2000, 20 * (self.family.count + 1))
        program, data, draws = self.model, x[:1], count
        if proposal == "guide":
            program, data, draws = self.guide, x[torch.randint(len(x), (count,), device=x.device)], 1
        sites = latents(run(program, (data,), {}, draws=draws))
        values = {
            name: site["value"].transpose(0, 1) if proposal == "guide" else site["value"]
            for name, site in sites.items()
        }
        statistics = self.family.statistics(values)[None, :, 0]
        uniform = statistics.new_full((1, count), 1 / count)
        return Pool(lambda start, stop: {n: v[start:stop] for n, v in values.items()}, statistics, uniform)


def _table(
    statistics: Tensor | None, joint: Tensor, base: Tensor, weights: Tensor, proposal: Proposal, eps: float
) -> Table:
    counted = joint.isfinite() | (weights == 0)
    if not counted.all():
        raise ValueError(
            f"log p(x, z) is not finite for {int((~counted).any(1).sum())} data at z from the {proposal}; a "
            "posterior is in a guide's family only where both are positive everywhere"
        )
    values = torch.where(joint.isfinite(), precise(joint), 0)
    size = (weights * values.square()).sum(1).sqrt() + (weights * base.square()).sum(1).sqrt()
    eps = max(eps, torch.finfo(joint.dtype).eps)
    return Table(statistics, values - base, weights, ROUNDING * eps * size, eps)
