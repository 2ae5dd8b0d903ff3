"""``ppl-vae new``."""

from __future__ import annotations

import click

from ppl_vae.cli.options import GroupedCommand, with_options
from ppl_vae.cli.output import Printed, with_json
from ppl_vae.plugins.options import Value, options_of
from ppl_vae.runs.new.new import new as write

__all__ = ["new"]


@click.command(cls=GroupedCommand)
@click.argument("name")
@with_options(options_of(write, {"name"}))
@with_json
def new(name: str, **options: Value) -> Printed:
    """Write a model, a guide and a test to begin with.

    NAME is the folder to make; its last part names the files. They are short, with a comment where there is a choice,
    and train, are measured and reported at once by the commands that are printed. Nothing is ever overwritten.
    """
    return write(name, **options)  # type: ignore[arg-type]
