"""Data drawn from a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from ppl_vae.data.counts import PackedCounts
from ppl_vae.nn.modes import evaluating
from ppl_vae.programs.handlers import SubstituteLatents, latents, run

__all__ = ["simulate"]

CELLS = 2**24
"""Largest number of (datum, observed number) cells drawn at once."""


class Generating(SubstituteLatents):
    """Draws the data and the latents that have no value yet."""

    def _pyro_sample(self, msg: Any) -> None:
        super()._pyro_sample(msg)
        if msg["is_observed"] and not poutine.util.site_is_subsample(msg):
            msg["is_observed"], msg["value"], msg["done"] = False, None, False
            msg["infer"]["was_observed"] = True


def simulate(
    model: Callable[..., Any], x: Any, values: Mapping[str, Tensor] | None = None
) -> tuple[dict[str, Tensor], Any]:
    r"""Draws latents from the prior and data from the likelihood of a model.

    .. math:: z_i \sim p(z), \qquad x_i \sim p(x \mid z_i)

    One datum is drawn in the place of each of ``x``, of which only what the model takes from it is used: its shape,
    and of documents the lengths. Networks are in evaluation mode, and large batches are worked through in blocks.

    Arguments:
        model: A model that keeps the contract, with one observed site.
        x: A batch of the model's data, tensors or packed counts.
        values: Latents by site name, ``(data, *event)``, instead of draws from the prior; some or all of them.

    Returns:
        The latents by site name, ``(data, *event)``, and the data, of the type of ``x``.

    Raises:
        ValueError: If there are no data, values name no latent or are not one a datum, or the model has no observed
            site or several.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Bernoulli(0.5))
        ...         pyro.sample("x", dist.Normal(10 * z, 0.1), obs=x)
        >>> latents, data = simulate(model, torch.zeros(3), {"z": torch.tensor([0.0, 1.0, 0.0])})
        >>> data.round(decimals=-1).abs()
        tensor([ 0., 10.,  0.])
    """
    if len(x) == 0:
        raise ValueError("there are no data in whose place to draw others; give a batch of at least one")
    values = dict(values or {})
    for name, value in values.items():
        if len(value) != len(x):
            raise ValueError(f"{len(value)} values of site {name!r} were given for {len(x)} data; give one a datum")
    width = max(x.vocabulary, int(x.lengths.max())) if isinstance(x, PackedCounts) else x[0].numel()
    block = max(1, CELLS // max(1, width))
    parts: list[dict[str, Tensor]] = []
    data: list[Any] = []
    with evaluating(model):
        for start in range(0, len(x), block):
            fixed = {name: value[None, start : start + block] for name, value in values.items()}
            sites = run(model, (x[start : start + block],), {}, draws=1, handler=Generating(fixed))
            observed = [name for name, site in sites.items() if site["infer"].get("was_observed")]
            drawn = [name for name in latents(sites) if name not in observed]
            if len(observed) != 1:
                raise ValueError(f"data can be drawn from a model with one observed site, but this one has {observed}")
            if unknown := set(values) - set(drawn):
                raise ValueError(f"values were given for {sorted(unknown)}, but the latents of the model are {drawn}")
            parts.append({name: sites[name]["value"][0] for name in drawn})
            new = sites[observed[0]]["value"]
            data.append(new if isinstance(new, PackedCounts) else new[0])
            if not start:
                _check(model, observed[0], data[0], {name: sites[name]["value"] for name in drawn})
    together = PackedCounts.concatenate(data) if isinstance(data[0], PackedCounts) else torch.cat(data)
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}, together


def _check(model: Callable[..., Any], name: str, x: Any, values: Mapping[str, Tensor]) -> None:
    """Refuses a model that observes something else than its data: what was drawn would not be data."""
    try:
        seen = run(model, (x,), {}, draws=1, handler=SubstituteLatents(values))[name]["value"]
    except (ValueError, RuntimeError, IndexError) as error:
        raise ValueError(f"the model cannot read what is drawn at its site {name!r} as data: {error}") from error
    same = seen is x if isinstance(x, PackedCounts) else seen.shape == x.shape and torch.equal(seen, x)
    if not same:
        raise ValueError(
            f"site {name!r} observes something else than the data x themselves (a part, or a function of them): "
            "draws from it are no data; observe obs=x"
        )
