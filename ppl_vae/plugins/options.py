"""Options from annotated constructor arguments and the "Arguments:" section of a docstring.

One machine serves models, guides, settings, rate costs, schedules and readers, on the command line, in a sweep's file
and in a run's configuration.
"""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Option", "argument_help", "checked", "options_of"]


@dataclass(frozen=True)
class Option:
    """An argument of a constructor that a user may set.

    Arguments:
        name: The name of the argument.
        type: ``int``, ``float``, ``bool`` or ``str``; the choices where there are some.
        default: The value where the user gives none; None where it is required or unset.
        help: Its line in the docstring.
        required: Whether the user must give a value.
        optional: Whether None is a value.
    """

    name: str
    type: type | tuple[str, ...]
    default: Any
    help: str
    required: bool = False
    optional: bool = False

    def check(self, value: Any, where: str) -> Any:
        """Returns a value as the constructor takes it, a whole number as a float where it takes floats.

        Raises:
            ValueError: If the type or the choice is wrong, naming the place.
        """
        if value is None and self.optional:
            return None
        if isinstance(self.type, tuple):
            if value in self.type:
                return value
            raise ValueError(f"{where} is {value!r}; choose from {', '.join(self.type)}")
        whole = isinstance(value, int) and not isinstance(value, bool)
        if self.type is float and whole:
            return float(value)
        if isinstance(value, self.type) and not (self.type is int and not whole):
            return value
        wanted = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[self.type]
        raise ValueError(f"{where} is {value!r}; give {wanted}")


def options_of(target: Callable[..., Any], skip: Collection[str] = (), where: str = "") -> list[Option]:
    """The options of a class or function: its arguments, less those skipped.

    Arguments:
        target: A class (its constructor counts) or a function.
        skip: Names of arguments that the program gives itself.
        where: The file named by an error.

    Raises:
        ValueError: If an argument has no annotation, or one that no option can express.

    Example:
        >>> def shade(colour: Literal["red", "blue"], depth: float = 0.5) -> None:
        ...     '''Shades.
        ...
        ...     Arguments:
        ...         colour: Of the shade.
        ...         depth: From 0 to 1.
        ...     '''
        >>> for option in options_of(shade):
        ...     print(option.name, option.type, option.default, option.required, option.help)
        colour ('red', 'blue') None True Of the shade.
        depth <class 'float'> 0.5 False From 0 to 1.
    """
    constructor = target.__init__ if inspect.isclass(target) else target  # type: ignore[misc]
    hints, help_lines = typing.get_type_hints(constructor), argument_help(inspect.getdoc(target) or "")
    options = []
    for name, argument in inspect.signature(constructor).parameters.items():
        if name == "self" or name in skip or argument.kind in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD):
            continue
        kind, optional = _without_none(hints.get(name))
        if typing.get_origin(kind) is Literal:
            kind = typing.get_args(kind)
        elif kind not in (int, float, bool, str):
            raise ValueError(
                f"{where}{': ' if where else ''}argument {name!r} of {target.__name__} is annotated {hints.get(name)}; "
                "an option needs int, float, bool, str or Literal"
            )
        required = argument.default is argument.empty
        default = None if required else argument.default
        options.append(Option(name, kind, default, help_lines.get(name, ""), required, optional))
    return options


def _without_none(hint: Any) -> tuple[Any, bool]:
    """``int | None`` is ``int``, which may be None."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        parts = [part for part in typing.get_args(hint) if part is not type(None)]
        if len(parts) == 1:
            return parts[0], True
    return hint, False


def argument_help(doc: str) -> dict[str, str]:
    """The lines of a docstring's "Arguments:" section by argument."""
    section = re.search(r"^Arguments:\n((?:[ ]+.*\n?|\n)*)", doc, re.MULTILINE)
    if section is None:
        return {}
    entries = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", section.group(1), re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def checked(options: Collection[Option], values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Values that a file gives for some options, each checked against its type.

    Arguments:
        options: All there are.
        values: By name.
        where: Place named by an error, such as ``"config.json: settings"``.

    Raises:
        ValueError: If a key is unknown, listing the known ones, or a value has the wrong type.

    Example:
        >>> checked([Option("depth", float, 0.5, "")], {"depht": 1}, "settings")
        Traceback (most recent call last):
        ValueError: settings has no depht; it has depth
    """
    known = {option.name: option for option in options}
    if unknown := [key for key in values if key not in known]:
        raise ValueError(f"{where} has no {', '.join(unknown)}; it has {', '.join(known)}")
    return {key: known[key].check(value, f"{where}.{key}") for key, value in values.items()}
