"""Command-line options from the options of classes and functions, shown in groups by ``--help``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import ParamSpec, TypeVar

import click

from ppl_vae.cli.completion import complete_corpora
from ppl_vae.cli.plugin_name import PluginName
from ppl_vae.plugins.nearest import nearest
from ppl_vae.plugins.options import Option

__all__ = ["GroupedCommand", "GroupedOption", "NearChoice", "click_option", "was_given", "with_options"]

P = ParamSpec("P")
R = TypeVar("R")

OPTIONS = "Options"
"""Group of the options that have no other."""


class GroupedOption(click.Option):
    """An option with a group.

    Arguments:
        declarations: Flags and name.
        group: Title of its section in ``--help``.
        attributes: Those of :class:`click.Option`.
    """

    def __init__(self, declarations: list[str], group: str = OPTIONS, **attributes: object) -> None:
        super().__init__(declarations, **attributes)  # type: ignore[arg-type]
        self.group = group

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        record = super().get_help_record(ctx)
        if record is None or not isinstance(self.type, PluginName):
            return record
        return record[0], f"{record[1]}  Choices: {', '.join(self.type.choice.names)}"


class GroupedCommand(click.Command):
    """A command whose ``--help`` shows options by group."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            flags = [flag for param in self.get_params(ctx) for flag in param.opts]
            near = nearest(error.option_name, flags, 3)
            hint = f"did you mean {' or '.join(near)}?" if near else "see --help"
            raise click.UsageError(f"No such option {error.option_name!r}; {hint}", error.ctx) from None

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None and record[1]:
                groups.setdefault(getattr(param, "group", OPTIONS), []).append(record)
        # What concerns the command itself, such as --help, comes last.
        for title in sorted(groups, key=lambda title: title == OPTIONS):
            with formatter.section(title):
                formatter.write_dl(groups[title])


class NearChoice(click.Choice[str | int]):
    """One of some values; of a wrong one the error names the nearest."""

    def get_invalid_choice_message(self, value: object, ctx: click.Context | None) -> str:
        near = nearest(str(value), map(str, self.choices))
        message = super().get_invalid_choice_message(value, ctx)
        return f"{message.removesuffix('.')}; did you mean {near[0]}?" if near else message


class Several(click.ParamType[tuple[object, ...]]):
    """Values separated by commas.

    Arguments:
        each: Type of one of them.
    """

    name = "list"

    def __init__(self, each: click.ParamType[object]) -> None:
        self.each = each

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return f"{self.each.name.upper()},..."

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[object, ...]:
        parts = [part for part in value.split(",") if part] if isinstance(value, str) else value
        assert isinstance(parts, Sequence)
        return tuple(self.each.convert(part.strip() if isinstance(part, str) else part, param, ctx) for part in parts)


def click_option(option: Option, group: str = OPTIONS, *, takes_value: bool = False) -> GroupedOption:
    """The command-line option ``--NAME`` of an option.

    Arguments:
        option: The option.
        group: Title of its section.
        takes_value: Whether a truth value is given as ``--NAME true`` instead of ``--NAME`` and ``--no-NAME``.
    """
    names, attributes = _declaration(option, takes_value)
    return GroupedOption(names, group, **attributes)


def _declaration(option: Option, takes_value: bool = False) -> tuple[list[str], dict[str, object]]:
    flag = option.name.replace("_", "-")
    is_flag = option.type is bool and not takes_value
    return [f"--{flag}/--no-{flag}" if is_flag else f"--{flag}", option.name], {
        "type": None if is_flag else _click_type(option),
        "default": _listed(option.default) if option.several else option.default,
        "required": option.required,
        "show_default": not is_flag,
        "shell_complete": complete_corpora if option.name == "corpus" else None,
        "help": re.sub(r'``"?|"?``', "", option.help),  # markup of docstrings
    }


def _listed(values: object) -> str | None:
    """Values as they are given on the command line."""
    return ",".join(map(str, values)) if isinstance(values, Sequence) else None


def _click_type(option: Option) -> click.ParamType[object]:
    if option.several:
        return Several(_click_type(replace(option, several=False)))
    if isinstance(option.type, tuple):
        return NearChoice(option.type)
    if option.plugin is not None:
        return PluginName(option.plugin.kind, option.plugin.besides)
    if option.minimum is not None:
        return click.IntRange(min=int(option.minimum)) if option.type is int else click.FloatRange(min=option.minimum)
    types: dict[type, click.ParamType[object]] = {
        int: click.INT,
        float: click.FLOAT,
        bool: click.BOOL,
        str: click.STRING,
    }
    return types[option.type]


def with_options(options: Iterable[Option], group: str = OPTIONS) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Adds options to the function of a command."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        for option in reversed(list(options)):
            names, attributes = _declaration(option)
            function = click.option(*names, cls=GroupedOption, group=group, **attributes)(function)  # type: ignore[arg-type]
        return function

    return decorate


def was_given(ctx: click.Context, name: str | None) -> bool:
    """Whether the user named an option."""
    return ctx.get_parameter_source(name or "") == click.core.ParameterSource.COMMANDLINE
