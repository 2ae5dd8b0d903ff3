"""Models and guides as a Python program gives them: names, files, classes, functions and modules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyro
import torch

from ppl_vae.data.corpus import Corpus
from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.memory import corpus_of
from ppl_vae.nn.modes import owners
from ppl_vae.plugins import discovery
from ppl_vae.plugins.options import Value
from ppl_vae.programs.forms import is_pair
from ppl_vae.programs.loading import Definition, Kind, find, guide_beside
from ppl_vae.runs.config import RunConfig
from ppl_vae.runs.digests import source_digest
from ppl_vae.runs.options import object_config, run_config
from ppl_vae.runs.pair import Pair, build_pair, check_kind
from ppl_vae.training.process import flush_denormals

__all__ = [
    "Program",
    "arrange",
    "corpus_for",
    "definition_of",
    "digests_of",
    "name_of",
    "pair_of",
    "settle",
    "stem_of",
    "with_digests",
    "with_guide",
]

KINDS: tuple[Kind, Kind] = ("models", "guides")

Program = str | Path | Callable[..., Any]
"""A model or guide: a name, a file, a function, a method, a module, or the class of one."""


def pair_of(programs: tuple[Program, Program], config: RunConfig, corpus: Corpus) -> Pair:
    """Model and guide on the device of the configuration, with parameters drawn from its seed."""
    settle(*programs)
    definitions = definition_of("models", programs[0]), definition_of("guides", programs[1])
    x = corpus.train.values.to(torch.device(config.device))
    if isinstance(programs[0], (str, Path)):
        check_kind(definitions[0], x)
    model, guide = build_pair(definitions, (config.model.options, config.guide.options), config, x)
    return Pair(model, guide, " with ".join(name_of(program) for program in programs))


def arrange(
    model: Program, guide: Program | None, data: tuple[object, ...], options: dict[str, Value]
) -> tuple[tuple[Program, Program], RunConfig, Corpus | None]:
    """What a training of a pair from Python begins with.

    Arguments:
        model: The model.
        guide: The guide; None is that of the model.
        data: The data, and further fields of them.
        options: Options of the training.

    Returns:
        Model and guide, the configuration, and the data; None where the configuration names all three.
    """
    values = data[0] if len(data) == 1 else data
    if isinstance(values, (str, Path)):
        options, values = options | {"corpus": str(values)}, None
    programs = with_guide(model, guide)
    settle(*programs)
    if values is None and all(isinstance(program, (str, Path)) for program in programs):
        return programs, run_config(str(programs[0]), str(programs[1]), **options), None  # type: ignore[arg-type]
    if values is None:
        raise ValueError(
            "a model or guide that is no name needs its data: give a tensor, an array, a sparse matrix, PackedCounts "
            "or load_corpus(...)"
        )
    if isinstance(values, Corpus) and "validation" in options:
        raise ValueError("a Corpus is split already; leave validation out, or give it to load_corpus")
    known = [
        definition_of(kind, program) if isinstance(program, (str, Path)) else None
        for kind, program in zip(KINDS, programs, strict=True)
    ]
    names = name_of(programs[0]), name_of(programs[1])
    config = object_config((known[0], known[1]), names, str(getattr(values, "name", type(values).__name__)), options)
    config = with_digests(config, digests_of(programs))
    return programs, config, corpus_for(values, config, programs[0])


def corpus_for(data: object, config: RunConfig, model: Program) -> Corpus:
    """Data of a Python program as its model takes them, split as a configuration says."""
    definition = definition_of("models", model)
    return corpus_of(
        data,
        validation=config.corpus.validation,
        seed=config.corpus.seed,
        missing=bool(config.corpus.options.get("missing", False)),
        counts=definition.data is PackedCounts,
        arguments=definition.arguments,
    )


def digest_of(kind: Kind, program: Program) -> str:
    """Digest of the source of an object or of the user's file; empty for a shipped one."""
    if not isinstance(program, (str, Path)):
        return source_digest(program)
    plugin = discovery.find(kind, str(program))
    return "" if plugin.shipped else plugin.sha256


def digests_of(programs: tuple[Program, Program]) -> tuple[str, str]:
    """Those of a model and a guide, by :func:`digest_of`."""
    return digest_of("models", programs[0]), digest_of("guides", programs[1])


def with_digests(config: RunConfig, digests: tuple[str, str]) -> RunConfig:
    """A configuration with the digests of its model and guide."""
    model, guide = (
        replace(choice, sha256=digest) for choice, digest in zip((config.model, config.guide), digests, strict=True)
    )
    return replace(config, model=model, guide=guide)


def definition_of(kind: Kind, program: Program) -> Definition:
    """The definition of a model or guide."""
    return find(kind, str(program)) if isinstance(program, (str, Path)) else Definition.of_object(kind, program)


def with_guide(model: Program, guide: Program | None) -> tuple[Program, Program]:
    """A model and its guide, which by default is that of its own class, object or file, else ``mean_field``."""
    if guide is not None:
        return model, guide
    if isinstance(model, (str, Path)):
        return model, guide_beside(find("models", str(model))).chosen_by
    if isinstance(model, type) and is_pair(model):
        return model, model
    return model, model.guide if is_pair(type(model)) else "mean_field"  # type: ignore[attr-defined]


def name_of(program: Program) -> str:
    """The name of a model or guide: that of its file, function or class."""
    if isinstance(program, (str, Path)):
        return stem_of(program)
    owner = getattr(program, "__self__", None)
    named = program if hasattr(program, "__name__") and owner is None else type(program if owner is None else owner)
    return str(named.__name__)  # type: ignore[union-attr]


def stem_of(program: object) -> str:
    """The name of a file without folder and ending."""
    return Path(str(program)).stem


def settle(*programs: object) -> None:
    """Sets what the command line sets: parameters of Pyro modules belong to the module, not to a store all share.

    Where modules are given, built by the user, the setting stays as it is.

    Raises:
        ValueError: If a module was built under the setting, and it was taken back since.
    """
    flush_denormals()
    if all(isinstance(program, (str, Path, type)) for program in programs if program is not None):
        pyro.settings.set(module_local_params=True)
        return
    if pyro.settings.get("module_local_params"):
        return  # modules built before are given their own parameters when they run
    for module in (module for owner in owners(programs) for module in owner.modules()):
        if hasattr(getattr(module, "_pyro_context", None), "param_state"):
            raise ValueError(
                f"a {type(module).__name__} was built while module_local_params was set, and it is no longer; call "
                "pyro.settings.set(module_local_params=True)"
            )
