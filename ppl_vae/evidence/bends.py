"""How far the input of an operation may move between two nodes of a grid, unseen at both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ppl_vae.evidence.degree import ADDED_PRODUCTS, OF_FIRST, OF_LAST, PRODUCTS, SUMS, names

__all__ = ["JUMPS", "is_coarse", "on_side", "reach"]

SMALL = 1.0
"""Change of an input, on the scale on which an operation bends, up to which nodes tell the values between them."""

FAR = 2.0
"""Changes by which an input is moved where it is more: a peak may lie between nodes that are equally high."""

POLYNOMIAL = (
    SUMS
    | OF_FIRST - {"div", "pow"}
    | OF_LAST - {"linalg_solve_triangular"}
    | PRODUCTS
    | ADDED_PRODUCTS
    | names("""addcmul addr outer square cumprod prod index_put index_add scatter scatter_add masked_select
    logical_and logical_or logical_not logical_xor bitwise_and bitwise_or bitwise_not bitwise_xor any all isnan isinf
    isfinite is_nonzero equal _local_scalar_dense native_batch_norm _native_batch_norm_legit_no_training
    cudnn_batch_norm embedding nan_to_num lerp diff masked_scatter""")
)
"""Operations that are polynomials of few degrees in all of their tensors, or that choose among them."""

SMOOTH = names("""exp exp2 expm1 sigmoid tanh softplus log_sigmoid_forward log_sigmoid silu gelu elu celu selu mish
erf erfc sin cos sinh cosh atan binary_cross_entropy_with_logits""")
"""Operations that bend on the scale 1 of their first tensor."""

OF_RATIOS = names("_softmax _log_softmax logsumexp logcumsumexp softmax log_softmax")
"""Operations that bend on the scale 1 of differences along a dimension of their first tensor."""

NEAR_ZERO = names("log log2 log10 sqrt rsqrt reciprocal lgamma digamma pow")
"""Operations that bend on the scale of their first tensor itself."""

CORNERS = names("relu leaky_relu abs prelu threshold hardtanh clamp clamp_min clamp_max")
"""Operations with corners at given values of their first tensor."""

ROUNDING = names("floor ceil round trunc frac remainder fmod floor_divide _to_copy")
"""Operations whose jumps are one apart, or as far as their second argument."""

JUMPS = names("""gt lt ge le eq ne floor ceil round trunc sign heaviside frac remainder fmod floor_divide _to_copy
argmax argmin sort topk searchsorted bucketize max min""")
"""Operations that jump, or whose corners are not told apart."""


def reach(
    name: str, args: tuple[Any, ...], neighbours: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[int, Tensor]:
    """How far the inputs of an operation may be off between nodes, by position; nothing where it is resolved.

    Arguments:
        name: Name of the operation.
        args: Its arguments at the nodes.
        neighbours: The same at their neighbours.
        kwargs: Its other arguments.
    """
    if name == "_to_copy" and (kwargs.get("dtype") or torch.float32).is_floating_point:
        return {}
    if name == "pow" and isinstance(args[0], Tensor) and args[1] in (1, 2, 3, 4):
        return {}
    if name in POLYNOMIAL:
        return {}
    first, beside = args[0], neighbours[0]
    if name in ("div", "xlogy", "special_xlog1py", "true_divide"):
        below = args[1]
        if not _moves(below, neighbours[1]):
            return {}
        if kwargs.get("rounding_mode"):
            return {0: FAR * (neighbours[0] - first).abs() if isinstance(first, Tensor) else below.abs()}
        if name == "special_xlog1py":
            return {1: _near_zero(below + 1, neighbours[1] + 1)}
        return {1: _near_zero(below, neighbours[1])}
    if name == "log1p":
        left = (first + 1).abs() - torch.finfo(first.dtype).eps  # what rounding leaves of it
        return {0: torch.minimum(_near_zero(first + 1, beside + 1), left.clamp(min=0))}
    if name in SMOOTH and _moves(first, beside):
        return {0: _beyond((beside - first).abs())}
    if name in OF_RATIOS:
        dim, change = args[1][0] if isinstance(args[1], list | tuple) else args[1], beside - first
        return {0: _beyond((change - change.gather(dim, first.argmax(dim, keepdim=True))).abs())}
    if name == "logaddexp":
        return {0: _beyond(((neighbours[0] - neighbours[1]) - (args[0] - args[1])).abs())}
    if name in NEAR_ZERO and _moves(first, beside):
        return {0: _near_zero(first, beside)}
    if name in ("native_layer_norm", "native_group_norm"):
        change = (beside - first).abs()
        return {0: torch.where(change > first.std(-1, keepdim=True) / 2, FAR * change, 0.0)}
    if name in ("maximum", "minimum"):
        apart = args[0] - args[1]
        return {0: _corner(apart, (neighbours[0] - neighbours[1] - apart).abs(), [0.0])}
    if name in ("amax", "amin") or (name in ("max", "min") and len(args) > 1):
        return {0: _among(first, beside, args[1] if len(args) > 1 else (), 1 if "max" in name else -1)}
    if name == "abs":
        return {0: torch.where(first.abs() < FAR * (beside - first).abs(), first, 0.0)}  # to the corner, or away
    if name in CORNERS and _moves(first, beside):
        return {0: _corner(first, (beside - first).abs(), _corners_of(name, args, kwargs))}
    if name in ("gt", "lt", "ge", "le", "eq", "ne"):
        if any(isinstance(each, Tensor) and each.dtype == torch.bool for each in args[:2]):
            return {}
        apart = args[0] - args[1]
        change = FAR * ((neighbours[0] - neighbours[1]) - apart).abs()
        if name in ("eq", "ne"):
            change = torch.where(apart.abs() <= change, apart, torch.zeros_like(apart))  # equal, or twice as far
        place = 0 if isinstance(first, Tensor) and first.ndim == change.ndim else 1
        return {place: change}
    scale = FAR if name in JUMPS else 1.0
    return {
        position: scale * (neighbours[position] - each).abs()
        for position, each in enumerate(args)
        if isinstance(each, Tensor) and each.is_floating_point() and _moves(each, neighbours[position])
    }


def on_side(name: str, value: Any, moved: Tensor) -> Tensor:
    """A moved input, but the input itself where it would cross the end of what an operation is defined on."""
    if name != "log1p" and name not in NEAR_ZERO:
        return moved
    end = -1.0 if name == "log1p" else 0.0
    return torch.where((moved - end) * (value - end) > 0, moved, value)


def is_coarse(name: str, args: tuple[Any, ...], neighbours: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether an operation that rounds may jump more than once between two nodes."""
    if name not in ROUNDING or not _moves(args[0], neighbours[0]):
        return False
    if name == "_to_copy" and (kwargs.get("dtype") or torch.float32).is_floating_point:
        return False
    unit = args[1] if name in ("remainder", "fmod", "floor_divide") else 1.0
    return bool(((neighbours[0] - args[0]).abs() > abs(unit) / 2).any())


def _moves(value: Any, beside: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and beside is not value


def _beyond(change: Tensor) -> Tensor:
    """The reach of changes that are not small."""
    return torch.where(change > SMALL, FAR * change, 0.0)


def _near_zero(value: Tensor, beside: Tensor) -> Tensor:
    """The reach of numbers that change by much of themselves; it ends before their sign changes."""
    change = (beside - value).abs()
    return torch.where(change > value.abs() / 2, torch.minimum(FAR * change, 0.999 * value.abs()), 0.0)


def _corner(value: Tensor, change: Tensor, corners: list[Any]) -> Tensor:
    """The reach where a corner lies between a node and a neighbour of it."""
    near = torch.zeros_like(value, dtype=torch.bool)
    for corner in corners:
        near = near | ((value - corner).abs() < 1.5 * change)
    return torch.where(near, change, 0.0)


def _corners_of(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Any]:
    if name in ("relu", "leaky_relu", "abs", "prelu"):
        return [0.0]
    limits = [*args[1:], *(kwargs[key] for key in ("min", "max", "min_val", "max_val") if key in kwargs)]
    limits = [-1.0, 1.0] if name == "hardtanh" and not limits else limits
    return [limit for limit in (limits[:1] if name == "threshold" else limits) if limit is not None]


def _among(value: Tensor, beside: Tensor, dims: Any, sign: int) -> Tensor:
    """The reach of those that may be the largest between nodes although they are not at the node."""
    dims = dims or tuple(range(value.ndim))
    highest, change = (sign * value).amax(dims, keepdim=True), (beside - value).abs()
    behind = highest - sign * value
    near = (behind > 0) & (behind < change + change.amax(dims, keepdim=True))
    return torch.where(near, change / 2, 0.0)
