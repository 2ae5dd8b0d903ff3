"""Training from Python, with the options and defaults of ``ppl-vae train``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pyro
import torch
from torch import nn

from ppl_vae.data.corpus import Corpus
from ppl_vae.data.counts import Batch
from ppl_vae.data.memory import corpus_of
from ppl_vae.plugins.options import Value
from ppl_vae.programs.loading import Definition, Kind, check_fit, find
from ppl_vae.runs.config import RunConfig
from ppl_vae.runs.open import Run, open_run
from ppl_vae.runs.options import new_folder, object_config, run_config
from ppl_vae.runs.pair import Pair
from ppl_vae.runs.train import train as train_config
from ppl_vae.runs.train import train_pair
from ppl_vae.training.run_folder import RunFolder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from scipy.sparse import spmatrix

__all__ = ["load_run", "resume", "train"]

Program = str | Path | nn.Module | type[nn.Module]
"""A model or guide: a name, a file, a module, or the class of one."""


def train(
    model: Program,
    guide: Program = "mean_field",
    data: str | Path | Corpus | Batch | NDArray[np.generic] | spmatrix | None = None,
    *,
    out: str | Path | None = None,
    **options: Value,
) -> Run:
    """Trains a model with a guide, measures ELBO, evidence and gap, and returns the run.

    Named models, guides and data make the same run as ``ppl-vae train``, which the command line can measure. A run of
    objects has the same folder, but only Python can open it again: ``load_run(folder, model, guide, data)``.
    Parameters of Pyro modules built from then on belong to the module (``pyro.settings``: ``module_local_params``).

    Arguments:
        model: Name or file of a model; a module; or the class of one, built from ``shape`` (or ``vocabulary`` and
            ``unigram``) of the data where its constructor takes them.
        guide: Name or file of a guide; a module; or the class of one, built from the model and two data.
        data: Named corpus or path; a :class:`~ppl_vae.data.corpus.Corpus`; or a tensor, array, sparse matrix of counts
            or packed counts, of which validation and test data are held out. None takes the corpus of the named model.
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
    if isinstance(data, (str, Path)):
        options = options | {"corpus": str(data)}
        data = None
    named = isinstance(model, (str, Path)) and isinstance(guide, (str, Path)) and data is None
    _settle(model, guide)
    if not named:
        return _train_objects(model, guide, data, out, options)
    config = run_config(str(model), str(guide), **options)  # type: ignore[arg-type]
    folder = new_folder(None if out is None else Path(out), f"{_stem(model)}-{_stem(guide)}")
    train_config(config, folder)
    return open_run(folder)


def resume(
    folder: str | Path, model: nn.Module | None = None, guide: nn.Module | None = None, data: object = None
) -> Run:
    """Continues an interrupted training; the end is bit for bit that of a run never interrupted.

    Arguments:
        folder: The run folder.
        model: The model as it was given to :func:`train`, freshly built, of a run of objects; left out of others.
        guide: The guide, likewise.
        data: The data, likewise.
    """
    run = RunFolder.open(Path(folder))
    config = RunConfig.of(run)
    if not config.is_of_objects:
        _settle()
        train_config(config, run.folder, resume=True)
        return open_run(folder)
    if model is None or guide is None or data is None:
        raise ValueError(f"{folder} was trained on objects: give its model, guide and data again")
    _settle(model, guide)
    corpus = corpus_of(data, validation=config.corpus.validation, seed=config.corpus.seed)  # type: ignore[arg-type]
    pair = Pair(model.to(config.device), guide.to(config.device), f"{_name(model)} with {_name(guide)}")
    train_pair(config, run.folder, pair, corpus, resume=True)
    return open_run(folder, model, guide, data)


def load_run(
    folder: str | Path, model: nn.Module | None = None, guide: nn.Module | None = None, data: object = None
) -> Run:
    """Opens a run: its pair in the best state, its data, summary, history and configuration.

    Arguments:
        folder: The run folder.
        model: The model, of a run of objects; left out of others.
        guide: The guide, likewise.
        data: The data, likewise.

    Raises:
        ValueError: If the folder is no run, has no checkpoint yet, or its data or files have changed.
    """
    if model is not None or guide is not None or not RunConfig.of(RunFolder.open(Path(folder))).is_of_objects:
        _settle(model, guide)
    return open_run(folder, model, guide, data)


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
    definitions = _definition("models", model), _definition("guides", guide)
    names = _name(model), _name(guide)
    corpus_name = getattr(data, "name", type(data).__name__)
    config, model_options, guide_options = object_config(definitions, names, str(corpus_name), options)
    corpus = corpus_of(data, validation=config.corpus.validation, seed=config.corpus.seed)  # type: ignore[arg-type]
    device = torch.device(config.device)
    x = corpus.train.values.to(device)
    torch.manual_seed(config.settings.seed)
    built = _built(model, definitions[0], (), model_options, x).to(device)
    check_fit(built, x[:2])
    built_guide = _built(guide, definitions[1], (built, x[:2]), guide_options, x).to(device)
    folder = new_folder(None if out is None else Path(out), f"{names[0]}-{names[1]}")
    train_pair(config, folder, Pair(built, built_guide, f"{names[0]} with {names[1]}"), corpus)
    return open_run(folder, built, built_guide, data)


def _definition(kind: Kind, program: Program) -> Definition | None:
    return find(kind, str(program)) if isinstance(program, (str, Path)) else None


def _built(
    program: Program, named: Definition | None, args: tuple[object, ...], options: dict[str, Value], x: Batch
) -> nn.Module:
    """A module as it is, or built by its class with what the data tell its constructor."""
    if isinstance(program, nn.Module):
        return program
    target = program if isinstance(program, type) else named.target if named is not None else None
    if target is None or not issubclass(target, nn.Module):
        raise ValueError(f"{program!r} is neither a name nor a file, a module or the class of one")
    facts = {} if args else Definition("models", Path(), False, target).facts(x)
    built: nn.Module = target(*args, **options, **facts)
    return built


def _name(program: Program) -> str:
    if isinstance(program, (str, Path)):
        return _stem(program)
    return program.__name__ if isinstance(program, type) else type(program).__name__


def _stem(program: object) -> str:
    return Path(str(program)).stem


def _settle(*programs: object) -> None:
    """Sets what the command line sets: parameters of Pyro modules belong to the module, not to a store all share.

    Modules keep that of the time they are built, so where some are given the setting stays as it is.

    Raises:
        ValueError: If a module was built under another setting than that of now.
    """
    torch.set_flush_denormal(True)
    modules = [module for program in programs if isinstance(program, nn.Module) for module in program.modules()]
    if not modules:
        pyro.settings.set(module_local_params=True)
    local = pyro.settings.get("module_local_params")
    for module in modules:
        context = getattr(module, "_pyro_context", None)
        if context is not None and hasattr(context, "param_state") != local:
            raise ValueError(
                f"a {type(module).__name__} was built before module_local_params was set to {local}; build model and "
                "guide after pyro.settings.set(module_local_params=True)"
            )
