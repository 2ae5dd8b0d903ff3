"""A noisy bit as one of 30 levels, with a known mutual information."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

from ppl_vae.data.readers.base import Reader
from ppl_vae.data.source import Source
from ppl_vae.data.synthetic import SEED, SIZE, fixed_sample

__all__ = ["CHANNEL_LEVELS", "READER", "channel_law"]

CHANNEL_LEVELS = np.linspace(-3, 3, 30)
"""What a number is discretised to."""


def channel_law(information: float = 0.5) -> np.ndarray:
    r"""The joint distribution of a bit and the level it is sent as, :math:`p^*(z, x)`, ``(2, 30)``.

    .. math:: z \sim \mathrm{Bernoulli}(0.7), \qquad
        p^*(x = k \mid z) \propto \exp\bigl(-(t_k - (2 z - 1))^2 / 2 \sigma^2\bigr)

    with levels t from -3 to 3 and the noise at which I(x; z) has the given value: a toy process in the manner of Alemi
    et al. (2018). Its posterior is a logistic function of the level.

    Arguments:
        information: I(x; z) in nats, between 0 and the bit's entropy, 0.611.

    Raises:
        ValueError: If it is out of range.

    Example:
        >>> law = channel_law()
        >>> law.sum(1).round(6).tolist()
        [0.3, 0.7]
        >>> both = law.sum(0) * law.sum(1, keepdims=True)
        >>> round((law * np.log(law / both)).sum().item(), 6)
        0.5
    """
    if not 0.01 < information < 0.61:
        raise ValueError(f"the information must lie between 0.01 and 0.61 nats, got {information:g}")

    from scipy.optimize import brentq

    def joint_at(noise: float) -> np.ndarray:
        given = np.exp(-((CHANNEL_LEVELS - np.array([[-1.0], [1.0]])) ** 2) / (2 * noise**2))
        joint: np.ndarray = np.array([[0.3], [0.7]]) * given / given.sum(1, keepdims=True)
        return joint

    def excess(noise: float) -> float:
        joint = joint_at(noise)
        ratio = joint / (joint.sum(0) * joint.sum(1, keepdims=True))
        return float((joint * np.log(ratio)).sum()) - information

    return joint_at(float(brentq(excess, 0.2, 10.0, xtol=1e-14)))


def read_channel(cache: Path | None = None) -> Source:
    """Draws levels from :func:`channel_law`, one-hot, always the same ones; a label is the bit that was sent.

    Example:
        >>> read_channel().splits["train"].values.sum(1).max().item()
        1.0
    """
    rng = np.random.default_rng(SEED)
    joint = channel_law()
    cells = rng.choice(joint.size, size=SIZE, p=joint.ravel())
    bits, levels = np.divmod(cells, joint.shape[1])
    return fixed_sample(np.eye(joint.shape[1])[levels], bits, ("0", "1"))


READER = Reader("channel", "a noisy bit as one of 30 levels, one-hot, (30,); needs no network", Tensor, read_channel)
