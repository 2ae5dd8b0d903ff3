"""``ppl-vae list``."""

from __future__ import annotations

import click

from ppl_vae.cli.output import Printed, with_json

__all__ = ["list_command"]


@click.command("list")
@click.option("--check", is_flag=True, help="Build every pair, and compare with what is declared.")
@with_json
def list_command(check: bool) -> Printed:
    """List models, guides, estimators and corpora.

    Beside each stands what it goes with. Pairs of files of your own are built to find out; for those of this package it
    is declared in compatibility.json, which --check compares with every pair as it is built now.
    """
    from ppl_vae.runs.catalogue import Catalogue

    return Catalogue.take(check=check)
