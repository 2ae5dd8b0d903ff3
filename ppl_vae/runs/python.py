"""Training from Python, with the options and defaults of ``ppl-vae train``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ppl_vae.data.corpus import Corpus
from ppl_vae.plugins.discovery import available
from ppl_vae.plugins.options import Value
from ppl_vae.runs.code import Code, Opening, opening, own_code
from ppl_vae.runs.config import OBJECT, RunConfig
from ppl_vae.runs.objects import (
    Program,
    arrange,
    corpus_for,
    digests_of,
    name_of,
    pair_of,
    settle,
    with_digests,
    with_guide,
)
from ppl_vae.runs.open import Run, objects_needed, open_run
from ppl_vae.runs.options import new_folder
from ppl_vae.runs.pair import Pair
from ppl_vae.runs.train import resume as resume_training
from ppl_vae.runs.train import train as train_config
from ppl_vae.runs.train import train_pair
from ppl_vae.training.logging import Logger, LoggerName, logged_to
from ppl_vae.training.progress import log
from ppl_vae.training.run_folder import RunFolder

__all__ = ["load_run", "resume", "train"]


def train(
    model: Program,
    guide: Program | None = None,
    data: object = None,
    *fields: object,
    out: str | Path | None = None,
    loggers: Sequence[Logger | LoggerName] = (),
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
            or packed counts, a pandas or polars data frame, AnnData, a ``Dataset`` or ``DataLoader`` (read once), or
            several fields that model and guide take as arguments, in a tuple, dict, named tuple, dataclass or
            ``TensorDataset``, of which validation and test data are held out. None takes the corpus of the
            named model.
        fields: Further fields, the arguments of model and guide after ``data``, as :func:`ppl_vae.measure` takes them.
        out: The run folder; by default ``runs/MODEL-GUIDE-TIME``.
        loggers: What is told the metrics of each epoch: ``"csv"``, ``"tensorboard"``, or objects with the methods of
            :class:`~ppl_vae.training.logging.Logger`.
        options: Options of ``ppl-vae train`` by name, with underscores: those of the training
            (:func:`~ppl_vae.runs.options.training_options`), and those of a named model and, behind ``guide_``, of a
            named guide.

    Raises:
        ValueError: If a name, an option or its value is wrong, naming it, or model, guide and data do not fit.

    Example:
        >>> run = train("text", "linear_counts", "docstrings", bits=8, epochs=20)      # doctest: +SKIP
        >>> print(run.summary)                                                         # doctest: +SKIP
    """
    programs, config, corpus = arrange(model, guide, (data, *fields), options)
    folder = new_folder(None if out is None else Path(out), f"{name_of(programs[0])}-{name_of(programs[1])}")
    with logged_to(*loggers):
        if corpus is None:
            train_config(config, folder)
            return open_run(folder)
        pair = pair_of(programs, config, corpus)
        train_pair(config, folder, pair, corpus)
    return open_run(folder, pair, corpus)


def resume(
    folder: str | Path,
    model: Program | None = None,
    guide: Program | None = None,
    data: object = None,
    *,
    epochs: int | str | None = None,
    patience: int | None = None,
    code: Code = "run",
    corpus: str | Path | None = None,
    trust: bool = False,
    loggers: Sequence[Logger | LoggerName] = (),
) -> Run:
    """Continues an interrupted training, or gives a run more epochs; bit for bit as a run never interrupted.

    Arguments:
        folder: The run folder.
        model: The model as it was given to :func:`train` (a module freshly built), of a run of objects; left out of
            others.
        guide: The guide, likewise.
        data: The data, likewise.
        epochs: The schedule, epochs done included, if it becomes longer.
        patience: The patience, if the schedule becomes longer.
        code: As for :func:`load_run`, and so are corpus and trust.
        corpus: Where the data lie now, if they have moved.
        trust: Whether to run the code of a run that someone sent.
        loggers: As for :func:`train`.
    """
    run, schedule = RunFolder.open(Path(folder)), None if epochs is None else str(epochs)
    run.check_pair(f"continue it by ppl-vae generator --resume {folder}")
    if not RunConfig.of(run).is_of_objects:
        settle()
        _check_alone(folder, model, guide, data)
        with opening(Opening(code, None if corpus is None else str(corpus), trust)), logged_to(*loggers):
            resume_training(run.folder, schedule, patience)
            return open_run(folder)
    built = list[tuple[RunConfig, Pair, Corpus]]()

    def build(config: RunConfig) -> tuple[RunConfig, Pair, Corpus]:
        built.append(_of_objects(config, run, model, guide, data))
        return built[0]

    with logged_to(*loggers):
        resume_training(run.folder, schedule, patience, build)
    config, pair, source = built[0]
    return open_run(folder, pair, source, own_code(config))


def load_run(
    folder: str | Path,
    model: Program | None = None,
    guide: Program | None = None,
    data: object = None,
    *,
    code: Code = "run",
    corpus: str | Path | None = None,
    trust: bool = False,
) -> Run:
    """Opens a run: its pair in the best state, its data, summary, history and configuration.

    Arguments:
        folder: The run folder.
        model: The model as it was given to :func:`train`, of a run of objects; left out of others.
        guide: The guide, likewise.
        data: The data, likewise.
        code: Whether a model or guide file that has changed since is taken as the run holds it, or as it is now.
        corpus: Where the data lie now, if they have moved.
        trust: Whether to run the code of a run that was not trained on this machine; its digest is remembered.

    Raises:
        ValueError: If the folder is no run, has no checkpoint yet, its data have changed, a file is neither as the run
            began nor in its folder, or code is not trusted.
    """
    run = RunFolder.open(Path(folder))
    run.check_pair("give the run of a model")
    config = RunConfig.of(run)
    if not config.is_of_objects:
        settle()
        _check_alone(folder, model, guide, data)
        with opening(Opening(code, None if corpus is None else str(corpus), trust)):
            return open_run(folder)
    config, pair, source = _of_objects(config, run, model, guide, data)
    return open_run(folder, pair, source, own_code(config))


def _check_alone(folder: str | Path, *objects: object) -> None:
    if not all(each is None for each in objects):
        raise ValueError(f"{folder} knows its model, guide and data; leave them out")


def _of_objects(
    config: RunConfig, run: RunFolder, model: Program | None, guide: Program | None, data: object
) -> tuple[RunConfig, Pair, Corpus]:
    """The configuration of a run with the digests of the objects given, their pair as training began, and the data."""
    names = [choice.name.removesuffix(OBJECT) for choice in (config.model, config.guide)]
    shipped = [name in available(kind) for kind, name in zip(("models", "guides"), names, strict=True)]  # type: ignore[arg-type]
    if model is not None and guide is None and not shipped[1]:
        guide = with_guide(model, None)[1]
    if data is None or (model is None and not shipped[0]) or (guide is None and not shipped[1]):
        raise objects_needed(run, config)
    programs = names[0] if model is None else model, names[1] if guide is None else guide
    digests = digests_of(programs)
    for name, choice, digest in zip(names, (config.model, config.guide), digests, strict=True):
        if choice.sha256 != digest:
            log(f"note: the source of {name} has changed since the run began, or is that of another object")
    corpus = corpus_for(data, config, programs[0])
    return with_digests(config, digests), pair_of(programs, config, corpus), corpus
