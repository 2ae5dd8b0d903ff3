"""Evidence from below and from above, on data drawn from the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from ppl_vae.evidence.ais import AIS, CHAINS, Schedule
from ppl_vae.evidence.figures import OKABE_ITO, bars_of_counts
from ppl_vae.evidence.importance import log_mean_exp
from ppl_vae.evidence.results import Estimate, finite
from ppl_vae.nn.modes import evaluating
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.simulate import simulate
from ppl_vae.programs.types import Program

__all__ = ["BDMC", "sandwich", "sandwich_cells"]


@dataclass(frozen=True)
class BDMC:
    """Two bounds of the evidence of simulated data, which in expectation hold the truth between them.

    Arguments:
        lower: From chains that went from the start to the posterior.
        upper: From chains that went back from an exact posterior draw.
    """

    lower: Estimate
    upper: Estimate

    @property
    def width(self) -> Estimate:
        """Upper minus lower bound; its error is that of both."""
        assert self.lower.pointwise_se is not None and self.upper.pointwise_se is not None
        se = (self.lower.pointwise_se.square() + self.upper.pointwise_se.square()).sqrt()
        return Estimate(
            self.upper.pointwise - self.lower.pointwise, self.lower.method, "upper", self.lower.draws, pointwise_se=se
        )

    def to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {name: getattr(self, name).to_json() for name in ("lower", "upper", "width")}
        return found | {"data": len(self.lower.pointwise), "widest": finite(self.width.pointwise.max().item())}

    def pointwise(self) -> dict[str, Tensor]:
        """All values a datum by name, for keeping."""
        return {"lower": self.lower.pointwise, "upper": self.upper.pointwise}

    def __str__(self) -> str:
        count = len(self.lower.pointwise)
        table = Table(title=f"evidence of {count} data drawn from the model: nats per datum", min_width=70)
        for column in ("", "mean", "error over data", "smallest", "median", "largest"):
            table.add_column(column, justify="right" if column else "left")
        for name in ("upper", "lower", "width"):
            estimate: Estimate = getattr(self, name)
            v = estimate.pointwise
            figures = [f"{figure:.3f}" for figure in (estimate.data_se, v.min(), v.median(), v.max())]
            table.add_row(f"{name} bound" if name != "width" else name, estimate.figure, *figures)
        table.caption = f"{self.lower.method}, both ways; the truth lies between in expectation; "
        table.caption += "+- is the chains' noise given one posterior draw a datum, the error over data holds all"
        console = Console(width=100)
        with console.capture() as captured:
            console.print(table)
        return captured.get().rstrip()

    def draw(self, figure: Any, title: str) -> None:
        """How far apart the bounds are, datum by datum."""
        axes = figure.subplots()
        width = self.width.pointwise.cpu().numpy()
        axes.hist(width, bins=40, color=OKABE_ITO.blue)
        axes.axvline(width.mean(), color=OKABE_ITO.vermilion, label=f"mean {width.mean():.3f}")
        axes.set(xlabel="upper minus lower bound (nats)", ylabel="simulated data", title=self.lower.method)
        bars_of_counts(axes)
        figure.suptitle(title)


def sandwich_cells(x: Any, draws: int, schedule: Schedule) -> int:
    """What the progress of :func:`sandwich` will add up to."""
    return len(x) * schedule.cells(draws, walks=2)


def sandwich(
    model: Program,
    guide: Program,
    x: Any,
    *,
    draws: int = 16,
    schedule: Schedule | None = None,
    drawn_with: Mapping[str, Tensor] | None = None,
    done: MutableMapping[int, BDMC] | None = None,
    progress: Callable[[int], None] | None = None,
) -> BDMC:
    r"""Bidirectional Monte Carlo (Grosse, Ghahramani and Adams 2015) on data drawn from the model.

    A simulated datum comes with an exact draw from its posterior: the latents it was made from. Annealing from there
    back to the start gives :math:`\mathbb{E}\, e^{-w} = 1 / p(x)` and so an upper bound, beside the usual lower one.
    What the bounds leave open shows how far annealing with this schedule can be trusted on real data, as far as the
    model resembles them.

    Arguments:
        model: The generative model, its latents continuous or bits, with one observed site.
        guide: Its guide.
        x: Data in whose place others are drawn, of the same shape, and of documents the same lengths.
        draws: Chains a datum each way.
        schedule: How to anneal.
        drawn_with: If ``x`` was itself drawn from the model, the latents by site that it was drawn with,
            ``(data, *event)``: the bounds are then of its own evidence, and no others are drawn.
        done: Blocks measured already; see :func:`~ppl_vae.evidence.measure.measure`.
        progress: Called with the number of cells done since the last call.

    Returns:
        A :class:`BDMC`, in nats per datum.

    Raises:
        ValueError: If there are no data, or a latent is neither continuous nor a bit.
    """
    if len(x) == 0:
        raise ValueError("there are no data in whose place to draw others")
    for name, value in (drawn_with or {}).items():
        if len(value) != len(x):
            raise ValueError(f"{len(value)} values of site {name!r} were given for {len(x)} data; give one a datum")
    if draws < 2:
        raise ValueError(f"the bounds' errors need at least 2 chains a datum, got {draws}; raise the draws")
    schedule, done = schedule or Schedule(), {} if done is None else done
    tick = progress or (lambda cells: None)
    seed = int(torch.randint(2**31, ()))
    block = max(1, min(len(x), CHAINS // draws))
    parts = []
    for start in range(0, len(x), block):
        part = x[start : start + block]
        if start in done:
            tick(sandwich_cells(part, draws, schedule))
        else:
            with fork_random_state(seed + start), evaluating(model, guide):
                if drawn_with is None:
                    posterior, data = simulate(model, part)
                else:
                    posterior = {name: value[start : start + block] for name, value in drawn_with.items()}
                    data = part
                there, back = AIS(model, guide, data, schedule).both(posterior, draws, tick)
                method = f"annealing, {schedule.temperatures} temperatures, {draws} chains"
                low, low_se = log_mean_exp(there)
                high, high_se = log_mean_exp(-back)
                done[start] = BDMC(
                    Estimate(low, method, "lower", draws, low_se), Estimate(-high, method, "upper", draws, high_se)
                )
        parts.append(done[start])
    return BDMC(Estimate.join([part.lower for part in parts]), Estimate.join([part.upper for part in parts]))
