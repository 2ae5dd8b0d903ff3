"""Steps on the CPU: PyTorch's operations, recorded once for each shape of batch and replayed without the programs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from operator import getitem, itemgetter
from typing import Any, NamedTuple, ParamSpec, TypeVar

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.weak import WeakIdKeyDictionary

from ppl_vae.nn.modes import capturing

__all__ = ["as_recorded", "recorded"]

Values = dict[str, Tensor]

P = ParamSpec("P")
R = TypeVar("R")

_OF_VALUES = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)


@dataclass(frozen=True)
class _Number:
    """Stands for a value among the arguments of an operation, by its number."""

    at: int


class _Call(NamedTuple):
    """One operation on numbered values.

    Arguments:
        operation: The operation.
        pick: Takes its positional arguments out of the values.
        named: Its arguments by name.
        reads: Numbers of the values it reads.
        makes: Number of what it computes.
        is_needed: Whether it does more than that: writes to a tensor, or draws random numbers.
    """

    operation: Callable[..., Any]
    pick: Callable[[list[Any]], Any]
    named: dict[str, Any]
    reads: tuple[int, ...]
    makes: int
    is_needed: bool


class _Recorder(TorchDispatchMode):
    """Writes down the operations that are computed inside.

    Attributes:
        calls: The operations, in their order.
        values: What they read that none of them computed, by number: parameters, data, settings.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.values = list[_Call](), list[Any]()
        # Weak keys: by how many hold a gradient PyTorch decides whether it is copied.
        self._numbers = WeakIdKeyDictionary()

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        named = kwargs or {}
        if func.namespace == "profiler":
            return func(*args, **named)
        if _depends_on_values(func, args):
            raise RuntimeError(f"the step reads a value, or has sizes that depend on values ({func})")
        if func is torch.ops.aten.lift_fresh.default:
            # What Python made a tensor of is a tensor of its own in each step, which may be written to.
            args, func = (args[0].clone(),), torch.ops.aten.clone.default
        given, given_named = tree_map_only(Tensor, self.number, (args, named))
        result = func(*args, **named)
        if func is torch.ops.aten.detach.default:  # replays know no gradients
            self._numbers[result] = given[0]
            return result
        is_needed = func._schema.is_mutable or torch.Tag.nondeterministic_seeded in func.tags
        self._keep(result, func._op, given, given_named, is_needed)
        return result

    def _keep(
        self,
        result: object,
        operation: Callable[..., Any],
        args: tuple[Any, ...],
        named: dict[str, Any],
        is_needed: bool = False,
    ) -> None:
        if any(isinstance(value, _Number) for value in named.values()):
            operation, args, named = _by_position(operation, list(named)), (*args, *named.values()), {}
        of_lists = [arg for arg in args if isinstance(arg, list) and any(isinstance(part, _Number) for part in arg)]
        reads = [part.at for arg in (args, *of_lists) for part in arg if isinstance(part, _Number)]
        made = self._new(None)
        if of_lists or not args:
            pick = _picking(args)
        else:
            # Settings are values, too, so that all are taken out at once.
            at = [arg.at if isinstance(arg, _Number) else self._new(arg).at for arg in args]
            pick = itemgetter(*at) if len(at) > 1 else itemgetter(slice(at[0], at[0] + 1))
        self.calls.append(_Call(operation, pick, named, tuple(reads), made.at, is_needed))
        if isinstance(result, Tensor):
            self._numbers[result] = made
        elif isinstance(result, list | tuple):
            for place, part in enumerate(result):
                self._keep(part, getitem, (made, place), {})

    def _new(self, value: object) -> _Number:
        self.values.append(value)
        return _Number(len(self.values) - 1)

    def number(self, tensor: Tensor) -> _Number:
        """The number of a tensor."""
        if tensor not in self._numbers:
            self._numbers[tensor] = self._new(tensor)
        number: _Number = self._numbers[tensor]
        return number

    def player(self, results: Sequence[Tensor]) -> Callable[[], list[Any]]:
        """A function that calls what these results need; each tensor is freed once it was last read."""
        returned = [self.number(result).at for result in results]
        live, made, steps = set(returned), {call.makes for call in self.calls}, list[tuple[Any, ...]]()
        for call in reversed(self.calls):
            if call.is_needed or call.makes in live:
                last = [at for at in {*call.reads, call.makes} if at in made and at not in live]
                steps.append((call.operation, call.pick, call.named, call.makes, last))
                live = (live - {call.makes}) | set(call.reads)
        steps.reverse()

        def play() -> list[Any]:
            values = self.values.copy()
            for operation, pick, named, makes, last in steps:
                values[makes] = operation(*pick(values), **named)
                for at in last:
                    values[at] = None
            return [values[at] for at in returned]

        return play


def _by_position(operation: Callable[..., Any], names: list[str]) -> Callable[..., Any]:
    """The operation with its last positional arguments given by these names."""

    def call(*args: object) -> Any:
        return operation(*args[: -len(names)], **dict(zip(names, args[-len(names) :], strict=True)))

    return call


def _picking(args: tuple[Any, ...]) -> Callable[[list[Any]], list[Any]]:
    """Takes arguments out of the values, some of which are lists of them."""

    def one(arg: object, values: list[Any]) -> Any:
        if isinstance(arg, list):
            return [one(part, values) for part in arg]
        return values[arg.at] if isinstance(arg, _Number) else arg

    return lambda values: [one(arg, values) for arg in args]


class _Passing(TorchDispatchMode):
    """Leaves everything as it is."""

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        return func(*args, **(kwargs or {}))


def as_recorded(work: Callable[P, R]) -> Callable[P, R]:
    """Work with the numbers of its replays, bit for bit.

    While operations are recorded PyTorch takes other formulas of some gradients, as of ``prod``, which differ from its
    own in the last digit.
    """

    @wraps(work)
    def passing(*args: P.args, **kwargs: P.kwargs) -> R:
        with _Passing():
            return work(*args, **kwargs)

    return passing


def _depends_on_values(func: OpOverload, args: tuple[Any, ...]) -> bool:
    """Whether an operation gives Python a number, or a tensor whose size depends on numbers."""
    if func is torch.ops.aten.index.Tensor:
        return any(isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8) for index in args[1])
    return any(tag in func.tags for tag in _OF_VALUES)


def recorded(parameters: Sequence[Tensor], work: Callable[[], Values]) -> tuple[Values, Callable[[], None]]:
    """Records work on the CPU that sets the gradients of parameters, as
    :func:`~ppl_vae.training.cuda_graph.cuda_graph` captures it on CUDA.

    A replay calls the same operations in the same order, random ones included, and gives the numbers of
    :func:`as_recorded`, bit for bit. It runs no line of the programs: what these decide in Python stays as it was when
    they were recorded.

    Raises:
        RuntimeError: If the work reads a value, by which a program may decide what to do.
    """
    recorder = _Recorder()
    with recorder, capturing():
        values = work()
    gradients = [p.grad for p in parameters if p.grad is not None]
    play = recorder.player([*values.values(), *gradients])
    values = {name: value.clone() for name, value in values.items()}
    learned = [parameter for parameter in parameters if parameter.grad is not None]
    held = [*values.values(), *(torch.empty_like(gradient) for gradient in gradients)]
    for parameter, gradient in zip(learned, held[len(values) :], strict=True):
        parameter.grad = gradient

    def replay() -> None:
        with torch.no_grad():
            for tensor, computed in zip(held, play(), strict=True):
                tensor.data = computed

    return values, replay
