"""How many floating-point operations the products of a run take, counted rather than timed."""

from __future__ import annotations

from collections.abc import Sequence

from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

__all__ = ["Flops"]


class Flops(TorchDispatchMode):
    """Counts the multiplications and additions of matrix products and convolutions that are run inside, as ``flops``.

    As :class:`torch.utils.flop_counter.FlopCounterMode` does, without its account by module.

    Example:
        >>> import torch
        >>> with Flops() as counter:
        ...     _ = torch.ones(2, 3) @ torch.ones(3, 5)
        >>> counter.flops
        60
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled inside; torch would else import its compiler for a second

    def __enter__(self) -> Flops:
        super().__enter__()
        return self

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Sequence[type],
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if (count := flop_registry.get(func._overloadpacket)) is not None:
            self.flops += count(*args, **kwargs, out_val=result)
        return result
