"""The options of a training and the configuration they make: one place for the command line, sweeps and Python."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from itertools import chain, count
from pathlib import Path
from typing import Annotated, TypeVar

from msgspec import Meta

from ppl_vae.data import corpora, load_corpus
from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.load import find_reader
from ppl_vae.objectives.rate_cost import RateCost
from ppl_vae.plugins.options import Option, Value, checked, options_of
from ppl_vae.programs.loading import Definition, find_pair
from ppl_vae.runs.config import OBJECT, CorpusConfig, ProgramChoice, RunConfig
from ppl_vae.runs.devices import DeviceOption, resolve_device
from ppl_vae.training.progress import log
from ppl_vae.training.run_folder import RunFolder
from ppl_vae.training.settings import OPEN, Settings, parse_schedule

__all__ = ["absolute_corpus", "new_folder", "object_config", "reader_options", "run_config", "training_options"]

R = TypeVar("R")

NESTED = ("model", "guide", "corpus", "settings", "rate_cost", "fingerprint", "versions", "digests", "chosen_estimator")
"""Entries of a configuration that are no options themselves."""

GUIDE = "guide_"
"""Prefix of the guide's options."""

RESERVED = {"model", "guide", "out", "resume", "json", "help"}
"""Names that the command line and :func:`run_config` have besides options."""


def run_config(
    model: str,
    guide: str | None = None,
    *,
    corpus: str | None = None,
    epochs: str | int | None = None,
    draws: Annotated[int, Meta(ge=1)] | None = None,
    patience: int | None = None,
    device: DeviceOption = "auto",
    **options: Value,
) -> RunConfig:
    """The configuration of a training from options, each with the default of its class.

    Arguments:
        model: Name or file of the model.
        guide: Name or file of the guide; by default that of the model's file, else ``mean_field``.
        corpus: Named corpus, or path of your own data (ppl-vae list shows both); by default the one that the model
            names, else docstrings for models of documents and gaussians for models of tensors.
        epochs: Epochs, or phases EPOCHSxDRAWS such as 1000x1,500x10; by default 60, or as many as make 2,000 steps.
        draws: Draws per datum and step (pairs, for antithetic estimators); by default 1, for the likelihood 16.
        patience: Epochs without a better validation score after which training stops; 0 is never; by default 10, or a
            sixth of all epochs where that is more.
        device: Where to compute; auto is CUDA where there is one.
        options: Those of :func:`training_options`, by name.

    Raises:
        ValueError: If there is no such file, option or corpus, or a value is wrong, naming it.

    Example:
        >>> config = run_config("gmm", "full", epochs=3, beta=2, device="cpu")
        >>> config.settings.schedule, config.rate_cost.beta, config.corpus.name
        ([(3, 1)], 2.0, 'gaussians')
    """
    programs = find_pair(model, guide)
    groups = training_options(*programs)
    known = [option for group in groups.values() for option in group]
    where = f"{programs[0].name} with {programs[1].name}"
    named: dict[str, Value] = {
        "corpus": corpus,
        "epochs": None if epochs is None else str(epochs),
        "draws": draws,
        "patience": patience,
        "device": device,
    }
    given = checked(known, named | options, where)
    _check_relevance(options, str(given.get("objective", "elbo")))
    values = {option.name: given.get(option.name, option.default) for option in known}
    if missing := [option.name for option in known if option.required and option.name not in given]:
        raise ValueError(f"{where} needs {missing[0]}; give --{missing[0].replace('_', '-')}")
    name = str(values["corpus"] or programs[0].corpus)
    if values["corpus"] is None and not programs[0].shipped and not hasattr(programs[0].target, "corpus"):
        log(f"note: no data are named: training on the corpus {name}; name your own with --corpus (corpus=)")
    programs[0].check_corpus(name)
    reader = {option.name: option.default for option in find_reader(name).options}
    reader |= {option.name: given[option.name] for option in reader_options() if option.name in given}
    if reader.get("fields") == "":
        reader["fields"] = ",".join(programs[0].arguments)
    if "counts" in reader:
        reader["counts"] = programs[0].data is PackedCounts
    if programs[0].data is not PackedCounts and reader.pop("vocabulary", None) is not None and "vocabulary" in given:
        log(f"note: --vocabulary belongs to documents: {name} holds tensors, which have no words")
    if values["start"] is not None:
        start = RunFolder.open(Path(str(values["start"])))
        start.check_pair(f"begin with it by --generator {start.folder / 'generator.safetensors'} instead of --start")
        values["start"] = str(start.folder.resolve())
    model_options, guide_options = (
        {option.name.removeprefix(prefix): _absolute(values.pop(option.name)) for option in group}
        for group, prefix in zip(groups.values(), ("", GUIDE), strict=False)
    )
    choices = ProgramChoice.of(programs[0], model_options), ProgramChoice.of(programs[1], guide_options)
    return _assembled(values, choices, absolute_corpus(name), reader)


def object_config(
    definitions: tuple[Definition | None, Definition | None],
    names: tuple[str, str],
    corpus: str,
    options: Mapping[str, Value],
) -> RunConfig:
    """The configuration of a training of objects of a Python program.

    Arguments:
        definitions: Of model and guide, where they are given by name; None where they are objects.
        names: Names of model and guide in the configuration.
        corpus: The name of the data.
        options: Those of :func:`training_options`, by name.

    Raises:
        ValueError: If an option is unknown, or a value is wrong, naming it; or if one needs names or files.
    """
    groups = training_options(*definitions)
    known = [option for group in groups.values() for option in group]
    if options.get("epochs") is not None:  # a number, or phases as text
        options = {**options, "epochs": str(options["epochs"])}
    unknown = [name for name in options if name not in {option.name for option in known}]
    try:
        given = checked(known, options, f"{names[0]} with {names[1]}")
    except ValueError as error:
        if not (unknown and None in definitions):
            raise
        raise ValueError(
            f"{error}; an argument of a class belongs to its constructor: build the object, NAME({unknown[0]}=...), or "
            "give its file"
        ) from None
    by_name = {"retrain", "corpus", "start", *(option.name for option in reader_options())} - {"missing"}
    if needless := [name for name in options if name in by_name and options[name] not in (None, False)]:
        raise ValueError(f"{needless[0]} needs a model, a guide and data given by name or file; leave it out")
    if missing := [option.name for option in known if option.required and option.name not in given]:
        raise ValueError(f"{names[0]} with {names[1]} needs {missing[0]}")
    _check_relevance(options, str(given.get("objective", "elbo")))
    values = {option.name: given.get(option.name, option.default) for option in known}
    own: list[dict[str, Value]] = [{}, {}]
    for arguments, definition, prefix in zip(own, definitions, ("", GUIDE), strict=True):
        for option in definition.options() if definition is not None else ():
            arguments[option.name] = values.pop(prefix + option.name)
    choices = ProgramChoice(names[0] + OBJECT, "", own[0]), ProgramChoice(names[1] + OBJECT, "", own[1])
    return _assembled(values, choices, corpus + OBJECT, {"missing": True} if given.get("missing") else {})


def _assembled(
    values: Mapping[str, Value], choices: tuple[ProgramChoice, ProgramChoice], corpus: str, reader: dict[str, Value]
) -> RunConfig:
    """The configuration from the values of all options, its programs, its data and the options of their reader."""
    # The importance-weighted bound of one draw is the ELBO.
    draws = int(str(values["draws"] or (16 if values["objective"] == "likelihood" else 1)))
    epochs = values["epochs"]
    return _record(
        RunConfig,
        values,
        model=choices[0],
        guide=choices[1],
        corpus=_record(CorpusConfig, values, name=corpus, options=reader),
        settings=_record(
            Settings, values, schedule=[(OPEN, draws)] if epochs is None else parse_schedule(str(epochs), draws)
        ),
        rate_cost=_record(RateCost, values),
        device=resolve_device(values["device"]),  # type: ignore[arg-type]
    )


def training_options(model: Definition | None = None, guide: Definition | None = None) -> dict[str, list[Option]]:
    """The options of a training by the title of their group, those of the model and the guide first.

    Options of the guide have ``guide_`` before their names.

    Raises:
        ValueError: If an argument of the model or the guide has the name of another option.
    """
    own = {option.name: option for option in options_of(run_config, {"model", "guide"})}
    record = {option.name: option for option in options_of(RunConfig, NESTED) if option.name not in own}
    settings = {option.name: option for option in options_of(Settings, {"schedule", *own})}
    corpus, device, seed = own.pop("corpus"), own.pop("device"), settings.pop("seed")
    retrain, start = record.pop("retrain"), record.pop("start")
    training = {
        "Data": [corpus, *options_of(load_corpus, {"name", "seed", "cache"}), *reader_options()],
        "Objective": [
            record.pop("objective"),
            *options_of(RateCost),
            *(record.pop(name) for name in ("estimator", "control", "path_gradients", "kl")),
        ],
        "Optimisation": [*own.values(), *settings.values(), retrain, start, record.pop("examples")],
        "Run": [seed, device, *record.values()],
    }
    groups: dict[str, list[Option]] = {}
    taken = {option.name for group in training.values() for option in group} | RESERVED
    for definition, prefix in ((model, ""), (guide, GUIDE)):
        if definition is not None:
            options = [replace(option, name=prefix + option.name) for option in definition.options()]
            if clash := next((option.name for option in options if option.name in taken), None):
                flag, argument = f"--{clash.replace('_', '-')}", clash.removeprefix(prefix)
                raise ValueError(f"{definition.file}: argument {argument!r} clashes with the option {flag}; rename it")
            taken |= {option.name for option in options}
            groups[f"{definition.singular.capitalize()} {definition.name}"] = options
    return groups | training


def reader_options() -> list[Option]:
    """The options of all readers; each reader refuses those of others."""
    return list({option.name: option for reader in corpora().values() for option in reader.options}.values())


def _check_relevance(options: Mapping[str, Value], objective: str) -> None:
    """Refuses options of the rate where the objective has none, and says which options of the estimator are unused."""
    if objective != "likelihood" and options.get("path_gradients"):
        raise ValueError(
            "--path-gradients (path_gradients=) are those of the importance-weighted bound: take --objective "
            "likelihood (objective='likelihood'), with one draw for the ELBO"
        )
    if objective == "elbo":
        return
    learned = {"likelihood": "the likelihood", "sleep": "the sleep phase"}.get(objective, "wake-sleep")
    if rate := [f"--{field.name.replace('_', '-')}" for field in fields(RateCost) if field.name in options]:
        raise ValueError(
            f"{', '.join(rate)} weigh{'s' if len(rate) == 1 else ''} the rate, and {learned} has none; leave out "
            f"--objective {objective}"
        )
    if options.get("dreams"):
        raise ValueError(
            f"--dreams (dreams=) mixes data and draws of the model in the ELBO of the guide, and {learned} "
            f"{'has no part of the guide alone' if objective == 'likelihood' else 'is all dreams'}; leave it out"
        )
    if unused := [f"--{name}" for name in ("estimator", "control", "kl") if name in options]:
        reason = f"{learned} {'has a gradient estimator of its own' if objective == 'likelihood' else 'needs none'}"
        log(f"note: {' and '.join(unused)} belong{'s' if len(unused) == 1 else ''} to the ELBO: {reason}")


def _record(kind: Callable[..., R], values: Mapping[str, object], **others: object) -> R:
    """A dataclass from those values that it has fields for, and others."""
    names = inspect.signature(kind).parameters
    return kind(**{name: value for name, value in values.items() if name in names} | others)


def absolute_corpus(corpus: str) -> str:
    """A named corpus, or a whole path, so that a run can be continued from any folder."""
    return corpus if corpus in corpora() or not Path(corpus).exists() else str(Path(corpus).resolve())


def _absolute(value: Value) -> Value:
    """An option with a whole path, where it names what another run left: its tensors, or the course of its noise."""
    if isinstance(value, str) and value.endswith(".safetensors"):
        return str(Path(value).resolve())
    kind, colon, path = value.partition(":") if isinstance(value, str) else ("", "", "")
    return f"{kind}:{Path(path).resolve()}" if colon and kind == "schedule" else value


def new_folder(out: Path | None, name: str) -> Path:
    """The folder of a new run: a given one, or ``runs/NAME-TIME``.

    Raises:
        ValueError: If it holds a run already.
    """
    if out is None:
        path = f"runs/{name}-{time.strftime('%Y%m%d-%H%M%S')}"
        # Of two trainings begun in one second the later has a number behind its name.
        paths = map(Path, chain([path], (f"{path}-{number}" for number in count(2))))
        return next(path for path in paths if not path.exists())
    RunFolder.check_free(out)
    return out
