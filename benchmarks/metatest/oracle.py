"""An interpreter of descriptions in NumPy: sums over states and counts, trapezoidal rules over numbers.

It shares nothing with the package but the description: densities are written out, latents lie on a grid of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import lgamma, log, pi

import numpy as np
from scipy.special import betaln, expit, gammaln, log_expit, logsumexp

from benchmarks.metatest.description import Description, Site

__all__ = ["evidence_and_bound"]

NODES = 121
"""Nodes of a number's axis."""

REACH = 8.5
"""How far they reach, in standard deviations."""

COUNTS = 60
"""Counts beyond it have a probability below rounding."""

Array = np.ndarray


def evidence_and_bound(description: Description, x: Array) -> tuple[Array, Array | None]:
    """log p(x) of each datum, and the ELBO where all latents are discrete, else None, in nats."""
    evidences, bounds = [], []
    discrete = all(site.family in ("bernoulli", "categorical", "one_hot") for site in description.latents)
    for row in x:
        grid = _Grid(description.latents)
        joint = grid.log_prior + sum(
            _log_likelihood(site, _predictor(site, grid.features, row), row) for site in description.observed
        )
        evidences.append(logsumexp(joint + grid.log_measure))
        if discrete:
            proposal = np.zeros(())
            for site in description.guide:
                proposal = proposal + _log_density(site, _predictor(site, grid.features, row), grid.values[site.name])
            bounds.append(float((np.exp(proposal) * (joint - proposal)).sum()))
    return np.array(evidences), np.array(bounds) if discrete else None


class _Grid:
    """Values of all latents on a grid with an axis for each of their numbers, and the prior's density there."""

    def __init__(self, sites: tuple[Site, ...]) -> None:
        self.features: dict[str, Array] = {}
        self.values: dict[str, list[Array]] = {}
        self.log_prior: Array = np.zeros(())
        self.log_measure: Array = np.zeros(())
        self.axes = sum(_axes(site) for site in sites)
        self.used = 0
        for site in sites:
            eta = _predictor(site, self.features, None)
            values = self._values(site, eta)
            self.values[site.name] = values
            self.log_prior = self.log_prior + _log_density(site, eta, values)
            self.features[site.name] = _feature(site, values)

    def _axis(self, points: Array) -> Array:
        """Points along the next free axis."""
        self.used += 1
        return points.reshape([-1 if axis == self.used - 1 else 1 for axis in range(self.axes)])

    def _values(self, site: Site, eta: Array) -> list[Array]:
        """The values of the elements of a site; of two numbers together, one array each."""
        first, second = site.shape
        off = np.array(site.offsets)
        if site.family == "bernoulli":
            return [self._axis(np.array([0.0, 1.0])) for _ in range(max(site.size, 1))]
        if site.family in ("categorical", "one_hot"):
            return [self._axis(np.arange(float(site.states)))]
        if site.family in ("poisson", "geometric"):
            return [self._axis(np.arange(float(COUNTS))) for _ in range(max(site.size, 1))]
        if site.family == "normal":
            return [self._number(eta + off[i], first) for i in range(max(site.size, 1))]
        if site.family == "mvn":
            one = self._number(np.zeros(()), 1.0)
            other = self._number(np.zeros(()), 1.0)
            self.log_measure = self.log_measure + log(first * second)
            return [eta + off[0] + first * one, -0.5 * eta + off[1] + 0.4 * one + second * other]
        if site.family == "mixture":
            low, high = 2 * off.min() - REACH * max(site.shape), 2 * off.max() + REACH * max(site.shape)
            points = np.linspace(low, high, 2 * NODES)
            self.log_measure = self.log_measure + log(points[1] - points[0])
            return [eta + self._axis(points)]
        if site.family == "log_normal":
            inside = self._number(np.tanh(eta + off[0]), first)
            self.log_measure = self.log_measure + inside
            return [np.exp(inside)]
        if site.family in ("gamma", "exponential"):
            shape = 1 + first if site.family == "gamma" else 1.0
            points = np.linspace(-24 / shape, 4.5, 2 * NODES)
            self.log_measure = self.log_measure + log(points[1] - points[0])
            rate = np.exp(np.tanh(eta + off[0])) * (second if site.family == "gamma" else 1.0)
            inside = self._axis(points) - np.log(rate)
            self.log_measure = self.log_measure + inside
            return [np.exp(inside)]
        points = np.linspace(-22.0, 22.0, 2 * NODES)  # beta
        self.log_measure = self.log_measure + log(points[1] - points[0])
        inside = self._axis(points)
        self.log_measure = self.log_measure + log_expit(inside) + log_expit(-inside)
        return [expit(inside)]

    def _number(self, loc: Array, scale: float) -> Array:
        points = np.linspace(-REACH, REACH, NODES)
        self.log_measure = self.log_measure + log(scale * (points[1] - points[0]))
        return loc + scale * self._axis(points)


def _axes(site: Site) -> int:
    return 2 if site.family == "mvn" else max(site.size, 1)


def _predictor(site: Site, features: dict[str, Array], row: Array | None) -> Array:
    eta = np.asarray(site.intercept + (site.of_data * np.tanh(row[0]) if row is not None else 0.0))
    for name, weight in site.weights.items():
        eta = eta + weight * features[name]
    return eta


def _feature(site: Site, values: list[Array]) -> Array:
    if site.family == "categorical":
        return values[0] / (site.states - 1)
    if site.family == "one_hot":
        return np.linspace(-1, 1, site.states)[values[0].astype(int)]
    mean = sum(values[1:], values[0]) / len(values)
    if site.family in ("bernoulli", "normal", "mvn", "mixture", "beta"):
        return mean
    return sum((np.log1p(value) for value in values[1:]), np.log1p(values[0])) / len(values)


def _log_likelihood(site: Site, eta: Array, row: Array) -> Array:
    width = 3 if site.family == "multinomial" else max(site.size, 1)
    start = site.columns[0]
    if site.mask == "rows" and row[site.columns[-1]] < 0.5:
        return np.zeros(())
    if site.family == "multinomial":
        return _multinomial(site, eta, row[start : start + 3])
    seen = row[start + width : start + 2 * width] if site.mask == "elements" else np.ones(width)
    return sum(
        (_element(site, eta, i, np.asarray(row[start + i])) for i in range(width) if seen[i] > 0.5), np.zeros(())
    )


def _log_density(site: Site, eta: Array, values: list[Array]) -> Array:
    first, second = site.shape
    if site.family == "mvn":
        one = (values[0] - eta - site.offsets[0]) / first
        other = (values[1] + 0.5 * eta - site.offsets[1] - 0.4 * one) / second
        return -(one**2 + other**2) / 2 - log(2 * pi * first * second)
    return sum((_element(site, eta, i, value) for i, value in enumerate(values)), np.zeros(()))


def _states(site: Site, eta: Array) -> Iterator[Array]:
    """Log-probabilities of the states."""
    logits = [off * (1 + eta) + 0.3 * i * eta for i, off in enumerate(site.offsets)]
    total = np.logaddexp.reduce(np.broadcast_arrays(*logits), 0)
    return (logit - total for logit in logits)


def _multinomial(site: Site, eta: Array, counts: Array) -> Array:
    total = gammaln(counts.sum() + 1) - gammaln(counts + 1).sum()
    return sum((c * p for c, p in zip(counts, _states(site, eta), strict=True)), np.asarray(total))


def _element(site: Site, eta: Array, i: int, v: Array) -> Array:
    """Log-density of element i."""
    first, second = site.shape
    if site.family in ("categorical", "one_hot"):
        parts = list(_states(site, eta))
        v, lead = np.broadcast_arrays(v, parts[0])
        table = np.stack([np.broadcast_to(part, lead.shape) for part in parts])
        return np.take_along_axis(table, v.astype(int)[None], 0)[0]
    if site.family == "mixture":
        parts = [
            log(p) + _normal(v, eta + 2 * o, s) for p, o, s in zip((0.3, 0.7), site.offsets, site.shape, strict=True)
        ]
        return np.logaddexp(*parts)
    eta = eta + site.offsets[i]
    rate = np.exp(np.tanh(eta))
    match site.family:
        case "bernoulli":
            return log_expit((2 * v - 1) * eta)
        case "binomial":
            return v * log_expit(eta) + (3 - v) * log_expit(-eta) + gammaln(4) - gammaln(v + 1) - gammaln(4 - v)
        case "normal":
            return _normal(v, eta, first)
        case "student":
            z = (v - eta) / first
            return lgamma(2.5) - lgamma(2.0) - log(4 * pi) / 2 - log(first) - 2.5 * np.log1p(z**2 / 4)
        case "log_normal":
            return _normal(np.log(v), np.tanh(eta), first) - np.log(v)
        case "poisson":
            return v * np.tanh(eta) - rate - gammaln(v + 1)
        case "geometric":
            return log_expit(np.tanh(eta)) + v * log_expit(-np.tanh(eta))
        case "negative_binomial":
            r, logit = 2 * first, np.tanh(eta)
            return gammaln(v + r) - gammaln(r) - gammaln(v + 1) + r * log_expit(-logit) + v * log_expit(logit)
        case "gamma":
            shape, rate = 1 + first, rate * second
            return shape * np.log(rate) + (shape - 1) * np.log(v) - rate * v - gammaln(shape)
        case "exponential":
            return np.tanh(eta) - rate * v
    a, b = 1 + first * rate, 1 + second
    return (a - 1) * np.log(v) + (b - 1) * np.log1p(-v) - betaln(a, b)


def _normal(v: Array, loc: Array, scale: float) -> Array:
    return -(((v - loc) / scale) ** 2) / 2 - log(scale) - log(2 * pi) / 2
