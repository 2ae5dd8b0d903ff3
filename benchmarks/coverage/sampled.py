"""Statements about importance sampling: exactness, brackets, intervals of data and population, comparisons."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import numpy as np
import torch
from numpy.polynomial.hermite_e import hermegauss

from benchmarks.coverage.guides import Guide, good, narrow, one_mode, prior, shifted, wide, without_rare
from benchmarks.coverage.nastier import Step, Unseen
from benchmarks.coverage.oracles import BernoulliFactor, Bits, Grid, LinearGaussian, PoissonFactor
from benchmarks.coverage.rates import Rate
from benchmarks.coverage.replications import Replication, bracket, mean_of, replicate
from benchmarks.coverage.several import EightModes, SpikeAndSlab
from benchmarks.structures.structure import Array, normal_log_prob

__all__ = ["ROWS"]

FACTORS = (LinearGaussian, BernoulliFactor, PoissonFactor)


def constant_weights(runs: int) -> Iterator[Rate]:
    """One datum whose posterior is mostly where the guide never draws: all its weights are the same."""
    for kind, blind in ((Step, prior), (Unseen, without_rare)):
        some = [
            replicate(Guide(kind(seed), blind), seed, 1, method="importance", draws=100, check=True)
            for seed in range(runs)
        ]
        name = f"constant weights, {kind.__name__}, one datum"
        wrong = sum(each.found.evidence.bound == "exact" and abs(each.error) > 1e-3 for each in some)
        yield Rate(name + ": called exact and wrong", wrong, runs, 0.0, "at most")
        yield bracket(name, some)
        serious = [each for each in some if each.error > 0.5]
        warned = sum(bool(each.found.warnings) for each in serious)
        yield Rate(name + ": over 0.5 nats short, and warned of", warned, len(serious), 0.98)


def fooled(runs: int) -> Iterator[Rate]:
    """A bit of 1.2% of the prior's mass, which the guide leaves out: how often do all checks pass?"""
    passed = 0
    for seed in range(runs):
        oracle = Unseen(seed)
        oracle.probabilities[-1] = 1 - 0.05 ** (1 / 256)
        found = replicate(Guide(oracle, without_rare), seed, 1, method="importance", draws=100, check=False).found
        passed += any("exact if the guide covers" in line for line in found.warnings)
    name = "weights called constant over guide and prior, 1.2% of the prior's mass left out"
    yield Rate(name, passed, runs, 0.05, "at most", "the note states this limit")


def brackets(runs: int) -> Iterator[Rate]:
    """Three models of one latent, each kind of guide, 20 and 200 draws."""
    for kind in (good, shifted, narrow, wide):
        some: list[Replication] = []
        for model, draws in product(FACTORS, (20, 200)):
            guide = Guide(model(0), kind, 7)
            some += [
                replicate(guide, seed, 50, method="importance", draws=draws, check=True)
                for seed in range(-(-runs // 3))
            ]
        name = f"importance, guide {kind.__name__}"
        plain = sum(abs(each.error) <= 2 * each.found.evidence.se for each in some)
        yield Rate(name + ": mean ± 2 s.e. covers", plain, len(some), note="no promise: a lower bound")
        yield bracket(name, some)


def nastier(runs: int) -> Iterator[Rate]:
    """Many modes and a spike, of whose posterior the guide knows one part."""
    for model, kind in ((EightModes, one_mode), (SpikeAndSlab, one_mode)):
        guide = Guide(model(0), kind)
        some = [replicate(guide, seed, 50, method="importance", draws=200, check=True) for seed in range(runs)]
        yield bracket(f"importance, one mode of {model.__name__}", some)


def harmless_tails(runs: int) -> Iterator[Rate]:
    """The Bernoulli model at 1,000 draws of a good guide, where the error is thousandths of a nat."""
    guide = Guide(BernoulliFactor(0), good)
    some = [replicate(guide, seed, 50, method="importance", draws=1000, check=True) for seed in range(runs)]
    warned = sum(any("k-hat" in line for line in each.found.warnings) for each in some)
    note = f"short by {mean_of(each.error for each in some)}"
    yield Rate("k-hat warned of, Bernoulli model, good guide, 1,000 draws", warned, runs, 0.05, "at most", note)


def smoothing(runs: int) -> Iterator[Rate]:
    """Pareto smoothing against plain importance sampling, at a good guide."""
    for model in (LinearGaussian(0), Bits(0, 6)):
        guide = Guide(model, good)
        pairs = [
            [replicate(guide, seed, 50, method=method, draws=100, check=False) for method in ("psis", "importance")]
            for seed in range(runs)
        ]
        closer = sum(abs(smooth.error) < abs(plain.error) for smooth, plain in pairs)
        approximate = sum(smooth.found.evidence.bound == "approximate" for smooth, _ in pairs)
        name = f"Pareto smoothing, {type(model).__name__}, 100 draws, good guide: "
        short = [mean_of(pair[i].error for pair in pairs) for i in (0, 1)]
        yield Rate(name + "called approximate, not a bound", approximate, runs, 1.0)
        note = f"short by {short[0]}, plain by {short[1]}"
        yield Rate(name + "closer than plain", closer, runs, note=note)


def population(runs: int) -> Iterator[Rate]:
    """Intervals of the population's mean from 50 data, 20 draws each."""
    for model, kind in product(FACTORS, (good, narrow)):
        guide = Guide(model(0), kind, 7)
        evidence, gap = _population(guide)
        some = [
            replicate(guide, seed, 50, method="importance", draws=20, check=True).found for seed in range(runs // 2)
        ]
        for name, truth in (("evidence", evidence), ("gap", gap)):
            covered = sum(truth in each.interval(name, "population") for each in some)
            half = sum(each.interval(name, "population").high is None for each in some)
            statement = f"95% interval of the population's {name}, {model.__name__}, guide {kind.__name__}"
            yield Rate(statement, covered, len(some), 0.95, note=f"open above in {half}" if half else "")


def _population(guide: Guide, count: int = 10_000) -> tuple[float, float]:
    """Means of evidence and gap over many data; the bound by Gauss-Hermite quadrature of the normal guide."""
    oracle = guide.oracle
    assert isinstance(oracle, Grid)
    oracle.rng = np.random.default_rng(1)
    x = oracle.data(count)
    values, nodes = x.double().numpy(), hermegauss(24)
    mean, deviation = guide.moments(x)
    evidence, bound = oracle.evidence(values), np.zeros(count)
    for node, weight in zip(*nodes, strict=True):
        z = mean + deviation * node
        log_q = normal_log_prob(z, mean, deviation)[:, 0]
        bound += weight / np.sqrt(2 * np.pi) * (normal_log_prob(z[:, 0], 0.0, 1.0) + _each(oracle, z, values) - log_q)
    return float(evidence.mean()), float((evidence - bound).mean())


def _each(oracle: Grid, z: Array, x: Array) -> Array:
    """log p(x given z) of each datum at a latent of its own."""
    kind = type(oracle)
    chunks = []
    for start in range(0, len(z), 25):
        part = object.__new__(kind)
        part.__dict__.update(oracle.__dict__, points=z[start : start + 25])
        chunks.append(np.diagonal(part.log_likelihood(x[start : start + 25])))
    return np.concatenate(chunks)


def comparisons(runs: int) -> Iterator[Rate]:
    """One model under two guides, as if they were two models: the true difference of evidences is zero."""
    from ppl_vae.diagnostics.difference import Difference

    for one, other in ((good, narrow), (narrow, wide)):
        covered, one_sided, widths = 0, 0, []
        for seed in range(runs):
            pair = [
                replicate(Guide(BernoulliFactor(0), kind, 7), seed, 50, method="importance", draws=20, check=True)
                for kind in (one, other)
            ]
            interval = Difference.of(*(each.found.evidence for each in pair)).interval
            covered += 0.0 in interval
            one_sided += interval.low is None or interval.high is None
            widths.append(pair[0].found.evidence.mean - pair[1].found.evidence.mean)
        name = f"compare, one model, guides {one.__name__} and {other.__name__}: interval holds 0"
        yield Rate(
            name, covered, runs, 0.95, note=f"difference of the bounds {mean_of(widths)}; an end unknown in {one_sided}"
        )


def samples(runs: int) -> Iterator[Rate]:
    """The error in parentheses: 200 data of 2,000, measured exactly, and the mean of all."""
    everything = replicate(Guide(LinearGaussian(0), good), 0, 2000)
    found, covered = everything.found, 0
    for seed in range(runs):
        rows = torch.as_tensor(np.random.default_rng(seed).choice(2000, 200, replace=False))
        evidence = replace(found.evidence, pointwise=found.evidence.pointwise[rows])
        sample = replace(found, evidence=evidence).of_sample(rows, 2000)
        covered += everything.mean in sample.interval("evidence", "split")
    yield Rate("95% interval of a split's evidence from a sample of a tenth", covered, runs, 0.95)


ROWS = (constant_weights, fooled, brackets, nastier, harmless_tails, smoothing, population, comparisons, samples)
"""Functions from a number of replications to rates."""
