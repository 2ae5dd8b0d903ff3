"""Trains a GAN generator into a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ppl_vae.runs.config import read_config
from ppl_vae.training.gan import GanSettings, Trained, _checked, fit_generator
from ppl_vae.training.progress import log
from ppl_vae.training.run_folder import Interrupted, Run

__all__ = ["train_generator"]


def train_generator(config: dict[str, Any], folder: Path, *, resume: bool = False) -> Trained:
    """Trains a generator on the training images of a corpus.

    Arguments:
        config: ``generator`` (of :class:`GanSettings`), ``corpus`` (arguments of ``load_corpus``) and ``device``.
        folder: The run folder.
        resume: Whether it exists already.
    """
    missing = [key for key in ("generator", "corpus", "device") if key not in config]
    if missing:
        raise ValueError(f"{folder} holds no training of a generator: its configuration lacks {', '.join(missing)}")
    settings, corpus = read_config(config, folder, "generator", GanSettings)
    x = _checked(corpus.train.values, settings)
    run = Run.open(folder) if resume else Run.create(folder, config | {"fingerprint": corpus.fingerprint})
    log(f"generator of {settings.latents} latents: {len(x)} images of {tuple(x.shape[1:])}; run {folder}")
    try:
        found = fit_generator(x.to(config["device"]), run, settings)
    except KeyboardInterrupt as error:
        raise Interrupted(f"ppl-vae generator --resume {folder}") from error
    run.write_json("generator.json", found.to_json())
    return found
