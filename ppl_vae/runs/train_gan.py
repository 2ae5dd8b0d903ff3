"""Trains a GAN generator into a run folder."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from ppl_vae.plugins.options import Value, checked, options_of
from ppl_vae.runs.config import CorpusConfig, from_json, to_json
from ppl_vae.runs.devices import Device, DeviceOption, resolve_device
from ppl_vae.runs.options import absolute_corpus, new_folder
from ppl_vae.training.gan import TrainedGenerator, fit_generator
from ppl_vae.training.gan_settings import GanSettings, check_images
from ppl_vae.training.lock import locked
from ppl_vae.training.progress import log
from ppl_vae.training.run_folder import Interrupted, RunFolder

__all__ = ["GeneratorConfig", "train_generator"]


@dataclass(frozen=True)
class GeneratorConfig:
    """All that determines the training of a generator.

    Arguments:
        generator: Settings of the training.
        corpus: The images.
        device: Device of the training.
        fingerprint: Digest of the data.
        versions: Package versions at the start of the run.
    """

    generator: GanSettings
    corpus: CorpusConfig
    device: Device = "cpu"
    fingerprint: str | None = None
    versions: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, run: RunFolder) -> GeneratorConfig:
        """The configuration of a run; a ValueError names an unknown, missing or wrong entry."""
        if "generator" not in run.config:
            raise ValueError(f"{run.folder} holds no training of a generator; give the folder of one")
        return from_json(cls, run.config, run.folder / "config.json")


def train_generator(
    images: str | Path | None = None,
    *,
    image_size: Annotated[int, Meta(ge=0)] = 0,
    device: DeviceOption = "auto",
    out: str | Path | None = None,
    resume: str | Path | None = None,
    **settings: Value,
) -> TrainedGenerator:
    """Trains a convolutional GAN generator on images, as ``ppl-vae generator`` does.

    Arguments:
        images: ``mnist``, an IDX file or folder, a folder of images, or a ``.npy`` file of them in [0, 1].
        image_size: Height and width to which images are scaled; 0 leaves them.
        device: Where to compute; auto is CUDA where there is one.
        out: The run folder; by default ``runs/generator-TIME``.
        resume: Run of an interrupted training to continue, instead of all else.
        settings: Options of :class:`~ppl_vae.training.gan_settings.GanSettings`.

    Raises:
        ValueError: If the images are missing or no images, or an option is wrong, naming it.
    """
    if resume is not None:
        run = RunFolder.open(Path(resume))
        config = GeneratorConfig.of(run)
        resolve_device(config.device)
        return _trained(config, run.folder, resume=True)
    if images is None:
        raise ValueError("name the images, such as mnist or a folder, or the run to resume")
    options: dict[str, int | float | bool | str] = {"image_size": image_size} if image_size else {}
    named = GanSettings(**checked(options_of(GanSettings), settings, "the generator"))
    corpus = CorpusConfig(absolute_corpus(str(images)), validation=0.0, options=options)
    folder = new_folder(None if out is None else Path(out), "generator")
    return _trained(GeneratorConfig(named, corpus, resolve_device(device)), folder)


def _trained(config: GeneratorConfig, folder: Path, *, resume: bool = False) -> TrainedGenerator:
    """Trains a generator into a new folder, or continues the training of an existing one."""
    settings, corpus = config.generator, config.corpus.load(config.fingerprint)
    for note in corpus.notes:
        log(f"note: {note}")
    x = check_images(corpus.train.values, settings)
    config = replace(config, fingerprint=corpus.fingerprint)
    with locked(folder, "trains there"):
        run = RunFolder.open(folder) if resume else RunFolder.create(folder, to_json(config))
        log(f"generator of {settings.latents} latents: {len(x)} images of {tuple(x.shape[1:])}; run {folder}")
        try:
            trained = fit_generator(x.to(config.device), run, settings)
        except KeyboardInterrupt as error:
            raise Interrupted(f"ppl-vae generator --resume {folder}") from error
        run.write_json("generator.json", trained.to_json())
        return trained
