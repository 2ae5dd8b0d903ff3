"""From a run's configuration to its data, model, guide and objective."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch.distributions import constraints

from ppl_vae.data import Corpus, load_corpus
from ppl_vae.data.counts import PackedCounts
from ppl_vae.distributions import exponential_family
from ppl_vae.nn.checkpoint import Checkpoint
from ppl_vae.nn.modes import evaluating
from ppl_vae.nn.observation_noise import ObservationNoise
from ppl_vae.nn.priors import VampPrior
from ppl_vae.objectives.base import Objective
from ppl_vae.objectives.choice import fit_estimator, make_estimator
from ppl_vae.objectives.elbo import DiscreteELBO
from ppl_vae.objectives.importance_weighted import ImportanceWeightedELBO
from ppl_vae.objectives.rate_cost import RateCost
from ppl_vae.objectives.sleep_phase import SleepPhase
from ppl_vae.programs.handlers import run as run_program
from ppl_vae.programs.loading import Definition, Kind, check_fit, find
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.sites import guide_sites
from ppl_vae.training.progress import log
from ppl_vae.training.run_folder import Run
from ppl_vae.training.settings import Settings

__all__ = ["Pair", "check_support", "load_data", "make_objective", "read_config"]

SUPPORTS = (
    (constraints.boolean, "zeros and ones"),
    (constraints.nonnegative_integer, "whole numbers from 0"),
    (constraints.unit_interval, "numbers from 0 to 1"),
)
"""What data a family takes, in words."""

S = TypeVar("S")

KINDS: tuple[Kind, ...] = ("models", "guides")


@dataclass
class Pair:
    """A model and a guide built for some data.

    Arguments:
        model: The module.
        guide: The module.
        words: Both in words, with their options.
        state: Digest of the parameters they were given, if any.
    """

    model: torch.nn.Module
    guide: torch.nn.Module
    words: str
    state: str = ""

    @classmethod
    def build(cls, config: dict[str, Any], train: Any, *, kept: bool = False) -> Pair:
        """Builds a fresh pair from the configuration, with parameters drawn from its seed.

        Arguments:
            config: As :func:`ppl_vae.runs.train.train` takes it.
            train: The data.
            kept: Whether a checkpoint is to follow: files of tensors that have gone are then not missed.

        Raises:
            ValueError: If the model does not take this kind of data, or the guide not this model.
        """
        model, guide = (_unchanged(find(kind, config[kind[:-1]]["name"]), config[kind[:-1]]) for kind in KINDS)
        if model.data is not (PackedCounts if isinstance(train, PackedCounts) else torch.Tensor):
            raise ValueError(f"model {model.name} reads {model.data.__name__}, but the data are {type(train).__name__}")
        torch.manual_seed(config["settings"]["seed"])
        given = {k: v for k, v in config["model"]["options"].items() if not (kept and _gone(v))}
        built = _build(model, (), given | model.facts(train))
        device = torch.device(config["device"])
        built.to(device)
        check_fit(built, train[:2])
        q = _build(guide, (built, train[:2]), config["guide"]["options"])
        q.to(device)
        if config.get("objective") == "sleep":
            built.requires_grad_(False)  # it is what the pairs are drawn from
        options = [f"{k}={v}" for k, v in config["model"]["options"].items()]
        options += [f"guide-{k}={v}" for k, v in config["guide"]["options"].items()]
        return cls(built, q, f"{model.name} with {guide.name}" + (f" ({', '.join(options)})" if options else ""))

    @classmethod
    def begin(cls, config: dict[str, Any], train: Any, *, kept: bool = False) -> Pair:
        """Builds a pair as a training finds it: fresh, or as the run that the configuration names as its start left it.

        Where a checkpoint is to follow, that run is not needed any more.

        Raises:
            ValueError: As by :meth:`build`; if that run has gone or has no trained state, or is of a pair with other
                tensors.
        """
        pair = cls.build(config, train, kept=kept)
        if config.get("start") and not kept:
            if not Path(config["start"]).exists():
                raise ValueError(
                    f"this training begins with the pair of {config['start']} (--start), which has gone; put it back, "
                    "or start a new run"
                )
            run = Run.open(Path(config["start"]))
            path = run.checkpoint(run.best_state()[0])
            start = Checkpoint.read(path)
            for name, part in pair.model.named_modules():
                if isinstance(part, ObservationNoise):
                    part.check_compatible(start.part(f"model.{name}"), str(run.folder))
            start.restore("model", pair.model, path)
            start.restore("guide", pair.guide, path)
            pair.state = start.digest
        return pair


def _unchanged(definition: Definition, known: dict[str, Any]) -> Definition:
    """A definition, if a user's own file is still the one that the run began with."""
    if not definition.shipped and known.get("sha256", definition.sha256) != definition.sha256:
        raise ValueError(f"{definition.file} has changed since the run began; restore it, or start a new run")
    return definition


def _gone(option: Any) -> bool:
    """Whether an option is a file of tensors that is no longer there."""
    return isinstance(option, str) and option.endswith(".safetensors") and not Path(option).exists()


def _build(definition: Definition, args: tuple[Any, ...], options: dict[str, Any]) -> torch.nn.Module:
    try:
        built: torch.nn.Module = definition.target(*args, **options)
    except TypeError as error:
        raise ValueError(f"{definition.file}: {definition.target.__name__} cannot be built: {error}") from error
    return built


def load_data(config: dict[str, Any]) -> Corpus:
    """The corpus of a configuration, the same documents as when the run began.

    Raises:
        ValueError: If the data have changed since.
    """
    corpus = load_corpus(**config["corpus"])
    known = config.get("fingerprint")
    if known is not None and known != corpus.fingerprint:
        raise ValueError(
            f"corpus {corpus.name} has changed since the run began (fingerprint {corpus.fingerprint[:12]}, the run has "
            f"{known[:12]}); restore the data, or start a new run"
        )
    return corpus


def read_config(config: dict[str, Any], folder: Path, key: str, kind: Callable[..., S]) -> tuple[S, Corpus]:
    """The settings of a configuration and its corpus, whose notes are said.

    Arguments:
        config: The configuration.
        folder: Of its run.
        key: Of the settings.
        kind: What they are made into.

    Raises:
        ValueError: If one is unknown or out of range, or the data have changed.
    """
    try:
        settings, corpus = kind(**config[key]), load_data(config)
    except TypeError as error:
        raise ValueError(f"{folder / 'config.json'} does not fit this version of the program: {error}") from error
    for note in corpus.notes:
        log(f"note: {note}")
    return settings, corpus


def check_support(model: torch.nn.Module, splits: Mapping[str, Any]) -> None:
    """Looks at whether the model can have made the data, where it observes tensors of bits, counts or shares.

    Raises:
        ValueError: If not, naming the site, a value and the remedy: what the model would give them is no likelihood.
    """
    with evaluating(model), fork_random_state():
        scored = run_program(model, (splits["train"][:2],), {}, draws=1)
    for name, site in scored.items():
        base = exponential_family.base(site["fn"])
        wants = next((words for kind, words in SUPPORTS if base.support is kind), None)
        if not site["is_observed"] or wants is None:
            continue
        for split, x in splits.items():
            wrong = x[~base.support.check(x)] if isinstance(x, torch.Tensor) else torch.empty(0)
            if len(wrong):
                raise ValueError(
                    f"site {name!r} is {type(base).__name__} and takes {wants}, but the {split} data have "
                    f"{wrong[0].item():g}; take data of that kind, or a model of numbers"
                )


def make_objective(config: dict[str, Any], pair: Pair, settings: Settings, x: Any) -> tuple[Objective, str]:
    """What the pair is trained on, and how its gradient is come by, in words; mends the schedule where it must."""
    fewest = min(draws for _, draws in settings.schedule)
    if config.get("objective") == "sleep":
        if any(isinstance(part, VampPrior) for part in pair.model.modules()):
            raise ValueError(
                "the sleep phase trains the guide alone, but the prior of this model is made of the guide; take "
                "another prior or objective"
            )
        return SleepPhase(), "pairs drawn from the model"
    if config.get("objective", "elbo") == "likelihood":
        likelihood = ImportanceWeightedELBO()
        how = likelihood.method(pair.model, pair.guide, x)
        if how == "importance weights" and fewest < 2:
            log("note: the importance-weighted bound of a single draw is the ELBO: take --draws 16 or more")
        return likelihood, how
    sites = guide_sites(pair.guide, (x,))
    estimator, line = fit_estimator(make_estimator(config["estimator"], config["control"]), sites, pair.model, x)
    asked = config["control"] is not None or estimator.name != config["estimator"]
    if line and asked:
        log(f"note: {line}")
    if fewest < estimator.least_draws:
        settings.schedule = [(e, max(d, estimator.least_draws)) for e, d in settings.schedule]
        log(f"note: {estimator.name} needs {estimator.least_draws} draws a datum: using as many")
    how = estimator.name if any(site.discrete for site in sites) else "reparameterised draws"
    return DiscreteELBO(estimator, beta=RateCost(**config.get("rate_cost", {}))), how
