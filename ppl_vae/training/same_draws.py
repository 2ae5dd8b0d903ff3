"""Random numbers of a part of a batch: those that its data have where the whole batch is computed at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor
from torch.distributions import Categorical
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["SameDraws"]

aten = torch.ops.aten

_SIZED = {aten.rand.default, aten.randn.default}
"""Random functions of a shape."""

_INDEXED = {aten.randint.default, aten.randint.low}
"""Random functions of bounds and a shape."""

_OF_TENSORS = {
    aten.bernoulli.default,
    aten.normal.Tensor_Tensor,
    aten.normal.Tensor_float,
    aten.normal.float_Tensor,
    aten.rand_like.default,
    aten.randn_like.default,
    aten.multinomial.default,
}
"""Random functions of tensors, which take as many random numbers whatever these hold."""

_IN_PLACE = {
    aten.bernoulli_.float,
    aten.exponential_.default,
    aten.normal_.default,
    aten.uniform_.default,
    aten.geometric_.default,
    aten.cauchy_.default,
    aten.log_normal_.default,
}
"""Random functions that fill a tensor."""


class SameDraws(TorchDispatchMode):
    """Draws random numbers for a whole batch, and takes those of some of its data.

    Every process draws all of them, so that its random state stays that of a single process. The data are the dimension
    of a tensor that is as long as this part; numbers without such a dimension belong to all data.

    Arguments:
        start: First datum of the part.
        part: Number of its data.
        whole: Number of data of the batch.

    Raises:
        ValueError: Inside, if several dimensions are as long as the part, or a distribution takes as many random
            numbers as its parameters say (gamma, Poisson).
    """

    def __init__(self, start: int, part: int, whole: int) -> None:
        super().__init__()
        self.start, self.part, self.whole = start, part, whole
        self._rows: list[int] | None = None
        self._sample = Categorical.sample

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self.part == self.whole or torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **kwargs)
        if func in _SIZED:
            return self._sliced(list(args[0]), lambda shape: func(shape, *args[1:], **kwargs))
        if func in _INDEXED:
            return self._sliced(list(args[-1]), lambda shape: func(*args[:-1], shape, **kwargs))
        if func in _IN_PLACE:
            filled = self._sliced(
                list(args[0].shape), lambda shape: func(args[0].new_empty(shape), *args[1:], **kwargs)
            )
            return args[0].copy_(filled)
        first = next((arg for arg in args if isinstance(arg, Tensor)), None)
        if first is not None and func in _OF_TENSORS:
            return self._of_tensors(func, args, kwargs)
        if first is None or self._dimension(list(first.shape)) is None:
            return func(*args, **kwargs)
        raise ValueError(
            f"{func.__name__} takes as many random numbers as its parameters say, so that several processes would not "
            "draw what one does; train in one process, or take a guide without it"
        )

    def _of_tensors(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        tensors = [arg for arg in args if isinstance(arg, Tensor)]
        shape = list(torch.broadcast_shapes(*(tensor.shape for tensor in tensors)))
        if func is aten.multinomial.default:
            return self._multinomial(tensors[0], lambda values: func(values, *args[1:], **kwargs))
        place = self._dimension(shape)
        if place is None:
            result: Tensor = func(*args, **kwargs)
            return result
        wide = [self._padded(arg.expand(shape), place) if isinstance(arg, Tensor) else arg for arg in args]
        drawn: Tensor = func(*wide, **kwargs)
        return drawn.narrow(place, self.start, self.part).contiguous()

    def _multinomial(self, probabilities: Tensor, draw: Callable[[Tensor], Tensor]) -> Tensor:
        """Draws of a matrix of probabilities, in whose rows the dimensions of a distribution are flattened."""
        rows, self._rows = self._rows or [len(probabilities)], None
        place = self._dimension(rows)
        if place is None:
            return draw(probabilities)
        wide = self._padded(probabilities.reshape(*rows, -1), place)
        drawn = draw(wide.flatten(0, -2)).reshape(*wide.shape[:-1], -1)
        return drawn.narrow(place, self.start, self.part).flatten(0, -2)

    def __enter__(self) -> Self:
        sample = self._sample

        def noted(fn: Categorical, sample_shape: Any = ()) -> Tensor:
            self._rows = list(fn.batch_shape)
            drawn: Tensor = sample(fn, torch.Size(sample_shape))
            return drawn

        Categorical.sample = noted  # type: ignore[method-assign]
        return super().__enter__()  # type: ignore[no-any-return]

    def __exit__(self, *reason: Any) -> None:
        Categorical.sample = self._sample  # type: ignore[method-assign]
        super().__exit__(*reason)

    def _padded(self, values: Tensor, place: int) -> Tensor:
        """Values of the whole batch: of the data elsewhere, those of a datum here, which do not matter."""
        other = values.narrow(place, 0, 1)
        sizes = (self.start, self.whole - self.start - self.part)
        before, after = (other.repeat_interleave(size, place) for size in sizes)
        return torch.cat([before, values, after], place)

    def _sliced(self, shape: list[int], draw: Callable[[list[int]], Tensor]) -> Tensor:
        place = self._dimension(shape)
        if place is None:
            return draw(shape)
        whole = draw([*shape[:place], self.whole, *shape[place + 1 :]])
        return whole.narrow(place, self.start, self.part).contiguous()

    def _dimension(self, shape: list[int]) -> int | None:
        """The dimension of the data; None where there is none."""
        places = [place for place, size in enumerate(shape) if size == self.part]
        if len(places) > 1:
            raise ValueError(
                f"random numbers of shape {tuple(shape)} have {len(places)} dimensions as long as the part of a batch "
                f"that a process computes, {self.part} data; take another --batch-size"
            )
        return places[0] if places else None
