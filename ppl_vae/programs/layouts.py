"""The layouts of programs, remembered for as long as they live."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

from torch import Tensor

from ppl_vae.data.inputs import Inputs
from ppl_vae.programs.canonical import Layout, Vectorise
from ppl_vae.programs.execution import length
from ppl_vae.programs.given import Given
from ppl_vae.programs.layout_finder import REFUSED, LayoutFinder
from ppl_vae.programs.memory import Memory

__all__ = ["draws_note", "inherit_layout", "layout_again", "layout_of", "set_layout"]

_LAYOUTS, _CHOICES = Memory(), Memory()


def set_layout(*programs: Callable[..., Any], plate: str | None = None, vectorise: Vectorise | None = None) -> None:
    """States the plate over data of programs, and how they take many samples; by default both are inferred.

    Arguments:
        programs: Models and guides.
        plate: Name of the plate over data, such as ``"documents"``; None finds it. A guide may call it ``"data"``.
        vectorise: ``"left"`` adds samples as a dimension left of the plates; ``"fold"`` repeats the data, for networks
            that reshape by ``view(-1, ...)``; ``"loop"`` runs the program once per sample; None tries them in turn.
    """
    if vectorise not in (None, "left", "fold", "loop"):
        raise ValueError(
            f"vectorise is {vectorise!r}; give 'left', 'fold' or 'loop', or None, which tries them in turn"
        )
    for program in programs:
        choices, method = _CHOICES.of(program)
        if choices.get(method, (None, None)) != (plate, vectorise):
            choices[method] = plate, vectorise
            layouts, _ = _LAYOUTS.of(program)
            layouts.clear()


def inherit_layout(program: Callable[..., Any], original: Callable[..., Any]) -> None:
    """What is stated and known of the layout of a module holds for its copy, too."""
    for memory in (_LAYOUTS, _CHOICES):
        memory.of(program)[0].update(memory.of(original)[0])


def layout_of(program: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Layout:
    """The layout of a program, found at its first call with arguments of this kind.

    Raises:
        ValueError: If its plate over data is ambiguous, is a Python loop or is not the one that was named.
    """
    if isinstance(program, Given):
        program = program.func
    known, method = _LAYOUTS.of(program)
    key = method, tuple(map(_kind, args)), tuple((name, _kind(value)) for name, value in sorted(kwargs.items()))
    rows = known[key].rows if key in known else None
    if key not in known or rows not in (None, length(args, kwargs)):
        choices, method = _CHOICES.of(program)
        layout = LayoutFinder(program, args, dict(kwargs), *choices.get(method, (None, None))).find()
        if isinstance(layout.failure, RuntimeError) and rows is not None:
            raise ValueError(
                f"the program takes {rows} data, but the batch has {length(args, kwargs)}: write pyro.plate(NAME, "
                "len(x)), shapes by len(x), and what has a row for each datum as a further argument, model(x, y), not "
                f"taken from outside, so that it takes any number of data{_of_one_datum(args)}"
            ) from layout.failure
        if layout.failure is not None:
            return layout
        known[key] = layout
    result: Layout = known[key]
    return result


def layout_again(
    program: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], refused: Layout
) -> Layout | None:
    """The layout of a program that has changed since a run with its remembered one; None if it is the same, or none."""
    if isinstance(program, Given):
        program = program.func
    known, _ = _LAYOUTS.of(program)
    known.clear()
    try:
        again = layout_of(program, args, kwargs)
    except REFUSED:
        return None
    return None if again == refused or again.failure is not None else again


def draws_note(program: Callable[..., Any], *args: object) -> tuple[str, ...]:
    """How a program takes many samples, in words, unless as a dimension on the left."""
    way = layout_of(program, args, {}).vectorise
    if way == "left":
        return ()
    how = "its data are repeated for each" if way == "fold" else "it runs once for each"
    return (f"the model does not take draws as a dimension on the left: {how} (--vectorise {way})",)


def _of_one_datum(args: tuple[Any, ...]) -> str:
    if len(args) == 1 and isinstance(args[0], Tensor) and args[0].ndim == 1:
        return "; a single datum of several numbers is a batch of one, x[None]"
    return ""


def _kind(value: object) -> Hashable:
    if isinstance(value, Inputs):
        return tuple(map(_kind, value.args)), tuple((name, _kind(field)) for name, field in value.kwargs.items())
    return type(value), value.ndim if isinstance(value, Tensor) else value is None
