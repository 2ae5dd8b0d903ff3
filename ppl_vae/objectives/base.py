"""The base of objectives, for Pyro's SVI and for the training loop."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any, Literal

import torch
from pyro.infer import ELBO
from torch import Tensor

from ppl_vae.data.inputs import Batch
from ppl_vae.evidence.importance import sampled_rates
from ppl_vae.programs.handlers import log_prob
from ppl_vae.programs.types import Program

__all__ = ["NonFiniteError", "Objective", "blame"]

VALIDATION_DRAWS = 4


class NonFiniteError(FloatingPointError):
    """A site's log-density, or the gradient of a parameter, is not a finite number."""


class Objective(ELBO):
    """A loss with its gradient as one scalar, from one run of guide and model.

    Subclasses write ``differentiable_loss``; they work in a user's own ``pyro.infer.SVI`` loop, and as the module
    ``objective(model, guide)`` whose call returns the loss of a batch in nats.

    Arguments:
        draws: Number of independent draws per datum; may be set anew between steps.

    Attributes:
        epoch: Number of epochs trained, whole or not, for annealing; the training loop sets it.
        batch_metrics: Rate and distortion of the last batch, summed over it, in nats, by the same draws as its loss;
            empty where they are not known.
        beta: Factor of the rate's gradient in the last step, on average over latent sites.
    """

    measures: Literal["elbo", "evidence", "conditional"] = "elbo"
    """Name of the negative loss in the metrics of a training."""

    def __init__(self, draws: int, **options: Any) -> None:
        super().__init__(num_particles=draws, vectorize_particles=True, **options)
        self.draws = draws
        self.epoch: float | None = None
        self.batch_metrics: dict[str, Tensor] = {}
        self.beta = 1.0
        self._probed: tuple[Program, Program] | None = None

    def _knows(self, model: Program, guide: Program) -> bool:
        """Whether this is the pair probed last."""
        return self._probed is not None and self._probed[0] == model and self._probed[1] == guide

    def differentiable_loss(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Tensor:
        """The loss of a batch in nats, a scalar with its gradient."""
        raise NotImplementedError

    @property
    def description(self) -> str:
        """The objective in words or as a formula."""
        return self.measures

    @property
    def selection_metric(self) -> str | None:
        """The metric of :meth:`validate` whose highest value chooses the epoch; None chooses the last epoch."""
        return self.measures

    @property
    def annealing_epochs(self) -> float:
        """Number of epochs until the objective no longer changes; patience begins then."""
        return 0.0

    @property
    def is_stationary(self) -> bool:
        """Whether the loss of a batch depends on parameters and draws alone, not on the progress of training."""
        return True

    @property
    def state(self) -> dict[str, float]:
        """Learned state besides the parameters (the multiplier), for a checkpoint; may be set."""
        return {}

    @state.setter
    def state(self, values: dict[str, float]) -> None:
        pass

    def after_step(self) -> None:
        """Updates the objective; the training loop calls it after every step of the optimiser."""

    def validate(self, model: Program, guide: Program, x: Batch) -> dict[str, float]:
        """Quick estimates of the pair's metrics on validation data, in nats per datum."""
        elbo, by_site = sampled_rates(model, guide, x, VALIDATION_DRAWS)
        bound, rates = elbo.mean().item(), {name: rate.mean().item() for name, rate in by_site.items()}
        metrics = {"elbo": bound, "rate": sum(rates.values()), "distortion": -bound - sum(rates.values())}
        return metrics | self.extra_metrics(metrics["distortion"], rates)

    def extra_metrics(self, distortion: float, rates: Mapping[str, float]) -> dict[str, float]:
        """Further metrics from the distortion and the rate of each latent site, in nats per datum."""
        return {}

    def loss(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> float:
        """The loss of a batch in nats, without gradients."""
        with torch.no_grad():
            return float(self.differentiable_loss(model, guide, *args, **kwargs))

    def loss_and_grads(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> float:
        """The loss of a batch in nats; adds to the gradients, as ``pyro.infer.SVI`` expects."""
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        loss.backward()  # type: ignore[no-untyped-call]
        self.after_step()
        return loss.item()

    def _get_trace(self, model: Program, guide: Program, args: Any, kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} draws all its particles in one run")


def blame(*programs: Mapping[str, Any], start: int = 0) -> str:
    """Message that names the first site whose log-density is not finite; its data begin at ``start`` in the batch."""
    for name, site in chain.from_iterable(sites.items() for sites in programs):
        wrong = ~log_prob(site).isfinite()
        if wrong.any():
            datum = start + int(wrong.nonzero()[0, -1]) if wrong.ndim else start
            return f"site {name!r} is not finite (first at datum {datum} of the batch)"
    return "the loss is not finite"
