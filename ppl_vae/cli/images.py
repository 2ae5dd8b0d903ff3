"""The commands of images: ``ppl-vae generator`` and ``ppl-vae frechet``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ppl_vae.cli.completion import RunPath
from ppl_vae.cli.measure import measuring
from ppl_vae.cli.options import GroupedCommand, was_given, with_options
from ppl_vae.cli.output import with_json
from ppl_vae.cli.train import check_alone
from ppl_vae.plugins.options import options_of
from ppl_vae.runs.train_gan import train_generator
from ppl_vae.training.gan import TrainedGenerator
from ppl_vae.training.gan_settings import GanSettings

__all__ = ["frechet", "generator"]


@click.command(cls=GroupedCommand)
@click.argument("corpus", required=False)
@with_options([*options_of(GanSettings), *options_of(train_generator, {"images", "out", "resume"})])
@click.option("--out", type=click.Path(path_type=Path), help="Run folder.  [default: runs/generator-TIME]")
@click.option("--resume", type=RunPath(), help="Continue a training that was interrupted; takes no other option.")
@with_json
@click.pass_context
def generator(
    ctx: click.Context,
    /,
    corpus: str | None,
    out: Path | None,
    resume: Path | None,
    **settings: Any,  # of the types of its options
) -> TrainedGenerator:
    """Train a convolutional GAN generator on images.

    CORPUS is mnist, an IDX file or folder, a folder of images, or a .npy file of them in [0, 1] (bytes over 255),
    (data, height, width) or (data, colours, height, width). Trained as DCGAN. Writes
    generator.safetensors, which ppl-vae train gan_gaussian --generator loads, sheets of samples, losses and checkpoints
    into the run. A resumed training ends bit for bit as an uninterrupted one.
    """
    if resume is not None:
        check_alone(ctx, "resume")
    elif corpus is None:
        raise click.UsageError("name the images, such as mnist or a folder, or --resume RUN", ctx)
    return train_generator(corpus, out=out, resume=resume, **settings)


class FrechetCommand(GroupedCommand):
    """A command that refuses options of a split where images of another run are compared."""

    def invoke(self, ctx: click.Context) -> object:
        if ctx.params["against"] is not None and (idle := [n for n in ("split", "data") if was_given(ctx, n)]):
            named = ", ".join(f"--{name}" for name in idle)
            raise click.UsageError(f"with --against both sets of images are drawn from models; leave out {named}", ctx)
        return super().invoke(ctx)


frechet = measuring("frechet", cls=FrechetCommand)
