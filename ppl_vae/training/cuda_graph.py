"""CUDA graphs: the gradient of a step, captured once per shape of batch and replayed without Python."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.inputs import Batch, Inputs
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.training.progress import log

__all__ = ["Capture", "GraphedGradients", "cuda_graph", "padded"]

Values = dict[str, Tensor]

Capture = Callable[[Callable[[], Values]], tuple[Values, Callable[[], None]]]
"""Captures work on tensors that stay in place; returns its results, and a function that repeats it into them."""

SHAPES = 16
"""Most shapes that are captured; each keeps its gradients and intermediate tensors."""

WARM_UPS = 2
"""Runs before a capture, in which libraries allocate their workspaces."""


def padded(x: PackedCounts) -> PackedCounts:
    """The same documents with entries of count zero at the end, so that batches come in few sizes.

    The number of entries is raised by at most an eighth, to one of eight sizes between two powers of two.

    Example:
        >>> x = padded(PackedCounts.from_dense([[1, 2], [1, 0]]))
        >>> len(x.words), (x @ torch.eye(2)).tolist()
        (3, [[1.0, 2.0], [1.0, 0.0]])
        >>> [len(padded(PackedCounts.from_dense([[1] * n])).words) for n in (16, 17, 999, 1000)]
        [16, 18, 1024, 1024]
    """
    entries = len(x.words)
    step = 2 ** max(0, (max(entries, 1) - 1).bit_length() - 4)
    extra = -entries % step
    result = PackedCounts(
        functional.pad(x.offsets[:-1], (0, 1), value=entries + extra),
        functional.pad(x.words, (0, extra)),
        functional.pad(x.counts, (0, extra)),
        x.vocabulary,
        check=False,
    )
    result.lengths, result.log_coefficient = x.lengths, x.log_coefficient
    result.documents = functional.pad(x.documents, (0, extra), value=len(x) - 1)
    return result


def _padded(x: Batch) -> Batch:
    if isinstance(x, Inputs):
        return x.map(_padded)
    return padded(x) if isinstance(x, PackedCounts) else x


def _tensors(x: Batch) -> list[Tensor]:
    if isinstance(x, Inputs):
        return [tensor for field in x.fields().values() for tensor in _tensors(field)]
    if not isinstance(x, PackedCounts):
        return [x]
    return [x.offsets, x.words, x.counts, x.lengths, x.log_coefficient, x.documents, *x.transposed]


def _batch(x: Batch, tensors: list[Tensor]) -> Batch:
    """A batch like ``x`` from other tensors, with nothing cached: what it computes is captured, too."""
    if isinstance(x, Inputs):
        left = iter(tensors)
        return x.map(lambda field: _batch(field, [next(left) for _ in _tensors(field)]))
    if not isinstance(x, PackedCounts):
        return tensors[0]
    made = PackedCounts(tensors[0], tensors[1], tensors[2], x.vocabulary, check=False)
    made.lengths, made.log_coefficient, made.documents = tensors[3:6]
    made.transposed = (tensors[6], tensors[7], tensors[8])
    return made


def cuda_graph(work: Callable[[], Values]) -> tuple[Values, Callable[[], None]]:
    """Captures work on the current CUDA device (PyTorch, "CUDA semantics", on graphs).

    Raises:
        RuntimeError: If the work waits for the device, which a capture does not survive: seen before one begins.
    """
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        work()
    finally:
        torch.cuda.set_sync_debug_mode(before)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        values = work()
    return values, graph.replay


@dataclass
class _Shape:
    """A capture for batches of one shape."""

    inputs: list[Tensor]
    values: Values
    gradients: list[Tensor | None]
    replay: Callable[[], None]
    checked: bool = False


class GraphedGradients:
    r"""Gradients of a loss, captured for each shape of batch on its first occurrence and replayed from then on.

    Launching the kernels of a step one by one from Python takes longer than a GPU needs to run them. A replay launches
    them all at once, on the same memory. Documents are padded to few sizes (:func:`padded`).

    On its first replay each capture must give the loss and gradients that the work itself gives with the same random
    numbers, on a batch other than the captured one; where it does not, or where the work cannot be captured, for
    example because it waits for a value, a line says so and the work is done step by step from then on.

    Attributes:
        due: Whether the next replay must do so again; may be set.

    Arguments:
        work: Sets the gradients of a batch, starting from none, and returns scalars by name, one of them ``"loss"``.
        modules: Modules with these parameters; the runs before a capture leave their buffers unchanged.
        capture: Function that captures.
        failed: Beginning of the line.
        tolerance: How far a replay may be from the work, relative to its norm.
        is_told: Whether a line says what the first replay that gives the work's numbers took, beside the work.

    Shapes:
        A batch to the values of ``work``.
    """

    def __init__(
        self,
        work: Callable[[Batch], Values],
        modules: Sequence[torch.nn.Module],
        capture: Capture = cuda_graph,
        failed: str = "steps are launched one operation at a time, since their capture as a CUDA graph failed",
        tolerance: float = 1e-3,
        is_told: bool = False,
    ) -> None:
        self.work, self.capture, self.failed, self.tolerance, self.due = work, capture, failed, tolerance, False
        self.parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
        self.buffers = [b for module in modules for b in module.buffers()]
        self.shapes: dict[Hashable, _Shape] = {}
        self.given_up, self.is_told = "", is_told

    def __call__(self, x: Batch, *key: Hashable) -> Values:
        """Sets the gradients of a batch.

        Arguments:
            x: The batch.
            key: Everything else that the work depends on, such as the number of draws.
        """
        x = _padded(x)
        key = (*key, *(t.shape for t in _tensors(x)))
        shape = self.shapes.get(key)
        if self.given_up or (shape is None and len(self.shapes) == SHAPES):
            return self.work(x)
        if shape is not None and shape.checked and not self.due:
            return self._replay(shape, x)
        try:
            with self._undone():
                begun = time.perf_counter()
                replayed = self._capture(x, key) if shape is None else self._replay(shape, x)
                replay_seconds = time.perf_counter() - begun
                gradients = self._gradients()
        except Exception as error:  # one of the program's own arises again below
            self._give_up(str(error).partition("\n")[0] or type(error).__name__)
            return self.work(x)
        begun = time.perf_counter()
        values = self.work(x)
        seconds = time.perf_counter() - begun
        if shape is not None:
            expected, self.due = self._gradients(), False
            shape.checked = (
                gradients.keys() == expected.keys()
                and self._close(gradients, expected)
                and self._close({"loss": replayed["loss"]}, {"loss": values["loss"]})
            )
            if not shape.checked:
                self._give_up("a replay did not give what the work itself gives")
            elif self.is_told:
                self.is_told = False
                log(
                    f"steps of {len(x)} data are recorded and replayed: the first replay gave the numbers of the step "
                    f"itself, in {1e3 * replay_seconds:.2g} ms instead of {1e3 * seconds:.2g} ms"
                )
        return values

    def _capture(self, x: Batch, key: Hashable) -> Values:
        inputs = [t.clone() for t in _tensors(x)]
        for _ in range(WARM_UPS):
            self.work(_batch(x, inputs))
        values, replay = self.capture(lambda: self.work(_batch(x, inputs)))
        self.shapes[key] = _Shape(inputs, values, [p.grad for p in self.parameters], replay)
        return values

    def _replay(self, shape: _Shape, x: Batch) -> Values:
        for held, tensor in zip(shape.inputs, _tensors(x), strict=True):
            held.copy_(tensor)
        shape.replay()
        for parameter, gradient in zip(self.parameters, shape.gradients, strict=True):
            parameter.grad = gradient
        return {name: value.clone() for name, value in shape.values.items()}

    def _gradients(self) -> Values:
        return {str(i): p.grad.clone() for i, p in enumerate(self.parameters) if p.grad is not None}

    def _give_up(self, reason: str) -> None:
        self.given_up = reason
        self.shapes.clear()
        log(f"note: {self.failed}: {reason}")

    @contextmanager
    def _undone(self) -> Iterator[None]:
        """Restores the random state and the buffers afterwards."""
        before = [buffer.clone() for buffer in self.buffers]
        try:
            with fork_random_state():
                yield
        finally:
            for buffer, value in zip(self.buffers, before, strict=True):
                buffer.copy_(value)

    def _close(self, values: Values, expected: Values) -> bool:
        """Whether values are equal but for the order of sums, which differs from run to run on a device."""
        apart = torch.stack([(values[name] - value).norm() for name, value in expected.items()]).norm()
        size = torch.stack([value.norm() for value in expected.values()]).norm()
        return bool(apart <= self.tolerance * size)
