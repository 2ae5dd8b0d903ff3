"""Information in the code: rate, distortion, mutual information, and collapsed units."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from ppl_vae.data.inputs import Batch, as_batch
from ppl_vae.diagnostics.information.active_units import Units
from ppl_vae.diagnostics.information.mutual_information import Mutual, by_codes, by_enumeration, by_enumeration_steps
from ppl_vae.diagnostics.information.rates import Rates, measure_rates, probe
from ppl_vae.evidence.as_written import as_written
from ppl_vae.evidence.coordinates import one_prior
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.figures import OKABE_ITO
from ppl_vae.evidence.intervals import Ends
from ppl_vae.evidence.results import Result
from ppl_vae.nn.modes import evaluating
from ppl_vae.programs.types import Program, Progress

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Information", "information", "steps"]

WITHIN = 4.0
"""Number of standard errors by which two numbers may be in the wrong order by chance."""


@dataclass(frozen=True)
class Information(Result):
    r"""Rate, distortion and mutual information of data and code, in nats per datum.

    .. math:: R = \mathbb{E}_x \mathrm{KL}(q(z \mid x) \,\|\, p(z)), \qquad
        D = -\mathbb{E}_x \mathbb{E}_{q(z \mid x)} \log p(x \mid z), \qquad H - D \le I(x; z) \le R

    (Alemi, Poole, Fischer, Dillon, Saurous and Murphy 2018, section 2.) The ELBO is -R - D. The rate exceeds the
    information by :math:`\mathrm{KL}(\bar q \,\|\, p)`, the divergence of the aggregate posterior from the prior.

    Arguments:
        rates: Rate, distortion and ELBO of each datum, and the units of the code.
        mutual: Mutual information under the aggregate posterior of these data, and its bounds.
        one_prior: Whether p(z) is the same for all data; else R - I is no divergence.
    """

    rates: Rates
    mutual: Mutual
    one_prior: bool = True

    panels: ClassVar[tuple[float, ...]] = (5, 4)

    @property
    def units(self) -> Units:
        """Units of the code."""
        return self.rates.units

    @property
    def log_data(self) -> float:
        """log N, the largest information among N data."""
        return math.log(len(self.rates.rate.pointwise))

    @property
    def mismatch(self) -> Estimate:
        r"""The divergence :math:`\mathrm{KL}(\bar q \,\|\, p) = R - I`, one number for all data."""
        return _difference(self.rates.rate, self.mutual.among)

    def population_ends(self, name: str) -> Ends:
        r"""Of the population the information lies between that of these data and that of leaving one out.

        Its influence function is the value of each datum, :math:`\mathrm{KL}(q(z \mid x) \,\|\, \bar q) - I`, so
        that the spread of the values is the error, in spite of the aggregate that they share.
        """
        among, upper = self.mutual.among, self.mutual.upper
        rows = slice(None) if self.mutual.rows is None else self.mutual.rows
        rate, distortion = (_of_rows(each, rows) for each in (self.rates.rate, self.rates.distortion))
        if name == "information":
            return among, upper
        if name == "marginal mismatch":
            return rate.minus(upper), rate.minus(among)
        if name == "entropy of the data":
            by_rate = self.rates.rate.mean <= upper.mean
            return None, _negative(self.rates.elbo) if by_rate else distortion.minus(_negative(upper))
        return super().population_ends(name)

    @property
    def entropy(self) -> Estimate:
        r"""An upper bound on the entropy of the population of the data, if the pair was not trained on them.

        :math:`H \le D + I \le D + \min(I_{\text{leave one out}}, R)`; the first is the negative ELBO with the
        aggregate posterior of the other data as prior. The smaller of the two is taken; its error does not count this
        choice.
        """
        if self.rates.rate.mean <= self.mutual.upper.mean:
            # Rate and distortion may come from the same draws: the error of their sum is the ELBO's.
            value, error, method = -self.rates.elbo.mean, self.rates.elbo.se, "rate"
        else:
            sum_ = _difference(self.rates.distortion, self.mutual.upper, 1)
            value, error, method = sum_.mean, sum_.se, self.mutual.upper.method
        single = torch.tensor([value, error], dtype=torch.float64)
        return Estimate(single[:1], method, "upper", 0, single[1:] if error else None)

    @property
    def chain(self) -> dict[str, bool]:
        """Whether the numbers are in the order of the theory, up to Monte Carlo error."""
        among, log_data = self.mutual.among, Estimate(torch.tensor([self.log_data]), "log N", "exact")
        pairs = {
            "batches <= I": (self.mutual.lower, among),
            "I <= leave one out": (among, self.mutual.upper),
            "I <= R": (among, self.rates.rate),
            "I <= log N": (among, log_data),
        }
        return {name: _ordered(low, high) for name, (low, high) in pairs.items()}

    def remarks(self) -> Iterator[str]:
        for name, held in self.chain.items():
            if not held:
                yield f"{name} does not hold within its error: is p(z) the same for all data?"
        if not self.one_prior:
            yield "p(z) differs between the data: R - I, the divergence from one prior, is omitted"
        among = self.mutual.among.mean
        if among > self.log_data - 1:
            yield (
                f"the information among these data, {among:.2f}, is near the largest that {self.data} "
                f"data can have, log N = {self.log_data:.2f}: that of the population lies between it and "
                f"{min(self.mutual.upper.mean, self.rates.rate.mean):.2f}; take more data"
            )

    def rows(self) -> dict[str, Estimate]:
        mismatch = {"marginal mismatch": self.mismatch} if self.one_prior else {}
        return {
            "rate": self.rates.rate,
            "distortion": self.rates.distortion,
            "ELBO": self.rates.elbo,
            "information": self.mutual.among,
            "information in batches": self.mutual.lower,
            "information leaving one out": self.mutual.upper,
            **mismatch,
            "entropy of the data": self.entropy,
        }

    def facts(self) -> dict[str, Any]:
        return {"log_data": self.log_data, "batch": self.mutual.batch, "chain": self.chain, **self.units.to_json()}

    def pointwise(self) -> dict[str, Tensor]:
        """The values of all estimates that have one per datum, and means over the data for each unit."""
        single = ("marginal_mismatch", "entropy_of_the_data")
        values = {name: value for name, value in super().pointwise().items() if not name.startswith(single)}
        units = {"information_rows": self.mutual.rows, "unit_variance": self.units.variance, "unit_kl": self.units.kl}
        return values | {name: value for name, value in units.items() if value is not None}

    def title(self) -> str:
        return f"nats per datum over {self.data} data, whose information is at most log N = {self.log_data:.3f}"

    def caption(self) -> str:
        broken = [name for name, held in self.chain.items() if not held]
        order = f"NOT in order: {', '.join(broken)}" if broken else "in order"
        return f"ELBO = -R - D; marginal mismatch = R - I; batches of {self.mutual.batch}; H - D <= I <= R: {order}"

    def table(self) -> str:
        known = ("information", "marginal mismatch", "entropy of the data")
        intervals = (f"{name} {self.interval(name, 'population')}" for name in known if name in self.rows())
        return f"{super().table()}\n95% intervals for the population: {', '.join(intervals)} nats\n{self.units}"

    def draw_panels(self, *axes: Axes) -> None:
        units, right = axes
        self.units.draw(units)
        mutual, rate = self.mutual, self.rates.rate
        bars = (
            ("rate R", rate, OKABE_ITO.blue),
            ("leaving one out", mutual.upper, "0.75"),
            ("information I", mutual.among, OKABE_ITO.green),
            (f"batches of {mutual.batch}", mutual.lower, "0.75"),
        )
        edge = 1.35 * max([e for e in (rate.mean, mutual.among.mean) if math.isfinite(e)], default=1.0)
        edge = max(edge, 1e-6)
        for name, estimate, colour in bars:
            sign = {"lower": "$\\geq$ ", "upper": "$\\leq$ "}.get(estimate.bound, "")
            shown = min(estimate.mean, edge)
            right.barh(name, shown, color=colour, xerr=estimate.se or None)
            right.annotate(f" {sign}{estimate.mean:.2f}", (min(shown + estimate.se, 0.8 * edge), name), va="center")
        if self.log_data < edge:
            right.axvline(self.log_data, color="0.3", linestyle=":")
        right.set(
            xlabel=f"nats per datum (log N = {self.log_data:.2f})", xlim=(0, edge), title="Information in the code"
        )
        right.invert_yaxis()

    def draw(self, figure: Figure, title: str) -> None:
        rate, distortion = self.rates.rate.mean, self.rates.distortion.mean
        parts = f"rate {rate:.2f} + distortion {distortion:.2f} = -ELBO, nats per datum"
        super().draw(figure, "\n".join(filter(None, [title, parts])))


def information(
    model: Program,
    guide: Program,
    *data: object,
    draws: int = 100,
    codes: int = 10_000,
    batch: int = 128,
    most_bits: int = 16,
    progress: Progress | None = None,
) -> Information:
    r"""Returns rate, distortion and mutual information of data and code, and the units that have collapsed.

    The mutual information is that of the aggregate posterior of these N data,

    .. math:: I(x; z) = \frac1N \sum_i \mathbb{E}_{q(z \mid x_i)} \Bigl[\log q(z \mid x_i) - \log \bar q(z)\Bigr],
        \qquad \bar q(z) = \frac1N \sum_j q(z \mid x_j) ,

    at most log N. It is a lower bound on the information of the population that the data were drawn from; with
    :math:`\bar q` over all data except the i-th it is an upper bound (Poole, Ozair, van den Oord, Alemi and Tucker
    2019, section 2).

    Codes of few states are enumerated, and everything is exact. Otherwise the distortion, and the rate unless it has a
    closed form, come from draws, and each code's density is compared with those of all the data, in blocks.

    Arguments:
        model: The generative model.
        guide: Its guide.
        data: At least two data, as of :func:`~ppl_vae.evidence.measure.measure`.
        draws: Number of draws per datum, for the distortion.
        codes: Maximum number of codes compared with all data, for the information: equally many per datum, or one
            each for a random part of the data.
        batch: Number of data per batch of the InfoNCE lower bound, which is at most log ``batch``.
        most_bits: Length of the longest code to enumerate.
        progress: Called with the number of (datum, code) cells completed since the last call, of :func:`steps` in
            total.

    Returns:
        An :class:`Information`, in nats per datum.

    Raises:
        ValueError: For fewer than two data, draws, codes or data per batch, or a guide that does not draw the model's
            latents.
    """
    x = as_batch(*data)
    for name, value in (("data", len(x)), ("data per batch", batch), ("codes", codes)):
        if value < 2:
            raise ValueError(f"information needs at least 2 {name}, got {value}; take more")

    def measured(progress: Progress) -> Information:
        known = probe(model, guide, x, most_bits)
        rates = measure_rates(model, guide, x, known, draws, progress)
        if known.states is None:
            mutual = by_codes(guide, x, codes, batch, progress)
        else:
            mutual = by_enumeration(guide, x, known.states, batch, progress)
        return Information(rates, mutual, one_prior(model, x))

    return as_written("the information", model, guide, x, measured, progress)


def steps(
    model: Program, guide: Program, x: Batch, *, draws: int = 100, codes: int = 10_000, most_bits: int = 16
) -> int:
    """Returns the number of cells that :func:`information` reports to its progress."""
    with evaluating(model, guide):
        known = probe(model, guide, x, most_bits)
    count = len(x)
    if known.states is not None:
        return count * known.states.count + by_enumeration_steps(count, known.states.count)
    return count * (draws + min(count, codes) * max(1, codes // count))


def _difference(first: Estimate, second: Estimate, sign: int = -1) -> Estimate:
    """Difference, or sum, of two means as one number."""
    value, error = first.mean + sign * second.mean, math.hypot(first.se, second.se)
    exact = first.bound == second.bound == "exact"
    method = first.method if first.method == second.method else f"{first.method}; {second.method}"
    single = torch.tensor([value, error], dtype=torch.float64)
    return Estimate(single[:1], method, "exact" if exact else "unbiased", 0, None if exact else single[1:])


def _of_rows(estimate: Estimate, rows: slice | Tensor) -> Estimate:
    """The estimate of some of the data."""
    error = estimate.pointwise_se
    return replace(estimate, pointwise=estimate.pointwise[rows], pointwise_se=None if error is None else error[rows])


def _negative(estimate: Estimate) -> Estimate:
    return replace(estimate, pointwise=-estimate.pointwise)


def _ordered(low: Estimate, high: Estimate) -> bool:
    rounding = 1e-5 * (1 + abs(low.mean))
    return low.mean <= high.mean + WITHIN * math.hypot(low.se, high.se) + rounding
