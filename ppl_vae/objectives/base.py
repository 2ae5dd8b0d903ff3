"""What Pyro's SVI and the training loop ask of an objective, whatever it maximises."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any, Literal

import torch
from pyro.infer import ELBO
from torch import Tensor

from ppl_vae.evidence.importance import sampled_rates
from ppl_vae.programs.handlers import log_prob
from ppl_vae.programs.types import Program

__all__ = ["NonFiniteError", "Objective", "blame"]

VALIDATION_DRAWS = 4


class NonFiniteError(FloatingPointError):
    """A site's log-density, or the gradient of a parameter, is not a finite number."""


class Objective(ELBO):
    """A loss whose value and gradient are those of one scalar, made in one run of guide and model.

    Subclasses write ``differentiable_loss``; they work in a user's own ``pyro.infer.SVI`` loop, and as the module
    ``objective(model, guide)`` whose call returns the loss of a batch in nats.

    Arguments:
        draws: Independent draws a datum; may be set anew between steps.

    Attributes:
        epoch: How many epochs were trained, whole or not: what annealing goes by. Whoever trains sets it.
        seen: Rate and distortion of the last batch, summed over it, in nats, by the same draws as its loss; empty where
            they are not known.
        beta: What multiplied the gradient of the rate in the last step, on average over latent sites.
    """

    measures: Literal["elbo", "evidence", "conditional"] = "elbo"
    """What the negative loss is, by the name it has in the metrics of a training."""

    def __init__(self, draws: int, **options: Any) -> None:
        super().__init__(num_particles=draws, vectorize_particles=True, **options)
        self.draws = draws
        self.epoch: float | None = None
        self.seen: dict[str, Tensor] = {}
        self.beta = 1.0
        self._probed: tuple[Program, Program] | None = None

    def _knows(self, model: Program, guide: Program) -> bool:
        """Whether this is the pair probed last."""
        return self._probed is not None and self._probed[0] == model and self._probed[1] == guide

    def differentiable_loss(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Tensor:
        """The loss of a batch in nats, a scalar with its gradient."""
        raise NotImplementedError

    @property
    def words(self) -> str:
        """What is minimised or maximised, for a reader."""
        return self.measures

    @property
    def selection_metric(self) -> str | None:
        """Which of the numbers of :meth:`validate` chooses the epoch, the highest; None is that the last one counts."""
        return self.measures

    @property
    def annealing_epochs(self) -> float:
        """Epochs after which the objective is what it stays; before, none is given up for lack of progress."""
        return 0.0

    @property
    def is_stationary(self) -> bool:
        """Whether the loss of a batch depends on parameters and draws alone, not on how far training has come."""
        return True

    @property
    def state(self) -> dict[str, float]:
        """What the objective has learned beside the parameters, for a checkpoint; may be set."""
        return {}

    @state.setter
    def state(self, kept: dict[str, float]) -> None:
        pass

    def after_step(self) -> None:
        """To be called after every step of the optimiser."""

    def validate(self, model: Program, guide: Program, x: Any) -> dict[str, float]:
        """Means over data that were not trained on, quickly, in nats a datum, of the pair as it is."""
        elbo, by_site = sampled_rates(model, guide, x, VALIDATION_DRAWS)
        bound, rates = elbo.mean().item(), {name: rate.mean().item() for name, rate in by_site.items()}
        found = {"elbo": bound, "rate": sum(rates.values()), "distortion": -bound - sum(rates.values())}
        return found | self.extra_metrics(found["distortion"], rates)

    def extra_metrics(self, distortion: float, rates: Mapping[str, float]) -> dict[str, float]:
        """What else there is to say of a distortion and the rate of each latent site, in nats a datum."""
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
    """Names the first site whose log-density is not finite; ``start`` is where its data begin in the batch."""
    for name, site in chain.from_iterable(sites.items() for sites in programs):
        wrong = ~log_prob(site).isfinite()
        if wrong.any():
            datum = start + int(wrong.nonzero()[0, -1]) if wrong.ndim else start
            return f"site {name!r} is not finite (first at datum {datum} of the batch)"
    return "the loss is not finite"
