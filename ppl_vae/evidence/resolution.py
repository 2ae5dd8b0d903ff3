r"""What a grid may miss: a density computed between its nodes in every way that its operations allow.

Values at nodes cannot show it: a peak of a thousandth of the spacing escapes them all. Here every operation of one
evaluation is run for several points at once: a node, a neighbour of it, and two that stand for all between them. An
operation is resolved where its input changes between node and neighbour by less than the scale on which the operation
bends: then its values at the nodes tell those between (an analytic function whose singularities are some spacings away;
Trefethen and Weideman 2014, section 5). Where it is not, as at the corner of a rectifier or an exponential that rises a
thousandfold, two more points get an input that is up or down by what it changes between the nodes, one this way, one
that way, at random and for every operation anew. Where a comparison may turn between nodes, all is run again for points
that get its two answers. Sums and products pass all on. So a peak made of operations that the nodes miss, one on
another, in a network or a closure, is reached by some of the combinations. Where the inputs of bends are moved the
result is exaggerated, the more the narrower the peak, and perhaps to the wrong side: any change counts as one up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ppl_vae.evidence.bends import JUMPS, is_coarse, on_side, reach
from ppl_vae.evidence.degree import SHAPE_ALONE
from ppl_vae.evidence.reading import Reading

__all__ = ["Between", "between_nodes"]

SIGNS = 65521
"""Random signs drawn at a time; a prime, so that they are not the same for all nodes."""

JUMPS_TRIED = 8
"""How often both answers of comparisons are combined at random."""


class Between(NamedTuple):
    """A function at nodes and between them.

    Arguments:
        clean: Its values at the nodes.
        bend: By how much they may differ nearby where operations bend, much exaggerated; None where they do not.
        high: The largest values found nearby where comparisons turn.
        low: The smallest ones.
    """

    clean: Tensor
    bend: Tensor | None
    high: Tensor
    low: Tensor


def between_nodes(
    function: Callable[[Tensor], Tensor], nodes: Tensor, neighbours: Tensor, seed: int = 0, most: int = 0
) -> Between | None:
    """A function at nodes, and what it may be between them and their neighbours.

    None where the function leaves PyTorch, where what it does depends on the numbers of its argument, or where one of
    its operations cannot be followed.

    Arguments:
        function: A function made of PyTorch's operations, each node's result from that node alone.
        nodes: Its argument.
        neighbours: The same with every node a step aside.
        seed: Of the signs.
        most: Number of nodes that the function may take at once: repetitions are taken together as far as they fit.

    Example:
        >>> nodes = torch.linspace(-1, 1, 21)
        >>> peak = lambda z: torch.relu(1 - (z - 0.03).abs() / 1e-3)
        >>> found = between_nodes(peak, nodes, nodes + 0.1)
        >>> found.clean.max(), found.bend.max() > 1
        (tensor(0.), tensor(True))
    """
    try:
        return _between(function, nodes, neighbours, seed, max(1, min(JUMPS_TRIED, most // max(1, len(nodes)))))
    except (RuntimeError, TypeError, ValueError, IndexError):
        return None


def _between(
    function: Callable[[Tensor], Tensor], nodes: Tensor, neighbours: Tensor, seed: int, together: int
) -> Between | None:
    streams = _Streams(seed, jumps=False)
    clean = streams.run(function, nodes, neighbours)
    if streams.is_read:
        return None
    bent = [streams.of(clean, 1), streams.of(clean, 2)]
    if bent[0] is clean and bent[1] is clean and not streams.has_jumps:
        return Between(clean, None, clean, clean)
    changes = [torch.where(each == clean, 0.0, (each - clean).abs().nan_to_num(torch.inf)) for each in bent]
    highs, lows = [clean], [clean]
    for trial in range(0, JUMPS_TRIED if streams.has_jumps else 0, together):
        turning, count = _Streams(JUMPS_TRIED * seed + trial, jumps=True), min(together, JUMPS_TRIED - trial)
        again = turning.run(function, torch.cat([nodes] * count), torch.cat([neighbours] * count))
        turned = torch.cat([turning.of(again, 1), turning.of(again, 2)]).unflatten(0, (2 * count, len(nodes)))
        turned = turned.nan_to_num(torch.inf, torch.inf, -torch.inf)
        highs.append(turned.amax(0))
        lows.append(turned.amin(0))
    if streams.is_coarse:
        highs.append(torch.full_like(clean, torch.inf))
    return Between(clean, torch.maximum(*changes), torch.stack(highs).amax(0), torch.stack(lows).amin(0))


class _Streams(TorchDispatchMode):
    """Runs operations for nodes, and on the memory beside that of their tensors for neighbours and points between.

    Memory of points between nodes is None as long as it equals that of the nodes.

    Arguments:
        seed: Of the signs.
        jumps: Whether points are moved where operations jump, else where they bend.
    """

    def __init__(self, seed: int, *, jumps: bool) -> None:
        super().__init__()
        self.is_read = self.is_coarse = self.has_jumps = False
        self.jumps = jumps
        self._random = torch.Generator().manual_seed(seed)
        self._signs = torch.empty(0)
        self._beside = dict[int, list[torch.UntypedStorage | None]]()
        self._alive = list[Tensor]()  # memory is not used again for other tensors meanwhile

    def run(self, function: Callable[[Tensor], Tensor], nodes: Tensor, neighbours: Tensor) -> Tensor:
        """The function at the nodes."""
        self._signs = (2 * torch.randint(2, (SIGNS,), generator=self._random) - 1).to(nodes)
        self._keep(nodes, [neighbours.clone(), None, None])
        with torch.no_grad(), Reading(self), self:
            return function(nodes)

    def follows(self, value: object) -> bool:
        return (
            isinstance(value, Tensor)
            and value.layout == torch.strided
            and value.untyped_storage()._cdata in self._beside
        )

    def of(self, value: Any, stream: int) -> Any:
        """A tensor's counterpart for the neighbour (0) or a point between; itself where they are equal."""
        if not self.follows(value):
            return value
        memory = self._beside[value.untyped_storage()._cdata][stream]
        return value if memory is None else _at(memory, value)

    def _moved(self, value: Any, stream: int) -> Any:
        """An argument of an operation, a value or a sequence of values, with the tensors of a stream."""
        if isinstance(value, (list, tuple)):
            return type(value)(self._moved(each, stream) for each in value)
        return self.of(value, stream)

    def _differs(self, value: object, stream: int) -> bool:
        return isinstance(value, Tensor) and self.of(value, stream) is not value

    def _keep(self, value: Tensor, others: Sequence[Tensor | None]) -> None:
        """Puts counterparts of a whole tensor beside its memory."""
        memory, kept = value.untyped_storage(), list[torch.UntypedStorage | None]()
        for other in others:
            if other is None:
                kept.append(None)
            elif other.shape != value.shape:
                self.is_read = True
                return
            elif other.stride() == value.stride() and other.untyped_storage().nbytes() == memory.nbytes():
                kept.append(other.untyped_storage())
            else:
                own = memory.clone()
                _at(own, value).copy_(other)
                kept.append(own)
        self._beside[memory._cdata] = kept
        self._alive.append(value)

    def _begin(self, target: Tensor, stream: int) -> None:
        """Gives a tensor that is to be written to memory of its own in a stream."""
        memory = target.untyped_storage()
        kept = self._beside.setdefault(memory._cdata, [None, None, None])
        self._alive.append(target)
        if kept[stream] is None:
            kept[stream] = memory.clone()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__.rstrip("_")
        leaves = [*_leaves(args), *_leaves(kwargs.values())]
        if name in SHAPE_ALONE or not any(map(self.follows, leaves)):
            return func(*args, **kwargs)
        written = [
            leaf
            for argument, value in zip(func._schema.arguments, args, strict=False)
            if argument.alias_info is not None and argument.alias_info.is_write
            for leaf in _leaves([value])
            if isinstance(leaf, Tensor)
        ]
        moves = self._moves(name, args, kwargs)
        streams = list[tuple[tuple[Any, ...], dict[str, Any]] | None]()
        for stream in range(3):
            moved = moves.get(stream, {})
            if not moved and not any(self._differs(leaf, stream) for leaf in leaves):
                streams.append(None)
                continue
            for target in written:
                self._begin(target, stream)
            mine = [self._moved(value, stream) for value in args]
            for position, change in moved.items():
                # What operations before have moved by more already is not moved back.
                is_left = (mine[position] - args[position]).abs() < change.abs()
                change = torch.where(is_left, change, torch.zeros_like(change))
                if any(args[position] is target for target in written):
                    mine[position].add_(change)
                else:
                    mine[position] = on_side(name, mine[position], mine[position] + change)
            streams.append((tuple(mine), {key: self._moved(value, stream) for key, value in kwargs.items()}))
        result = func(*args, **kwargs)
        results = [leaf for leaf in _leaves([result]) if isinstance(leaf, Tensor)]
        if results and not written and all(map(self.follows, results)):  # views
            return result
        others = [None if each is None else func(*each[0], **each[1]) for each in streams]
        if not results:
            self.is_read |= any(
                each is not None and other != result for each, other in zip(streams, others, strict=True)
            )
        elif not written:
            parts = [[leaf for leaf in _leaves([other]) if isinstance(leaf, Tensor)] for other in others]
            for position, each in enumerate(results):
                self._keep(each, [part[position] if part else None for part in parts])
        return result

    def _moves(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[int, dict[int, Tensor]]:
        """By what inputs of an operation are moved, by stream and position."""
        neighbours = tuple(self._moved(value, 0) for value in args)
        self.is_coarse |= is_coarse(name, args, neighbours, kwargs)
        moves = dict[int, dict[int, Tensor]]()
        for position, change in reach(name, args, neighbours, kwargs).items():
            jumps = name in JUMPS
            self.has_jumps |= jumps
            if jumps != self.jumps or not bool(change.any()):
                continue
            signs = self._signs_of(torch.broadcast_shapes(change.shape, args[position].shape)).to(change)
            for stream, sign in ((1, signs), (2, -signs)):
                moves.setdefault(stream, {})[position] = sign * change
        return moves

    def _signs_of(self, shape: torch.Size) -> Tensor:
        """Random signs, from another place of a long row of them each time."""
        count, start = shape.numel(), int(torch.randint(SIGNS, (), generator=self._random))
        return self._signs.repeat(count // SIGNS + 2)[start : start + count].reshape(shape)


def _leaves(values: Iterable[Any]) -> Iterator[Any]:
    """Arguments of an operation, those in lists one by one."""
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from _leaves(value)
        else:
            yield value


def _at(memory: torch.UntypedStorage, like: Tensor) -> Tensor:
    """The tensor of this place in other memory."""
    empty = torch.empty(0, dtype=like.dtype, device=like.device)
    return empty.set_(memory, like.storage_offset(), like.size(), like.stride())  # type: ignore[call-overload, no-any-return]
