"""Trains a GAN generator into a run folder."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from ppl_vae.runs.config import CorpusConfig, from_json, to_json
from ppl_vae.runs.devices import Device
from ppl_vae.training.gan import TrainedGenerator, fit_generator
from ppl_vae.training.gan_settings import GanSettings, check_images
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


def train_generator(config: GeneratorConfig, folder: Path, *, resume: bool = False) -> TrainedGenerator:
    """Trains a generator on the training images of a corpus.

    Arguments:
        config: The configuration.
        folder: The run folder.
        resume: Whether to continue an existing run.
    """
    settings, corpus = config.generator, config.corpus.load(config.fingerprint)
    for note in corpus.notes:
        log(f"note: {note}")
    x = check_images(corpus.train.values, settings)
    config = replace(config, fingerprint=corpus.fingerprint)
    run = RunFolder.open(folder) if resume else RunFolder.create(folder, to_json(config))
    log(f"generator of {settings.latents} latents: {len(x)} images of {tuple(x.shape[1:])}; run {folder}")
    try:
        trained = fit_generator(x.to(config.device), run, settings)
    except KeyboardInterrupt as error:
        raise Interrupted(f"ppl-vae generator --resume {folder}") from error
    run.write_json("generator.json", trained.to_json())
    return trained
