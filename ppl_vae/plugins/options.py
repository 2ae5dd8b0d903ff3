"""Options from annotated constructor arguments and the "Arguments:" section of a docstring.

One machine serves models, guides, settings, rate costs, schedules and readers, on the command line, in a sweep's file
and in a run's configuration.
"""

from __future__ import annotations

import functools
import inspect
import operator
import re
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from ppl_vae.plugins.discovery import Kind, available, find
from ppl_vae.plugins.nearest import nearest

__all__ = ["Option", "PluginChoice", "Value", "argument_help", "checked", "options_of"]

Value = int | float | bool | str | None
"""What an option may be set to."""


@dataclass(frozen=True)
class PluginChoice:
    """Plugins to choose from by name or file: the metadata of an annotation ``Annotated[str, PluginChoice(...)]``.

    Arguments:
        kind: The kind of plugin.
        besides: Other choices.
    """

    kind: Kind
    besides: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Every name, those of the working folder's files included."""
        return (*self.besides, *available(self.kind))

    def resolve(self, value: str) -> str:
        """The name of a plugin, of a user's file its whole path, so that it is found from any folder.

        Raises:
            ValueError: If there is none, listing the choices.
        """
        if value in self.besides:
            return value
        plugin = find(self.kind, value, besides=self.besides)
        return plugin.name if plugin.shipped else str(plugin.file.resolve())


@dataclass(frozen=True)
class Option:
    """A constructor's argument that a user may set.

    Arguments:
        name: The name of the argument.
        type: ``int``, ``float``, ``bool`` or ``str``; the choices where there are some.
        default: The value where the user gives none; None where it is required or unset.
        help: Its description in the docstring.
        required: Whether the user must give a value.
        optional: Whether None is a value.
        minimum: Least value of a number, if there is one.
        plugin: The plugins whose name or file it is, if it is one.
        several: Whether it takes a list of such values.
    """

    name: str
    type: type[int | float | bool | str] | tuple[str | int, ...]
    default: Value
    help: str
    required: bool = False
    optional: bool = False
    minimum: float | None = None
    plugin: PluginChoice | None = None
    several: bool = False

    def check(self, value: object, where: str) -> Value:
        """Returns a value as the constructor takes it, a whole number as a float where it takes floats.

        Raises:
            ValueError: If the type or the choice is wrong, naming the place.
        """
        if value is None and self.optional:
            return None
        if isinstance(self.type, tuple):
            for choice in self.type:
                if value == choice and type(value) is type(choice):
                    return choice
            raise ValueError(f"{where} is {value!r}; choose from {', '.join(map(str, self.type))}")
        if self.type is float and type(value) is int:
            value = float(value)
        expected = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[self.type]
        if type(value) is not self.type:
            raise ValueError(f"{where} is {value!r}; give {expected}")
        if self.minimum is not None and isinstance(value, (int, float)) and not value >= self.minimum:
            raise ValueError(f"{where} is {value!r}; give {expected} of at least {self.minimum:g}")
        if self.plugin is not None and isinstance(value, str):
            try:
                return self.plugin.resolve(value)
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from error
        return value


def options_of(
    target: Callable[..., Any], skip: Collection[str] = (), where: str = "", *, strict: bool = True
) -> list[Option]:
    """The options of a class or function: its arguments, less those skipped.

    Annotations are ``int``, ``float``, ``bool``, ``str`` or ``Literal``; ``X | None``; ``int | str``,
    ``str | Path`` and ``str | Callable[..., object]``, which are text; ``Sequence[X]``, several of them; and
    ``Annotated[X, m]`` with an ``m.ge`` (``msgspec.Meta(ge=1)``), a least value, or a :class:`PluginChoice`. A
    constructor that ends in ``**rest: Unpack[T]`` has the arguments of its base class that the ``TypedDict`` T names,
    with the base's defaults and its lines of help.

    Arguments:
        target: A class (its constructor counts) or a function.
        skip: Names of arguments that the program gives itself.
        where: File named by an error.
        strict: Whether every argument needs an annotation. If not, one with a default needs none: its type is that of
            the default, and where no option can express it, it keeps the default.

    Raises:
        ValueError: If an argument has no annotation and no default, or a type that no option can express.

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
    arguments = {
        name: argument
        for name, argument in inspect.signature(constructor).parameters.items()
        if name != "self" and name not in skip and argument.kind not in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD)
    }
    hints = _hints(constructor, arguments)
    help_lines = argument_help(inspect.getdoc(target) or "")
    options = []
    for name, argument in arguments.items():
        required = argument.default is argument.empty
        kind, optional = _without_none(hints.get(name, None if required or strict else type(argument.default)))
        minimum, plugin = None, None
        if typing.get_origin(kind) is Annotated:
            kind, *metadata = typing.get_args(kind)
            minimum = next((part.ge for part in metadata if hasattr(part, "ge")), None)
            plugin = next((part for part in metadata if isinstance(part, PluginChoice)), None)
        if several := typing.get_origin(kind) is Sequence:
            (kind,) = typing.get_args(kind)
        if set(typing.get_args(kind)) in ({int, str}, {str, Path}, {str, Callable[..., object]}):
            kind = str
        if typing.get_origin(kind) is Literal:
            kind = typing.get_args(kind)
        elif kind not in (int, float, bool, str):
            if not required and not strict:
                continue
            stated = f"is annotated {hints[name]}" if name in hints else "is annotated with no type"
            raise ValueError(
                f"{where}{': ' if where else ''}argument {name!r} of {target.__name__} {stated}; an option needs int, "
                "float, bool, str or Literal"
            )
        default = None if required else argument.default
        options.append(
            Option(name, kind, default, help_lines.get(name, ""), required, optional, minimum, plugin, several)
        )
    if inspect.isclass(target):
        options += _inherited(target, [*arguments, *skip], help_lines, where, strict)
    return options


def _hints(constructor: Callable[..., Any], names: Iterable[str]) -> dict[str, Any]:
    """The types of some arguments: those of others, and of what is returned, may be known to type checkers alone."""
    own = {name: hint for name, hint in inspect.get_annotations(constructor).items() if name in names}
    known = getattr(constructor, "__globals__", None)
    return typing.get_type_hints(types.SimpleNamespace(__annotations__=own), known, include_extras=True)


def _inherited(
    kind: type, skip: Collection[str], help_lines: Mapping[str, str], where: str, strict: bool
) -> list[Option]:
    """The options of its base class that a class passes on by ``**rest: Unpack[T]``: those of T."""
    constructor: Callable[..., Any] = kind.__init__  # type: ignore[misc]
    rest = inspect.getfullargspec(constructor).varkw
    stated = inspect.get_annotations(constructor).get(rest or "")
    if rest is None or (isinstance(stated, str) and "Unpack[" not in stated):
        return []
    hint = _hints(constructor, [rest]).get(rest)
    if typing.get_origin(hint) is not typing.Unpack:
        return []
    _, base, *_ = (each for each in kind.__mro__ if "__init__" in vars(each))
    return [
        replace(option, help=help_lines.get(option.name, option.help))
        for option in options_of(base, skip, where, strict=strict)
        if option.name in typing.get_type_hints(typing.get_args(hint)[0])
    ]


def _without_none(hint: object) -> tuple[object, bool]:
    """``int | None`` is ``int``, which may be None."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        parts = [part for part in typing.get_args(hint) if part is not type(None)]
        return functools.reduce(operator.or_, parts), len(parts) < len(typing.get_args(hint))
    return hint, False


def argument_help(doc: str) -> dict[str, str]:
    """The lines of a docstring's "Arguments:" section by argument."""
    section = re.search(r"^Arguments:\n((?:[ ]+.*\n?|\n)*)", doc, re.MULTILINE)
    if section is None:
        return {}
    entries = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", section.group(1), re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def checked(options: Iterable[Option], values: Mapping[str, object], where: str) -> dict[str, Any]:
    """Values of some options, each checked against its type.

    Arguments:
        options: All options.
        values: Values by name.
        where: Place named by an error, such as ``"settings"``.

    Raises:
        ValueError: If a key is unknown, listing the known ones, or a value has the wrong type.

    Example:
        >>> checked([Option("depth", float, 0.5, "")], {"depht": 1}, "settings")
        Traceback (most recent call last):
        ValueError: settings has no depht; did you mean depth? It has depth
    """
    known = {option.name: option for option in options}
    if unknown := [key for key in values if key not in known]:
        near = nearest(unknown[0], known)
        hint = f"did you mean {near[0]}? It has" if near else "it has"
        raise ValueError(f"{where} has no {', '.join(unknown)}; {hint} {', '.join(known)}")
    return {key: known[key].check(value, f"{where}.{key}") for key, value in values.items()}
