"""A training from its configuration to the final table."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyro
import torch

from ppl_vae.data.counts import concatenate
from ppl_vae.data.images import pixels
from ppl_vae.diagnostics.images.scale_collapse import sharpness
from ppl_vae.diagnostics.information.rates import rate_and_distortion
from ppl_vae.evidence.measure import measure
from ppl_vae.evidence.plan import plan
from ppl_vae.nn.checkpoint import Checkpoint
from ppl_vae.objectives.base import Objective
from ppl_vae.objectives.rate_cost import objective_words
from ppl_vae.programs.random_state import fork_random_state, subsample
from ppl_vae.runs.config import Pair, check_support, make_objective, read_config
from ppl_vae.runs.summary import Split, Summary
from ppl_vae.training.progress import Reporter, log
from ppl_vae.training.run_folder import Interrupted, Run
from ppl_vae.training.settings import Settings
from ppl_vae.training.trainer import NOTHING_TO_TRAIN, Trainer

__all__ = ["train"]


def train(config: dict[str, Any], folder: Path, *, resume: bool = False) -> Summary:
    """Trains a pair, or takes up a training where it was left, and measures the best state.

    Arguments:
        config: ``model`` and ``guide`` (``name``, ``options``), ``corpus`` (arguments of ``load_corpus``),
            ``settings`` (of :class:`~ppl_vae.training.settings.Settings`), ``objective`` (``"elbo"`` where it is
            missing), ``rate_cost`` (of :class:`~ppl_vae.objectives.rate_cost.RateCost`; may be missing), ``estimator``,
            ``control``, ``device``, ``evidence_draws``, ``evidence_data`` (may be missing) and ``retrain``;
            ``start``, the folder of a run whose pair to begin with, may be missing.
        folder: The run folder.
        resume: Whether it exists already.

    Returns:
        The summary, which is also written into the folder.
    """
    needed = ("model", "guide", "corpus", "settings", "estimator", "control", "device", "evidence_draws", "retrain")
    missing = [key for key in needed if key not in config]
    if missing:
        raise ValueError(f"the configuration lacks {', '.join(missing)}; restore {folder / 'config.json'}")
    settings, corpus = read_config(config, folder, "settings", Settings)
    device = torch.device(config["device"])
    splits = {str(name): data.values.to(device) for name, data in corpus.splits.items()}
    pair = Pair.begin(config, splits["train"], kept=resume and Run(folder).checkpoint("train-last").exists())
    check_support(pair.model, splits)
    objective, how = make_objective(config, pair, settings, splits["train"][:2])
    if not any(parameter.requires_grad for parameter in objective(pair.model, pair.guide).parameters()):
        raise ValueError(NOTHING_TO_TRAIN)
    run = Run.open(folder) if resume else Run.create(folder, config | {"fingerprint": corpus.fingerprint})
    log(
        f"{pair.words}: {len(splits['train'])} training, {len(splits['validation'])} validation, "
        f"{len(splits['test'])} test data; gradient by {how}; run {folder}"
    )

    try:
        return _train_and_measure(config, run, pair, objective, how, settings, splits, corpus.notes, resume)
    except KeyboardInterrupt as error:
        raise Interrupted(f"ppl-vae train --resume {folder}") from error


def _train_and_measure(
    config: dict[str, Any],
    run: Run,
    pair: Pair,
    objective: Objective,
    how: str,
    settings: Settings,
    splits: dict[str, Any],
    notes: tuple[str, ...],
    resume: bool,
) -> Summary:
    fresh = objective.state
    trainer = Trainer(pair.model, pair.guide, objective, run, settings)
    if resume and trainer.resume():
        log(f"taking up the training after epoch {trainer.epoch}")
    else:
        if resume:
            log("the run has no checkpoint yet: training from the start")
        torch.manual_seed(settings.seed)
    validation = splits["validation"] if len(splits["validation"]) else None
    trainer.fit(splits["train"], validation)
    if config["retrain"] and validation is not None:
        everything = concatenate([splits["train"], splits["validation"]])
        pair = Pair.begin(config, everything, kept=resume and run.checkpoint("retrain-last").exists())
        objective.state = fresh
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

    found = sharpness(pair.model, splits["train"]) if isinstance(splits["train"], torch.Tensor) else None
    if found is not None and found.warning:
        notes = (found.warning, *notes)
        log(f"note: {found.warning}")
    numbers = None if found is None else pixels(splits["train"])
    kept_rows = {}
    for name, x in splits.items():
        rows = subsample(len(x), config.get("evidence_data", 0))
        splits[name] = x if rows is None else x[rows.to(x.device)]
        if rows is not None:
            kept_rows[f"{name}.rows"] = rows
            notes = (*notes, f"{name} is measured on {len(rows):,} of {len(x):,} data, drawn at random")
            log(f"note: {notes[-1]}")
    summary = Summary(
        run=str(run.folder),
        pair=pair.words,
        objective=objective_words(config),
        chosen_by=objective.selection_metric or "",
        estimator=how,
        best_epoch=trainer.best_epoch,
        epochs=trainer.epoch,
        splits=_measure(pair, splits, config, numbers),
        notes=notes,
    )
    run.write_json("summary.json", summary.to_json())
    values = {f"{name}.{key}": v for name, s in summary.splits.items() for key, v in s.pointwise().items()}
    Checkpoint(values | kept_rows, {"data": list(summary.splits)}).write(run.folder / "pointwise.safetensors")
    if all(math.isfinite(split.measurement.gap.mean) for split in summary.splits.values()):
        run.figure("training", lambda figure: summary.draw(figure, trainer.rows), (9, 3.8))
    else:
        log("note: no figure is drawn, since some of the results are not finite")
    return summary


def _measure(pair: Pair, splits: dict[str, Any], config: dict[str, Any], numbers: int | None) -> dict[str, Split]:
    draws = config["evidence_draws"]
    found = {}
    total = sum(plan(pair.model, x, draws=draws).cells for x in splits.values() if len(x))
    with (
        Reporter("evidence", total) as reporter,
        fork_random_state(config["settings"]["seed"]),
        pyro.validation_enabled(False),
    ):
        for name, x in splits.items():
            if len(x):
                measured = measure(pair.model, pair.guide, x, draws=draws, progress=lambda n: reporter.advance(n))
                found[name] = Split.of(
                    measured, x, *rate_and_distortion(pair.model, pair.guide, x, measured.elbo, draws), numbers
                )
    return found
