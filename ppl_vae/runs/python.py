"""Training from Python, with the options and defaults of ``ppl-vae train``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyro
import torch
from torch import Tensor

from ppl_vae.data.corpus import Corpus
from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.inputs import documents
from ppl_vae.data.memory import corpus_of
from ppl_vae.nn.modes import owners
from ppl_vae.plugins.discovery import available
from ppl_vae.plugins.options import Value
from ppl_vae.programs.building import build_guide, build_model
from ppl_vae.programs.forms import is_pair
from ppl_vae.programs.layouts import draws_note, set_layout
from ppl_vae.programs.loading import Definition, Kind, check_fit, find, guide_beside
from ppl_vae.runs.config import OBJECT, RunConfig
from ppl_vae.runs.digests import source_digest
from ppl_vae.runs.open import Run, objects_needed, open_run
from ppl_vae.runs.options import new_folder, object_config, run_config
from ppl_vae.runs.pair import Pair
from ppl_vae.runs.train import train as train_config
from ppl_vae.runs.train import train_pair
from ppl_vae.training.progress import log
from ppl_vae.training.run_folder import RunFolder

__all__ = ["load_run", "resume", "train"]

Program = str | Path | Callable[..., Any]
"""A model or guide: a name, a file, a function, a method, a module, or the class of one."""


def train(
    model: Program,
    guide: Program | None = None,
    data: object = None,
    *fields: object,
    out: str | Path | None = None,
    **options: Value,
) -> Run:
    """Trains a model with a guide, measures ELBO, evidence and gap, and returns the run.

    Named models, guides and data make the same run as ``ppl-vae train``, which the command line can measure. A run of
    objects has the same folder, but only Python can open it again: ``load_run(folder, model, guide, data)``.
    Parameters of Pyro modules built from then on belong to the module (``pyro.settings``: ``module_local_params``).

    Arguments:
        model: Name or file of a model; a module, function or method; or a class, built from ``shape`` (or
            ``vocabulary`` and ``unigram``) of the data where its constructor takes them. A class, an object or a file
            may have both, as methods or functions ``model`` and ``guide``.
        guide: Name or file of a guide; a module, function or method; or a class, built from the model and some data.
            By default that of the model's class, object or file, else ``mean_field``.
        data: Named corpus or path; a :class:`~ppl_vae.data.corpus.Corpus`; or a tensor, array, sparse matrix of counts
            or packed counts, or several fields that model and guide take as arguments, in a tuple, dict, named tuple,
            dataclass or ``TensorDataset``, of which validation and test data are held out. None takes the corpus of the
            named model.
        fields: Further fields, the arguments of model and guide after ``data``, as :func:`ppl_vae.measure` takes them.
        out: The run folder; by default ``runs/MODEL-GUIDE-TIME``.
        options: Options of ``ppl-vae train`` by name, with underscores: those of the training
            (:func:`~ppl_vae.runs.options.training_options`), and those of a named model and, behind ``guide_``, of a
            named guide.

    Raises:
        ValueError: If a name, an option or its value is wrong, naming it, or model, guide and data do not fit.

    Example:
        >>> run = train("text", "linear_counts", "docstrings", bits=8, epochs=20)      # doctest: +SKIP
        >>> print(run.summary)                                                         # doctest: +SKIP
    """
    if fields:
        data = (data, *fields)
    if isinstance(data, (str, Path)):
        options = options | {"corpus": str(data)}
        data = None
    model, guide = _pair_of(model, guide)
    named = isinstance(model, (str, Path)) and isinstance(guide, (str, Path)) and data is None
    _settle(model, guide)
    if not named:
        return _train_objects(model, guide, data, out, options)
    config = run_config(str(model), str(guide), **options)  # type: ignore[arg-type]
    folder = new_folder(None if out is None else Path(out), f"{_stem(model)}-{_stem(guide)}")
    train_config(config, folder)
    return open_run(folder)


def resume(folder: str | Path, model: Program | None = None, guide: Program | None = None, data: object = None) -> Run:
    """Continues an interrupted training; the end is bit for bit that of a run never interrupted.

    Arguments:
        folder: The run folder.
        model: The model as it was given to :func:`train` (a module freshly built), of a run of objects; left out of
            others.
        guide: The guide, likewise.
        data: The data, likewise.
    """
    run = RunFolder.open(Path(folder))
    run.check_pair(f"continue it by ppl-vae generator --resume {folder}")
    config = RunConfig.of(run)
    if not config.is_of_objects:
        _settle()
        _check_alone(folder, model, guide, data)
        train_config(config, run.folder, resume=True)
        return open_run(folder)
    pair, corpus = _pair_of_objects(config, run, model, guide, data)
    train_pair(config, run.folder, pair, corpus, resume=True)
    return open_run(folder, pair, corpus)


def load_run(
    folder: str | Path, model: Program | None = None, guide: Program | None = None, data: object = None
) -> Run:
    """Opens a run: its pair in the best state, its data, summary, history and configuration.

    Arguments:
        folder: The run folder.
        model: The model as it was given to :func:`train`, of a run of objects; left out of others.
        guide: The guide, likewise.
        data: The data, likewise.

    Raises:
        ValueError: If the folder is no run, has no checkpoint yet, or its data or files have changed.
    """
    run = RunFolder.open(Path(folder))
    run.check_pair("give the run of a model")
    config = RunConfig.of(run)
    if not config.is_of_objects:
        _settle()
        _check_alone(folder, model, guide, data)
        return open_run(folder)
    return open_run(folder, *_pair_of_objects(config, run, model, guide, data))


def _check_alone(folder: str | Path, *objects: object) -> None:
    if not all(each is None for each in objects):
        raise ValueError(f"{folder} knows its model, guide and data; leave them out")


def _pair_of_objects(
    config: RunConfig, run: RunFolder, model: Program | None, guide: Program | None, data: object
) -> tuple[Pair, Corpus]:
    """The pair of a run of objects as its training began with it, and its data."""
    names = [choice.name.removesuffix(OBJECT) for choice in (config.model, config.guide)]
    shipped = [name in available(kind) for kind, name in zip(("models", "guides"), names, strict=True)]  # type: ignore[arg-type]
    if model is not None and guide is None and not shipped[1]:
        guide = _pair_of(model, None)[1]
    if data is None or (model is None and not shipped[0]) or (guide is None and not shipped[1]):
        raise objects_needed(run, config)
    programs = names[0] if model is None else model, names[1] if guide is None else guide
    for name, choice, program in zip(names, (config.model, config.guide), programs, strict=True):
        if choice.sha256 != _digest(program):
            log(f"note: the source of {name} has changed since the run began, or is that of another object")
    corpus = _corpus_of(data, config)
    return _build_pair(programs, config, corpus), corpus


def _corpus_of(data: object, config: RunConfig) -> Corpus:
    missing = bool(config.corpus.options.get("missing", False))
    return corpus_of(data, validation=config.corpus.validation, seed=config.corpus.seed, missing=missing)


def _build_pair(programs: tuple[Program, Program], config: RunConfig, corpus: Corpus) -> Pair:
    """Model and guide on the device of the configuration, with parameters drawn from its seed."""
    _settle(*programs)
    definitions = _definition("models", programs[0]), _definition("guides", programs[1])
    x = corpus.train.values.to(torch.device(config.device))
    kind = PackedCounts if documents(x) is not None else Tensor
    if isinstance(programs[0], (str, Path)) and definitions[0].data is not kind:
        raise ValueError(
            f"model {definitions[0].name} reads {definitions[0].data.__name__}, but the data are {kind.__name__}"
        )
    torch.manual_seed(config.settings.seed)
    device = torch.device(config.device)
    model = build_model(definitions[0], config.model.options, x, device)
    set_layout(model, plate=config.plate, vectorise=config.vectorise)
    check_fit(model, x[:2])
    guide = build_guide(definitions[1], model, config.guide.options, x, device, config.examples)
    set_layout(guide, plate=config.plate)
    for note in (*draws_note(model, x[:3]), *getattr(model, "notes", ()), *getattr(guide, "notes", ())):
        log(f"note: {note}")
    return Pair(model, guide, " with ".join(_name(program) for program in programs))


def _train_objects(
    model: Program, guide: Program, data: object, out: str | Path | None, options: dict[str, Value]
) -> Run:
    if data is None:
        raise ValueError(
            "a model or guide that is no name needs its data: give a tensor, an array, a sparse matrix, PackedCounts "
            "or load_corpus(...)"
        )
    if isinstance(data, Corpus) and "validation" in options:
        raise ValueError("a Corpus is split already; leave validation out, or give it to load_corpus")
    definitions = (
        _definition("models", model) if isinstance(model, (str, Path)) else None,
        _definition("guides", guide) if isinstance(guide, (str, Path)) else None,
    )
    names = _name(model), _name(guide)
    corpus_name = getattr(data, "name", type(data).__name__)
    config = object_config(definitions, names, str(corpus_name), options)
    config = replace(
        config,
        model=replace(config.model, sha256=_digest(model)),
        guide=replace(config.guide, sha256=_digest(guide)),
    )
    corpus = _corpus_of(data, config)
    pair = _build_pair((model, guide), config, corpus)
    folder = new_folder(None if out is None else Path(out), f"{names[0]}-{names[1]}")
    train_pair(config, folder, pair, corpus)
    return open_run(folder, pair, corpus)


def _digest(program: Program) -> str:
    """Digest of the source of an object; empty for a name or a file."""
    return "" if isinstance(program, (str, Path)) else source_digest(program)


def _definition(kind: Kind, program: Program) -> Definition:
    return find(kind, str(program)) if isinstance(program, (str, Path)) else Definition.of_object(kind, program)


def _pair_of(model: Program, guide: Program | None) -> tuple[Program, Program]:
    """A model and its guide, which by default is that of its own class, object or file, else ``mean_field``."""
    if guide is not None:
        return model, guide
    if isinstance(model, (str, Path)):
        return model, guide_beside(find("models", str(model))).chosen_by
    if isinstance(model, type) and is_pair(model):
        return model, model
    return model, model.guide if is_pair(type(model)) else "mean_field"  # type: ignore[attr-defined]


def _name(program: Program) -> str:
    if isinstance(program, (str, Path)):
        return _stem(program)
    owner = getattr(program, "__self__", None)
    named = program if hasattr(program, "__name__") and owner is None else type(program if owner is None else owner)
    return str(named.__name__)  # type: ignore[union-attr]


def _stem(program: object) -> str:
    return Path(str(program)).stem


def _settle(*programs: object) -> None:
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
