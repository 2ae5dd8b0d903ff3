"""Missing values: what a mask leaves out of the density of an observation."""

from __future__ import annotations

import torch
from pyro.distributions import MaskedDistribution
from torch import Tensor

from ppl_vae.data.inputs import Field
from ppl_vae.distributions.wrappers import chain
from ppl_vae.programs.densities import Site, innermost

__all__ = ["MASKED", "counted", "filled"]

MASKED = "write `.mask(~x.isnan())` after the distribution, which leaves it out of the density (docs/inputs.md)"
"""How a model leaves out missing values, for errors."""


def counted(site: Site, value: Tensor) -> Tensor | None:
    """Which elements of a value count, by the masks of its site, as a tensor that broadcasts to it; None is all."""
    masks = [(site["mask"], site["fn"].event_dim)]
    masks += [(part._mask, part.event_dim) for part in chain(site["fn"]) if isinstance(part, MaskedDistribution)]
    result: Tensor | None = None
    for mask, event_dim in masks:
        if mask is None or mask is True:
            continue
        one = torch.as_tensor(mask, device=value.device)
        one = one.reshape((*one.shape, *[1] * event_dim))
        while one.ndim > value.ndim and len(one) == 1:
            one = one[0]
        result = one if result is None else result & one
    return result


def filled(site: Site) -> Field:
    """The observed value of a site with NaN that a mask leaves out replaced by a value that has a density.

    The density does not count there, but the gradient of NaN would not vanish. NaN that counts stays.
    """
    value: Field = site["value"]
    if not site["is_observed"] or not isinstance(value, Tensor) or not value.is_floating_point():
        return value
    counts = counted(site, value)
    if counts is None or not (missing := value.isnan()).any():
        return value
    base = innermost(site["fn"])
    try:
        dims = base.support.event_dim
    except NotImplementedError:
        dims = 0
    # Where the support is of vectors, one is replaced whole.
    whole = missing.flatten(missing.ndim - dims).any(-1) if dims else missing
    inside = value[~whole]
    neutral = inside[0] if len(inside) else value.new_zeros(value.shape[value.ndim - dims :])
    whole = whole.reshape(*whole.shape, *[1] * dims)
    return torch.where(whole & ~counts, neutral, value)
