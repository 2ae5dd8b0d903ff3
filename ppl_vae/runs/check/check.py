"""Whether a pair can be trained and measured on some data, with all faults at once."""

from __future__ import annotations

import shlex
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import replace
from pathlib import Path

import torch

from ppl_vae.data.corpus import Corpus
from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.inputs import Batch, Inputs
from ppl_vae.nn.modes import frozen
from ppl_vae.plugins.options import Value
from ppl_vae.programs.kept_apart import kept_as_before
from ppl_vae.programs.layout_finder import REFUSED
from ppl_vae.programs.masked import masks_verified
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.runs.check.contract import check_cover, check_model, check_modes, check_weights
from ppl_vae.runs.check.costs import check_evidence, check_objective, check_steps
from ppl_vae.runs.check.ledger import Ledger
from ppl_vae.runs.check.result import Check
from ppl_vae.runs.check.trial import undone
from ppl_vae.runs.command import words_of
from ppl_vae.runs.config import RunConfig
from ppl_vae.runs.objects import Program, arrange, definition_of, name_of
from ppl_vae.runs.options import GUIDE
from ppl_vae.runs.pair import Choice, Pair, check_kind, choices, describe, guide_of, seeded_model
from ppl_vae.runs.train import FEW

__all__ = ["check"]


def check(
    model: Program, guide: Program | None = None, data: object = None, *fields: object, **options: Value
) -> Check:
    """Check a model and its guide before training; all faults at once.

    Looked at are: the plate over data; every observed site with its support on all data; whether the density of a datum
    depends on others; the guide's cover of each latent; scales, masks and factors; layers that training mode switches;
    the objective, its gradient estimator and the evidence method that would be taken, with their costs; a few training
    steps, which are undone: gradients of all parameters, seconds by part, memory; the ELBO of the parameters as they
    are beside a model without latents. What is checked is what :func:`~ppl_vae.runs.python.train` checks, by the same
    code: with ``ok`` it begins to train.

    Arguments:
        model: As for training: a name, a file, a module, a function or a class.
        guide: The guide, likewise; by default that of the model.
        data: Named corpus or path, or data.
        fields: Further fields, the arguments of model and guide after ``data``.
        options: Options of ``ppl-vae train`` by name.

    Returns:
        The checks: print it, or ask ``ok``, ``faults``, ``notes``, ``to_json()``.

    Raises:
        ValueError: If an option is wrong, a file does not load, or the data cannot be read.

    Example:
        >>> result = check("gmm", "mean_field", "gaussians")
        >>> result.ok, result["objective"].values["estimator"]
        (True, 'enumerate')
    """
    with kept_as_before(model, guide), fork_random_state():
        programs, config, corpus = arrange(model, guide, (data, *fields), options)
        named = corpus is None
        corpus = config.load_corpus() if corpus is None else corpus
        splits = {str(name): part.values.to(torch.device(config.device)) for name, part in corpus.splits.items()}
        ledger = Ledger()
        _check_data(ledger, corpus)
        chosen = choices(config) if named else _objects(programs, config)
        title = describe(config, chosen[0][0], chosen[1][0]) if named else " with ".join(map(name_of, programs))
        _check_pair(ledger, config, chosen, title, splits, named)
    if isinstance(data, (str, Path)):
        options = {**options, "corpus": str(data)}
    command = _command(programs, options, config) if named else ""
    return Check(title, Path(corpus.name).name, tuple(ledger.rows), command)


def _objects(programs: tuple[Program, Program], config: RunConfig) -> tuple[Choice, Choice]:
    return (
        (definition_of("models", programs[0]), config.model.options),
        (definition_of("guides", programs[1]), config.guide.options),
    )


def _check_data(ledger: Ledger, corpus: Corpus) -> None:
    counts = ", ".join(f"{len(part.values):,} {name}" for name, part in corpus.splits.items())
    few = [name for name, part in corpus.splits.items() if 0 < len(part.values) < FEW]
    notes = [*corpus.notes, *(f"{name} data are few to choose an epoch or judge a pair by" for name in few)]
    text = f"{counts} data, {_form(corpus.train.values)}"
    ledger.add("data", text, "; ".join(notes), "note" if notes else "ok", data=len(corpus.train))


def _form(x: Batch) -> str:
    if isinstance(x, PackedCounts):
        return f"documents of {x.vocabulary:,} words"
    if isinstance(x, Inputs):
        return "fields " + ", ".join(f"{name} ({_field(field)})" for name, field in x.fields().items())
    seen = x[~x.isnan()]
    missing = f", {x.numel() - len(seen):,} of {x.numel():,} numbers missing (NaN)" if len(seen) < x.numel() else ""
    limits = f", from {seen.min().item():.4g} to {seen.max().item():.4g}" if len(seen) else ""
    return f"each of shape {tuple(x.shape[1:])}{limits}{missing}"


def _field(field: PackedCounts | torch.Tensor) -> str:
    if isinstance(field, PackedCounts):
        return _form(field)
    kind = {torch.float32: "numbers", torch.int64: "integers", torch.bool: "truth values"}.get(field.dtype, field.dtype)
    return f"{kind} of shape {tuple(field.shape[1:])}" if field.ndim > 1 else f"{kind}"


def _check_pair(
    ledger: Ledger,
    config: RunConfig,
    chosen: tuple[Choice, Choice],
    title: str,
    splits: dict[str, Batch],
    named: bool,
) -> None:
    model_definition, model_options = chosen[0]
    x = splits["train"]

    def built() -> torch.nn.Module:
        if named:
            check_kind(model_definition, x)
        return seeded_model(model_definition, model_options, config, x)

    model = ledger.attempt("model", built)
    if model is None:
        return
    with ExitStack() as stack:
        with suppress(*REFUSED):  # masks that cannot be taken are named where the model runs
            stack.enter_context(masks_verified(model, x))
        _check_built(ledger, config, chosen, model, title, splits)


def _check_built(
    ledger: Ledger,
    config: RunConfig,
    chosen: tuple[Choice, Choice],
    model: torch.nn.Module,
    title: str,
    splits: dict[str, Batch],
) -> None:
    guide_definition, guide_options = chosen[1]
    x = splits["train"]
    fits = check_model(ledger, model, splits)
    guide = ledger.attempt(
        "guide", lambda: guide_of(guide_definition, model, guide_options, config, x), doubtful=not fits
    )
    notes = (*getattr(model, "notes", ()), *getattr(guide, "notes", ()))
    for note in notes:
        ledger.add("networks", note, status="note")
    if guide is None:
        return
    pair = Pair(model, guide, title)
    config = replace(config, settings=config.settings.settled(len(x)))
    batch = x[: config.settings.batch_size]
    covers = fits and check_cover(ledger, model, guide, batch)
    programs = {"model": model, "guide": guide}
    check_modes(ledger, programs)
    if not covers:
        ledger.add(
            "objective, gradients, evidence", "they wait until the faults above are mended", status="not checked"
        )
        return
    check_weights(ledger, programs, batch)
    ready = ledger.holds("start", lambda: pair.prepare(config, config.start))
    with frozen(model) if config.objective == "sleep" else nullcontext():
        made = check_objective(ledger, config, pair, batch)
        if made is not None and ready:
            with undone(pair, made[0]):
                check_evidence(ledger, config, pair, splits)
                check_steps(ledger, pair, *made, x)


def _command(programs: tuple[Program, Program], options: dict[str, Value], config: RunConfig) -> str:
    """The command that trains the pair."""
    words = ["ppl-vae", "train", str(programs[0]), "--guide", str(programs[1])]
    own = {*config.model.options, *(f"{GUIDE}{name}" for name in config.guide.options)}
    given = {name: value for name, value in options.items() if value is not None}
    return shlex.join([*words, *(word for name in given for word in words_of(name, given[name], name in own))])
