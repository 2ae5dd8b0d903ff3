"""The commands of images: ``ppl-vae generator`` and ``ppl-vae frechet``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ppl_vae.cli.devices import device_option
from ppl_vae.cli.measure import measuring, with_json
from ppl_vae.cli.search import COMMANDS
from ppl_vae.cli.train import begun, new_folder, was_given, whole_corpus

__all__ = ["COMMANDS"]

POSITIVE = click.IntRange(min=1)


@click.command
@click.argument("corpus", required=False)
@click.option("--latents", default=100, show_default=True, type=POSITIVE, help="Numbers of a code.")
@click.option(
    "--channels",
    default=64,
    show_default=True,
    type=POSITIVE,
    help="Of the generator's last hidden layer and the discriminator's first.",
)
@click.option(
    "--image-size",
    default=0,
    type=click.IntRange(min=0),
    help="Side that images are brought to, such as 32 or 64.  [default: as they are]",
)
@click.option("--epochs", default=25, show_default=True, type=POSITIVE)
@click.option("--batch-size", default=128, show_default=True, type=click.IntRange(min=2), help="Images a step.")
@click.option("--learning-rate", default=2e-4, show_default=True, help="Of Adam, whose momentum is 0.5.")
@click.option("--seed", default=0, show_default=True, help="Of weights, codes, and the order of images.")
@device_option
@click.option("--out", type=click.Path(path_type=Path), help="Run folder.  [default: runs/generator-TIME]")
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    help="Go on with a training that was interrupted; takes no other option.",
)
@with_json
@click.pass_context
def generator(ctx: click.Context, /, corpus: str | None, out: Path | None, resume: Path | None, **options: Any) -> Any:
    """Train a convolutional generator against a discriminator on the images of CORPUS.

    CORPUS is mnist, an IDX file or folder, a folder of images, or a .npy file of them in [0, 1] (bytes over 255),
    (data, height, width) or (data, colours, height, width). The recipe is that of DCGAN. Writes
    generator.safetensors, which ppl-vae train gan_gaussian --generator loads, sheets of samples, losses and checkpoints
    into the run; the end is bit for bit the same after an interruption.
    """
    from ppl_vae.runs.train_gan import train_generator
    from ppl_vae.training.gan import GanSettings

    if resume is not None:
        return train_generator(begun(ctx, resume), resume, resume=True)
    if corpus is None:
        raise click.UsageError("name the images, such as mnist or a folder, or --resume RUN", ctx)
    size, device = options.pop("image_size"), options.pop("device")
    GanSettings(**options)
    folder = new_folder(out, "generator")
    config = {
        "generator": options,
        "corpus": {"name": whole_corpus(corpus), "validation": 0.0} | ({"image_size": size} if size else {}),
        "device": device,
    }
    return train_generator(config, folder)


COMMANDS.append(generator)


@measuring
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    help="Compare with what this run's model draws.  [default: with the images of the split]",
)
@click.option("--images", default=10_000, show_default=True, type=click.IntRange(min=2), help="Each model draws.")
@click.option("--means", is_flag=True, help="Of what models draw, the means of p(x | z), without noise.")
@click.option(
    "--features",
    default="classifier",
    show_default=True,
    type=click.Choice(["classifier", "inception"]),
    help="Of a classifier trained on the run's labelled images, or of Inception (the FID).",
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    help="Inception's, never fetched.  [default: where torch keeps what it fetches]",
)
def frechet(folder: Path, split: str, count: int, **how: Any) -> Any:
    """Measure the Frechet distance of images that a trained RUN's model draws, from data or from another run's.

    Beside it stands that of training images from those of the split (or of test images, with --split train), or of
    further draws of the other run: it is not 0 either. A figure means something only with its features: it is the FID
    with Inception's alone, which takes pip install 'ppl-vae[fid]' and the weights. The classifier is trained on the
    run's training images, which needs labels, and kept in RUN/classifier.safetensors: only figures by the same one
    can be compared, and its name has its digest. Writes frechet-REFERENCE-FEATURES.json into the run.
    """
    ctx = click.get_current_context()
    if how["against"] is not None and (idle := [n for n in ("split", "count") if was_given(ctx, n)]):
        named = ", ".join(f"--{'data' if name == 'count' else name}" for name in idle)
        raise click.UsageError(f"with --against both sets are drawn by models; leave out {named}", ctx)
    if how["weights"] is not None and how["features"] != "inception":
        raise click.UsageError("--weights are those of Inception: add --features inception, or leave them out", ctx)
    from ppl_vae.runs.frechet import measure_frechet

    return measure_frechet(folder, split, count, **how)
