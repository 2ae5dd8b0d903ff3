"""The best member of a family by exhaustive search, in NumPy."""

from __future__ import annotations

from itertools import product

import numpy as np
from scipy.optimize import minimize

__all__ = ["best_bits", "best_normal", "codes"]

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(80)


def codes(bits: int) -> np.ndarray:
    """All codes, the last bit varying fastest, ``(codes, bits)``."""
    return np.array(list(product([0.0, 1.0], repeat=bits)))


def best_bits(table: np.ndarray, random: np.random.Generator, more: int = 64) -> float:
    """The highest ELBO of independent bits that is found from every code, near and far, and from random starts.

    Arguments:
        table: log p(x, z) of all codes of one datum, ``(codes,)``.
        random: Random numbers.
        more: Number of random starts.
    """
    every = codes(len(table).bit_length() - 1)
    bits, high = every.shape[1], table.max()
    values = np.maximum(table - high, -1e4)
    signs = 2 * every - 1
    logits = np.concatenate([3 * signs, 0.4 * signs, 2 * random.normal(size=(more, bits))])

    def probabilities(of: np.ndarray) -> np.ndarray:
        return of @ every.T - np.logaddexp(0, of).sum(1, keepdims=True)

    def bounds(of: np.ndarray) -> np.ndarray:
        logs = probabilities(of)
        return (np.exp(logs) * (values - logs)).sum(1)

    def ascend(of: np.ndarray, sweeps: int) -> np.ndarray:
        for _ in range(sweeps):
            for j in range(bits):
                on = every[:, j] == 1
                others = of.copy()
                others[:, j] = 0  # a factor of one half, whatever the bit
                q = 2 * np.exp(probabilities(others)[:, on])
                of[:, j] = np.clip(q @ (values[on] - values[~on]), -40, 40)
        return of

    for sweeps, count in ((15, 40), (100, 6)):
        logits = ascend(logits, sweeps)
        logits = logits[np.argsort(-bounds(logits))[:count]]
    return float(bounds(ascend(logits, 500)).max() + high)


def best_normal(log_joint, span: float = 4.5) -> float:  # noqa: ANN001
    """The highest ELBO of a normal, by quadrature over a grid of means and deviations, refined from the best points.

    Arguments:
        log_joint: Function from latents to log p(x, z) of one datum, of the same shape.
        span: Means lie between minus this and this.
    """
    means, scales = np.meshgrid(np.linspace(-span, span, 181), np.linspace(-4.5, 0.7, 40), indexing="ij")

    def bound(mean: np.ndarray, log_scale: np.ndarray) -> np.ndarray:
        points = mean[..., None] + np.exp(log_scale)[..., None] * NODES
        expected = (log_joint(points) * WEIGHTS).sum(-1) / WEIGHTS.sum()
        return expected + log_scale + 0.5 * np.log(2 * np.pi * np.e)

    values = bound(means, scales)
    best = np.argsort(-values, axis=None)[:200:20]
    ends = [
        minimize(lambda p: -float(bound(p[0], p[1])), (means.flat[k], scales.flat[k]), method="Nelder-Mead")
        for k in best
    ]
    return max(float(values.max()), *(-float(end.fun) for end in ends))
