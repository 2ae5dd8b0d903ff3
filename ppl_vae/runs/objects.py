"""Models and guides as a Python program gives them: names, files, classes, functions and modules."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyro
import torch
from torch import Tensor

from ppl_vae.data.corpus import Corpus
from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.inputs import documents
from ppl_vae.nn.modes import owners
from ppl_vae.plugins import discovery
from ppl_vae.programs.forms import is_pair
from ppl_vae.programs.loading import Definition, Kind, find, guide_beside
from ppl_vae.runs.config import RunConfig
from ppl_vae.runs.digests import source_digest
from ppl_vae.runs.pair import Pair, build_pair

__all__ = ["Program", "pair_of", "definition_of", "digest_of", "name_of", "settle", "stem_of", "with_guide"]

Program = str | Path | Callable[..., Any]
"""A model or guide: a name, a file, a function, a method, a module, or the class of one."""


def pair_of(programs: tuple[Program, Program], config: RunConfig, corpus: Corpus) -> Pair:
    """Model and guide on the device of the configuration, with parameters drawn from its seed."""
    settle(*programs)
    definitions = definition_of("models", programs[0]), definition_of("guides", programs[1])
    x = corpus.train.values.to(torch.device(config.device))
    kind = PackedCounts if documents(x) is not None else Tensor
    if isinstance(programs[0], (str, Path)) and definitions[0].data is not kind:
        raise ValueError(
            f"model {definitions[0].name} reads {definitions[0].data.__name__}, but the data are {kind.__name__}"
        )
    model, guide = build_pair(definitions, (config.model.options, config.guide.options), config, x)
    return Pair(model, guide, " with ".join(name_of(program) for program in programs))


def digest_of(kind: Kind, program: Program) -> str:
    """Digest of the source of an object or of the user's file; empty for a shipped one."""
    if not isinstance(program, (str, Path)):
        return source_digest(program)
    plugin = discovery.find(kind, str(program))
    return "" if plugin.shipped else plugin.sha256


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
    torch.set_flush_denormal(True)
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
