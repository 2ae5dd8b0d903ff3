"""A few steps of a training, undone afterwards: do gradients reach every parameter, and what does a step cost?"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyro
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ppl_vae.data.inputs import Batch
from ppl_vae.evidence.tables import in_short
from ppl_vae.nn.modes import matmul_precision
from ppl_vae.objectives.base import NonFiniteError, Objective
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.runs.pair import Pair
from ppl_vae.training.remedies import note_last_batch, remedy
from ppl_vae.training.run_folder import RunFolder
from ppl_vae.training.settings import Settings
from ppl_vae.training.trainer import Trainer

__all__ = ["Trial", "undone"]

STEPS = 5
"""Largest number of steps: a parameter behind one that begins at zero has a gradient from the second on."""

SECONDS = 3.0
"""Time after which no further step begins."""

PARTS = ("model", "guide", "densities and estimator", "backward", "optimiser")


@dataclass(frozen=True)
class Trial:
    """What a few steps show.

    Arguments:
        seconds: Of a step, by part.
        data: Number of data of a step.
        kept: Bytes that a step keeps for its gradient.
        state: Bytes of parameters, their gradients and the optimiser's state.
        parameters: Number of parameters, as tensors.
        unused: Names of parameters that the programs do not look at, as in a branch that these data do not take.
        unreached: Names of further parameters that get no gradient.
        still: Names of parameters whose gradient is zero in every step.
    """

    seconds: dict[str, float]
    data: int
    kept: int
    state: int
    parameters: int
    unused: tuple[str, ...]
    unreached: tuple[str, ...]
    still: tuple[str, ...]

    @classmethod
    def of(cls, pair: Pair, objective: Objective, settings: Settings, x: Batch) -> Trial:
        """The trial of a pair, whose parameters it changes.

        Arguments:
            pair: The pair.
            objective: The objective.
            settings: Those of the training.
            x: The training data.

        Raises:
            NonFiniteError: If a number is not finite, naming the site, or the parameters.
        """
        # A captured graph would show no parts.
        trainer = Trainer(
            pair.model, pair.guide, objective, RunFolder(Path()), replace(settings, capture=False, replay=False)
        )
        clock, batch = _Clock(pair, trainer), x[: settings.batch_size]
        trainer.begin(1)
        objective.epoch = 0.0
        uses = _Uses()
        kept = _Kept([*pair.model.parameters(), *pair.guide.parameters()])
        try:
            with (
                pyro.validation_enabled(False),
                matmul_precision("medium" if settings.precision == "bf16" else "highest"),
            ):
                with uses:
                    trainer.loss(batch)
                reached, moved = _steps(trainer, batch, x, clock, kept)
        finally:
            clock.close()
        names, sizes = list(trainer.parameters), [p.numel() * p.element_size() for p in trainer.parameters.values()]
        return cls(
            clock.parts(),
            len(batch),
            kept.bytes,
            4 * sum(sizes) if settings.optimizer == "Adam" else 2 * sum(sizes),
            sum(p.numel() for p in trainer.parameters.values()),
            tuple(name for name in names if name not in reached and id(trainer.parameters[name]) not in uses.seen),
            tuple(name for name in names if name not in reached and id(trainer.parameters[name]) in uses.seen),
            tuple(name for name in names if name in reached - moved),
        )


def _steps(trainer: Trainer, batch: Batch, x: Batch, clock: _Clock, kept: _Kept) -> tuple[set[str], set[str]]:
    """Names of the parameters that get a gradient, and of those that get one other than zero."""
    reached, moved, begun = set[str](), set[str](), time.monotonic()
    for step in range(STEPS):
        with kept if step == 0 else clock:
            _step(trainer, batch, x, step)
        for name, parameter in trainer.parameters.items():
            if parameter.grad is not None:
                reached.add(name)
                if bool((parameter.grad != 0).any()):
                    moved.add(name)
        if step and time.monotonic() - begun > SECONDS:
            break
    rest = len(x) % trainer.settings.batch_size
    if rest and len(batch) < len(x):  # the last batch of an epoch
        _step(trainer, x[:rest], x, STEPS)
    return reached, moved


def _step(trainer: Trainer, batch: Batch, x: Batch, done: int) -> None:
    try:
        trainer.step(batch)
    except NonFiniteError as error:
        wrong = [n for n, p in trainer.parameters.items() if p.grad is not None and not p.grad.isfinite().all()]
        named = f", and so is the gradient of {in_short(wrong, 4)}" if wrong and wrong[0] not in str(error) else ""
        more = f" (and {in_short(wrong[1:], 4)})" if wrong[1:] and not named else ""
        raise NonFiniteError(f"{error}{more}{named}; {remedy(x, begun=done > 0)}") from error
    except Exception as error:
        note_last_batch(error, batch, x, trainer.settings.batch_size)
        raise


class _Clock:
    """Seconds of the parts of steps, between entering and leaving it."""

    def __init__(self, pair: Pair, trainer: Trainer) -> None:
        self.on, self.begun, self.steps = False, dict[str, float](), list[dict[str, float]]()
        self.device = next(iter(trainer.parameters.values())).device
        self._handles = [
            trainer.optimizer.register_step_pre_hook(lambda *_: self._start("optimiser")),
            trainer.optimizer.register_step_post_hook(lambda *_: self._stop("optimiser")),
        ]
        for name, module in (("model", pair.model), ("guide", pair.guide), ("loss", trainer.loss)):
            self._watch(name, module)

    def _watch(self, name: str, module: nn.Module) -> None:
        self._handles += [
            module.register_forward_pre_hook(lambda *_: self._start(name)),
            module.register_forward_hook(lambda *_: self._stop(name), always_call=True),
        ]

    def close(self) -> None:
        """Removes the hooks."""
        for handle in self._handles:
            handle.remove()

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def _start(self, name: str) -> None:
        if self.on:
            self.begun[name] = self._now()

    def _stop(self, name: str) -> None:
        if self.on and name in self.begun:
            spent = self.steps[-1]
            spent[name] = spent.get(name, 0.0) + self._now() - self.begun.pop(name)

    def __enter__(self) -> None:
        self.on = True
        self.steps.append({})
        self._start("step")

    def __exit__(self, *_: object) -> None:
        self._stop("step")
        self.on = False

    def parts(self) -> dict[str, float]:
        """Seconds by part, and of the whole, of the step whose time is the median."""
        step = sorted(self.steps, key=lambda step: step["step"])[len(self.steps) // 2]
        model, guide, loss, optimiser = (step.get(name, 0.0) for name in ("model", "guide", "loss", "optimiser"))
        values = (model, guide, loss - model - guide, step["step"] - loss - optimiser, optimiser)
        return {name: max(0.0, value) for name, value in zip(PARTS, values, strict=True)} | {"step": step["step"]}


class _Kept(torch.autograd.graph.saved_tensors_hooks):
    """Bytes of the tensors that a graph keeps for its gradient, each memory once, parameters aside."""

    def __init__(self, parameters: list[Tensor]) -> None:
        self.bytes = 0
        self._seen = {p.untyped_storage().data_ptr() for p in parameters}

        def pack(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in self._seen:
                self._seen.add(storage.data_ptr())
                self.bytes += storage.nbytes()
            return tensor

        super().__init__(pack, lambda tensor: tensor)


class _Uses(TorchFunctionMode):
    """Which parameters the functions of torch are given, by identity."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = set[int]()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        looked_at = (*args, *(kwargs or {}).values()) if getattr(func, "__name__", "") != "__get__" else ()
        for value in looked_at:  # attributes aside, which pyro.module reads
            each = value if isinstance(value, list | tuple) else (value,)
            self.seen |= {id(part) for part in each if isinstance(part, nn.Parameter)}
        return func(*args, **(kwargs or {}))


@contextmanager
def undone(pair: Pair, objective: Objective) -> Iterator[None]:
    """Parameters, running statistics, modes and the random state are afterwards as before."""
    modules = [module for program in (pair.model, pair.guide) for module in program.modules()]
    tensors = [t for program in (pair.model, pair.guide) for t in (*program.parameters(), *program.buffers())]
    values = [tensor.detach().clone() for tensor in tensors]
    modes, state = [module.training for module in modules], objective.state
    try:
        with fork_random_state():
            yield
    finally:
        with torch.no_grad():
            for tensor, value in zip(tensors, values, strict=True):
                tensor.copy_(value)
                tensor.grad = None
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode
        objective.state = state
