"""The model's own posterior as a guide."""

from __future__ import annotations

from typing import Any

import pyro
import torch

from ppl_vae.data.inputs import Batch, as_batch
from ppl_vae.programs.amortised import AmortisedGuide
from ppl_vae.programs.arguments import arguments
from ppl_vae.programs.types import Program


class Posterior(AmortisedGuide):
    r"""The model's own posterior, for models that know it in closed form.

    .. math:: q(z \mid x) = p(z \mid x)

    The gap is zero, and the gradient of the ELBO that of the likelihood: training with it is the EM algorithm by
    gradient steps (Neal and Hinton 1998). It has no parameters of its own.

    Arguments:
        model: The generative model; its ``posterior(x)`` gives a distribution by site name.
        x: An example batch.

    Raises:
        ValueError: If the model does not know its posterior.
    """

    supports = None

    def __init__(self, model: Program, x: Batch) -> None:
        super().__init__(model, x)
        if not hasattr(model, "posterior"):
            raise ValueError(
                f"{type(model).__name__} does not know its posterior: give it a method posterior(x) that returns "
                "distributions by site name, or take another guide"
            )
        self._posterior = (model.posterior,)  # in a tuple: the model's parameters are not the guide's
        with torch.no_grad():
            args, kwargs = arguments(model.posterior, (x,), {})
            missing = {latent.name for latent in self.latents} - set(model.posterior(*args, **kwargs))
        if missing:
            raise ValueError(f"the posterior of {type(model).__name__} lacks the sites {sorted(missing)}")

    def forward(self, *args: Any, **kwargs: Any) -> None:
        x = as_batch(*args, **kwargs)
        with torch.no_grad():
            posterior = self._posterior[0](*args, **kwargs)
        with pyro.plate("data", len(x)):
            for latent in self.latents:
                pyro.sample(latent.name, posterior[latent.name])
