"""Training a pair: epochs of stochastic steps, a validation score after each, and a state that survives anything."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Iterator
from typing import Any

import pyro
import torch
from torch import Tensor

from ppl_vae.nn.checkpoint import Checkpoint, kept_optimizer, restore_optimizer
from ppl_vae.nn.modes import matmul_precision
from ppl_vae.objectives.base import NonFiniteError, Objective
from ppl_vae.programs.random_state import fork_random_state, random_states, set_random_states
from ppl_vae.training.cuda_graph import GraphedGradients
from ppl_vae.training.epoch_metrics import EpochMetrics
from ppl_vae.training.progress import Reporter
from ppl_vae.training.run_folder import Run
from ppl_vae.training.settings import Settings

__all__ = ["Trainer"]

NOTHING = (
    "there is nothing to train: neither the model nor the guide has a parameter that is learned; give the model one "
    "(its options say which it may learn), or take a guide with parameters"
)

CHECKPOINT_SECONDS = 15.0


class Trainer:
    """Trains a pair on a device and keeps its run folder in order.

    Arguments:
        model: A module.
        guide: A module.
        objective: Whose loss is minimised, and which says what number chooses the epoch.
        run: Where checkpoints and metrics go.
        settings: How to train.
        name: Of the checkpoints and metrics: a run may hold more than one training.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        guide: torch.nn.Module,
        objective: Objective,
        run: Run,
        settings: Settings,
        name: str = "train",
    ) -> None:
        self.model, self.guide, self.objective, self.run, self.settings, self.name = (
            model,
            guide,
            objective,
            run,
            settings,
            name,
        )
        self.loss = objective(model, guide)
        self.parameters = {n: p for n, p in self.loss.named_parameters() if p.requires_grad}
        kind = getattr(torch.optim, settings.optimizer)
        if not self.parameters:
            raise ValueError(NOTHING)
        options: dict[str, Any] = {"weight_decay": settings.weight_decay} if settings.weight_decay else {}
        if "fused" in inspect.signature(kind).parameters:
            options["fused"] = True  # one pass over each parameter: ten times faster for millions of them
        try:
            self.optimizer = kind(list(self.parameters.values()), lr=settings.learning_rate, **options)
        except TypeError as error:
            raise ValueError(f"optimizer {settings.optimizer} does not take these options: {error}") from error
        # ``at`` follows the training, ``traced`` is recorded beside the bound: see ppl_vae.nn.observation_noise.
        modules = [module for part in (model, guide) for module in part.modules()]
        self._following = [module for module in modules if callable(getattr(module, "at", None))]
        self._traced = [module for module in modules if callable(getattr(module, "traced", None))]
        on_cuda = next(iter(self.parameters.values())).is_cuda
        self._captured = None
        if settings.capture and on_cuda and objective.is_stationary and not self._following:
            self._captured = GraphedGradients(self._set_gradients, (model, guide))
        self.epoch = 0
        self.best = -math.inf
        self.best_epoch = 0
        self.rows: list[dict[str, Any]] = []
        self._good: Checkpoint | None = None
        self._saved: Checkpoint | None = None
        self._best: Checkpoint | None = None

    def fit(self, train: Any, validation: Any | None, epochs: int | None = None) -> None:
        """Trains to the end of the schedule, or until validation stops improving.

        Without validation data the last state counts as the best.

        Arguments:
            train: Training data.
            validation: Validation data, or None.
            epochs: Stop after so many, whatever validation says: the beginning of the schedule.

        Raises:
            NonFiniteError: If a log-density or gradient is not finite; the last good state is saved first.
            KeyboardInterrupt: On ctrl-C; the last whole epoch and the best state are saved first.
        """
        settings = self.settings
        batches = math.ceil(len(train) / settings.batch_size)
        saved = -math.inf  # the first epoch is saved at once, the others now and then
        last = settings.epochs if epochs is None else epochs
        reporter = Reporter("training", last * batches, self.epoch * batches)
        self._good = self._good or self._snapshot()
        try:
            with reporter, pyro.validation_enabled(False):
                while self.epoch < last and (epochs is not None or not self._stalled()):
                    self._epoch(train, validation, reporter)
                    if time.monotonic() - saved > CHECKPOINT_SECONDS:
                        self._save()
                        saved = time.monotonic()
        finally:
            self._save()

    def keep_start(self, validation: Any) -> None:
        """Lets the state before the first epoch count as the best so far: for what was trained already."""
        with fork_random_state(self.settings.seed):
            found = self.objective.validate(self.model, self.guide, validation)
        self.best = found[self.objective.selection_metric] if self.objective.selection_metric else -math.inf
        self._best = self._snapshot(best=True)

    def _stalled(self) -> bool:
        # A bound that is still being annealed may well fall before it rises.
        return 0 < self.settings.patience <= self.epoch - max(self.best_epoch, self.objective.annealing_epochs)

    def _epoch(self, train: Any, validation: Any | None, reporter: Reporter) -> None:
        epoch, settings, objective = self.epoch + 1, self.settings, self.objective
        self.objective.draws = settings.draws(epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = settings.rate(epoch)
        begun, total, seen = time.monotonic(), 0.0, EpochMetrics()
        batches = math.ceil(len(train) / settings.batch_size)
        start = {f"{n}_start": value for n, value in self._traces().items()} if epoch == 1 else {}
        for module in (self.model, self.guide):
            # A frozen one must stay what it was measured as: its running statistics are not to move.
            module.train(any(parameter.requires_grad for parameter in module.parameters()))
        for step, x in enumerate(self._batches(train, epoch), 1):
            self._go(epoch - 1 + (step - 1) / batches)
            try:
                with matmul_precision("medium" if settings.precision == "bf16" else "highest"):
                    total += self.step(x)
            except NonFiniteError as error:
                raise NonFiniteError(
                    f"epoch {epoch}, batch {step}: {error}; the state of epoch {self.epoch} is kept; "
                    "lower the learning rate or clip the gradient"
                ) from error
            seen.add(objective, len(x))
            reporter.advance(1, self._words(total / min(step * settings.batch_size, len(train)), begun, step))
        self.epoch = epoch
        self._go(epoch)
        seconds = time.monotonic() - begun
        row = {"epoch": epoch, "draws": self.objective.draws, "learning_rate": settings.rate(epoch)}
        row |= seen.row(objective, total / len(train)) | start | self._traces()
        score = float(epoch)
        if validation is not None:
            with fork_random_state(settings.seed):
                found = objective.validate(self.model, self.guide, validation)
            wrong = [name for name, value in found.items() if not math.isfinite(value)]
            if wrong:
                raise NonFiniteError(
                    f"the validation {wrong[0]} after epoch {epoch} is {found[wrong[0]]}; the state of epoch "
                    f"{self.epoch - 1} is kept; lower the learning rate or clip the gradient"
                )
            row |= {f"validation_{name}": value for name, value in found.items()}
            score = found[objective.selection_metric] if objective.selection_metric else score
        self.rows.append(row | {"seconds": round(seconds, 3), "data_per_second": round(len(train) / seconds)})
        if score > self.best:
            self.best, self.best_epoch = score, epoch
            self._best = self._snapshot(best=True)
        self._good = self._snapshot()

    def _go(self, position: float) -> None:
        self.objective.epoch = position
        for module in self._following:
            module.at(position)  # type: ignore[operator]

    def _traces(self) -> dict[str, float]:
        return {name: value for module in self._traced for name, value in module.traced().items()}  # type: ignore[operator]

    def _words(self, bound: float, begun: float, step: int) -> str:
        speed = step * self.settings.batch_size / max(time.monotonic() - begun, 1e-6)
        words = f"epoch {self.epoch + 1}: {bound:.2f}"
        last = (
            self.rows[-1].get(f"validation_{self.objective.selection_metric or self.objective.measures}")
            if self.rows
            else None
        )
        if last is not None:
            words += f", validation {last:.2f}"
        return f"{words}, {speed:.0f}/s"

    def _batches(self, train: Any, epoch: int) -> Iterator[Any]:
        order = torch.randperm(
            len(train), generator=torch.Generator().manual_seed(self.settings.seed * 1_000_003 + epoch)
        )
        for start in range(0, len(train), self.settings.batch_size):
            yield train[order[start : start + self.settings.batch_size].to(train.device)]

    def step(self, x: Any) -> float:
        """One update by a batch; the bound summed over it, in nats."""
        found = self._set_gradients(x) if self._captured is None else self._captured(x, self.objective.draws)
        loss, norm = found.pop("loss").item(), found.pop("norm").item()
        self.objective.seen = found
        if not math.isfinite(loss) or not math.isfinite(norm):
            if self._captured is not None:
                self._set_gradients(x)  # which looks at values, and names the site
            wrong = [n for n, p in self.parameters.items() if p.grad is not None and not p.grad.isfinite().all()]
            raise NonFiniteError(f"the {f'gradient of parameter {wrong[0]!r}' if wrong else 'loss'} is not finite")
        self.optimizer.step()
        self.objective.after_step()
        return -loss

    def _set_gradients(self, x: Any) -> dict[str, Tensor]:
        """Gradients by a batch; its loss, their norm before clipping, and what the objective has seen."""
        self.optimizer.zero_grad(set_to_none=True)
        loss: Tensor = self.loss(x)
        # The mean over the batch: a learning rate then means the same for every batch size.
        (loss / len(x)).backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.settings.clip or math.inf)
        return {"loss": loss.detach(), "norm": norm} | self.objective.seen

    def _snapshot(self, best: bool = False) -> Checkpoint:
        tensors: dict[str, Tensor] = {}
        for prefix, module in (("model", self.model), ("guide", self.guide)):
            tensors |= {f"{prefix}.{name}": value.detach().clone() for name, value in module.state_dict().items()}
        state: dict[str, Any] = {"epoch": self.epoch, "best": self.best, "best_epoch": self.best_epoch}
        state["objective"] = self.objective.state
        if best:
            return Checkpoint(tensors, state)
        kept, rest = kept_optimizer(self.optimizer)
        tensors |= kept
        tensors |= {f"random.{name}": value for name, value in random_states().items()}
        return Checkpoint(tensors, state | {"optimizer": rest})

    def _save(self) -> None:
        if self._good is self._saved:
            return  # a finished training is read again and again, perhaps from a full disk
        if self._best is not None:
            self._best.write(self.run.checkpoint(f"{self.name}-best"))
        if self._good is not None:
            self.run.write_metrics(self.rows[: self._good.state["epoch"]], f"{self.name}-metrics")
            self._good.write(self.run.checkpoint(f"{self.name}-last"))
        self._saved = self._good

    def resume(self) -> bool:
        """Takes up the last saved state, if there is one, exactly: the rest goes as if never interrupted."""
        path = self.run.checkpoint(f"{self.name}-last")
        if not path.exists():
            return False
        kept = Checkpoint.into(path, self.model, self.guide)
        restore_optimizer(self.optimizer, kept.part("optimizer"), kept.state["optimizer"])
        set_random_states(kept.part("random"))
        self.epoch, self.best, self.best_epoch = (kept.state[key] for key in ("epoch", "best", "best_epoch"))
        self.objective.state = kept.state.get("objective", {})
        self.rows = self.run.metrics(f"{self.name}-metrics", self.epoch)
        self._good = self._saved = kept
        return True

    def restore_best(self) -> None:
        """Gives the pair its best state."""
        Checkpoint.into(self.run.checkpoint(f"{self.name}-best"), self.model, self.guide)
