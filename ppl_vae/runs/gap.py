"""The gap of a run: split, and under a ladder of guides fitted to its fixed model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ppl_vae.data.inputs import Batch
from ppl_vae.diagnostics.gap.gap import Gap
from ppl_vae.diagnostics.gap.ladder import Ladder, ladder
from ppl_vae.diagnostics.gap.split import SplitMethod, split_gap
from ppl_vae.nn.modes import frozen
from ppl_vae.objectives.choice import make_estimator
from ppl_vae.objectives.rate_cost import RateCost
from ppl_vae.programs.building import build_guide
from ppl_vae.programs.layouts import set_layout
from ppl_vae.programs.loading import Definition, find
from ppl_vae.programs.owned import OwnedProgram
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.types import Program, Progress
from ppl_vae.runs.config import OBJECT, ProgramChoice, RunConfig, to_json
from ppl_vae.runs.digests import method_digests
from ppl_vae.runs.measure import measure_and_save, measure_in_blocks
from ppl_vae.runs.open import Run
from ppl_vae.runs.pair import Pair, make_objective
from ppl_vae.runs.resumable import BlockStore
from ppl_vae.training.lock import locked
from ppl_vae.training.progress import log
from ppl_vae.training.run_folder import RunFolder
from ppl_vae.training.settings import parse_schedule
from ppl_vae.training.trainer import Trainer
from ppl_vae.training.undertraining import undertrained

__all__ = ["measure_gap", "measure_ladder"]

BLOCK = 512
"""Number of data whose gap is split and stored together."""


def measure_gap(
    opened: Run,
    split: str,
    count: int,
    *,
    method: SplitMethod,
    steps: int,
    draws: int,
    restarts: int,
    check: int,
    **evidence: Any,
) -> Gap:
    """Splits the gap of one split of a run, its evidence by the options given; names the worst data."""
    config = opened.config
    estimator = make_estimator(config.estimator, config.use_control)
    options: dict[str, Any] = {"method": method, "steps": steps, "draws": draws, "restarts": restarts, "check": check}
    options |= evidence

    checked = tuple(found["note"] for found in (opened.run.summary or {"checks": ()})["checks"])

    def in_blocks(pair: Pair, x: Batch, done: BlockStore[Gap], progress: Progress) -> Gap:
        starts = range(0, len(x), BLOCK)
        each = options | {"check": -(-check // len(starts))}
        for start in starts:
            part = x[start : start + BLOCK]
            if start in done:
                progress(len(part))
            else:
                with fork_random_state(config.settings.seed + start):
                    done[start] = split_gap(
                        pair.model, pair.guide, part, estimator=estimator, progress=progress, **each
                    )
                # The simulated data of all blocks would be the same: those of the first serve all.
                each["check_evidence"] = False
        return replace(Gap.join([done[start] for start in starts]), training=checked)

    digests = method_digests(evidence["evidence"])
    result = measure_in_blocks(opened, f"gap-{split}", split, count, options, Gap, in_blocks, digests=digests)
    opened.name_worst("widest gaps", split, count, result.worst(3), result.losses())
    return result


def measure_ladder(
    opened: Run,
    split: str,
    count: int,
    guides: Sequence[str | Program],
    epochs: str | None,
    **options: Any,  # those of split_gap
) -> Ladder:
    """Fits guides to the model of a run and measures them on one split.

    Arguments:
        opened: The run; the fits are stored in ``ladder/`` inside its folder.
        split: Name of the split.
        count: Size of a random sample of the data; 0 for all.
        guides: Names or files of guides, or guides that are fitted already, from the smallest family up. The guide of a
            run of objects is fitted already.
        epochs: Epochs of fitting, in the notation of :func:`~ppl_vae.training.settings.parse_schedule`; by default
            those of the run.
        options: Options of :func:`~ppl_vae.diagnostics.gap.split.split_gap`.

    Raises:
        ValueError: If there is no such guide, it does not fit the model, or an earlier fit belongs to another state of
            the model.
    """
    opened.split(split, count)  # refused, if it must be, before hours of fitting
    fits = [_fit_of(opened, each, epochs) for each in guides]
    labels = [fit.label for fit in fits]
    if len(set(labels)) < len(labels):
        raise ValueError(f"each guide of a ladder is named once, got {', '.join(labels)}")
    try:
        remarks = [line for fit in fits if (line := fit.fit())]
    except KeyboardInterrupt:
        log("the fits are stored; the same command continues")
        raise
    rungs = {fit.label: fit.guide for fit in fits}
    options["estimator"] = make_estimator(opened.config.estimator, opened.config.use_control)
    return measure_and_save(
        opened,
        f"ladder-{split}",
        split,
        count,
        lambda pair, x, progress: ladder(pair.model, rungs, x, fits=tuple(remarks), progress=progress, **options),
        lambda pair, x: len(x) * len(rungs),
    )


def _fit_of(opened: Run, guide: str | Program, epochs: str | None) -> _Fit | _Fitted:
    name = Path(opened.config.guide.name.removesuffix(OBJECT)).stem
    own = opened.guide
    # The function or method of the run's guide lacks the parameters of its statements, which the run holds.
    if (opened.config.is_of_objects and guide == name) or (
        isinstance(own, OwnedProgram) and guide in (own, own.program)
    ):
        return _Fitted(own, name)
    if isinstance(guide, str):
        return _Fit(opened, guide, epochs)
    return _Fitted(guide, getattr(guide, "__name__", type(guide).__name__))


@dataclass(frozen=True)
class _Fitted:
    """A guide that is fitted already."""

    guide: Program
    label: str

    def fit(self) -> None:
        """There is nothing to do, and nothing to remark."""


class _Fit:
    """A guide fitted to the model of a run.

    Arguments:
        opened: The run.
        name: Name of the guide, or its file. The run's own guide starts from its trained state, with its options;
            others start from initial parameters, with their default options.
        epochs: Maximum number of epochs; None for that of the run.
    """

    def __init__(self, opened: Run, name: str, epochs: str | None) -> None:
        config = opened.config
        definition = find("guides", name)
        self.label = definition.name
        self.is_own = (
            not config.is_of_objects and definition.file.resolve() == find("guides", config.guide.name).file.resolve()
        )
        guide = config.guide if self.is_own else ProgramChoice.of(definition)
        # The guide learns by the ELBO, whatever the run was trained on.
        config = replace(config, guide=guide, objective="elbo", rate_cost=RateCost(), chosen_estimator=None)
        settings = config.settings
        if epochs is not None:
            settings = replace(settings, schedule=parse_schedule(epochs, settings.schedule[-1][1]))
        # Also after retraining on both splits: a guide must be judged on data that it was not trained on.
        corpus = opened.corpus
        self.train, validation = (data.values.to(config.device) for data in (corpus.train, corpus.validation))
        self.validation = validation if len(validation) else None
        self.pair = self._beside(opened, definition) if config.is_of_objects else self._anew(opened, config)
        self.objective, _, self.settings = make_objective(
            config, self.pair, settings, self.train[: settings.batch_size]
        )
        self.guide: Program = self.pair.guide
        self.folder = opened.run.folder / "ladder" / opened.state.named(self.label)
        self.identity = {"guide": to_json(guide), "model": opened.state.key}
        if (self.folder / "config.json").exists():
            self._opened()  # refused before hours of fitting others

    def _anew(self, opened: Run, config: RunConfig) -> Pair:
        """A model with the tensors of the run's, and this guide."""
        pair = Pair.from_config(config, self.train, from_checkpoint=True)
        # A model of one object with the run's guide leaves it networks, which it holds itself beside another guide.
        known = opened.guide.state_dict() | opened.model.state_dict()
        pair.model.load_state_dict({name: known[name] for name in pair.model.state_dict()})
        if self.is_own:
            pair.guide.load_state_dict(opened.guide.state_dict())
        return pair

    def _beside(self, opened: Run, definition: Definition) -> Pair:
        """The run's own model, an object that nothing else can build, and this guide."""
        config = opened.config
        torch.manual_seed(config.settings.seed)
        device = torch.device(config.device)
        guide = build_guide(definition, opened.model, {}, self.train, device, config.examples)
        set_layout(guide, plate=config.plate)
        return Pair(opened.model, guide, f"{opened.pair.description}; {definition.name}")

    def _opened(self) -> RunFolder:
        if not (self.folder / "config.json").exists():
            return RunFolder.create(self.folder, self.identity)
        run = RunFolder.open(self.folder)
        if any(run.config.get(key) != value for key, value in self.identity.items()):
            raise ValueError(
                f"{self.folder} belongs to another state of the run's model, or to another guide; delete it to fit "
                "again"
            )
        return run

    def fit(self) -> str | None:
        """Fits the guide, or resumes its fit; returns a remark if more epochs would help, else None."""
        # A second ladder waits for the fit of the first, and finds it.
        with locked(self.folder, f"fits {self.label} there", wait=True):
            return self._fit(self._opened())

    def _fit(self, run: RunFolder) -> str | None:
        log(f"fitting {self.label} to {len(self.train)} data, the model fixed; {run.folder}")
        with frozen(self.pair.model), fork_random_state(self.settings.seed):
            trainer = Trainer(self.pair.model, self.pair.guide, self.objective, run, self.settings)
            if not trainer.resume():
                torch.manual_seed(self.settings.seed)
                if self.is_own and self.validation is not None:
                    trainer.keep_start(self.validation)
            trainer.fit(self.train, self.validation)
            trainer.restore_best()
        metric = self.objective.selection_metric or ""
        found = undertrained(trainer.rows, metric, trainer.best_epoch, self.settings.schedule)
        return None if found is None else f"{self.label}: {found[1]}"
