"""Trains a GAN generator into a run folder."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from ppl_vae.nn.checkpoint import Checkpoint
from ppl_vae.runs.config import read_config
from ppl_vae.data.images import picture
from ppl_vae.nn.dcgan import Downwards, Generator
from ppl_vae.evidence.figures import marker, whole
from ppl_vae.objectives.base import NonFiniteError
from ppl_vae.nn.checkpoint import kept_optimizer, restore_optimizer
from ppl_vae.training.progress import Reporter, say
from ppl_vae.programs.random_state import kept_random_state, random_states, set_random_states
from ppl_vae.training.run_folder import Interrupted, Run
from ppl_vae.data.images import pixels
from ppl_vae.evidence.figures import show_sheet
from ppl_vae.training.gan import GanSettings, Trained, _checked, fit_generator

__all__ = ["train_generator"]

def train_generator(config: dict[str, Any], folder: Path, *, resume: bool = False) -> Trained:
    """Trains a generator on the training pictures of a corpus.

    Arguments:
        config: ``generator`` (of :class:`GanSettings`), ``corpus`` (arguments of ``load_corpus``) and ``device``.
        folder: The run folder.
        resume: Whether it exists already.
    """
    missing = [key for key in ("generator", "corpus", "device") if key not in config]
    if missing:
        raise ValueError(f"{folder} holds no training of a generator: its configuration lacks {', '.join(missing)}")
    settings, corpus = read_config(config, folder, "generator", GanSettings)
    x = _checked(corpus.train, settings)
    run = Run.open(folder) if resume else Run.create(folder, config | {"fingerprint": corpus.fingerprint})
    say(f"generator of {settings.latents} latents: {len(x)} pictures of {tuple(x.shape[1:])}; run {folder}")
    try:
        found = fit_generator(x.to(config["device"]), run, settings)
    except KeyboardInterrupt as error:
        raise Interrupted(f"ppl-vae generator --resume {folder}") from error
    run.write_json("generator.json", found.to_json())
    return found
