"""Independent categoricals side by side, each as an indicator of its state."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["Groups", "parts", "probabilities", "switched_values"]

Groups = tuple[tuple[int, int], ...]
"""Number of categoricals and of the states of each, site by site."""


def parts(values: Tensor, groups: Groups) -> list[Tensor]:
    """One number per state, ``(..., states of all)``, site by site: ``(..., number, states)``."""
    pieces = values.split([number * states for number, states in groups], -1)
    return [piece.unflatten(-1, group) for piece, group in zip(pieces, groups, strict=True)]


def probabilities(logits: Tensor, groups: Groups) -> Tensor:
    """Probability of each state, ``(..., states of all)``."""
    return torch.cat([part.softmax(-1).flatten(-2) for part in parts(logits, groups)], -1)


def switched_values(f: Callable[[Tensor], Tensor], indicators: Tensor, groups: Groups, values: Tensor) -> Tensor:
    """A function with one categorical at each of its states, the others as drawn, ``(rows, *batch, states of all)``.

    Arguments:
        f: From indicators, ``(rows, *batch, states of all)``, to values, ``(rows, *batch)``.
        indicators: Of the states drawn.
        groups: Number and states of the categoricals.
        values: Of f at the states drawn, which are not computed again.
    """
    drawn = parts(indicators, groups)
    moved = []
    for site, (number, states) in enumerate(groups):
        for place in range(number):
            for shift in range(1, states):
                others = [part.clone() if k == site else part for k, part in enumerate(drawn)]
                others[site][..., place, :] = drawn[site][..., place, :].roll(shift, -1)
                moved.append(torch.cat([part.flatten(-2) for part in others], -1))
    if not moved:
        return values[..., None].expand(indicators.shape)
    at_states = list(f(torch.stack(moved).flatten(0, 1)).unflatten(0, (len(moved), -1)))
    columns = []
    for part, (number, states) in zip(drawn, groups, strict=True):
        for place in range(number):
            by_shift = torch.stack([values, *(at_states.pop(0) for _ in range(states - 1))], -1)
            away = torch.arange(states, device=values.device) - part[..., place, :].argmax(-1, keepdim=True)
            columns.append(by_shift.gather(-1, away.remainder(states)))
    return torch.cat(columns, -1)
