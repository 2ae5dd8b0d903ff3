"""``ppl-vae list``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ppl_vae.cli.options import NearChoice
from ppl_vae.cli.output import Printed, with_json

if TYPE_CHECKING:
    from ppl_vae.runs.catalogue import Chosen

__all__ = ["list_command"]


@click.command("list")
@click.argument(
    "kind",
    required=False,
    type=NearChoice(["models", "guides", "estimators", "corpora", "evidence", "experiments", "engines"]),
    metavar="[KIND]",
)
@click.option("--check", is_flag=True, help="Build every pair and compare it with the declaration.")
@with_json
def list_command(kind: Chosen | None, check: bool) -> Printed:
    """List what is chosen by name, and which of it fits together.

    KIND is models, guides, estimators or corpora, listed with the models or guides that fit them, or evidence,
    experiments or engines; without it everything is listed in short. For the files of this package what fits is
    declared in compatibility.json, which --check compares with every pair built anew; pairs with your own files are
    built.
    """
    from ppl_vae.runs.catalogue import catalogue

    return catalogue(kind, check=check)
