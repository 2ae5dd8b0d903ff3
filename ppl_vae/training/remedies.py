"""What helps where a training meets a number that is not finite."""

from __future__ import annotations

import torch

from ppl_vae.data.inputs import Batch, main_field

__all__ = ["remedy"]

LARGE = 1e6
"""Data beyond it are not on a scale on which networks begin."""


def remedy(data: Batch, *, begun: bool) -> str:
    """Advice that fits the data: the learning rate is at fault only after a step, on data that vary, of some scale.

    Arguments:
        data: The training data.
        begun: Whether the parameters have been updated.
    """
    data = main_field(data)
    if isinstance(data, torch.Tensor) and data.is_floating_point():
        low, high = (bound.item() for bound in data.aminmax())
        if low == high:
            return (
                f"all numbers of the training data are {low:g}, of which a learned scale has no likelihood with a "
                "bound; give data that vary, or fix the scale"
            )
        if max(-low, high) > LARGE:
            return f"the training data lie between {low:g} and {high:g}; divide them by their scale"
    if not begun:
        return (
            "no step has been taken, so that the learning rate is not at fault: the model with its initial parameters "
            "does not take these data; move data off the edges of its distribution, or take another"
        )
    return "lower the learning rate (--learning-rate, learning_rate=) or clip the gradient (--clip, clip=)"
