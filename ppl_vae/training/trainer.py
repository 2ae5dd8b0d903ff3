"""The training loop: epochs of stochastic steps, validation after each, and checkpoints from which it resumes."""

from __future__ import annotations

import math
import time
from typing import Any

import pyro
import torch
from torch import Tensor

from ppl_vae.data.inputs import Batch, documents
from ppl_vae.evidence.importance import ImpossibleError
from ppl_vae.nn.checkpoint import Checkpoint, optimizer_state, restore_optimizer
from ppl_vae.nn.kept_memory import keeping_memory
from ppl_vae.nn.modes import matmul_precision
from ppl_vae.nn.observation_noise import ObservationNoise
from ppl_vae.objectives.base import NonFiniteError, Objective
from ppl_vae.programs.random_state import fork_random_state, random_states, set_random_states
from ppl_vae.training import parallel
from ppl_vae.training.epoch_metrics import EpochMetrics
from ppl_vae.training.gradient_noise import PREFIX, signal_to_noise
from ppl_vae.training.hooks import FollowsEpochs, RecordsMetrics
from ppl_vae.training.logging import Tracker
from ppl_vae.training.order import batches as epoch_batches
from ppl_vae.training.progress import Reporter, log
from ppl_vae.training.remedies import note_last_batch, remedy
from ppl_vae.training.run_folder import RunFolder
from ppl_vae.training.saving import SavedStates
from ppl_vae.training.settings import Settings
from ppl_vae.training.steps import Steps

__all__ = ["Trainer"]

NOT_CHOSEN = "not_chosen"
"""Name in the metrics of the reason why an epoch cannot be the best."""


class Trainer:
    """Trains a pair and writes metrics and checkpoints to its run folder.

    Arguments:
        model: The model.
        guide: The guide.
        objective: Its loss is minimised, and it names the validation metric that chooses the best epoch.
        run: Folder for checkpoints and metrics.
        settings: Epochs, draws, optimiser and its schedule.
        name: Prefix of the checkpoints and metrics: a run may hold more than one training.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        guide: torch.nn.Module,
        objective: Objective,
        run: RunFolder,
        settings: Settings,
        name: str = "train",
    ) -> None:
        self.model, self.guide, self.objective = model, guide, objective
        self.run, self.settings, self.name = run, settings, name
        self._steps = Steps(model, guide, objective, settings)
        self.loss, self.parameters, self.optimizer = self._steps.loss, self._steps.parameters, self._steps.optimizer
        modules = [module for program in (model, guide) for module in program.modules()]
        self._followers = [module for module in modules if isinstance(module, FollowsEpochs)]
        self._recorders = [module for module in modules if isinstance(module, RecordsMetrics)]
        own = [*self._followers, *self._recorders]
        self._steps.capture(steady=all(isinstance(m, ObservationNoise) and m.is_tensor for m in own))
        self.epoch = 0
        self.best = -math.inf
        self.best_epoch = 0
        self.rows: list[dict[str, Any]] = []
        self._saved = SavedStates(run, name)
        self._last: Checkpoint | None = None
        self._best: Checkpoint | None = None

    def fit(self, train: Batch, validation: Batch | None, epochs: int | None = None) -> None:
        """Trains to the end of the schedule, or until validation stops improving.

        Without validation data the last state counts as the best.

        Arguments:
            train: Training data.
            validation: Validation data, or None.
            epochs: Number of epochs, the first of the schedule, whatever validation says; None is all, with patience.

        Raises:
            NonFiniteError: If a log-density or gradient is not finite; the last good state is saved first.
            KeyboardInterrupt: On ctrl-C; the last whole epoch and the best state are saved first.
            ValueError: If they cannot be saved, saying which epochs are lost.
        """
        settings = self.settings
        if parallel.current() is not None:
            parallel.check(self.model, self.guide, self.objective, settings, train)
        batches = settings.steps(len(train))
        last = settings.epochs if epochs is None else epochs
        reporter = Reporter("training", last * batches, self.epoch * batches)
        self._last = self._last or self._snapshot()
        tracker = Tracker(self.run.folder, self.name, self.rows)
        try:
            with reporter, keeping_memory(), pyro.validation_enabled(False):
                while self.epoch < last and (epochs is not None or not self._stalled()):
                    self._epoch(train, validation, reporter)
                    self._saved.offer(self._last, self._best, self.rows)
                    tracker.log(self.rows[-1])
        finally:
            self._saved.finish(self._last, self._best, self.rows)
        if self._best is None and not self.run.checkpoint(f"{self.name}-best").exists():
            raise NonFiniteError(f"no epoch can be chosen: {self.rows[-1][NOT_CHOSEN]}")
        if self.epoch < last:
            log(
                f"stopped by patience after epoch {self.epoch} of {last}: validation is best in epoch "
                f"{self.best_epoch}, and --patience {settings.patience} (patience=) waits no longer"
            )

    @property
    def notes(self) -> tuple[str, ...]:
        """Which epochs were not chosen, whatever their validation score, and why."""
        reasons = [row[NOT_CHOSEN] for row in self.rows if NOT_CHOSEN in row]
        return (f"{len(reasons)} of {self.epoch} epochs could not be chosen: {reasons[0]}",) if reasons else ()

    def keep_start(self, validation: Batch) -> None:
        """Lets the state before the first epoch count as the best so far: for pairs that were trained before."""
        with fork_random_state(self.settings.seed):
            metrics = self.objective.validate(self.model, self.guide, validation)
        self.best = metrics[self.objective.selection_metric] if self.objective.selection_metric else -math.inf
        self._best = self._snapshot(best=True)

    def _stalled(self) -> bool:
        # A bound that is still being annealed may well fall before it rises.
        return 0 < (self.settings.patience or 0) <= self.epoch - max(self.best_epoch, self.objective.annealing_epochs)

    def _epoch(self, train: Batch, validation: Batch | None, reporter: Reporter) -> None:
        epoch, settings, objective = self.epoch + 1, self.settings, self.objective
        self.begin(epoch)
        begun, total, sums = time.monotonic(), 0.0, EpochMetrics()
        batches = settings.steps(len(train))
        start = {f"{n}_start": value for n, value in self._module_metrics().items()} if epoch == 1 else {}
        order = epoch_batches(train, settings.batch_size, settings.seed * 1_000_003 + epoch)
        for step, x in enumerate(order, 1):
            self._set_epoch(epoch - 1 + (step - 1) / batches)
            try:
                with matmul_precision("medium" if settings.precision == "bf16" else "highest"):
                    for _ in range(settings.guide_steps - 1):
                        self._steps.guide_step(train)
                    total += self.step(x)
            except NonFiniteError as error:
                raise NonFiniteError(
                    f"epoch {epoch}, batch {step}: {error}; the state of epoch {self.epoch} is kept; "
                    f"{remedy(train, begun=epoch > 1 or step > 1)}"
                ) from error
            except ValueError as error:
                note_last_batch(error, x, train, settings.batch_size)
                raise
            sums.add(objective, len(x))
            reporter.advance(1, self._status(total / min(step * settings.batch_size, len(train)), begun, step, train))
        self.epoch = epoch
        self._set_epoch(epoch)
        seconds = time.monotonic() - begun
        row: dict[str, Any] = {"epoch": epoch, "draws": self.objective.draws, "learning_rate": settings.rate(epoch)}
        row |= sums.row(objective, total / len(train)) | start | self._module_metrics()
        if settings.watch_gradients:
            row |= self._signal_to_noise(train[: settings.batch_size], epoch)
        score = float(epoch)
        if validation is not None:
            metrics = dict[str, float]()
            try:
                with fork_random_state(settings.seed):
                    metrics = objective.validate(self.model, self.guide, validation)
            except ImpossibleError as error:
                row[NOT_CHOSEN] = str(error)
            wrong = [name for name, value in metrics.items() if not math.isfinite(value)]
            if wrong:
                raise NonFiniteError(
                    f"the validation {wrong[0]} after epoch {epoch} is {metrics[wrong[0]]}; the state of epoch "
                    f"{self.epoch - 1} is kept; {remedy(train, begun=True)}"
                )
            row |= {f"validation_{name}": value for name, value in metrics.items()}
            if NOT_CHOSEN in row:
                score = -math.inf
            elif objective.selection_metric:
                score = metrics[objective.selection_metric]
        self.rows.append(row | {"seconds": round(seconds, 3), "data_per_second": round(len(train) / seconds)})
        if score > self.best:
            self.best, self.best_epoch = score, epoch
            self._best = self._snapshot(best=True)
        self._last = self._snapshot()

    def begin(self, epoch: int) -> None:
        """Sets what steps of an epoch have in common: draws, learning rate, and modes of the networks."""
        self.objective.draws = self.settings.draws(epoch)
        self._steps.check_again()
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.rate(epoch)
        for module in (self.model, self.guide):
            # The running statistics of a frozen one must stay as they were when it was measured.
            module.train(any(parameter.requires_grad for parameter in module.parameters()))

    def _signal_to_noise(self, x: Batch, epoch: int) -> dict[str, float | None]:
        """Signal-to-noise ratios of the gradient of a batch by group of parameters, as the metrics name them."""
        seed = self.settings.seed * 1_000_003 + epoch
        with matmul_precision("medium" if self.settings.precision == "bf16" else "highest"):
            ratios = signal_to_noise(self.loss, self.objective, (self.model, self.guide), self.parameters, x, seed)
        return {f"{PREFIX}{group}": ratio for group, ratio in ratios.items()}

    def _set_epoch(self, epoch: float) -> None:
        self.objective.epoch = epoch
        for module in self._followers:
            module.set_epoch(epoch)

    def _module_metrics(self) -> dict[str, float]:
        return {name: value for module in self._recorders for name, value in module.metrics().items()}

    def _status(self, bound: float, begun: float, step: int, train: Batch) -> str:
        speed = step * self.settings.batch_size / max(time.monotonic() - begun, 1e-6)
        metric = f"validation_{self.objective.selection_metric or self.objective.measures}"
        last = self.rows[-1].get(metric) if self.rows else None
        validation = "" if last is None else f", validation {last:.2f}"
        unit = "data" if documents(train) is None else "documents"
        return f"epoch {self.epoch + 1}: {bound:.2f}{validation} nats per datum, {speed:,.0f} {unit}/s"

    def step(self, x: Batch) -> float:
        """Updates the parameters by a batch; returns the bound summed over it, in nats."""
        bound = self._steps.step(x)
        self.objective.after_step()
        return bound

    def _snapshot(self, best: bool = False) -> Checkpoint:
        tensors: dict[str, Tensor] = {}
        for prefix, module in (("model", self.model), ("guide", self.guide)):
            tensors |= {f"{prefix}.{name}": value.detach().clone() for name, value in module.state_dict().items()}
        state: dict[str, Any] = {"epoch": self.epoch, "best": self.best, "best_epoch": self.best_epoch}
        state["objective"] = self.objective.state
        if best:
            return Checkpoint(tensors, state)
        optimizer, rest = optimizer_state(self.optimizer)
        tensors |= optimizer
        tensors |= {f"random.{name}": value for name, value in random_states().items()}
        return Checkpoint(tensors, state | {"optimizer": rest})

    def resume(self) -> bool:
        """Restores the last saved state; returns whether there is one. The rest goes as if never interrupted."""
        checkpoint = self._saved.load()
        if checkpoint is None:
            return False
        checkpoint.fill(self.model, self.guide, self.run.checkpoint(f"{self.name}-last"))
        restore_optimizer(self.optimizer, checkpoint.part("optimizer"), checkpoint.state["optimizer"])
        set_random_states(checkpoint.part("random"))
        self.epoch, self.best, self.best_epoch = (checkpoint.state[key] for key in ("epoch", "best", "best_epoch"))
        self.objective.state = checkpoint.state.get("objective", {})
        self.rows = self.run.metrics(f"{self.name}-metrics", self.epoch)
        self._last = checkpoint
        return True

    def restore_best(self) -> None:
        """Restores the parameters of the best epoch, at the end of a training, which goes on in one process.

        Raises:
            TrainedElsewhere: In the other processes of a training in several.
        """
        if (group := parallel.current()) is not None and group.rank:
            raise parallel.TrainedElsewhere
        self._saved.best(self.best_epoch).fill(self.model, self.guide, self.run.checkpoint(f"{self.name}-best"))
