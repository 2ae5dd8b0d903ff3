"""A softmax over some of the words, for slopes that need not be exact."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import log

import torch
from torch import Tensor

__all__ = ["few_words", "sampling_words"]

LIKELY, DRAWN = 2**10, 2**10
"""Words of a sample: the most likely ones, and those drawn from the others."""

_sampling = ContextVar("sampling words", default=False)


@contextmanager
def sampling_words() -> Iterator[None]:
    """Lets normalisers of softmaxes be estimated from a sample of the words (:func:`few_words`)."""
    token = _sampling.set(True)
    try:
        yield
    finally:
        _sampling.reset(token)


def few_words(hidden: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    r"""Returns the layer of a softmax for a sample of its words; the whole layer outside :func:`sampling_words`.

    The sample S has the :data:`LIKELY` words that are most likely at the mean of the inputs, and :data:`DRAWN` of the
    others, at equal distances from a random start in the order of their probabilities. Biases grow by
    :math:`\log 1 / P(k \in S)`, so that

    .. math:: \mathbb{E} \sum_{k \in S} \exp(w_k^\top h + b_k - \log P(k \in S)) = \sum_k \exp(w_k^\top h + b_k).

    Words drawn uniformly alone double the noise of the control variate that this serves; with the most likely ones it
    is that of all words.

    Arguments:
        hidden: Inputs of the layer, ``(..., features)``.
        weight: Weight of the layer, ``(vocabulary, features)``.
        bias: Bias of the layer, ``(vocabulary,)``.

    Returns:
        Weight ``(words, features)`` and bias ``(words,)``; the layer itself where the sample would save less than half.
    """
    if not _sampling.get() or len(weight) < 2 * (LIKELY + DRAWN):
        return weight, bias
    with torch.no_grad():
        mean = hidden.reshape(-1, hidden.shape[-1]).mean(0)
        order = torch.mv(weight, mean).add_(bias).argsort(descending=True)
        others = order[LIKELY:]
        start = torch.randint(len(others), (1,), device=order.device)
        drawn = (torch.arange(DRAWN, device=order.device) * (len(others) // DRAWN) + start) % len(others)
        words = torch.cat([order[:LIKELY], others[drawn]])
        offset = bias.new_zeros(len(words))
        offset[LIKELY:] = log(len(others) / DRAWN)
    return weight[words], bias[words] + offset
