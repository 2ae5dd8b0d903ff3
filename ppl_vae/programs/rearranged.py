"""Distributions whose batch dimensions are moved: made anew from their parameters, or seen through a view."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from pyro.distributions import MaskedDistribution, TorchDistribution
from pyro.distributions.torch_distribution import ExpandedDistribution
from torch import Tensor
from torch.distributions import Independent, constraints

__all__ = ["CannotRebuildError", "Move", "Rearranged", "is_same", "rebuilt"]

Move = Callable[[Sequence[Tensor], int], Tensor]
"""From tensors ``(*batch, *event)`` and the number of their event dimensions to one of another batch shape."""

_ALTERNATIVES = (("logits", "probs"), ("scale_tril", "covariance_matrix", "precision_matrix"))
"""Parameters of which a distribution takes one, the others following from it."""


class CannotRebuildError(Exception):
    """A distribution that is not made of its parameters alone."""


def rebuilt(fns: Sequence[TorchDistribution], move: Move, shape: torch.Size, inner: int = 0) -> TorchDistribution:
    """A distribution of the same family whose parameters are those of others, moved.

    Arguments:
        fns: Distributions of one family and structure.
        move: What becomes of their parameters.
        shape: Batch shape to which each is expanded before.
        inner: Number of batch dimensions on the right that are part of an event.

    Raises:
        CannotRebuildError: If the family is not given by its parameters.
    """
    first = fns[0]
    if any(type(fn) is not type(first) for fn in fns):
        raise CannotRebuildError
    if isinstance(first, Independent):
        bases = [fn.base_dist for fn in fns]
        events = first.reinterpreted_batch_ndims
        wide = torch.Size((*shape, *first.base_dist.batch_shape[len(first.batch_shape) :]))
        return rebuilt(bases, move, wide, inner + events).to_event(events)
    if isinstance(first, ExpandedDistribution):
        return rebuilt([fn.base_dist for fn in fns], move, shape, inner)
    if isinstance(first, MaskedDistribution):
        masks = [torch.as_tensor(fn._mask).expand(shape) for fn in fns]
        return rebuilt([fn.base_dist for fn in fns], move, shape, inner).mask(move(masks, inner))
    return _leaf(fns, move, shape, inner)


def _leaf(fns: Sequence[TorchDistribution], move: Move, shape: torch.Size, inner: int) -> TorchDistribution:
    kind, limits = type(fns[0]), fns[0].arg_constraints
    known = _arguments(kind.__init__)
    taken = [name for name in known if name not in ("self", "validate_args")]
    left_out = {name for names in _ALTERNATIVES for name in _others(fns[0], names)}
    arguments: dict[str, Any] = {}
    for name in taken:
        if name in left_out:
            continue
        values: list[Any] = [getattr(fn, name, None) for fn in fns]
        if name in limits and isinstance(values[0], Tensor):
            arguments[name] = _moved(values, limits[name], move, shape, inner)
        elif _is_plain(values):
            arguments[name] = values[0]
        else:
            raise CannotRebuildError
    if "validate_args" in known:
        arguments["validate_args"] = fns[0].__dict__.get("_validate_args")
    return kind(**arguments)


@cache
def _arguments(constructor: Callable[..., object]) -> tuple[str, ...]:
    return tuple(inspect.signature(constructor).parameters)


def _moved(
    values: Sequence[Tensor], limit: constraints.Constraint, move: Move, shape: torch.Size, inner: int
) -> Tensor:
    try:
        events = limit.event_dim
    except NotImplementedError as error:
        raise CannotRebuildError from error
    wide = [value.expand(*shape, *value.shape[value.ndim - events :]) for value in values]
    return move(wide, inner + events)


def _others(fn: TorchDistribution, names: tuple[str, ...]) -> list[str]:
    """The parameters that follow from the one the distribution was made with."""
    known = [name for name in names if name in vars(fn)] or [name for name in names if name in fn.arg_constraints]
    param = vars(fn).get("_param")
    made = next((name for name in known if param is not None and vars(fn).get(name) is param), None)
    if names[0] == "scale_tril" and "scale_tril" in fn.arg_constraints:
        made = "scale_tril"
    made = made or (known[0] if known else None)
    return [name for name in names if name != made]


def _is_plain(values: Sequence[Any]) -> bool:
    """Whether all distributions have the same number or setting, rather than one for each element of a batch."""
    if any(value is None for value in values):
        return False
    if all(isinstance(value, int | float | str | bool) for value in values):
        return len(set(values)) == 1
    tensors = [value for value in values if isinstance(value, Tensor) and value.ndim == 0]
    return len(tensors) == len(values) and all(torch.equal(value, values[0]) for value in tensors)


class Rearranged(TorchDistribution):
    """Views distributions of any family in another shape: what cannot be made anew from parameters.

    Arguments:
        fns: The distributions, one for each of the groups of rows that ``restore`` gives.
        arrange: What becomes of their values and log-densities; see :data:`Move`.
        restore: The values that are each distribution's, from one of the new shape.
        shape: The batch shape to which each distribution is expanded before.
        nested: Number of batch dimensions that are part of an event here.
    """

    arg_constraints: dict[str, Any] = {}

    def __init__(
        self,
        fns: Sequence[TorchDistribution],
        arrange: Move,
        restore: Callable[[Tensor, int], Sequence[Tensor]],
        shape: torch.Size,
        nested: int,
    ) -> None:
        self.fns = [fn.expand(shape) for fn in fns]
        self.base_dist, self._arrange, self._restore, self._nested = self.fns[0], arrange, restore, nested
        self._event = len(self.base_dist.event_shape)
        batch = arrange([torch.empty(()).expand(shape) for _ in fns], 0).shape
        lead = len(batch) - nested
        super().__init__(batch[:lead], batch[lead:] + self.base_dist.event_shape, validate_args=False)

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        return bool(self.base_dist.has_rsample)

    @property
    def support(self) -> constraints.Constraint:
        support = self.base_dist.support
        return constraints.independent(support, self._nested) if self._nested else support

    def rsample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:  # noqa: B008  # torch's own signature
        return self._drawn("rsample", torch.Size(sample_shape))

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:  # noqa: B008  # torch's own signature
        with torch.no_grad():
            return self._drawn("sample", torch.Size(sample_shape))

    def _drawn(self, how: str, sample_shape: torch.Size) -> Tensor:
        rows = [
            self._arrange([getattr(fn, how)() for fn in self.fns], self._event) for _ in range(sample_shape.numel())
        ]
        return torch.stack(rows).reshape(sample_shape + rows[0].shape)

    def log_prob(self, value: Tensor) -> Tensor:
        parts = self._restore(value, self._event)
        densities = [fn.log_prob(part).expand(fn.batch_shape) for fn, part in zip(self.fns, parts, strict=True)]
        moved = self._arrange(densities, 0)
        return moved.sum(tuple(range(-self._nested, 0))) if self._nested else moved


def is_same(made: TorchDistribution, view: Rearranged) -> bool:
    """Whether a distribution made from parameters has the shape and the densities of the view it stands for."""
    if made.batch_shape != view.batch_shape or made.event_shape != view.event_shape:
        return False
    with torch.no_grad():
        value = view.sample()
        return torch.allclose(made.log_prob(value), view.log_prob(value), rtol=1e-4, atol=1e-4, equal_nan=True)
