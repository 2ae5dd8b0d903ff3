"""How much work a run of a model is, counted rather than timed: the same on every machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch._ops import OpOverload

from ppl_vae.nn.modes import evaluating
from ppl_vae.programs.flops import Flops
from ppl_vae.programs.handlers import SubstituteLatents, latents, log_prob, run
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.types import Program

__all__ = ["work_by_rows"]

FLOPS_OF_A_NUMBER = 64
"""Operations inside a matrix product that take as long as one number that an elementwise operation writes."""
NUMBERS_OF_A_CALL = 2000
"""Numbers written in the time of calling an operation."""


class _Work(Flops):
    """Counts the numbers that operations write, their calls, and the flops of products; views write none."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    @property
    def count(self) -> float:
        return self.numbers + self.flops / FLOPS_OF_A_NUMBER

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Sequence[type],
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        result = super().__torch_dispatch__(func, types, args, kwargs)
        outputs = result if isinstance(result, list | tuple) else (result,)
        for output, declared in zip(outputs, func._schema.returns, strict=False):
            if isinstance(output, torch.Tensor) and (declared.alias_info is None or declared.alias_info.is_write):
                self.numbers += output.numel() + NUMBERS_OF_A_CALL
        return result


def work_by_rows(
    model: Program, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, shared: bool = False
) -> Callable[[int], float]:
    """Work of scoring any number of draws of the latents of each datum, in numbers written.

    It is affine in the rows: two small runs tell it for any number, without the memory of all. It does not depend on
    the machine or on its load, so that what is decided by it is decided again the same.

    Arguments:
        model: A model of one plate.
        args: Its arguments.
        kwargs: Its keyword arguments.
        shared: Whether all data get the same draws, which the model takes with a batch size of 1.

    Returns:
        The work by the number of draws.
    """
    with evaluating(model), fork_random_state():
        drawn = latents(run(model, args, dict(kwargs), draws=4, training=True))
        values = {name: site["value"][:, :1] if shared else site["value"] for name, site in drawn.items()}
        _score(model, args, kwargs, values, 2)  # the first time what data keep of themselves is computed, too
        few, more = (_count(model, args, kwargs, values, rows) for rows in (2, 4))
    return lambda rows: few + (more - few) * (rows - 2) / 2


def _count(
    model: Program, args: tuple[Any, ...], kwargs: Mapping[str, Any], values: dict[str, torch.Tensor], rows: int
) -> float:
    work = _Work()
    with work:
        _score(model, args, kwargs, values, rows)
    return work.count


def _score(
    model: Program, args: tuple[Any, ...], kwargs: Mapping[str, Any], values: dict[str, torch.Tensor], rows: int
) -> None:
    given = SubstituteLatents({name: value[:rows] for name, value in values.items()})
    for site in run(model, args, dict(kwargs), draws=rows, handler=given, training=True).values():
        log_prob(site)
