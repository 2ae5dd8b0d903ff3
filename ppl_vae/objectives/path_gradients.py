"""Gradients along the draws of a guide, which leave out its score."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from ppl_vae.programs.densities import agree
from ppl_vae.programs.handlers import Sites, latents

__all__ = ["Paths", "check_reparameterised", "check_repeats"]


class Paths:
    """Draws of a guide through which a model is differentiated, each with a weight of its own on the way back.

    Arguments:
        drawn: Draws by site, ``(draws, data, *event)``, with gradients for the guide's parameters.
    """

    def __init__(self, drawn: Mapping[str, Tensor]) -> None:
        self._weights: Tensor | None = None
        self.values = {name: value.clone() if value.requires_grad else value for name, value in drawn.items()}
        for value in self.values.values():
            if value.requires_grad:
                value.register_hook(self._weighed)

    def weigh(self, weights: Tensor) -> None:
        """Multiplies what comes back along each draw by its weight, ``(draws, data)``."""
        self._weights = weights

    def _weighed(self, gradient: Tensor) -> Tensor:
        assert self._weights is not None
        weights = self._weights.to(gradient)
        return gradient * weights.reshape(*weights.shape, *[1] * (gradient.ndim - weights.ndim))

    def linear(self, log_proposal: Callable[[dict[str, Tensor]], Tensor]) -> Tensor:
        """log q at the draws, ``(draws, data)``, with its slopes along them, but not for parameters.

        Arguments:
            log_proposal: log q of given draws, ``(draws, data)``.
        """
        # Within a checkpoint, whose tensors are computed again in the backward pass, these are kept.
        with torch.enable_grad(), saved_tensors_hooks(lambda kept: kept, lambda kept: kept):
            apart = {name: value.detach().requires_grad_(value.requires_grad) for name, value in self.values.items()}
            followed = [name for name, value in apart.items() if value.requires_grad]
            log_q = log_proposal(apart)
            # A guide whose parameters are fixed has nothing to follow, and the density of points no slope.
            followed = followed if log_q.requires_grad else []
            total, at = log_q.sum(), [apart[name] for name in followed]
            slopes = torch.autograd.grad(total, at, allow_unused=True) if at else ()
        result = log_q.detach()
        for name, slope in zip(followed, slopes, strict=True):
            if slope is not None:
                along = (self.values[name] - self.values[name].detach()) * slope
                result = result + along.reshape(*log_q.shape, -1).sum(-1)
        return result


def check_reparameterised(sites: Sites) -> None:
    """Refuses a guide one of whose latents is not drawn by a differentiable function of its parameters.

    Raises:
        ValueError: Naming the site.
    """
    for name, site in latents(sites).items():
        if not site["fn"].has_rsample:
            raise ValueError(
                f"path gradients follow the draws of a guide, but those of site {name!r} of the guide, {site['fn']}, "
                "are no differentiable function of its parameters; leave path gradients out"
            )


def check_repeats(drawn: Tensor, again: Tensor) -> None:
    """Refuses a guide whose log q at its draws is another in a second run, as under dropout.

    Arguments:
        drawn: log q as of the run that drew, ``(draws, data)``.
        again: The same as of the second run, whose weights are then those of no bound.

    Raises:
        ValueError: If they differ.
    """
    if bool((drawn.isfinite() & again.isfinite()).all()) and not agree(drawn, again, 1e-3):
        raise ValueError(
            "path gradients run the guide twice, and the density of its draws is another the second time: it is random "
            "beside its latents, as by dropout; leave the dropout of the guide or path gradients out"
        )
