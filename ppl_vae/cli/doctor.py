"""``ppl-vae doctor``."""

from __future__ import annotations

import json
import sys

import click

from ppl_vae.runs.doctor import doctor as look

__all__ = ["doctor"]


@click.command
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON document.")
def doctor(as_json: bool) -> None:
    """Look at this installation: versions, devices, folders, missing extras.

    Each row is ok, a note (something optional is missing) or a fault (commands fail by it; the exit status is 1), with
    what to do. Nothing is changed; a file is written into each folder and removed again.
    """
    result = look()
    click.echo(json.dumps(result.to_json(), indent=2) if as_json else str(result))
    if result.faults:
        sys.exit(1)
