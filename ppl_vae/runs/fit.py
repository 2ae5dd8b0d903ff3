"""Guides fitted to the model of a run, stored in its folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pyro
import torch

from ppl_vae.nn.modes import frozen
from ppl_vae.objectives.rate_cost import RateCost
from ppl_vae.programs.building import build_guide
from ppl_vae.programs.layouts import set_layout
from ppl_vae.programs.loading import Definition, find
from ppl_vae.programs.masked import masks_verified
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.types import Program
from ppl_vae.runs.config import ProgramChoice, RunConfig, to_json
from ppl_vae.runs.engines.base import Engine
from ppl_vae.runs.open import Run
from ppl_vae.runs.pair import Pair, make_objective
from ppl_vae.runs.shards import open_as, send
from ppl_vae.training.lock import locked
from ppl_vae.training.progress import log
from ppl_vae.training.run_folder import RunFolder
from ppl_vae.training.settings import parse_schedule
from ppl_vae.training.trainer import Trainer
from ppl_vae.training.undertraining import undertrained

__all__ = ["GuideFit", "fit_elsewhere"]


def fit_elsewhere(opened: Run, engine: Engine, names: Mapping[str, str], epochs: str | None) -> None:
    """Fits guides by an engine, each in a process of its own; :meth:`GuideFit.fit` then finds them done.

    Arguments:
        opened: The run, which workers open by its folder.
        engine: The engine.
        names: Names or files of guides by label.
        epochs: Maximum number of epochs of each; None for that of the run.

    Raises:
        ValueError: If a worker cannot open the run as it is here, or a fit fails; the others are stored.
    """
    there = partial(_fit_there, epochs=epochs)
    send(opened, engine, "fits", {label: partial(there, name=name) for label, name in names.items()})


def _fit_there(folder: Path, key: str, *, name: str, epochs: str | None) -> None:
    with pyro.validation_enabled(False):
        GuideFit(open_as(folder, key), name, epochs).fit()


class GuideFit:
    """A guide fitted to the model of a run, which stays as it is.

    Arguments:
        opened: The run.
        name: Name of the guide, or its file. The run's own guide starts from its trained state, with its options;
            others start from initial parameters, with their default options.
        epochs: Maximum number of epochs; None for that of the run.
        label: Name of the fit; by default that of the guide.
        place: Folder in that of the run in which fits are stored.
        changes: Settings in which the fit differs from the training of the run.
    """

    def __init__(
        self,
        opened: Run,
        name: str,
        epochs: str | None,
        label: str = "",
        place: str = "ladder",
        **changes: Any,
    ) -> None:
        config = opened.config
        definition = find("guides", name)
        self.label = label or definition.name
        self.is_own = (
            not config.is_of_objects and definition.file.resolve() == find("guides", config.guide.name).file.resolve()
        )
        guide = config.guide if self.is_own else ProgramChoice.of(definition)
        # The guide learns by the ELBO, whatever the run was trained on.
        config = replace(config, guide=guide, objective="elbo", rate_cost=RateCost(), chosen_estimator=None)
        settings = replace(config.settings, **changes)
        if epochs is not None:
            settings = replace(settings, schedule=parse_schedule(epochs, settings.schedule[-1][1]))
        # Also after retraining on both splits: a guide must be judged on data that it was not trained on.
        corpus = opened.corpus
        self.train, validation = (data.values.to(config.device) for data in (corpus.train, corpus.validation))
        self.validation = validation if len(validation) else None
        self.pair = self._beside(opened, definition) if config.is_of_objects else self._anew(opened, config)
        self.objective, _, self.settings = make_objective(
            config, self.pair, settings, self.train[: settings.batch_size]
        )
        self.guide: Program = self.pair.guide
        self.folder = opened.run.folder / place / opened.state.named(self.label)
        self.identity = {"guide": to_json(guide), "model": opened.state.key} | (
            {"settings": changes} if changes else {}
        )
        self.seconds = 0.0
        if (self.folder / "config.json").exists():
            self._opened()  # refused before hours of fitting others

    def _anew(self, opened: Run, config: RunConfig) -> Pair:
        """A model with the tensors of the run's, and this guide."""
        pair = Pair.from_config(config, self.train, from_checkpoint=True)
        # A model of one object with the run's guide leaves it networks, which it holds itself beside another guide.
        known = opened.guide.state_dict() | opened.model.state_dict()
        pair.model.load_state_dict({name: known[name] for name in pair.model.state_dict()})
        if self.is_own:
            pair.guide.load_state_dict(opened.guide.state_dict())
        return pair

    def _beside(self, opened: Run, definition: Definition) -> Pair:
        """The run's own model, an object that nothing else can build, and this guide."""
        config = opened.config
        torch.manual_seed(config.settings.seed)
        device = torch.device(config.device)
        guide = build_guide(definition, opened.model, {}, self.train, device, config.examples)
        set_layout(guide, plate=config.plate)
        return Pair(opened.model, guide, f"{opened.pair.description}; {definition.name}")

    def _opened(self) -> RunFolder:
        if not (self.folder / "config.json").exists():
            return RunFolder.create(self.folder, self.identity)
        run = RunFolder.open(self.folder)
        if any(run.config.get(key) != value for key, value in self.identity.items()):
            raise ValueError(
                f"{self.folder} belongs to another state of the run's model, or to another guide; delete it to fit "
                "again"
            )
        return run

    def fit(self) -> str | None:
        """Fits the guide, or resumes its fit; returns a remark if more epochs would help, else None."""
        # A second ladder waits for the fit of the first, and finds it.
        with locked(self.folder, f"fits {self.label} there", wait=True):
            return self._fit(self._opened())

    def _fit(self, run: RunFolder) -> str | None:
        log(f"fitting {self.label} to {len(self.train)} data, the model fixed; {run.folder}")
        model = self.pair.model
        with masks_verified(model, self.train), frozen(model), fork_random_state(self.settings.seed):
            trainer = Trainer(model, self.pair.guide, self.objective, run, self.settings)
            if not trainer.resume():
                torch.manual_seed(self.settings.seed)
                if self.is_own and self.validation is not None:
                    trainer.keep_start(self.validation)
            trainer.fit(self.train, self.validation)
            trainer.restore_best()
        self.state = f"{self.label}-{trainer.best_epoch}-{trainer.best!r}"
        self.seconds = sum(float(row["seconds"]) for row in trainer.rows)
        metric = self.objective.selection_metric or ""
        found = undertrained(trainer.rows, metric, trainer.best_epoch, self.settings.schedule)
        return None if found is None else f"{self.label}: {found[1]}"
