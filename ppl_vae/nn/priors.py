"""Priors of real codes that can be learned: a flow, or a mixture of the guide's own posteriors."""

from __future__ import annotations

from math import prod
from typing import Any, Literal

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from zuko.distributions import DiagNormal, NormalizingFlow
from zuko.transforms import ComposedTransform

from ppl_vae.distributions.flows import Flowed, autoregressive_steps
from ppl_vae.nn.modes import is_alone

__all__ = ["StandardNormal", "Marginals", "make_marginal"]

Marginals = Literal["normal", "flow", "vampprior"]


class StandardNormal(nn.Module):
    """The standard normal, and what the others begin as.

    Arguments:
        latents: Numbers of a code.
    """

    def __init__(self, latents: int) -> None:
        super().__init__()
        self.register_buffer("zero", torch.zeros(latents), persistent=False)
        self.zero: Tensor

    def forward(self) -> Any:
        """p(z), a distribution over vectors."""
        return dist.Normal(self.zero, 1.0).to_event(1)

    met: bool | None = None
    """Whether the guide is known of which the prior is made; None of a prior that needs none."""

    def meet(self, guide: nn.Module) -> None:
        """Is told of the guide that the model is trained with."""


class FlowPrior(StandardNormal):
    """A masked autoregressive flow of the standard normal (Papamakarios, Pavlakou and Murray 2017).

    The density of a code takes one pass; a draw takes one a number.

    Arguments:
        latents: Numbers of a code.
        transforms: Maps from codes to noise, which begin as the identity.
        units: Of both hidden layers of each map's masked network.
    """

    def __init__(self, latents: int, transforms: int = 2, units: int = 64) -> None:
        super().__init__(latents)
        self.steps = autoregressive_steps(latents, transforms, units)

    def forward(self) -> Any:
        to_noise = ComposedTransform(*(step() for step in self.steps))
        return Flowed(NormalizingFlow(to_noise, DiagNormal(self.zero, torch.ones_like(self.zero))))


class Mixed(dist.MixtureSameFamily):  # type: ignore[misc]
    """A mixture that says where its values lie, for one that does not can be neither annealed nor summed over."""

    @property
    def support(self) -> Any:
        return self.component_distribution.support


class VampPrior(StandardNormal):
    r"""A mixture of the guide's posteriors of made-up data (Tomczak and Welling 2018, eq. 9).

    .. math:: p(z) = \frac1K \sum_k q(z \mid u_k)

    with data u learned, each number between 0 and 1. It needs the guide: the first one that is built for the model
    (:class:`~ppl_vae.programs.amortised.AmortisedGuide`) makes itself known, and stays the prior's when others are
    fitted later,
    unless ``meet`` names another. Its parameters are then parameters of the prior, too, but belong to the guide.

    Arguments:
        latents: Numbers of a code.
        shape: Of a datum.
        components: K.
    """

    def __init__(self, latents: int, shape: tuple[int, ...], components: int = 100) -> None:
        super().__init__(latents)
        self.shape = shape
        # About as dark as digits are, each a little different from the others.
        self.pseudo = nn.Parameter(0.5 * torch.randn(components, prod(shape)) - 2)
        self.guide: list[Any] = []  # in a list, for a module would become a part of this one

    @property
    def met(self) -> bool:  # type: ignore[override]
        return bool(self.guide)

    def meet(self, guide: nn.Module) -> None:
        self.guide[:] = [guide]

    def forward(self) -> Any:
        if not self.guide:
            if is_alone():
                return super().forward()
            raise ValueError(
                "a VampPrior is made of a guide's posteriors, and no guide was built for this model; build one first, "
                "or name yours, which needs an encoder and members, by model.meet(guide)"
            )
        (guide,) = self.guide
        made_up = self.pseudo.sigmoid().reshape(-1, *self.shape)
        (components,) = guide.members(guide.encoder(made_up)).values()
        return Mixed(dist.Categorical(logits=self.pseudo.new_zeros(len(made_up))), components)


def make_marginal(kind: Marginals, latents: int, shape: tuple[int, ...], components: int) -> StandardNormal:
    """A prior by name.

    Raises:
        ValueError: If there is none of that name, or no component.
    """
    if components < 1:
        raise ValueError(f"a VampPrior has at least one component, got components={components}")
    if kind == "vampprior":
        return VampPrior(latents, shape, components)
    kinds = {"normal": StandardNormal, "flow": FlowPrior}
    if kind not in kinds:
        raise ValueError(f"unknown marginal {kind!r}; choose from normal, flow, vampprior")
    return kinds[kind](latents)
