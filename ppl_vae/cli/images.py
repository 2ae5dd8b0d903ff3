"""The commands of images: ``ppl-vae generator`` and ``ppl-vae frechet``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ppl_vae.cli.devices import device_option
from ppl_vae.cli.measure import measuring
from ppl_vae.cli.options import GroupedCommand, with_options
from ppl_vae.cli.output import Printed, with_json
from ppl_vae.cli.train import check_alone, was_given
from ppl_vae.plugins.options import Value, options_of
from ppl_vae.runs.config import CorpusConfig
from ppl_vae.runs.devices import Device, resolve_device
from ppl_vae.runs.options import absolute_corpus, new_folder, reader_options
from ppl_vae.training.gan import TrainedGenerator
from ppl_vae.training.gan_settings import GanSettings
from ppl_vae.training.run_folder import RunFolder

__all__ = ["frechet", "generator"]


@click.command(cls=GroupedCommand)
@click.argument("corpus", required=False)
@with_options([*options_of(GanSettings), *(option for option in reader_options() if option.name == "image_size")])
@device_option
@click.option("--out", type=click.Path(path_type=Path), help="Run folder.  [default: runs/generator-TIME]")
@click.option(
    "--resume", type=click.Path(path_type=Path), help="Continue a training that was interrupted; takes no other option."
)
@with_json
@click.pass_context
def generator(
    ctx: click.Context,
    /,
    corpus: str | None,
    out: Path | None,
    resume: Path | None,
    device: Device,
    image_size: int,
    **settings: Value,
) -> TrainedGenerator:
    """Train a convolutional GAN generator on images.

    CORPUS is mnist, an IDX file or folder, a folder of images, or a .npy file of them in [0, 1] (bytes over 255),
    (data, height, width) or (data, colours, height, width). Trained as DCGAN. Writes
    generator.safetensors, which ppl-vae train gan_gaussian --generator loads, sheets of samples, losses and checkpoints
    into the run. A resumed training ends bit for bit as an uninterrupted one.
    """
    from ppl_vae.runs.train_gan import GeneratorConfig, train_generator

    if resume is not None:
        check_alone(ctx, "resume")
        config = GeneratorConfig.of(RunFolder.open(resume))
        resolve_device(config.device)
        return train_generator(config, resume, resume=True)
    if corpus is None:
        raise click.UsageError("name the images, such as mnist or a folder, or --resume RUN", ctx)
    size: dict[str, int | float | bool | str] = {"image_size": image_size} if image_size else {}
    images = CorpusConfig(absolute_corpus(corpus), validation=0.0, options=size)
    config = GeneratorConfig(GanSettings(**settings), images, device)  # type: ignore[arg-type]
    return train_generator(config, new_folder(out, "generator"))


@measuring
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    help="Compare with images of this run's model.  [default: with the images of the split]",
)
@click.option(
    "--images",
    default=10_000,
    show_default=True,
    type=click.IntRange(min=2),
    help="Number of images that each model draws.",
)
@click.option("--means", is_flag=True, help="Compare the means of p(x | z) instead of samples.")
@click.option(
    "--features",
    default="classifier",
    show_default=True,
    type=click.Choice(["classifier", "inception"]),
    help="Features of a classifier trained on the run's labelled images, or of Inception (the FID).",
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    help="File of Inception's weights, never downloaded.  [default: in torch's folder of downloads]",
)
def frechet(folder: Path, split: str, count: int, **how: Any) -> Printed:
    """Measure the Frechet distance of images that a model draws.

    For scale, the table also has the distance between training images and those of the split (or test images, with
    --split train), or between two sets of draws of the other run, which is not 0 either. Distances depend on the
    features: only those by Inception are the FID, which needs pip install 'ppl-vae[fid]' and the weights. The
    classifier is trained on the run's labelled training images and stored in RUN/classifier.safetensors; only
    distances by the same classifier, whose digest the table shows, can be compared. Writes
    frechet-REFERENCE-FEATURES.json into the run.
    """
    ctx = click.get_current_context()
    if how["against"] is not None and (idle := [n for n in ("split", "count") if was_given(ctx, n)]):
        named = ", ".join(f"--{'data' if name == 'count' else name}" for name in idle)
        raise click.UsageError(f"with --against both sets of images are drawn from models; leave out {named}", ctx)
    if how["weights"] is not None and how["features"] != "inception":
        raise click.UsageError("--weights is for Inception: add --features inception, or leave it out", ctx)
    from ppl_vae.runs.frechet import measure_frechet

    return measure_frechet(folder, split, count, **how)
