"""``ppl-vae list``."""

from __future__ import annotations

import click

from ppl_vae.cli.output import Printed, with_json

__all__ = ["list_command"]


@click.command("list")
@click.option("--check", is_flag=True, help="Build every pair and compare it with the declaration.")
@with_json
def list_command(check: bool) -> Printed:
    """List what is chosen by name, and which of it fits together.

    Models, guides, estimators and corpora are listed with the models or guides that fit them; evidence methods and
    experiments with their summaries. For the files of this package what fits is declared in compatibility.json, which
    --check compares with every pair built anew; pairs with your own files are built.
    """
    from ppl_vae.runs.catalogue import catalogue

    return catalogue(check=check)
