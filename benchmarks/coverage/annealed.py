"""Statements about annealing, what is built on it, and what travels with a gap."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
import torch
from scipy.special import logsumexp

from benchmarks.coverage.guides import Guide, good, narrow, one_mode, prior
from benchmarks.coverage.nastier import HeavyTails
from benchmarks.coverage.oracles import Bits, Grid, LinearGaussian, Oracle, TwoModes, tensor
from benchmarks.coverage.rates import Rate
from benchmarks.coverage.replications import Replication, bracket, replicate
from benchmarks.coverage.several import EightModes
from benchmarks.structures.structure import Array

__all__ = ["ROWS"]


def missed_modes(runs: int) -> Iterator[Rate]:
    """Annealing as it stands, from guides that know one mode of two, or of 256."""
    for kind, share in ((TwoModes, 10), (EightModes, 20)):
        count = max(2, runs // share)
        guide = Guide(kind(0), one_mode)
        some = [
            replicate(guide, seed, 20, method="annealing", draws=8, temperatures=100, check=True)
            for seed in range(count)
        ]
        name = f"annealing, guide of one mode of {kind.__name__}"
        yield bracket(name, some)
        short = [each for each in some if each.error > 0.5]
        warned = sum(bool(each.found.warnings) for each in short)
        yield Rate(name + ": over 0.5 nats short, and warned of", warned, len(short), 0.98)


def few_chains(runs: int) -> Iterator[Rate]:
    """The sandwich of simulated data with two and four chains: does the truth lie between its limits?"""
    import ppl_vae as pv
    from ppl_vae.evidence.ais import Schedule

    for kind, share in ((LinearGaussian, 2), (HeavyTails, 4)):
        for chains in (4, 8):
            oracle, count, covered = kind(0), max(2, runs // share), 0
            guide = Guide(oracle, good)
            schedule = Schedule(temperatures=30)
            for seed in range(count):
                x, z = _simulated(oracle, seed, 10)
                torch.manual_seed(seed)
                found = pv.sandwich(oracle.model, guide, x, draws=chains, schedule=schedule, drawn_with={"z": z})
                low, high = found.interval("lower").low, found.interval("upper").high
                truth = float(oracle.evidence(x.double().numpy()).mean())
                covered += (low is None or low <= truth) and (high is None or truth <= high)
            yield Rate(f"sandwich of {chains} chains, {kind.__name__}: limits hold the truth", covered, count, 0.95)


def _simulated(oracle: Oracle, seed: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Data and the latents they are drawn with."""
    rng = np.random.default_rng(seed)
    if isinstance(oracle, LinearGaussian):
        z = rng.normal(size=count)
        return tensor(z[:, None] * oracle.loading + 0.5 * rng.normal(size=(count, 5))), tensor(z)
    assert isinstance(oracle, HeavyTails)
    z = rng.standard_t(oracle.tails, size=count)
    return tensor(z + oracle.noise * rng.standard_t(oracle.tails, size=count)), tensor(z)


def costs(runs: int) -> Iterator[Rate]:
    """The cost of a rate-distortion curve, an annealed upper bound, at three weights of the rate."""
    import ppl_vae as pv

    oracle, count, betas = TwoModes(0), max(2, runs // 5), (2.0, 1.0, 0.5)
    guide, held = Guide(oracle, good), np.zeros(3, dtype=int)
    for seed in range(count):
        oracle.rng = np.random.default_rng(seed)
        x = oracle.data(10)
        torch.manual_seed(seed)
        found = pv.rate_distortion_curve(
            oracle.model, guide, x, betas=betas, method="annealing", chains=4, temperatures=50
        )
        for i, beta in enumerate(betas):
            interval = found.interval(_cost_name(found, i), "data")
            held[i] += _cost(oracle, x.double().numpy(), beta) in interval
    for i, beta in enumerate(betas):
        yield Rate(f"annealed cost at a weight of {beta:g}: at most the limit", int(held[i]), count, 0.95)


def _cost_name(curve: object, i: int) -> str:
    names = [name for name in curve.rows() if name.endswith("cost")]
    return names[i]


def _cost(oracle: Grid, x: Array, beta: float) -> float:
    """Mean of -beta log E p(x given z)^(1 / beta) over the prior: the least distortion plus beta times rate."""
    return float(-beta * logsumexp(oracle.log_mass()[:, None] + oracle.log_likelihood(x) / beta, axis=0).mean())


def many_bits(runs: int) -> Iterator[Rate]:
    """Sixteen bits, measured by 16 chains of 100 and of 500 temperatures."""
    oracle, count = Bits(0, 16, 2.0), max(2, runs // 20)
    guide = Guide(oracle, good)
    for temperatures in (100, 500):
        some: list[Replication] = [
            replicate(guide, seed, 5, method="annealing", draws=16, temperatures=temperatures, check=True)
            for seed in range(count)
        ]
        yield bracket(f"16 bits, annealed over {temperatures} temperatures", some)


def gaps(runs: int) -> Iterator[Rate]:
    """Where the evidence is warned of, the JSON of the gap warns, too."""
    import ppl_vae as pv

    count, carried, warned = max(2, runs // 10), 0, 0
    for seed in range(count):
        kind = (narrow, prior)[seed % 2]
        replication = replicate(Guide(EightModes(seed), kind, seed), seed, 5, method="importance", draws=50)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            guide = Guide(EightModes(seed), kind, seed)
            gap = pv.split_gap(
                guide.oracle.model,
                guide,
                replication.x,
                method="ascent",
                steps=4,
                draws=20,
                restarts=1,
                measurement=replication.found,
            )
        if replication.found.warnings:
            warned += 1
            carried += bool(gap.to_json()["warnings"])
    yield Rate("a gap on evidence that is warned of has warnings in its JSON", carried, warned, 1.0)


ROWS = (missed_modes, few_chains, costs, many_bits, gaps)
"""Functions from a number of replications to rates."""
