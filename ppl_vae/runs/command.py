"""The command that trains a run again, from its configuration."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import asdict

from ppl_vae.data.load import find_reader
from ppl_vae.plugins.options import Value
from ppl_vae.programs.loading import find
from ppl_vae.runs.config import ProgramChoice, RunConfig
from ppl_vae.runs.options import GUIDE, training_options
from ppl_vae.training.settings import OPEN

__all__ = ["train_command", "words_of"]

NOT_SHOWN = ("device", "schedule", "corpus", "model", "guide")
"""Entries of a configuration that the options below do not repeat, or that another machine may not have."""


def train_command(config: RunConfig) -> str:
    """The command of a run, with the options that are not the defaults; empty for a run of objects.

    What the command line cannot say, that an option is None, only Python can: then it is a call of ``ppl_vae.train``.

    Example:
        >>> from ppl_vae.runs.options import run_config
        >>> train_command(run_config("gmm", "full", epochs="3x1", beta=2, device="cpu"))
        'ppl-vae train gmm --guide full --beta 2.0 --epochs 3'
    """
    if config.is_of_objects:
        return ""
    defaults, given = _defaults(config), list[tuple[str, Value, bool]]()
    for name, value, of_program in _values(config):
        if name not in defaults or (defaults[name], type(defaults[name])) != (value, type(value)):
            given.append((name, value, of_program))
    if any(value is None for _, value, _ in given):
        options = "".join(f", {name}={value!r}" for name, value, _ in given)
        return f"ppl_vae.train({config.model.name!r}, {config.guide.name!r}{options})"
    words = ["ppl-vae", "train", config.model.name, "--guide", config.guide.name]
    return shlex.join([*words, *(word for option in given for word in words_of(*option))])


def words_of(name: str, value: Value, of_program: bool) -> list[str]:
    """An option as the command line has it.

    Arguments:
        name: Its name.
        value: Its value.
        of_program: Whether it is one of a model or guide, whose truth values are written out.

    Example:
        >>> words_of("learn_centres", True, True), words_of("retrain", False, False)
        (['--learn-centres', 'true'], ['--no-retrain'])
    """
    flag = name.replace("_", "-")
    if isinstance(value, bool) and not of_program:
        return [f"--{flag}" if value else f"--no-{flag}"]
    return [f"--{flag}", str(value).lower() if isinstance(value, bool) else str(value)]


def _defaults(config: RunConfig) -> dict[str, Value]:
    """What each option is where it is not given."""
    corpus: Value = None
    try:
        model, guide = find("models", config.model.name), find("guides", config.guide.name)
        groups, corpus = training_options(model, guide), model.corpus
    except ValueError:  # their files are gone, or do not load: all their options are named
        groups = training_options()
    defaults = {option.name: option.default for group in groups.values() for option in group if not option.required}
    return defaults | {"corpus": corpus, "draws": 16 if config.objective == "likelihood" else 1}


def _values(config: RunConfig) -> Iterator[tuple[str, Value, bool]]:
    """The options of a configuration by name, those of the model and the guide first, and whether they are theirs."""
    yield from _of(config.model, "")
    yield from _of(config.guide, GUIDE)
    phases = config.settings.schedule
    draws = {draws for _, draws in phases}
    epochs = ",".join(f"{epochs}x{draws}" for epochs, draws in phases)
    try:
        readers = {option.name: option.default for option in find_reader(config.corpus.name).options}
    except ValueError:  # a folder elsewhere, of which only the name is shown: its form is not known
        readers = {}
    options = {
        "corpus": config.corpus.name,
        "validation": config.corpus.validation,
        **{name: value for name, value in config.corpus.options.items() if readers.get(name, ...) != value},
        **asdict(config.rate_cost),
        "epochs": epochs if len(draws) > 1 else ",".join(str(count) for count, _ in phases if count != OPEN) or None,
        **({} if len(draws) > 1 else {"draws": draws.pop()}),
        **asdict(config.settings),
    }
    own = {option.name for group in training_options().values() for option in group}
    options |= {name: value for name, value in asdict(config).items() if name in own - options.keys()}
    yield from ((name, value, False) for name, value in options.items() if name not in {*NOT_SHOWN} - {"corpus"})


def _of(choice: ProgramChoice, prefix: str) -> Iterator[tuple[str, Value, bool]]:
    yield from ((prefix + name, value, True) for name, value in choice.options.items())
