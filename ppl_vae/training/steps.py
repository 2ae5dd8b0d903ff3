"""A step of training: the gradient of a batch, clipped, and the optimiser's update; of both programs or the guide."""

from __future__ import annotations

import inspect
import math
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ppl_vae.data.inputs import Batch
from ppl_vae.nn.modes import frozen
from ppl_vae.objectives.base import NonFiniteError, Objective
from ppl_vae.programs.simulate import simulate
from ppl_vae.training.cuda_graph import GraphedGradients
from ppl_vae.training.parallel import current
from ppl_vae.training.progress import log
from ppl_vae.training.recorded_steps import as_recorded, recorded
from ppl_vae.training.settings import Settings

__all__ = ["NOTHING_TO_TRAIN", "Steps"]

NOTHING_TO_TRAIN = (
    "there is nothing to train: neither the model nor the guide has a parameter that is learned; give the model one "
    "(its options say which it may learn), or take a guide with parameters"
)


class Steps:
    r"""Steps of a pair's training.

    With a share s of dreams, data that the model draws, the guide ascends

    .. math:: (1 - s)\, \mathbb{E}_{\pi(x)} \mathcal{L}(x) + s\, \mathbb{E}_{p(x)} \mathcal{L}(x)

    (Zhang, Hayes and Barber 2022, section 4, there with s = 1/2 and called reverse half-asleep), and the model the
    bound of the data alone. Draws of the model are no fewer than one likes, so that a guide does not overfit to them.

    Arguments:
        model: The model.
        guide: The guide.
        objective: Its loss is minimised.
        settings: Optimiser, clipping, dreams.

    Raises:
        ValueError: If there is nothing to train, or the optimiser does not take its options.
    """

    def __init__(
        self, model: torch.nn.Module, guide: torch.nn.Module, objective: Objective, settings: Settings
    ) -> None:
        self.model, self.guide, self.objective, self.settings = model, guide, objective, settings
        self.loss = objective(model, guide)
        self.parameters = {n: p for n, p in self.loss.named_parameters() if p.requires_grad}
        if not self.parameters:
            raise ValueError(NOTHING_TO_TRAIN)
        of_model = {id(p) for p in model.parameters()}
        self._guide = [p for p in guide.parameters() if p.requires_grad and id(p) not in of_model]
        if not self._guide and (settings.dreams or settings.guide_steps > 1):
            raise ValueError(
                "the guide has no parameters of its own that are learned; leave out --dreams and --guide-steps "
                "(dreams, guide_steps), which train them"
            )
        self.optimizer = self._make_optimizer()
        self._graphed: GraphedGradients | None = None

    def _make_optimizer(self) -> torch.optim.Optimizer:
        settings, kind = self.settings, getattr(torch.optim, self.settings.optimizer)
        options: dict[str, Any] = {"weight_decay": settings.weight_decay} if settings.weight_decay else {}
        if "fused" in inspect.signature(kind).parameters:
            options["fused"] = True  # one pass over each parameter: ten times faster for millions of them
        groups: list[Any] = list(self.parameters.values())
        if settings.guide_weight_decay is not None:
            own = {id(p) for p in self._guide}
            parts = [p for p in groups if id(p) not in own], [p for p in groups if id(p) in own]
            groups = [{"params": parts[0]}] if parts[0] else []
            groups += [{"params": parts[1], "weight_decay": settings.guide_weight_decay}] if parts[1] else []
        try:
            made: torch.optim.Optimizer = kind(groups, lr=settings.learning_rate, **options)
        except TypeError as error:
            raise ValueError(f"optimizer {settings.optimizer} does not take these options: {error}") from error
        return made

    def capture(self, steady: bool = True) -> None:
        """Captures steps as CUDA graphs from now on, or records them on the CPU where that is asked for.

        Arguments:
            steady: Whether no module of model or guide keeps what follows the epochs, or what it records, in Python.
        """
        settings, parameters = self.settings, list(self.parameters.values())
        alike = steady and self.objective.is_stationary and not settings.dreams and settings.guide_steps == 1
        if alike and current() is None and parameters[0].is_cuda and settings.capture:
            self._graphed = GraphedGradients(self.set_gradients, (self.model, self.guide))
        elif alike and current() is None and not parameters[0].is_cuda and settings.replay:
            self._graphed = GraphedGradients(
                as_recorded(self.set_gradients),
                (self.model, self.guide),
                partial(recorded, parameters),
                "steps run as they are written, since they cannot be replayed",
                tolerance=1e-6,
                is_told=True,
            )
        elif settings.replay and not parameters[0].is_cuda:
            log(
                "note: steps run as they are written: --replay (replay) takes steps that are alike, in one process, "
                "without a cost of the rate that changes, dreams, steps of the guide alone, or modules that follow the "
                "epochs or keep what they computed"
            )

    def check_again(self) -> None:
        """Lets the next replay be compared with the step itself."""
        if self._graphed is not None:
            self._graphed.due = True

    def step(self, x: Batch) -> float:
        """Updates the parameters by a batch; returns the bound summed over it, in nats."""
        graphed = self._graphed if self._graphed is not None and not self._graphed.given_up else None
        values = self.set_gradients(x) if graphed is None else graphed(x, self.objective.draws)
        loss, total = values.pop("loss").item(), values.pop("norm")
        norm, clip = total.item(), self.settings.clip
        self.objective.batch_metrics = values
        if not math.isfinite(loss) or not math.isfinite(norm):
            if graphed is not None:
                self.set_gradients(x)  # outside a graph the error names the site
            wrong = [n for n, p in self.parameters.items() if p.grad is not None and not p.grad.isfinite().all()]
            raise NonFiniteError(f"the {f'gradient of parameter {wrong[0]!r}' if wrong else 'loss'} is not finite")
        if 0 < clip < norm:
            torch.nn.utils.clip_grads_with_norm_(self.parameters.values(), clip, total)
        self.optimizer.step()
        return -loss

    def guide_step(self, data: Batch) -> None:
        """Updates the guide alone by a batch drawn from the data, the model as when it is measured."""
        rows = torch.randint(len(data), (min(self.settings.batch_size, len(data)),)).to(data.device)
        training = self.model.training
        self.model.eval()
        with frozen(self.model):
            self.step(data[rows])
        self.model.train(training)

    def set_gradients(self, x: Batch) -> dict[str, Tensor]:
        """Sets the gradients of a batch; returns its loss, their norm, and the objective's metrics."""
        self.optimizer.zero_grad(set_to_none=True)

        def backward(part: Batch) -> Tensor:
            loss: Tensor = self.loss(part)
            # The mean over the batch: a learning rate then means the same for every batch size.
            (loss / len(x)).backward()  # type: ignore[no-untyped-call]
            return loss.detach()

        group = current()
        loss = backward(x) if group is None else group.gradients(x, self.parameters, self.objective, backward)
        if self.settings.dreams:
            self._mix_in_dreams(x)
        gradients = [p.grad for p in self.parameters.values() if p.grad is not None]
        return {"loss": loss, "norm": torch.nn.utils.get_total_norm(gradients)} | self.objective.batch_metrics

    def _mix_in_dreams(self, x: Batch) -> None:
        """Adds to the guide's gradients those of as many data as in a batch, drawn from the model in their place."""
        objective, share = self.objective, self.settings.dreams
        metrics, beta, training = objective.batch_metrics, objective.beta, self.model.training
        self.model.eval()
        with frozen(self.model):
            dreams = simulate(self.model, x)[1]
            found = torch.autograd.grad(self.loss(dreams) / len(x), self._guide, allow_unused=True)
        self.model.train(training)
        objective.batch_metrics, objective.beta = metrics, beta
        for parameter, gradient in zip(self._guide, found, strict=True):
            of_data = 0.0 if parameter.grad is None else (1 - share) * parameter.grad
            if gradient is not None:
                parameter.grad = of_data + share * gradient
            elif parameter.grad is not None:
                parameter.grad.mul_(1 - share)
