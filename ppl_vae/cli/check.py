"""``ppl-vae check``."""

from __future__ import annotations

import click

from ppl_vae.cli.options import was_given
from ppl_vae.cli.output import Printed, with_json
from ppl_vae.cli.pair_command import PairCommand
from ppl_vae.plugins.options import Value

__all__ = ["check"]


@click.command(cls=PairCommand)
@click.argument("model")
@click.option(
    "--guide",
    help="Name or file of the guide (ppl-vae list shows them).  [default: that of the model's file, else mean_field]",
)
@with_json
@click.pass_context
def check(ctx: click.Context, /, model: str, guide: str | None, **options: Value) -> Printed:
    """Check a model and its guide before training; all faults at once.

    MODEL is a file or the name of a model; the options are those of ppl-vae train, so that check may take its place in
    any command. Nothing is written, and the few steps that are tried are undone. The exit code is 1 where a fault was
    found, one that training or measuring refuses or that leaves a parameter untrained.
    """
    from ppl_vae.runs.check.check import check

    return check(model, guide, **{name: value for name, value in options.items() if was_given(ctx, name)})
