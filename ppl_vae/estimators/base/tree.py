"""Categoricals as binary trees: each state is a leaf, each inner node an independent bit."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

__all__ = ["leaf_of", "node_logits", "path_of"]

LEAST = -1e30
"""Logit of a state of probability zero: with infinities, sums of two such would have no gradient."""


def node_logits(logits: Tensor) -> Tensor:
    """Logits of turning right at each node of a tree, ``(..., states - 1)``, from those of its leaves.

    Nodes are numbered as in a heap: those below node i are 2i and 2i + 1, of which numbers from that of the states on
    are leaves.
    """
    states = logits.shape[-1]
    below = logits.clamp(min=LEAST)  # nodes from `first` on
    first, levels = states, list[Tensor]()
    while first > 1:
        start = (first + 1) // 2
        # A level of the heap whose children are known: from half of the first known node to half of the last.
        left, right = below[..., 2 * start - first :: 2], below[..., 2 * start + 1 - first :: 2]
        count = first - start
        left, right = left[..., :count], right[..., :count]
        levels.insert(0, right - left)
        below = torch.cat([torch.logaddexp(left, right), below], -1)
        first = start
    return torch.cat(levels, -1) if levels else logits[..., :0]


def leaf_of(bits: Tensor) -> Tensor:
    """State that a tree's bits lead to, ``(...)``, from ``(..., states - 1)``."""
    states = bits.shape[-1] + 1
    node = torch.ones(bits.shape[:-1], dtype=torch.long, device=bits.device)
    for _ in range((states - 1).bit_length()):
        turn = bits.gather(-1, (node - 1).clamp(max=states - 2)[..., None])[..., 0].long()
        node = torch.where(node < states, 2 * node + turn, node)
    return node - states


def path_of(state: Tensor, states: int) -> tuple[Tensor, Tensor]:
    """Whether each node lies on the way to a state, and whether it turns right there, ``(..., states - 1)``."""
    on, right = _paths(states)
    return on.to(state.device)[state], right.to(state.device)[state]


@cache
def _paths(states: int) -> tuple[Tensor, Tensor]:
    on, right = torch.zeros(2, states, states - 1, dtype=torch.bool)
    for leaf in range(states):
        node = leaf + states
        while node > 1:
            on[leaf, node // 2 - 1], right[leaf, node // 2 - 1] = True, bool(node % 2)
            node //= 2
    return on, right
