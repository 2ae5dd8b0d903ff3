"""Model, guide and objective of a run, built from its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.inputs import Batch, documents
from ppl_vae.evidence.clamping import early_notes
from ppl_vae.nn.checkpoint import Checkpoint
from ppl_vae.nn.observation_noise import ObservationNoise
from ppl_vae.nn.priors import VampPrior
from ppl_vae.objectives.base import Objective
from ppl_vae.objectives.choice import fit_estimator, shipped
from ppl_vae.objectives.elbo import DiscreteELBO
from ppl_vae.objectives.importance_weighted import ImportanceWeightedELBO
from ppl_vae.objectives.sleep_phase import SleepPhase
from ppl_vae.objectives.wake_sleep import WakeSleep
from ppl_vae.plugins.options import checked
from ppl_vae.programs.building import build_guide, build_model
from ppl_vae.programs.layouts import draws_note, set_layout
from ppl_vae.programs.loading import Definition, Kind, check_fit, find
from ppl_vae.programs.masked import masks_verified
from ppl_vae.programs.sites import guide_sites
from ppl_vae.runs.config import OptionValue, ProgramChoice, RunConfig
from ppl_vae.training.progress import log
from ppl_vae.training.run_folder import RunFolder
from ppl_vae.training.settings import Settings

__all__ = [
    "Choice",
    "Pair",
    "build_pair",
    "check_kind",
    "choices",
    "describe",
    "guide_of",
    "make_objective",
    "seeded_model",
]

WAKE_SLEEP = ("wake_sleep", "symmetric")
"""Names of one objective, of which the second is that of its derivation as a game."""


@dataclass
class Pair:
    """A model and a guide built for some data.

    Arguments:
        model: The model.
        guide: The guide.
        description: Names and options of both.
    """

    model: nn.Module
    guide: nn.Module
    description: str

    @classmethod
    def from_config(
        cls, config: RunConfig, data: Batch, *, start: str | None = None, from_checkpoint: bool = False
    ) -> Pair:
        """Builds a pair with parameters drawn from the configuration's seed.

        Arguments:
            config: The configuration.
            data: The training data.
            start: Folder of a run with whose trained parameters the pair starts.
            from_checkpoint: Whether the caller restores a checkpoint afterwards: files of tensors named by options may
                then be missing.

        Raises:
            ValueError: If a file has changed, an option is wrong, the model does not take this kind of data, or the
                guide does not fit the model; if the run to start from is missing, untrained, or of a pair with other
                tensors.
        """
        (model, model_options), (guide, guide_options) = choices(config)
        check_kind(model, data)
        given = {name: v for name, v in model_options.items() if not (from_checkpoint and _is_missing_file(v))}
        built, built_guide = build_pair((model, guide), (given, guide_options), config, data)
        pair = cls(built, built_guide, describe(config, model, guide))
        pair.prepare(config, start)
        return pair

    def prepare(self, config: RunConfig, start: str | None = None) -> None:
        """Freezes what the objective does not train, and takes the parameters of a run to start from."""
        if config.objective == "sleep":
            self.model.requires_grad_(False)  # the guide learns from data that the model draws
        if start is not None:
            self._start_from(start)

    def _start_from(self, folder: str) -> None:
        if not Path(folder).exists():
            raise ValueError(
                f"this training begins with the pair of {folder} (--start), which is missing; restore it, or start a "
                "new run"
            )
        run = RunFolder.open(Path(folder))
        path = run.checkpoint(run.best_state()[0])
        trained = Checkpoint.read(path)
        for name, part in self.model.named_modules():
            if isinstance(part, ObservationNoise):
                part.check_compatible(trained.part(f"model.{name}"), str(run.folder))
        trained.restore("model", self.model, path)
        trained.restore("guide", self.guide, path)


def build_pair(
    definitions: tuple[Definition, Definition],
    options: tuple[Mapping[str, OptionValue], Mapping[str, OptionValue]],
    config: RunConfig,
    x: Batch,
) -> tuple[nn.Module, nn.Module]:
    """Model and guide on the device of a configuration, with parameters drawn from its seed; their notes are said.

    Arguments:
        definitions: Those of model and guide.
        options: Their constructor arguments.
        config: The configuration.
        x: The training data.
    """
    model = seeded_model(definitions[0], options[0], config, x)
    check_fit(model, x[:2])
    with masks_verified(model, x[:3]):
        guide = guide_of(definitions[1], model, options[1], config, x)
        known = *draws_note(model, x[:3]), *early_notes(model, x[:2])
    for note in (*known, *getattr(model, "notes", ()), *getattr(guide, "notes", ())):
        log(f"note: {note}")
    return model, guide


def seeded_model(
    definition: Definition, options: Mapping[str, OptionValue], config: RunConfig, x: Batch
) -> torch.nn.Module:
    """The model of :func:`build_pair`."""
    torch.manual_seed(config.settings.seed)
    model = build_model(definition, options, x, torch.device(config.device))
    set_layout(model, plate=config.plate, vectorise=config.vectorise)
    return model


def guide_of(
    definition: Definition, model: nn.Module, options: Mapping[str, OptionValue], config: RunConfig, x: Batch
) -> torch.nn.Module:
    """The guide of :func:`build_pair`, built after its model."""
    guide = build_guide(definition, model, options, x, torch.device(config.device), config.examples)
    set_layout(guide, plate=config.plate)
    return guide


def check_kind(model: Definition, data: Batch) -> None:
    """Refuses documents for a model of tensors, and tensors for one of documents."""
    if model.data is not (kind := PackedCounts if documents(data) is not None else torch.Tensor):
        raise ValueError(f"model {model.name} reads {model.data.__name__}, but the data are {kind.__name__}")


def describe(config: RunConfig, model: Definition, guide: Definition) -> str:
    """Names and options of a pair."""
    options = [f"{name}={value}" for name, value in config.model.options.items()]
    options += [f"guide-{name}={value}" for name, value in config.guide.options.items()]
    return f"{model.name} with {guide.name}" + (f" ({', '.join(options)})" if options else "")


Choice = tuple[Definition, dict[str, OptionValue]]
"""A model or guide and the options of its constructor."""


def choices(config: RunConfig) -> tuple[Choice, Choice]:
    """Model and guide of a configuration by name, with their checked options.

    Raises:
        ValueError: If a file has changed since the run began, or an option is wrong.
    """
    return _choice("models", config.model), _choice("guides", config.guide)


def _choice(kind: Kind, choice: ProgramChoice) -> Choice:
    """A definition and its checked options; refuses a user's file that has changed since the run began, unrun."""
    definition = find(kind, choice.name, sha256=choice.sha256)
    try:
        return definition, checked(definition.options(), choice.options, f"{kind[:-1]}.options")
    except ValueError as error:
        raise ValueError(f"config.json: {error}; restore the file, or start a new run") from error


def _is_missing_file(option: OptionValue) -> bool:
    """Whether an option is a file of tensors that is missing."""
    return isinstance(option, str) and option.endswith(".safetensors") and not Path(option).exists()


def make_objective(config: RunConfig, pair: Pair, settings: Settings, x: Batch) -> tuple[Objective, str, Settings]:
    """Returns the objective of a run.

    Arguments:
        config: The configuration.
        pair: The pair.
        settings: Settings of the training.
        x: A batch of data.

    Returns:
        The objective, the name of its gradient estimator, and the settings, with enough draws for the estimator.
    """
    fewest = min(draws for _, draws in settings.schedule)
    if config.objective in ("sleep", *WAKE_SLEEP):
        if any(isinstance(part, VampPrior) for part in pair.model.modules()):
            raise ValueError(
                "the sleep phase trains the guide alone, but the prior of this model depends on the guide; take "
                "another prior or objective"
            )
        if config.objective == "sleep":
            return SleepPhase(), "pairs drawn from the model", settings
        return WakeSleep(), "wake-sleep, no gradient through latents", settings
    if config.objective == "likelihood":
        likelihood = ImportanceWeightedELBO(path_gradients=config.path_gradients)
        method = likelihood.method(pair.model, pair.guide, x[:2])
        if method == "importance weights" and fewest < 2:
            log("note: the importance-weighted bound of a single draw is the ELBO: take --draws 16 or more")
        return likelihood, method, settings
    sites = guide_sites(pair.guide, (x[:2],))
    wanted = config.estimator if config.chosen_estimator is None else shipped(config.chosen_estimator)
    estimator, line = fit_estimator(wanted, sites, pair.model, (x,), control=config.use_control)
    if line is not None:
        log(f"note: {line}")
    if (bias := estimator.bias) is not None and any(site.discrete for site in sites):
        log(f"note: {estimator.name} is biased, however many draws it takes: {bias}")
    if fewest < estimator.least_draws:
        schedule = [(epochs, max(draws, estimator.least_draws)) for epochs, draws in settings.schedule]
        settings = replace(settings, schedule=schedule)
        log(f"note: {estimator.name} needs {estimator.least_draws} draws per datum, which are taken")
    method = estimator.name if any(site.discrete for site in sites) else "reparameterised draws"
    return DiscreteELBO(estimator, beta=config.rate_cost, kl=config.kl), method, settings
