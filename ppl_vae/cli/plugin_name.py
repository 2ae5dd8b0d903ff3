"""The name of a plugin as an option's value."""

from __future__ import annotations

from pathlib import Path

import click

from ppl_vae.plugins.discovery import Kind, available, find

__all__ = ["PluginName"]


class PluginName(click.ParamType[str]):
    """A plugin by name, or by the path of a user's file; the choices are looked up when they are needed.

    Arguments:
        kind: The kind of plugin.
        besides: Other choices.
    """

    name = "name"

    def __init__(self, kind: Kind, besides: tuple[str, ...] = ()) -> None:
        self.kind, self.besides = kind, besides

    @property
    def choices(self) -> tuple[str, ...]:
        """Every name, those of the working folder's files included."""
        return (*self.besides, *available(self.kind))

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return f"[{'|'.join(self.choices)}]"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Returns the name, of a user's file its whole path, so that a run can be taken up from any folder."""
        if value in self.besides:
            return value
        try:
            plugin = find(self.kind, value, besides=self.besides)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return plugin.name if plugin.shipped else str(Path(plugin.file).resolve())
