"""``ppl-vae report``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from ppl_vae.cli.measure import SHARED, text_of
from ppl_vae.cli.options import GroupedCommand, with_options
from ppl_vae.cli.output import Printed, with_json
from ppl_vae.plugins.options import options_of
from ppl_vae.runs.uses import Uses

__all__ = ["report"]

OPTIONS = [replace(option, help=option.help or SHARED.get(option.name, "")) for option in options_of(Uses.report)]


@click.command(cls=GroupedCommand, help=text_of(Uses.report))
@click.argument("folders", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@with_options(OPTIONS)
@with_json
def report(folders: tuple[Path, ...], **options: Any) -> Printed:  # of the types of the method's options
    """Write a report of trained runs: one HTML page."""
    from ppl_vae.runs.report.report import report

    return report(*folders, **options)
