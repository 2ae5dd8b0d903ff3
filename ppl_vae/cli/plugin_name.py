"""The name or file of a plugin as an option's value."""

from __future__ import annotations

import click

from ppl_vae.cli.completion import names_of
from ppl_vae.plugins.discovery import Kind
from ppl_vae.plugins.options import PluginChoice

__all__ = ["PluginName"]


class PluginName(click.ParamType[str]):
    """A plugin by name, or by the path of a user's file; the choices are looked up when they are needed.

    Arguments:
        kind: The kind of plugin.
        besides: Other choices.
    """

    name = "name"

    def __init__(self, kind: Kind, besides: tuple[str, ...] = ()) -> None:
        self.choice = PluginChoice(kind, besides)

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return "NAME"  # the choices, which are many, are listed in the help

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[click.shell_completion.CompletionItem]:
        return names_of(self.choice.kind, self.choice.besides)(ctx, param, incomplete)

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name, of a user's file its whole path; usage errors list the choices."""
        try:
            return self.choice.resolve(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
