"""A proof that a log-density is quadratic in the latents, by the operations that compute it.

Samples cannot show it: noise that drops in a thousandth of the prior's range escapes them all. Here every operation of
one evaluation is followed from the latents on, in place and through views, and each tensor has a degree as a polynomial
in them, whatever its values: a sum the largest of its parts, a product the sum, a comparison none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ppl_vae.evidence.reading import Reading

__all__ = ["ADDED_PRODUCTS", "OF_FIRST", "OF_LAST", "PRODUCTS", "SHAPE_ALONE", "SUMS", "degree", "names"]

NONE = 3
"""The degree of what is no polynomial, or one of more than two."""


def names(text: str) -> frozenset[str]:
    """The names in a text."""
    return frozenset(text.split())


SHAPE_ALONE = names("""ones_like zeros_like full_like empty_like rand_like randn_like new_zeros new_ones new_full
new_empty
new_empty_strided sym_size sym_stride sym_numel sym_storage_offset is_same_size""")
"""Operations whose result does not depend on the numbers of their tensors."""

SUMS = names("""view _unsafe_view reshape _reshape_alias expand permute transpose t squeeze unsqueeze slice select
split
split_with_sizes unbind chunk narrow cat stack clone alias detach contiguous sum mean cumsum neg roll flip repeat unfold
as_strided diagonal diag_embed tril triu constant_pad_nd copy _to_copy lift_fresh add sub rsub pixel_shuffle avg_pool2d
upsample_nearest2d upsample_bilinear2d zero fill trace""")
"""Operations that are affine in all of their tensors together."""

OF_FIRST = names("index index_select gather take div masked_fill pow")
"""Operations that are affine in their first tensor, or a power of it, all else being constant."""

OF_LAST = names("where linalg_solve_triangular")
"""Operations that are affine in their last tensors, the first one being constant."""

PRODUCTS = names("mul mm bmm mv dot convolution")
"""Operations that multiply their first two tensors; a third one is added."""

ADDED_PRODUCTS = names("addmm baddbmm addmv")
"""Operations that multiply their second and third tensor and add the first."""


def degree(function: Callable[[Tensor], Tensor], at: Tensor) -> int:
    """The degree of a function of a tensor as a polynomial in its numbers; 3 if it is larger, or not known.

    Arguments:
        function: A function made of PyTorch's operations.
        at: Its argument.

    Example:
        >>> weight, z = torch.randn(3, 2), torch.randn(5, 3)
        >>> degree(lambda z: -((z @ weight - 1) / 0.3).square().sum(-1), z)
        2
        >>> degree(lambda z: torch.where(z > 7, 2.0, 1.0).sum(-1), z)
        3
    """
    degrees = _Degrees()
    degrees.set(at, 1)
    with torch.no_grad(), Reading(degrees), degrees:
        value = function(at)
    return NONE if degrees.is_read else degrees.of(value)


class _Degrees(TorchDispatchMode):
    """Degrees of tensors by the memory that they share with their views."""

    def __init__(self) -> None:
        super().__init__()
        self.is_read = False
        self._known: dict[int, int] = {}
        self._alive = list[Tensor]()  # memory is not used again for other tensors meanwhile

    def of(self, value: object) -> int:
        return self._known.get(value.untyped_storage()._cdata, 0) if isinstance(value, Tensor) else 0

    def follows(self, value: object) -> bool:
        return self.of(value) > 0

    def set(self, tensor: Tensor, degree: int) -> None:
        """Raises the degree of a tensor, and of all that share its memory."""
        if degree > self.of(tensor):
            self._known[tensor.untyped_storage()._cdata] = degree
            self._alive.append(tensor)

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        degrees = list(map(self.of, tensors))
        result = func(*args, **kwargs)
        name = func.overloadpacket.__name__.rstrip("_")
        if not any(degrees) or name in SHAPE_ALONE:
            return result
        degree = NONE if kwargs.get("rounding_mode") else min(NONE, _combined(name, args, degrees))
        if name == "where" and not degrees[0] and bool((args[0] == args[0].flatten()[:1]).all()):
            degree = self.of(args[1] if bool(args[0].any()) else args[2])  # the other one is nowhere taken
        results = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        self.is_read |= not results
        for argument, value in zip(func._schema.arguments, args, strict=False):
            if argument.alias_info is not None and argument.alias_info.is_write:
                results += [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]
        for each in results:
            self.set(each, degree if each.is_floating_point() else NONE)
        return result


def _combined(name: str, args: tuple[Any, ...], degrees: list[int]) -> int:
    """The degree of the result of an operation from those of its tensors."""
    if name in SUMS:
        return max(degrees)
    if name in OF_FIRST and not any(degrees[1:]):
        if name != "pow":
            return degrees[0]
        return degrees[0] * args[1] if isinstance(args[0], Tensor) and args[1] in (1, 2) else NONE
    if name in OF_LAST and not degrees[0]:
        return max(degrees)
    if name in PRODUCTS:
        return max(sum(degrees[:2]), *degrees[2:], 0)
    if name in ADDED_PRODUCTS:
        return max(degrees[0], sum(degrees[1:]))
    return NONE
