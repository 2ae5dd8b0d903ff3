"""``ppl-vae data pack``."""

from __future__ import annotations

from pathlib import Path

import click

from ppl_vae.cli.options import GroupedCommand, was_given, with_options
from ppl_vae.cli.output import Printed, with_json
from ppl_vae.data.packed.pack import pack as write
from ppl_vae.plugins.options import Value, options_of
from ppl_vae.runs.options import reader_options

__all__ = ["pack"]

OWN = options_of(write, {"corpora", "out"})


@click.command(cls=GroupedCommand)
@click.argument("corpora", nargs=-1, required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to make.")
@with_options([*OWN, *(option for option in reader_options() if option.name != "vocabulary")])
@with_json
@click.pass_context
def pack(ctx: click.Context, /, corpora: tuple[str, ...], out: Path, **options: Value) -> Printed:
    """Pack data that are larger than memory, for training.

    CORPORA are names or paths of data, as --corpus takes them: the parts of one corpus, each of which must fit into
    memory; of a Parquet table each row group is one, of a .npy some rows. Splits and vocabulary are chosen here, as
    train chooses them. A model reads a little of the folder at a time: ppl-vae train MODEL --corpus FOLDER
    """
    own = {option.name for option in OWN}
    given = {name: value for name, value in options.items() if name in own or was_given(ctx, name)}
    return write(corpora, out, **given)  # type: ignore[arg-type]
