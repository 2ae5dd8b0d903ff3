"""The base of objectives, for Pyro's SVI and for the training loop."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any, ClassVar, Literal, NoReturn

import torch
from pyro.infer import ELBO
from torch import Tensor

from ppl_vae.data.inputs import Batch, Inputs
from ppl_vae.evidence.importance import sampled_rates
from ppl_vae.programs.densities import innermost
from ppl_vae.programs.handlers import log_prob
from ppl_vae.programs.types import Program

__all__ = ["NonFiniteError", "Objective", "blame"]

VALIDATION_DRAWS = 4


Given = tuple[tuple[str, bool], ...]
"""Arguments by name or position, and whether they are None."""


def _given(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Given:
    if len(args) == 1 and isinstance(args[0], Inputs):
        named = dict[str, Any](args[0].named())
    else:
        named = {str(position): value for position, value in enumerate(args)} | dict(kwargs)
    return tuple((name, value is None) for name, value in named.items())


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

    learned_of_pairs: ClassVar[tuple[str, ...]] = ()
    """Names of attributes that the first step with a pair sets."""

    def __init__(self, draws: int, **options: object) -> None:
        super().__init__(num_particles=draws, vectorize_particles=True, **options)
        self.draws = draws
        self.epoch: float | None = None
        self.batch_metrics: dict[str, Tensor] = {}
        self.beta = 1.0
        self._probed: tuple[Program, Program, Given] | None = None
        self._learned: dict[Given, dict[str, Any]] = {}

    def _knows(self, model: Program, guide: Program, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        """Whether this pair was probed with these arguments given; what was learned then is restored.

        The latents of a pair may depend on which are None: a label that is not given is one.
        """
        given, before = _given(args, kwargs), self._probed
        self._probed = (model, guide, given)
        if before is None or before[0] != model or before[1] != guide:
            self._learned.clear()
        elif before[2] == given:
            return True
        else:
            self._learned[before[2]] = {name: getattr(self, name) for name in self.learned_of_pairs}
        known = self._learned.get(given)
        self._probed = None if known is None else self._probed
        for name, value in (known or {}).items():
            setattr(self, name, value)
        return known is not None

    def _know(self, model: Program, guide: Program, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Notes that this pair was probed with these arguments given."""
        self._probed = (model, guide, _given(args, kwargs))

    def differentiable_loss(self, model: Program, guide: Program, *args: object, **kwargs: object) -> Tensor:
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

    def loss(self, model: Program, guide: Program, *args: object, **kwargs: object) -> float:
        """The loss of a batch in nats, without gradients."""
        with torch.no_grad():
            return float(self.differentiable_loss(model, guide, *args, **kwargs))

    def loss_and_grads(self, model: Program, guide: Program, *args: object, **kwargs: object) -> float:
        """The loss of a batch in nats; adds to the gradients, as ``pyro.infer.SVI`` expects."""
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        loss.backward()  # type: ignore[no-untyped-call]
        self.after_step()
        return loss.item()

    def _get_trace(self, model: Program, guide: Program, args: object, kwargs: object) -> NoReturn:
        raise NotImplementedError(f"{type(self).__name__} draws all its particles in one run")


def blame(*programs: Mapping[str, Any], start: int = 0) -> str:
    """Message that names the first site whose log-density is not finite; its data begin at ``start`` in the batch."""
    for name, site in chain.from_iterable(sites.items() for sites in programs):
        scores = log_prob(site)
        wrong = ~scores.isfinite()
        if wrong.any():
            row = int(wrong.nonzero()[0, -1]) if wrong.ndim else 0
            where = f"first at datum {start + row} of the batch{_edge(site, scores, row)}"
            return f"site {name!r} is not finite ({where})"
    return "the loss is not finite"


def _edge(site: Mapping[str, Any], scores: Tensor, row: int) -> str:
    """What is known of an observed value without a finite density: it may lie on the edge of a support, or outside."""
    value, fn = site["value"], site["fn"]
    lead = value.ndim - len(fn.event_shape) - 1 if isinstance(value, Tensor) else -1
    if not site["is_observed"] or lead < 0 or not value.is_floating_point() or not value[..., :1].numel():
        return ""
    numbers = value.select(lead, min(row, value.shape[lead] - 1))
    if not numbers.isfinite().all():
        return ", which is missing or not finite"
    base = innermost(fn)
    bounds = [getattr(base.support, side, None) for side in ("lower_bound", "upper_bound")]
    ends = [f"{float(torch.as_tensor(bound).max()):g}" for bound in bounds if bound is not None]
    family = f"{type(base).__name__}{f' from {ends[0]}' if ends else ''}{f' to {ends[1]}' if len(ends) > 1 else ''}"
    return (
        f", whose numbers lie between {numbers.min().item():g} and {numbers.max().item():g}: a {family} has no finite "
        "density at one of them"
    )
