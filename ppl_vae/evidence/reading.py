"""Where the numbers of tensors that are followed through a function leave PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from torch.overrides import TorchFunctionMode

__all__ = ["Follower", "Reading"]

READING = frozenset({"numpy", "tolist", "__array__", "__dlpack__", "apply_", "map_", "map2_"})
"""Functions by which the numbers of a tensor leave PyTorch."""


class Follower(Protocol):
    """What follows tensors through the operations of a function."""

    is_read: bool

    def follows(self, value: object) -> bool:
        """Whether a value is a tensor that is followed."""


class Reading(TorchFunctionMode):
    """Notices where the numbers of a tensor that is followed leave PyTorch.

    Arguments:
        follower: Gets ``is_read``.
    """

    def __init__(self, follower: Follower) -> None:
        super().__init__()
        self.follower = follower

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if getattr(func, "__name__", "") in READING:
            self.follower.is_read |= any(map(self.follower.follows, args))
        return func(*args, **(kwargs or {}))
