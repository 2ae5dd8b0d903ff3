"""``ppl-vae runs`` and ``ppl-vae runs remove``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from ppl_vae.cli.completion import RunPath
from ppl_vae.cli.errors import errors_in_one_line
from ppl_vae.cli.options import GroupedCommand, with_options
from ppl_vae.plugins.options import options_of
from ppl_vae.runs import listing

__all__ = ["runs"]


class ListingGroup(GroupedCommand, click.Group):
    """A group that does something itself, with grouped options."""


@click.group(cls=ListingGroup, invoke_without_command=True)
@with_options(options_of(listing.list_runs))
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON document.")
@click.pass_context
def runs(ctx: click.Context, /, as_json: bool, **options: Any) -> None:  # of the types of its options
    """List the runs in a folder with their ELBO, evidence and gap.

    ELBO and evidence are those of the final table, of the test data. Runs of experiments are listed, too. ppl-vae runs
    remove RUN removes one, with all that is in its folder.
    """
    if ctx.invoked_subcommand is None:
        result = listing.list_runs(**options)
        click.echo(json.dumps(result.to_json(), indent=2) if as_json else str(result))


@runs.command
@click.argument("folders", metavar="RUN...", nargs=-1, required=True, type=RunPath())
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(folders: tuple[Path, ...], yes: bool) -> None:
    """Remove runs, with all that is in their folders.

    A folder that is no run, a link, and a run with files that no run writes are refused; then none is removed.
    """
    from ppl_vae.runs.removal import check_removable, remove_runs

    with errors_in_one_line():
        for folder in folders:
            check_removable(folder)
        if not yes:
            if not sys.stdin.isatty():
                raise click.UsageError("nobody is there to ask; add --yes to remove the runs")
            click.confirm(f"remove {', '.join(map(str, folders))}", abort=True, err=True)
        remove_runs(*folders)
