"""A training from its configuration to the final table."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyro
import torch

from ppl_vae.data.corpus import Corpus
from ppl_vae.data.images import pixels
from ppl_vae.data.inputs import Batch, concatenate
from ppl_vae.diagnostics.images.scale_collapse import sharpness
from ppl_vae.diagnostics.information.active_units import Units
from ppl_vae.diagnostics.information.rates import rate_and_distortion
from ppl_vae.evidence.measure import measure
from ppl_vae.evidence.plan import plan
from ppl_vae.nn.checkpoint import Checkpoint
from ppl_vae.nn.modes import frozen
from ppl_vae.objectives.base import Objective
from ppl_vae.objectives.elbo import DiscreteELBO
from ppl_vae.programs.handlers import check_pair
from ppl_vae.programs.invariance import check_deterministic, check_places, check_repeats
from ppl_vae.programs.masked import masks_verified
from ppl_vae.programs.random_state import fork_random_state, subsample
from ppl_vae.programs.support import check_support
from ppl_vae.runs.code import config_of, keep_code
from ppl_vae.runs.config import RunConfig, to_json
from ppl_vae.runs.devices import resolve_device
from ppl_vae.runs.digests import check_estimator, own_digests
from ppl_vae.runs.model_card import CARD, write_card
from ppl_vae.runs.more_epochs import change_config, with_more_epochs
from ppl_vae.runs.pair import Pair, make_objective
from ppl_vae.runs.sense import failed_checks
from ppl_vae.runs.split import Split
from ppl_vae.runs.summary import Summary
from ppl_vae.runs.trained import Trained
from ppl_vae.training.gradient_noise import draw_signal_to_noise
from ppl_vae.training.lock import locked
from ppl_vae.training.progress import Reporter, log
from ppl_vae.training.run_folder import Interrupted, RunFolder, json_bytes, seal
from ppl_vae.training.settings import Settings
from ppl_vae.training.steps import NOTHING_TO_TRAIN
from ppl_vae.training.trainer import Trainer

__all__ = ["measured_splits", "resume", "train", "train_pair"]

FEW = 10
"""Number of data below which a split says little."""


def train(config: RunConfig, folder: Path) -> Summary:
    """Trains a pair and measures the best state.

    Arguments:
        config: The configuration.
        folder: The run folder.

    Returns:
        The summary, which is also written into the folder.
    """
    return train_pair(config, folder, *_built(config, folder))


def train_pair(config: RunConfig, folder: Path, pair: Pair, corpus: Corpus, *, resume: bool = False) -> Summary:
    """As :func:`train`, of a pair that is built already, on data that are loaded.

    Arguments:
        config: The configuration; ``retrain`` builds the pair afresh from it.
        folder: The run folder.
        pair: Model and guide, on the configuration's device.
        corpus: The data.
        resume: Whether the folder holds a training that goes on.
    """
    for note in corpus.notes:
        log(f"note: {note}")
    if few := [f"{len(x.values)} {name}" for name, x in corpus.splits.items() if 0 < len(x.values) < FEW]:
        log(f"note: {' and '.join(few)} data are few to choose an epoch and judge a pair by; give more data")
    device = torch.device(config.device)
    splits: dict[str, Batch] = {str(name): data.values.to(device) for name, data in corpus.splits.items()}
    with masks_verified(pair.model, splits["train"]):
        for name, x in splits.items():
            if len(x):
                check_support(pair.model, x, name)
        check_deterministic(pair.model, splits["train"])
        check_repeats(pair.guide, splits["train"])
        check_places(pair.guide, splits["train"])
        # With objective sleep the guide alone learns, from data that the model draws.
        with frozen(pair.model) if config.objective == "sleep" else nullcontext():
            return _begin(config, folder, pair, corpus, splits, resume)


def resume(
    folder: Path,
    epochs: str | None = None,
    patience: int | None = None,
    built: Callable[[RunConfig], tuple[RunConfig, Pair, Corpus]] | None = None,
) -> Summary:
    """Continues an interrupted training, or gives a finished one more epochs; no other process trains there meanwhile.

    Arguments:
        folder: The run folder.
        epochs: The schedule, if it becomes longer.
        patience: The patience, if the schedule becomes longer.
        built: Function from the configuration of a run of objects to that with the digests of the objects given, the
            pair as its training began with it, and the data; None builds those of another run.
    """
    RunFolder.open(folder).check_pair(f"continue it by ppl-vae generator --resume {folder}")
    with locked(folder, "trains there"):
        run = RunFolder.open(folder)  # as it is now that no other process can change it
        check_estimator(RunConfig.of(run))
        config = config_of(run)
        resolve_device(config.device)
        if epochs is not None:
            config = with_more_epochs(run, config, epochs, patience)
        if built is None:
            pair, corpus = _built(config, folder)
        else:
            config, pair, corpus = built(config)
        return train_pair(config, folder, pair, corpus, resume=True)


def _built(config: RunConfig, folder: Path) -> tuple[Pair, Corpus]:
    """The pair and the data of a configuration."""
    corpus = config.load_corpus()
    data = corpus.train.values.to(torch.device(config.device))
    return _pair(config, data, RunFolder(folder).checkpoint("train-last").exists()), corpus


def _remove_pages(run: RunFolder) -> None:
    """Removes reports of the state that a training goes on from: nobody is to take them for those of the new one."""
    (run.folder / CARD).unlink(missing_ok=True)
    for page in (*run.folder.glob("report*.html"), *run.folder.glob("compare-*.html")):
        if page.is_file():
            page.unlink()
            log(
                f"note: {page}, of the state before, is removed; ppl-vae report {run.folder} writes that of the new one"
            )


def _begin(
    config: RunConfig, folder: Path, pair: Pair, corpus: Corpus, splits: dict[str, Batch], resume: bool
) -> Summary:
    count = len(splits["train"])
    config = replace(config, settings=config.settings.settled(count))
    batch = splits["train"][: config.settings.batch_size]
    objective, method, settings = make_objective(config, pair, config.settings, batch)
    if not any(parameter.requires_grad for parameter in objective(pair.model, pair.guide).parameters()):
        raise ValueError(NOTHING_TO_TRAIN)
    if isinstance(objective, DiscreteELBO) and config.estimator == "auto":
        config = replace(config, chosen_estimator=objective.estimator.name)
    if not resume:
        config = replace(config, fingerprint=corpus.fingerprint, digests=own_digests(config))
    check_pair(pair.model, pair.guide, batch)
    with nullcontext() if resume else locked(folder, "trains there"):
        if not resume:
            RunFolder.check_free(folder)
            keep_code(RunFolder(folder), config)
        run = RunFolder.open(folder) if resume else RunFolder.create(folder, to_json(config))
        log(
            f"{pair.description}: {count} training, {len(splits['validation'])} validation, {len(splits['test'])} test "
            f"data; {settings.epochs} epochs of {settings.steps(count)} steps; gradient by {method}; run {folder}"
        )
        try:
            return _train_and_measure(config, run, pair, objective, method, settings, splits, corpus.notes, resume)
        except KeyboardInterrupt as error:
            raise Interrupted(f"ppl-vae train --resume {folder}") from error


def _pair(config: RunConfig, data: Batch, resumed: bool) -> Pair:
    """A pair as its training begins or continues; where a checkpoint follows, the run it started from may be gone."""
    return Pair.from_config(config, data, start=None if resumed else config.start, from_checkpoint=resumed)


def _train_and_measure(
    config: RunConfig,
    run: RunFolder,
    pair: Pair,
    objective: Objective,
    method: str,
    settings: Settings,
    splits: dict[str, Batch],
    notes: tuple[str, ...],
    resume: bool,
) -> Summary:
    initial = objective.state
    trainer = Trainer(pair.model, pair.guide, objective, run, settings)
    if resume and trainer.resume():
        log(f"taking up the training after epoch {trainer.epoch}")
    else:
        if resume:
            log("the run has no checkpoint yet: training from the start")
        torch.manual_seed(settings.seed)
    if resume:
        change_config(run, config)
        if run.summary is None:
            _remove_pages(run)
    validation = splits["validation"] if len(splits["validation"]) else None
    trainer.fit(splits["train"], validation)
    for note in trainer.notes:
        log(f"note: {note}")
    if config.retrain and validation is not None:
        everything = concatenate([splits["train"], splits["validation"]])
        pair = _pair(config, everything, resume and run.checkpoint("retrain-last").exists())
        objective.state = initial
        again = Trainer(pair.model, pair.guide, objective, run, settings, name="retrain")
        if not (resume and again.resume()):
            torch.manual_seed(settings.seed)
        log(f"training again on all {len(everything)} training and validation data for {trainer.best_epoch} epochs")
        again.fit(everything, None, epochs=trainer.best_epoch)
        again.restore_best()
        splits["train"] = everything
        del splits["validation"]
        notes = ("trained again on training and validation data for as many epochs as validation chose", *notes)
    else:
        trainer.restore_best()

    notes = (*trainer.notes, *notes)
    train_data = splits["train"]
    scale = sharpness(pair.model, train_data) if isinstance(train_data, torch.Tensor) else None
    sampled_rows, sizes = {}, {name: len(x) for name, x in splits.items()}
    for name, x in splits.items():
        rows = subsample(len(x), config.evidence_data)
        splits[name] = x if rows is None else x[rows.to(x.device)]
        if rows is not None:
            sampled_rows[f"{name}.rows"] = rows
            notes = (*notes, f"{name} is measured on {len(rows):,} of {len(x):,} data, drawn at random")
            log(f"note: {notes[-1]}")
    measured, units = measured_splits(pair, splits, config, None if scale is None else pixels(train_data))
    trained = Trained(
        model=pair.model,
        settings=settings,
        metric=objective.selection_metric or "",
        best_epoch=trainer.best_epoch,
        rows=trainer.rows,
        train=train_data,
        validation=0 if validation is None else len(validation),
        scale=scale,
        data=splits,
        splits=measured,
        units=units,
    )
    summary = Summary(
        run=str(run.folder),
        pair=pair.description,
        objective=config.objective_description,
        chosen_by=objective.selection_metric or "",
        estimator=method,
        best_epoch=trainer.best_epoch,
        epochs=trainer.epoch,
        splits={
            name: split.of_sample(sampled_rows.get(f"{name}.rows"), sizes[name]) for name, split in measured.items()
        },
        notes=notes,
        checks=failed_checks(trained),
    )
    values = {f"{name}.{key}": v for name, s in summary.splits.items() for key, v in s.pointwise().items()}
    content = json_bytes(summary.to_json())
    sealed = {"data": list(summary.splits), "json": seal(content)}
    earlier = run.folder / "summary.json"
    if earlier.exists() and earlier.read_bytes() != content:
        earlier.unlink()  # a kill between the two files would leave one that does not fit the other
    run.write_tensors("pointwise", Checkpoint(values | sampled_rows, sealed))
    write_card(run, summary)
    run.write("summary.json", content)  # the last of the results: a run that has it is finished
    if all(math.isfinite(split.measurement.gap.mean) for split in summary.splits.values()):
        run.figure("training", lambda figure: summary.draw(figure, trainer.rows), (9, 3.8))
    else:
        log("note: no figure is drawn, since some of the results are not finite")
    if settings.watch_gradients and trainer.rows:
        run.figure("gradients", partial(draw_signal_to_noise, rows=trainer.rows, title=pair.description), (7, 4))
    return summary


def measured_splits(
    pair: Pair, splits: dict[str, Batch], config: RunConfig, numbers: int | None
) -> tuple[dict[str, Split], dict[str, Units]]:
    """The measurements of the final table by split, and the units of the code on each."""
    draws = config.evidence_draws
    measured, units = dict[str, Split](), dict[str, Units]()

    def total() -> int:
        return sum(plan(pair.model, x, draws=draws).cells for x in splits.values() if len(x))

    with (
        Reporter("evidence", total) as reporter,
        fork_random_state(config.settings.seed),
        pyro.validation_enabled(False),
    ):
        for name, x in splits.items():
            if len(x):
                found = measure(pair.model, pair.guide, x, draws=draws, progress=lambda n: reporter.advance(n))
                rates = rate_and_distortion(pair.model, pair.guide, x, found.elbo, draws)
                measured[name], units[name] = Split.of(found, x, rates.rate, rates.distortion, numbers), rates.units
    return measured, units
