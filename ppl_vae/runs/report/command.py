"""The command that trains a run again, from its configuration."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict

from ppl_vae.data.load import find_reader
from ppl_vae.plugins.options import Value
from ppl_vae.programs.loading import find
from ppl_vae.runs.config import ProgramChoice, RunConfig
from ppl_vae.runs.options import GUIDE, training_options

__all__ = ["train_command"]


def train_command(config: RunConfig) -> str:
    """The command of a run, with the options that are not the defaults; empty for a run of objects.

    Example:
        >>> from ppl_vae.runs.options import run_config
        >>> train_command(run_config("gmm", "full", epochs="3x1", beta=2, device="cpu"))
        'ppl-vae train gmm --guide full --beta 2.0 --epochs 3'
    """
    if config.is_of_objects:
        return ""
    values = _values(config)
    words = ["ppl-vae", "train", config.model.name, "--guide", config.guide.name]
    try:
        definitions = find("models", config.model.name), find("guides", config.guide.name)
        defaults = {o.name: o.default for group in training_options(*definitions).values() for o in group}
        defaults |= {option.name: option.default for option in find_reader(config.corpus.name).options}
        defaults["corpus"] = definitions[0].corpus
    except ValueError:  # their files are gone, or do not load: all is named
        defaults = {}
    defaults |= {"draws": 16 if config.objective == "likelihood" else 1}
    for name, value in values.items():
        if name in ("device",) or value is None or defaults.get(name) == value:
            continue
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words += [f"--{flag}", str(value)]
    return shlex.join(words)


def _values(config: RunConfig) -> dict[str, Value]:
    """The options of a configuration by name, those of the model and the guide first."""
    phases = config.settings.schedule
    draws = {draws for _, draws in phases}
    epochs = ",".join(f"{epochs}x{draws}" for epochs, draws in phases)
    settings, cost = asdict(config.settings), asdict(config.rate_cost)
    own = {"objective", "estimator", "control", "kl", "examples", "plate", "vectorise", "start", "retrain"}
    own |= {"evidence_draws", "evidence_data"}
    return {
        **_of(config.model, ""),
        **_of(config.guide, GUIDE),
        "corpus": config.corpus.name,
        "validation": config.corpus.validation,
        **config.corpus.options,
        **{name: value for name, value in asdict(config).items() if name in own},
        **cost,
        "epochs": epochs if len(draws) > 1 else ",".join(str(count) for count, _ in phases),
        "draws": None if len(draws) > 1 else draws.pop(),
        **{name: value for name, value in settings.items() if name != "schedule"},
    }


def _of(choice: ProgramChoice, prefix: str) -> Mapping[str, Value]:
    return {prefix + name: value for name, value in choice.options.items()}
