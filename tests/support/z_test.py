"""Statistical tests that share one budget of false alarms."""

from scipy.stats import norm
from torch import Tensor

FLAKES = 1e-3
"""Probability that a correct suite fails by chance, were its seeds free."""
TESTS = 500
"""More statistical tests than the suite has."""


def assert_mean(samples: Tensor, truth: Tensor) -> None:
    """A z-test of ``(samples, ...)`` having the mean ``(...)``, corrected for the number of means tested."""
    mean, error = samples.mean(0), samples.std(0) / len(samples) ** 0.5
    assert mean.shape == truth.shape
    rounding = 1e-9 * (1 + truth.abs())
    score = (mean - truth).abs() / (error + rounding)
    assert score.max() < norm.isf(FLAKES / TESTS / 2 / truth.numel()), f"worst z {score.max():.1f}"
