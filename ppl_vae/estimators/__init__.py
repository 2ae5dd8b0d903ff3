r"""Gradient estimators through discrete latents: coupled draws, and a gradient from the value of each.

All estimate :math:`\nabla_\eta\, \mathbb{E}_{q_\eta(z)} f(z)` for bits with logits :math:`\eta`. They know
nothing of Pyro; :class:`ppl_vae.objectives.elbo.DiscreteELBO` brings them to Pyro's models.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ppl_vae.estimators.arm import ARM, DisARM
from ppl_vae.estimators.arms import ARMS
from ppl_vae.estimators.base import Code, Estimator
from ppl_vae.estimators.double_control_variate import DoubleCV
from ppl_vae.estimators.enumeration import Enumerate
from ppl_vae.estimators.first_order import Auto, FirstOrder
from ppl_vae.estimators.leave_one_out import ReinforceLOO
from ppl_vae.estimators.local_expectation import Local, bit_flips

__all__ = [
    "ARM",
    "ARMS",
    "ESTIMATORS",
    "Auto",
    "Code",
    "DisARM",
    "DoubleCV",
    "Enumerate",
    "Estimator",
    "FirstOrder",
    "ReinforceLOO",
    "Local",
    "estimate",
    "bit_flips",
]

ESTIMATORS: dict[str, type[Estimator]] = {
    kind.name: kind for kind in (Auto, Local, DisARM, ARM, ARMS, ReinforceLOO, DoubleCV, Enumerate)
}


def estimate(estimator: Estimator, f: Callable[[Tensor], Tensor], logits: Tensor, draws: int = 1) -> Tensor:
    """One estimate of the gradient of E f for a plain function f: ``(rows, *batch, bits)`` to ``(rows, *batch)``.

    Example:
        >>> estimate(Enumerate(), lambda z: z.sum(-1), torch.zeros(1, 2))
        tensor([[0.2500, 0.2500]])
    """
    logits = logits.detach()
    code = estimator.draw(logits, draws)
    if estimator.needs == "gains":
        raised = f(bit_flips(code.bits).flatten(0, 1)).reshape(-1, *code.bits.shape[:-1]) - f(code.bits)
        return estimator.gradient((1 - 2 * code.bits) * raised.movedim(0, -1), code)
    if estimator.needs == "slopes":
        bits = code.bits.requires_grad_()
        values = f(bits)
        (slopes,) = torch.autograd.grad(values.sum(), bits)
        return estimator.gradient(values.detach(), code) + estimator.from_slopes(slopes, code)
    if not isinstance(estimator, FirstOrder):
        return estimator.gradient(f(code.bits), code)
    mean = logits.sigmoid()[None].requires_grad_()
    (slope,) = torch.autograd.grad(f(mean).sum(), mean)
    return estimator.gradient(f(code.bits), code, slope[0])
