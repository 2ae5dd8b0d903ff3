"""Wake-sleep: the model learns from data and the guide's latents, the guide from what the model draws."""

from __future__ import annotations

import torch
from torch import Tensor

from ppl_vae.data.inputs import as_batch
from ppl_vae.objectives.base import NonFiniteError, Objective
from ppl_vae.objectives.sleep_phase import SleepPhase
from ppl_vae.programs.handlers import run
from ppl_vae.programs.log_weight import terms_of
from ppl_vae.programs.types import Program

__all__ = ["WakeSleep"]


class WakeSleep(SleepPhase):
    r"""Both phases of wake-sleep in one step.

    .. math::
        \max_\theta\ \mathbb{E}_{\pi(x)} \mathbb{E}_{q_\phi(z \mid x)} \log p_\theta(x, z), \qquad
        \max_\phi\ \mathbb{E}_{p_\theta(x, z)} \log q_\phi(z \mid x)

    (Hinton, Dayan, Frey and Neal 1995.) The model ascends the ELBO; the guide ascends the conditional likelihood of the
    model's own latents, :class:`~ppl_vae.objectives.sleep_phase.SleepPhase`. Flach, Schlesinger and Shekhovtsov (2024,
    "Symmetric equilibrium learning of VAEs") take the two as the utilities of two players, whose Nash equilibrium is
    sought, with a prior that is given; with it the steps are the same. There is no function of which both are the
    gradient. Where the guide can be the posterior of every datum, the pair of highest likelihood with its posterior is
    an equilibrium; where it cannot, the divergence that the guide minimises is the reverse of the ELBO's, and covers
    the posterior rather than lying within it.

    The value of the loss is the negative ELBO of the batch, by the same draws. No gradient goes through latents, so
    that those of any kind need no estimator.

    Arguments:
        draws: Number of draws of the guide, and of pairs simulated, per datum.

    Raises:
        ValueError: If model and guide do not have the same latents, or data cannot be drawn from the model.
        NonFiniteError: If the loss is not finite.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Bernoulli(0.5))
        ...         pyro.sample("x", dist.Normal(2 * z, 1), obs=x)
        >>> def guide(x):
        ...     with pyro.plate("data", len(x)):
        ...         pyro.sample("z", dist.Bernoulli(logits=2 * x - 2))
        >>> x = torch.tensor([0.0, 3.0])
        >>> round(WakeSleep().loss(model, guide, x), 4)  # the guide is the posterior: every draw has this weight
        3.5791
    """

    measures = "elbo"

    def differentiable_loss(self, model: Program, guide: Program, *args: object, **kwargs: object) -> Tensor:
        """The negative ELBO of a batch, in nats, with the gradients of both phases."""
        x = as_batch(*args, **kwargs)
        self._probe(model, guide, x)
        with torch.no_grad():
            proposed = run(guide, (x,), {}, draws=self.draws)
        terms = terms_of(model, x, proposed)
        bound = terms.weight.sum() / self.draws
        if not bound.isfinite():
            row = int((~terms.weight.isfinite()).nonzero()[0, -1])
            raise NonFiniteError(f"the log-weight of a draw of the guide is not finite: datum {row} of the batch")
        with torch.no_grad():
            parts = {"rate": -terms.ratio, "distortion": -terms.likelihood}
            self.batch_metrics = {name: part.sum() / self.draws for name, part in parts.items()}
        asleep = super().differentiable_loss(model, guide, x)
        return asleep - asleep.detach() - bound

    validate = Objective.validate
