"""The conditional likelihood of a guide on pairs of data and latents that the model draws."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ppl_vae.data.inputs import Batch, as_batch
from ppl_vae.nn.modes import evaluating
from ppl_vae.objectives.base import NonFiniteError, Objective
from ppl_vae.programs.blocks import rows_at_once
from ppl_vae.programs.handlers import check_cover, run
from ppl_vae.programs.log_weight import log_proposal
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.simulate import simulate
from ppl_vae.programs.types import Program

__all__ = ["SleepPhase"]

VALIDATION_DRAWS = 4


class SleepPhase(Objective):
    r"""The sleep phase of wake-sleep: the conditional log-likelihood of the guide on pairs that the model draws.

    .. math:: \mathbb{E}_{p(x, z)} \log q(z \mid x)

    (Hinton, Dayan, Frey and Neal 1995; Schlesinger, Shekhovtsov and Flach 2021, section 4.2.) It is highest where q is
    nearest to the posterior in :math:`\mathbb{E}_{p(x)} \mathrm{KL}(p(z \mid x) \,\|\, q(z \mid x))`, the reverse of
    the ELBO's divergence. Wake-sleep alternates it with a wake phase, in which the model learns from data; here only
    the guide learns, hence the name. The model stays as it is, in evaluation mode. Of the data it uses the shape alone,
    and of documents the lengths: the model draws a new batch in their place.

    Arguments:
        draws: Number of pairs simulated per datum.

    Raises:
        ValueError: If model and guide do not have the same latents, or data cannot be drawn from the model.
        NonFiniteError: If the loss is not finite.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Bernoulli(0.5))
        ...         pyro.sample("x", dist.Normal(20 * z, 1), obs=x)
        >>> def guide(x):
        ...     with pyro.plate("data", len(x)):
        ...         pyro.sample("z", dist.Bernoulli(logits=20 * x - 200))
        >>> abs(round(SleepPhase().loss(model, guide, torch.zeros(4)), 4))  # the guide is the posterior
        0.0
    """

    measures: Literal["elbo", "evidence", "conditional"] = "conditional"

    def __init__(self, draws: int = 1, **options: object) -> None:
        super().__init__(draws, **options)

    def differentiable_loss(self, model: Program, guide: Program, *args: object, **kwargs: object) -> Tensor:
        """The negative conditional log-likelihood of pairs simulated for a batch, in nats, with its gradient."""
        x = as_batch(*args, **kwargs)
        self._probe(model, guide, x)
        loss = -self._scores(model, guide, x, self.draws).sum() / self.draws
        if not loss.isfinite():
            raise NonFiniteError("the log-density of the guide at the latents that the model drew is not finite")
        return loss

    def _probe(self, model: Program, guide: Program, x: Batch) -> None:
        """Checks that the guide has the model's latents, once per pair."""
        if not self._knows(model, guide, (x,), {}):
            with evaluating(model, guide), fork_random_state():
                check_cover(run(model, (x[:2],), {}, draws=1), run(guide, (x[:2],), {}, draws=1))
            self._know(model, guide, (x,), {})

    @staticmethod
    def _scores(model: Program, guide: Program, x: Batch, draws: int) -> Tensor:
        """log q(z given x) of new pairs, ``draws`` simulated per datum, ``(draws * data,)``."""
        positions = torch.arange(len(x), device=x.device).repeat(draws)
        values, data = simulate(model, x[positions])
        return log_proposal(guide, data, {name: value[None] for name, value in values.items()})[0]

    def validate(self, model: Program, guide: Program, x: Batch) -> dict[str, float]:
        """The mean over pairs, the same at every call from one random state, in nats per pair."""
        rows = max(1, rows_at_once(x) // VALIDATION_DRAWS)
        with evaluating(model, guide):
            parts = [self._scores(model, guide, x[k : k + rows], VALIDATION_DRAWS) for k in range(0, len(x), rows)]
        return {"conditional": torch.cat(parts).mean().item()}
