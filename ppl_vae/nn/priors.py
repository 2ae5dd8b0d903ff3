"""Priors of real latents: standard normal, an autoregressive flow, or a mixture of the guide's own posteriors."""

from __future__ import annotations

from math import prod
from typing import Literal

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from ppl_vae.distributions.flows import autoregressive_steps, normalizing_flow
from ppl_vae.nn.arguments import check_at_least
from ppl_vae.nn.modes import is_probing_shapes

__all__ = ["FlowPrior", "PriorName", "StandardNormal", "VampPrior", "make_prior"]

PriorName = Literal["normal", "flow", "vampprior"]


class StandardNormal(nn.Module):
    r"""The prior :math:`z \sim \mathcal{N}(0, I_k)`, and the start of the priors that are learned.

    Arguments:
        latents: Number k of latents.
    """

    zero: Tensor

    def __init__(self, latents: int) -> None:
        super().__init__()
        self.register_buffer("zero", torch.zeros(latents), persistent=False)

    def forward(self) -> Distribution:
        """p(z), a distribution over vectors."""
        fn: Distribution = dist.Normal(self.zero, 1.0).to_event(1)
        return fn


class FlowPrior(StandardNormal):
    """A masked autoregressive flow of the standard normal (Papamakarios, Pavlakou and Murray 2017).

    The density of a code takes one pass; a draw takes one pass per latent.

    Arguments:
        latents: Number of latents.
        transforms: Number of maps from codes to noise; each starts as the identity.
        units: Units of both hidden layers of each map's masked network.
    """

    def __init__(self, latents: int, transforms: int = 2, units: int = 64) -> None:
        super().__init__(latents)
        self.steps = autoregressive_steps(latents, transforms, units)

    def forward(self) -> Distribution:
        fn: Distribution = normalizing_flow(self.steps, self.zero, torch.ones_like(self.zero))
        return fn


class MixtureOfPosteriors(dist.MixtureSameFamily):  # type: ignore[misc]
    """A mixture with the support of its components, which annealing and enumeration need."""

    @property
    def support(self) -> constraints.Constraint:
        support: constraints.Constraint = self.component_distribution.support
        return support


class VampPrior(StandardNormal):
    r"""A mixture of the guide's posteriors of learned pseudo-inputs (Tomczak and Welling 2018, eq. 9).

    .. math:: p(z) = \frac1K \sum_k q(z \mid u_k)

    with pseudo-inputs u, each number between 0 and 1. The guide is the first
    :class:`~ppl_vae.programs.amortised.AmortisedGuide` that is built for the model, also when others are fitted later,
    unless ``set_guide`` replaces it. The guide's parameters are then parameters of the prior, too, but belong to
    the guide.

    Arguments:
        latents: Number of latents.
        shape: Shape of a datum.
        components: Number K of pseudo-inputs.
    """

    def __init__(self, latents: int, shape: tuple[int, ...], components: int = 100) -> None:
        super().__init__(latents)
        check_at_least(1, components=components)
        self.shape = shape
        # About as dark as images of digits, each a little different.
        self.pseudo = nn.Parameter(0.5 * torch.randn(components, prod(shape)) - 2)
        self._guide: list[nn.Module] = []  # in a list: a module would become a submodule

    @property
    def guide(self) -> nn.Module | None:
        """The guide of the mixture; None if there is none yet."""
        return self._guide[0] if self._guide else None

    def set_guide(self, guide: nn.Module) -> None:
        """Sets the guide, which needs an ``encoder`` and ``members``."""
        self._guide = [guide]

    def forward(self) -> Distribution:
        guide = self.guide
        if guide is None:
            if is_probing_shapes():
                return super().forward()
            raise ValueError(
                "a VampPrior is a mixture of a guide's posteriors, but no guide was built for this model; build one "
                "first, or set one with an encoder and members by set_guide of the prior"
            )
        pseudo_inputs = self.pseudo.sigmoid().reshape(-1, *self.shape)
        (components,) = guide.members(guide.encoder(pseudo_inputs)).values()  # type: ignore[operator]
        return MixtureOfPosteriors(dist.Categorical(logits=self.pseudo.new_zeros(len(pseudo_inputs))), components)


def make_prior(name: PriorName, latents: int, shape: tuple[int, ...], components: int) -> StandardNormal:
    """Returns a prior by name.

    Raises:
        ValueError: If there is no prior of that name, or no component.
    """
    check_at_least(1, components=components)
    if name == "vampprior":
        return VampPrior(latents, shape, components)
    priors = {"normal": StandardNormal, "flow": FlowPrior}
    if name not in priors:
        raise ValueError(f"unknown prior {name!r}; choose from normal, flow, vampprior")
    return priors[name](latents)
