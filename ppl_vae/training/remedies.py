"""What helps where a training meets a number that is not finite."""

from __future__ import annotations

import torch

from ppl_vae.data.inputs import Batch, main_field
from ppl_vae.data.passes import extremes
from ppl_vae.data.precision import FEW_STEPS, steps_per_deviation

__all__ = ["note_last_batch", "remedy"]

LARGE = 1e6
"""Data beyond it are not on a scale on which networks begin."""


def note_last_batch(error: Exception, batch: Batch, data: Batch, size: int) -> None:
    """Adds to the error of a step that its batch, the last of the epoch, holds a single datum, if it does.

    Arguments:
        error: The error.
        batch: The batch.
        data: The training data.
        size: Number of data of the other batches.
    """
    if len(batch) == 1 and len(data) > 1:
        error.add_note(f"the last batch of the epoch holds one datum; take --batch-size {size + 1}")


def remedy(data: Batch, *, begun: bool) -> str:
    """Advice that fits the data: the learning rate is at fault only after a step, on data that vary, of some scale.

    Arguments:
        data: The training data.
        begun: Whether the parameters have been updated.
    """
    data = main_field(data)
    if isinstance(data, torch.Tensor) and data.is_floating_point():
        least, most = extremes(data)
        low, high = least.min().item(), most.max().item()
        steps = steps_per_deviation(data)
        if low == high or (len(data) > 1 and steps.isinf().all()):
            same = f"all numbers of the training data are {low:g}" if low == high else "all training data are the same"
            return f"{same}, of which a learned scale has no bounded likelihood; give data that vary, or fix the scale"
        if steps.min() < FEW_STEPS:
            return (
                f"the training data lie between {low:g} and {high:g}, where some numbers vary by few steps of a 32-bit "
                "float; subtract their mean before saving them"
            )
        if max(-low, high) > LARGE:
            return f"the training data lie between {low:g} and {high:g}; divide them by their scale"
    if not begun:
        return (
            "no step has been taken, so that the learning rate is not at fault: the model with its initial parameters "
            "does not take these data; move data off the edges of its distribution, or take another"
        )
    return "lower the learning rate (--learning-rate, learning_rate=) or clip the gradient (--clip, clip=)"
