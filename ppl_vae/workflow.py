"""From a run's configuration to its data, model, guide and objective, and through training to the final table."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pyro
import torch
from torch.distributions import constraints

from ppl_vae import exponential_family
from ppl_vae.batches import PackedCounts, concatenate
from ppl_vae.choice import fit_estimator, make_estimator
from ppl_vae.corpora import Corpus, load_corpus
from ppl_vae.diagnostics.rates import rate_and_distortion
from ppl_vae.evidence import measure, plan
from ppl_vae.likelihood import Likelihood
from ppl_vae.log_weight import run as run_program
from ppl_vae.losses import Objective
from ppl_vae.modes import evaluating
from ppl_vae.noise import Noise
from ppl_vae.objectives import DiscreteELBO
from ppl_vae.pairs import Definition, Kind, check_fit, find
from ppl_vae.progress import Reporter, say
from ppl_vae.randomness import kept_random_state, sample_of
from ppl_vae.rate_cost import RateCost, objective_words
from ppl_vae.runs import Checkpoint, Interrupted, Run
from ppl_vae.settings import Settings
from ppl_vae.sharpness import pixels, sharpness
from ppl_vae.sites import guide_sites
from ppl_vae.sleep import Sleep
from ppl_vae.summary import Split, Summary
from ppl_vae.training import NOTHING, Trainer

__all__ = ["Pair", "load_data", "make_objective", "read_config", "train"]

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
            config: As :func:`train` takes it.
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
                if isinstance(part, Noise):
                    part.check(start.part(f"model.{name}"), str(run.folder))
            pair.state = Checkpoint.into(path, pair.model, pair.guide).digest
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
        say(f"note: {note}")
    return settings, corpus


def train(config: dict[str, Any], folder: Path, *, resume: bool = False) -> Summary:
    """Trains a pair, or takes up a training where it was left, and measures the best state.

    Arguments:
        config: ``model`` and ``guide`` (``name``, ``options``), ``corpus`` (arguments of ``load_corpus``),
            ``settings`` (of :class:`~ppl_vae.settings.Settings`), ``objective`` (``"elbo"`` where it is missing),
            ``rate_cost`` (of :class:`~ppl_vae.rate_cost.RateCost`; may be missing), ``estimator``, ``control``,
            ``device``, ``evidence_draws``, ``evidence_data`` (may be missing) and ``retrain``; ``start``, the folder of
            a run whose pair to begin with, may be missing.
        folder: The run folder.
        resume: Whether it exists already.

    Returns:
        The summary, which is also written into the folder.
    """
    needed = ("model", "guide", "corpus", "settings", "estimator", "control", "device", "evidence_draws", "retrain")
    missing = [key for key in needed if key not in config]
    if missing:
        raise ValueError(f"the configuration lacks {', '.join(missing)}; restore {folder / 'config.json'}")
    settings, corpus = read_config(config, folder, "settings", Settings)
    device = torch.device(config["device"])
    splits = {name: getattr(corpus, name).to(device) for name in ("train", "validation", "test")}
    pair = Pair.begin(config, splits["train"], kept=resume and Run(folder).checkpoint("train-last").exists())
    check_support(pair.model, splits)
    objective, how = make_objective(config, pair, settings, splits["train"][:2])
    if not any(parameter.requires_grad for parameter in objective(pair.model, pair.guide).parameters()):
        raise ValueError(NOTHING)
    run = Run.open(folder) if resume else Run.create(folder, config | {"fingerprint": corpus.fingerprint})
    say(
        f"{pair.words}: {len(splits['train'])} training, {len(splits['validation'])} validation, "
        f"{len(splits['test'])} test data; gradient by {how}; run {folder}"
    )

    try:
        return _train_and_measure(config, run, pair, objective, how, settings, splits, corpus.notes, resume)
    except KeyboardInterrupt as error:
        raise Interrupted(f"ppl-vae train --resume {folder}") from error


def check_support(model: torch.nn.Module, splits: Mapping[str, Any]) -> None:
    """Looks at whether the model can have made the data, where it observes tensors of bits, counts or shares.

    Raises:
        ValueError: If not, naming the site, a value and the remedy: what the model would give them is no likelihood.
    """
    with evaluating(model), kept_random_state():
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
        if getattr(pair.model, "met", None) is not None:
            raise ValueError(
                "the sleep phase trains the guide alone, but the prior of this model is made of the guide; take "
                "another marginal or objective"
            )
        return Sleep(), "pairs drawn from the model"
    if config.get("objective", "elbo") == "likelihood":
        likelihood = Likelihood()
        how = likelihood.method(pair.model, pair.guide, x)
        if how == "importance weights" and fewest < 2:
            say("note: the importance-weighted bound of a single draw is the ELBO: take --draws 16 or more")
        return likelihood, how
    sites = guide_sites(pair.guide, (x,))
    estimator, line = fit_estimator(make_estimator(config["estimator"], config["control"]), sites, pair.model, x)
    asked = config["control"] is not None or estimator.name != config["estimator"]
    if line and asked:
        say(f"note: {line}")
    if fewest < estimator.least_draws:
        settings.schedule = [(e, max(d, estimator.least_draws)) for e, d in settings.schedule]
        say(f"note: {estimator.name} needs {estimator.least_draws} draws a datum: using as many")
    how = estimator.name if any(site.discrete for site in sites) else "reparameterised draws"
    return DiscreteELBO(estimator, beta=RateCost(**config.get("rate_cost", {}))), how


def _train_and_measure(
    config: dict[str, Any],
    run: Run,
    pair: Pair,
    objective: Objective,
    how: str,
    settings: Settings,
    splits: dict[str, Any],
    notes: tuple[str, ...],
    resume: bool,
) -> Summary:
    fresh = objective.state
    trainer = Trainer(pair.model, pair.guide, objective, run, settings)
    if resume and trainer.resume():
        say(f"taking up the training after epoch {trainer.epoch}")
    else:
        if resume:
            say("the run has no checkpoint yet: training from the start")
        torch.manual_seed(settings.seed)
    validation = splits["validation"] if len(splits["validation"]) else None
    trainer.fit(splits["train"], validation)
    if config["retrain"] and validation is not None:
        everything = concatenate([splits["train"], splits["validation"]])
        pair = Pair.begin(config, everything, kept=resume and run.checkpoint("retrain-last").exists())
        objective.state = fresh
        again = Trainer(pair.model, pair.guide, objective, run, settings, name="retrain")
        if not (resume and again.resume()):
            torch.manual_seed(settings.seed)
        say(f"training again on all {len(everything)} training and validation data for {trainer.best_epoch} epochs")
        again.fit(everything, None, epochs=trainer.best_epoch)
        again.restore_best()
        splits["train"] = everything
        del splits["validation"]
        notes = ("trained again on training and validation data for as many epochs as validation chose", *notes)
    else:
        trainer.restore_best()

    found = sharpness(pair.model, splits["train"]) if isinstance(splits["train"], torch.Tensor) else None
    if found is not None and found.warning:
        notes = (found.warning, *notes)
        say(f"note: {found.warning}")
    numbers = None if found is None else pixels(splits["train"])
    kept_rows = {}
    for name, x in splits.items():
        rows = sample_of(len(x), config.get("evidence_data", 0))
        splits[name] = x if rows is None else x[rows.to(x.device)]
        if rows is not None:
            kept_rows[f"{name}.rows"] = rows
            notes = (*notes, f"{name} is measured on {len(rows):,} of {len(x):,} data, drawn at random")
            say(f"note: {notes[-1]}")
    summary = Summary(
        run=str(run.folder),
        pair=pair.words,
        objective=objective_words(config),
        chosen_by=objective.chooses or "",
        estimator=how,
        best_epoch=trainer.best_epoch,
        epochs=trainer.epoch,
        splits=_measure(pair, splits, config, numbers),
        notes=notes,
    )
    run.write_json("summary.json", summary.to_json())
    values = {f"{name}.{key}": v for name, s in summary.splits.items() for key, v in s.pointwise().items()}
    Checkpoint(values | kept_rows, {"data": list(summary.splits)}).write(run.folder / "pointwise.safetensors")
    if all(math.isfinite(split.measurement.gap.mean) for split in summary.splits.values()):
        run.figure("training", lambda figure: summary.draw(figure, trainer.rows), (9, 3.8))
    else:
        say("note: no figure is drawn, since some of the results are not finite")
    return summary


def _measure(pair: Pair, splits: dict[str, Any], config: dict[str, Any], numbers: int | None) -> dict[str, Split]:
    draws = config["evidence_draws"]
    found = {}
    total = sum(plan(pair.model, x, draws=draws).cells for x in splits.values() if len(x))
    with (
        Reporter("evidence", total) as reporter,
        kept_random_state(config["settings"]["seed"]),
        pyro.validation_enabled(False),
    ):
        for name, x in splits.items():
            if len(x):
                measured = measure(pair.model, pair.guide, x, draws=draws, progress=lambda n: reporter.advance(n))
                found[name] = Split.of(
                    measured, x, *rate_and_distortion(pair.model, pair.guide, x, measured.elbo, draws), numbers
                )
    return found
