"""Bidirectional Monte Carlo: lower and upper bounds on the evidence of simulated data."""

from __future__ import annotations

import math
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from ppl_vae.data.inputs import Batch, as_batch
from ppl_vae.evidence.ais import AIS, Schedule
from ppl_vae.evidence.as_written import as_written
from ppl_vae.evidence.bracket import Bracket, UpperLimit
from ppl_vae.evidence.estimate import Estimate, finite
from ppl_vae.evidence.figures import draw_spread
from ppl_vae.evidence.intervals import LEVEL
from ppl_vae.evidence.rare_parts import with_flat_prior
from ppl_vae.evidence.results import Result
from ppl_vae.evidence.starts import by_start, chosen, together
from ppl_vae.programs.prepared import prepared
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.simulate import simulate
from ppl_vae.programs.types import Program, Progress

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["BDMC", "bounds", "sandwich", "sandwich_cells"]


BOUNDS = "the sandwich of bounds"


@dataclass(frozen=True)
class BDMC(Result):
    """Lower and upper bound, in expectation, on the evidence of simulated data.

    Arguments:
        lower: The bound by chains from the starting distribution to the posterior.
        upper: The bound by chains from an exact sample of the posterior back to the start.
        lowers: The lower bound by start, where there are several.
        uppers: The upper bound by start.
    """

    lower: Estimate
    upper: Estimate
    lowers: dict[str, Estimate] = field(default_factory=dict)
    uppers: dict[str, Estimate] = field(default_factory=dict)

    panels: ClassVar[tuple[float, ...]] = (1,)

    @property
    def width(self) -> Estimate:
        """Upper minus lower bound; its error is that of both."""
        assert self.lower.pointwise_se is not None and self.upper.pointwise_se is not None
        se = (self.lower.pointwise_se.square() + self.upper.pointwise_se.square()).sqrt()
        return Estimate(
            self.upper.pointwise - self.lower.pointwise, self.lower.method, "upper", self.lower.draws, pointwise_se=se
        )

    def of_sample(self, sample: Tensor | None, split_size: int | None = None) -> BDMC:
        return super().of_sample(sample)  # the data are simulated: they have but the shapes of those of a split

    def bracket(self, level: float = LEVEL) -> Bracket:
        r"""Limits between which the mean of log p(x) of these simulated data lies, for any number of chains.

        Both rest on Markov's inequality: the forward chains estimate :math:`p(x_i)` without bias, the backward ones
        :math:`1 / p(x_i)`, so that the mean of either bound is beyond the truth by
        :math:`\log(2 / (1 - \text{level})) / n` with a probability of at most half of 1 - level.
        """
        margins = [(math.log(2 / (1 - level)) + bound.selection) / self.data for bound in (self.lower, self.upper)]
        lower, upper = finite(self.lower.mean - margins[0]), finite(self.upper.mean + margins[1])
        limit = UpperLimit(upper, "backward chains", "for any number of chains")
        return Bracket(lower, upper, level, (limit,), "mean log p(x) of these simulated data")

    def brackets(self) -> dict[str, Bracket]:
        return {"width": self.bracket()}

    def rows(self) -> dict[str, Estimate]:
        return {"upper": self.upper, "lower": self.lower, "width": self.width}

    def concluded(self) -> BDMC:
        """The tightest bounds over all data, where there are several starts."""
        if not self.lowers:
            return self
        return replace(self, lower=chosen(self.lowers), upper=chosen(self.uppers))

    def losses(self) -> Tensor:
        return self.width.pointwise

    def title(self) -> str:
        return f"evidence of {self.data} simulated data: nats per datum"

    def caption(self) -> str:
        errors = ", ".join(f"{name} {estimate.data_se:.3f}" for name, estimate in self.rows().items())
        return f"the evidence lies between the bounds in expectation; standard errors over the data: {errors}"

    def errors_in_words(self) -> str:
        return "+-: noise of the chains given one sample of the posterior per datum"

    def draw_panels(self, *axes: Axes) -> None:
        draw_spread(axes[0], {"width": self.width.pointwise}, xlabel="upper minus lower bound (nats)")
        axes[0].set(ylabel="simulated data", title=self.lower.method)


def sandwich_cells(x: Batch, draws: int, schedule: Schedule) -> int:
    """Returns the number of cells that :func:`sandwich` reports to its progress."""
    return len(x) * schedule.cells(draws, walks=2)


def sandwich(
    model: Program,
    guide: Program,
    *data: object,
    draws: int = 16,
    schedule: Schedule | None = None,
    drawn_with: Mapping[str, Tensor] | None = None,
    done: MutableMapping[int, BDMC] | None = None,
    progress: Progress | None = None,
) -> BDMC:
    r"""Bidirectional Monte Carlo (Grosse, Ghahramani and Adams 2015) on data sampled from the model.

    A simulated datum comes with an exact sample from its posterior: the latents it was generated from. Annealing from
    this sample back to the start gives :math:`\mathbb{E}\, e^{-w} = 1 / p(x)` and so an upper bound, beside the usual
    lower one. The width between them shows how far annealing with this schedule can be trusted on real data, as far as
    the model resembles them.

    Arguments:
        model: The generative model, its latents continuous or bits, with one observed site.
        guide: Its guide.
        data: Data as of :func:`~ppl_vae.evidence.measure.measure`, whose shapes (documents: lengths) the simulated
            data have, with the same fields that are not observed.
        draws: Number of chains per datum and direction.
        schedule: Temperatures and moves.
        drawn_with: If the data were themselves sampled from the model, the latents by site that they were sampled with,
            ``(data, *event)``: the bounds are then those of the data given, and no data are simulated.
        done: Finished blocks; see :func:`~ppl_vae.evidence.measure.measure`.
        progress: Called with the number of cells completed since the last call.

    Returns:
        A :class:`BDMC`, in nats per datum.

    Raises:
        ValueError: If there are no data, or a latent is neither continuous nor a bit.
    """
    x = as_batch(*data)
    if len(x) == 0:
        raise ValueError("an empty batch has no shape to simulate data of; give at least one datum")
    for name, value in (drawn_with or {}).items():
        if len(value) != len(x):
            raise ValueError(f"{len(value)} values of site {name!r} were given for {len(x)} data; give one per datum")
    schedule, done = schedule or Schedule(), {} if done is None else done
    if draws < 2 * len(schedule.shares(draws)):
        raise ValueError(
            f"the bounds' errors need at least 2 chains per datum and start, got {draws} from {schedule.start}; raise "
            "the draws (--draws, draws=)"
        )
    report = progress or (lambda cells: None)
    seed = int(torch.randint(2**31, ()))
    block = schedule.block(draws)
    parts = []

    def measured(start: int, progress: Progress) -> BDMC:
        part = x[start : start + block]
        if drawn_with is None:
            posterior, drawn = simulate(model, part)
        else:
            posterior = {name: value[start : start + block] for name, value in drawn_with.items()}
            drawn = part
        return bounds(model, guide, drawn, posterior, schedule, draws, progress)

    with prepared(model, guide, x, BOUNDS):
        for start in range(0, len(x), block):
            part = x[start : start + block]
            if start in done:
                report(sandwich_cells(part, draws, schedule))
            else:
                with fork_random_state(seed + start):
                    done[start] = as_written(BOUNDS, model, guide, part, partial(measured, start), report, start)
            parts.append(done[start])
    return BDMC.join(parts).concluded()


def bounds(
    model: Program,
    guide: Program,
    x: Batch,
    posterior: Mapping[str, Tensor],
    schedule: Schedule,
    draws: int,
    progress: Progress | None = None,
) -> BDMC:
    """Returns both bounds of a block of data, given an exact sample of their posterior by site, ``(data, *event)``."""
    forward, backward = dict[str, Tensor](), dict[str, Tensor]()
    for one, chains in schedule.shares(draws):
        chain = AIS(from_start(model, x, one), guide, x, one)
        forward[one.start], back = chain.both(posterior, chains, progress)
        backward[one.start] = -back
    method = f"annealing, {schedule.temperatures} temperatures"
    lowers, uppers = by_start(forward, method, "lower"), by_start(backward, method, "upper")
    several = len(lowers) > 1
    return BDMC(together(lowers), together(uppers), lowers if several else {}, uppers if several else {})


def from_start(model: Program, x: Batch, schedule: Schedule) -> Program:
    """The model whose prior chains of this schedule start from: flattened, if its rare parts might be missed."""
    return with_flat_prior(model, x, 1.0) if schedule.start == "prior" else model
