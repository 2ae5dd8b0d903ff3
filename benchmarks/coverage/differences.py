"""How often intervals of population means, of differences, of the curve and of information hold the truth.

The data of all replications are measured at once, and cut into replications afterwards: one of ``data`` data each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from benchmarks.coverage.oracles import BernoulliFactor, Grid, LinearGaussian, PoissonFactor, tensor
from benchmarks.coverage.rates import Rate
from benchmarks.structures.structure import Array, normal_log_prob
from ppl_vae.diagnostics.difference import Difference
from ppl_vae.diagnostics.information.curve import Curve
from ppl_vae.diagnostics.information.information import Information
from ppl_vae.diagnostics.retrieval.codes import Codes
from ppl_vae.diagnostics.retrieval.ranking import by_codes
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.intervals import Interval
from ppl_vae.evidence.results import Evidence

__all__ = ["GUIDES", "MODELS", "curves", "elbo", "evidences", "informations", "precisions", "rates"]

MODELS: tuple[type[Grid], ...] = (LinearGaussian, BernoulliFactor, PoissonFactor)

GUIDES = {"good": (0.0, 1.1), "shifted": (1.0, 1.0), "narrow": (0.0, 0.4), "wide": (0.0, 3.0)}
"""Shift in posterior standard deviations, and factor of the standard deviation."""

POOL = 20_000
"""Data over which the means of a population are taken."""


def normal(oracle: Grid, kind: str, x: Array) -> tuple[Array, Array]:
    """Mean and standard deviation of a guide, ``(data,)`` each."""
    shift, factor = GUIDES[kind]
    mean, deviation = oracle.posterior(x)
    return (mean + shift * deviation)[:, 0], (factor * deviation)[:, 0]


def guide_of(oracle: Grid, kind: str) -> Callable[[Tensor], None]:
    """The guide in Pyro."""

    def guide(x: Tensor) -> None:
        mean, deviation = normal(oracle, kind, x.double().numpy())
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(tensor(mean), tensor(deviation)))

    return guide


def elbo(oracle: Grid, kind: str, x: Array) -> Array:
    """The ELBO of a guide, ``(data,)``, by sums over the grid."""
    points, parts = oracle.points[:, 0], []
    for start in range(0, len(x), 50):
        some = x[start : start + 50]
        log_q = normal_log_prob(points[:, None], *normal(oracle, kind, some))
        mass = np.exp(log_q) * (points[1] - points[0])
        weight = oracle.joint(some) - np.log(points[1] - points[0]) - log_q
        parts.append((mass * weight).sum(0) / mass.sum(0))
    return np.concatenate(parts)


def part(estimate: Estimate, rows: slice) -> Estimate:
    """The estimate of some of the data."""
    fields = {name: getattr(estimate, name) for name in ("pointwise", "pointwise_se", "k_hat")}
    cut = replace(estimate, **{name: None if value is None else value[rows] for name, value in fields.items()})
    upper = getattr(estimate, "upper", None)
    return cut if upper is None else replace(cut, upper=part(upper, rows))


def replications(runs: int, data: int) -> list[slice]:
    """The rows of each replication."""
    return [slice(start, start + data) for start in range(0, runs * data, data)]


def held(name: str, intervals: list[Interval], truths: list[float] | float, promised: float = 0.95) -> Rate:
    """How many intervals hold their truth; the note says how many have two ends, and how wide those are."""
    values = truths if isinstance(truths, list) else [truths] * len(intervals)
    count = sum(value in each for value, each in zip(values, intervals, strict=True))
    widths = [i.high - i.low for i in intervals if i.low is not None and i.high is not None]
    unknown = sum(each.low is each.high is None for each in intervals)
    note = f"two ends in {len(widths)}, {np.mean(widths):.2g} nats apart" if widths else "one end"
    note += f"; not known in {unknown}" if unknown else ""
    return Rate(name, count, len(intervals), promised, note=note)


def evidences(
    kind: type[Grid], draws: int, runs: int, data: int, guides: tuple[str, ...] = ("good", "wide")
) -> Iterator[Rate]:
    """Population and split means of evidence and gap, and differences between guides and between models.

    Arguments:
        kind: The model.
        draws: Importance draws per datum.
        runs: Replications.
        data: Data of each; those of the split means are twice as many, of which half are seen.
        guides: Two kinds of guide.
    """
    import ppl_vae as pv

    torch.manual_seed(0)
    oracle, other = kind(0), kind(0)
    other.loading = 0.8 * other.loading  # another model of the same data
    oracle.rng = np.random.default_rng(1)
    x = oracle.data(runs * data)
    pool = oracle.data(POOL).double().numpy()
    numbers = x.double().numpy()
    truth, others = oracle.evidence(pool), other.evidence(pool)
    seen = oracle.evidence(numbers)
    measured: dict[str, Evidence] = {
        name: pv.measure(oracle.model, guide_of(oracle, name), x, method="importance", draws=draws, check=False)
        for name in guides
    }
    measured["other"] = pv.measure(
        other.model, guide_of(other, "good"), x, method="importance", draws=draws, check=False
    )
    rows = replications(runs, data)
    cut = {
        name: [Evidence(*(part(e, each) for e in (result.elbo, result.evidence, result.gap))) for each in rows]
        for name, result in measured.items()
    }
    title = f"{kind.__name__}, {draws} draws, {data} data"
    for name in guides:
        bound = elbo(oracle, name, pool)
        means = {"ELBO": bound.mean(), "evidence": truth.mean(), "gap": (truth - bound).mean()}
        for row, mean in means.items():
            intervals = [each.interval(row, "population") for each in cut[name]]
            yield held(f"{title}, {name}: {row} of the population", intervals, float(mean))
        halves = [each.of_sample(torch.arange(data), 2 * data) for each in cut[name][::2]]
        wholes = [seen[each.start : each.start + 2 * data].mean().item() for each in rows[::2]]
        intervals = [each.interval("evidence", "split") for each in halves]
        yield held(f"{title}, {name}: evidence of a split, half of it seen", intervals, wholes)
    first, second = guides
    pairs = list(zip(cut[first], cut[second], strict=True))
    same = [Difference.of(b.evidence, a.evidence).interval for a, b in pairs]
    yield held(f"{title}: evidence of one model, {second} minus {first}", same, 0.0)
    bounds = [Difference.of(b.elbo, a.elbo).interval for a, b in pairs]
    lost = (elbo(oracle, second, pool) - elbo(oracle, first, pool)).mean()
    yield held(f"{title}: ELBO, {second} minus {first}", bounds, float(lost))
    pairs = list(zip(cut[first], cut["other"], strict=True))
    between = [Difference.of(b.evidence, a.evidence).interval for a, b in pairs]
    yield held(f"{title}: evidence of another model minus this one's", between, float((others - truth).mean()))


def curves(kind: type[Grid], chains: int, temperatures: int, runs: int, data: int) -> Iterator[Rate]:
    """The annealed rate-distortion curve: the smallest cost, and the guide's excess above it.

    Arguments:
        kind: The model.
        chains: Chains per datum.
        temperatures: Steps of annealing.
        runs: Replications.
        data: Data of each.
    """
    import ppl_vae as pv

    torch.manual_seed(0)
    oracle = kind(0)
    oracle.rng = np.random.default_rng(2)
    x, betas = oracle.data(runs * data), (4.0, 1.0, 0.5)
    numbers = x.double().numpy()
    curve = pv.rate_distortion_curve(
        oracle.model,
        guide_of(oracle, "wide"),
        x,
        betas=betas,
        method="annealing",
        chains=chains,
        temperatures=temperatures,
        draws=50,
    )
    rows = replications(runs, data)
    cut = [
        Curve(
            betas,
            *(tuple(part(e, each) for e in values) for values in (curve.rate, curve.distortion, curve.cost)),
            *(part(e, each) for e in (curve.guide_rate, curve.guide_distortion, curve.guide_elbo)),
        )
        for each in rows
    ]
    title = f"{kind.__name__}, {chains} chains, {temperatures} temperatures, {data} data"
    divergence, distortion = rate_and_distortion(oracle, "wide", numbers)
    for beta in betas:
        cost = -beta * log_normaliser(oracle, numbers, 1 / beta)
        truths = {"cost": cost, "excess": distortion + beta * divergence - cost}
        for name, values in truths.items():
            intervals = [each.interval(f"beta {beta:g}: {name}") for each in cut]
            means = [values[each].mean().item() for each in rows]
            yield held(f"{title}, beta {beta:g}: {name}", intervals, means)
            population = [each.interval(f"beta {beta:g}: {name}", "population") for each in cut]
            yield held(f"{title}, beta {beta:g}: {name} of the population", population, values.mean().item())


def log_normaliser(oracle: Grid, x: Array, t: float) -> Array:
    """log E p(x given z)^t over the prior, ``(data,)``."""
    from scipy.special import logsumexp

    blocks = (x[start : start + 50] for start in range(0, len(x), 50))
    return np.concatenate(
        [logsumexp(oracle.log_mass()[:, None] + t * oracle.log_likelihood(block), axis=0) for block in blocks]
    )


def rate_and_distortion(oracle: Grid, kind: str, x: Array) -> tuple[Array, Array]:
    """Rate and distortion of a guide by sums over the grid, ``(data,)`` each."""
    points, rates, distortions = oracle.points[:, 0], [], []
    for start in range(0, len(x), 50):
        some = x[start : start + 50]
        log_q = normal_log_prob(points[:, None], *normal(oracle, kind, some))
        step = np.log(points[1] - points[0])
        mass = np.exp(log_q + step)
        mass /= mass.sum(0)
        rates.append((mass * (log_q + step - oracle.log_mass()[:, None])).sum(0))
        distortions.append(-(mass * oracle.log_likelihood(some)).sum(0))
    return np.concatenate(rates), np.concatenate(distortions)


def informations(runs: int, data: int, codes: int = 10_000, noise: float = 0.5) -> Iterator[Rate]:
    """Mutual information and its mismatch, of a linear guide of Gaussian data, for whose population both are known.

    Arguments:
        runs: Replications.
        data: Data of each.
        codes: Codes compared with all data.
        noise: Standard deviation of the guide.
    """
    import ppl_vae as pv

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 0.5).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.8 * x, noise).to_event(1))

    rng = np.random.default_rng(3)
    spread = 0.64 * 1.5
    truth = 0.5 * np.log(1 + spread / noise**2)
    rate = 0.5 * (noise**2 + spread - 1 - np.log(noise**2))
    truths = {"rate": rate, "information": truth, "marginal mismatch": rate - truth}
    found: dict[str, list[Interval]] = {name: [] for name in truths}
    undecided = []
    for run in range(runs):
        torch.manual_seed(run)
        x = tensor(rng.normal(scale=1.5**0.5, size=(data, 1)))
        result: Information = pv.information(model, guide, x, draws=20, codes=codes, batch=min(128, data))
        for name, intervals in found.items():
            intervals.append(result.interval(name, "population"))
        error = 2 * result.units.variance_se / result.units.variance
        undecided.append(bool(((result.units.variance / spread).log().abs() <= error).all()))
    for name, intervals in found.items():
        yield held(f"linear guide, {data} data: {name} of the population", intervals, float(truths[name]))
    yield Rate(f"linear guide, {data} data: variance of the posterior mean", sum(undecided), runs, 0.95)


def precisions(runs: int, queries: int, database: int = 300) -> Rate:
    """Precision of codes of random bits that lean towards their class, over queries, for one database."""
    rng = np.random.default_rng(4)
    lean = rng.uniform(0.2, 0.8, size=(4, 12))

    def drawn(count: int) -> tuple[Tensor, Tensor]:
        labels = rng.integers(4, size=count)
        return torch.as_tensor(rng.uniform(size=(count, 12)) < lean[labels]), torch.as_tensor(labels)

    (bits, labels), (known, classes) = drawn(runs * queries), drawn(database)
    ranking = by_codes(Codes.pack(bits), Codes.pack(known), labels, classes, 20)
    truth = by_codes(Codes.pack((more := drawn(POOL))[0]), Codes.pack(known), more[1], classes, 20).mean
    count = 0
    for rows in replications(runs, queries):
        values = ranking.precision[rows].numpy()
        count += abs(values.mean() - truth) <= 2 * values.std(ddof=1) / np.sqrt(queries)
    return Rate(f"precision of codes, {queries} queries", int(count), runs, 0.95)


def rates(runs: int) -> list[Rate]:
    """All rates, of so many replications each."""
    found: list[Rate] = []
    for kind in MODELS:
        for draws in (20, 200):
            found += evidences(kind, draws, runs, 40)
            found += evidences(kind, draws, runs, 40, ("shifted", "narrow"))
        for chains, temperatures in ((4, 20), (16, 100)):
            found += curves(kind, chains, temperatures, runs, 10)
    for data in (100, 400):
        found += informations(runs, data)
    return [*found, precisions(runs, 100)]
