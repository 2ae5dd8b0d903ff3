"""Data sampled from a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import overload

import torch
from pyro import poutine
from torch import Tensor

from ppl_vae.data.counts import Batch, PackedCounts, concatenate
from ppl_vae.nn.modes import evaluating
from ppl_vae.programs.handlers import Site, SubstituteLatents, latents, run
from ppl_vae.programs.types import Program

__all__ = ["simulate"]

CELLS = 2**24
"""Largest number of (datum, observed number) cells sampled at once."""


class Generating(SubstituteLatents):
    """Samples observed sites, and latents without a value."""

    def _pyro_sample(self, msg: Site) -> None:
        super()._pyro_sample(msg)
        if msg["is_observed"] and not poutine.util.site_is_subsample(msg):
            msg["is_observed"], msg["value"], msg["done"] = False, None, False
            msg["infer"]["was_observed"] = True


@overload
def simulate(
    model: Program, x: Tensor, values: Mapping[str, Tensor] | None = None
) -> tuple[dict[str, Tensor], Tensor]: ...
@overload
def simulate(
    model: Program, x: Batch, values: Mapping[str, Tensor] | None = None
) -> tuple[dict[str, Tensor], Batch]: ...
def simulate(model: Program, x: Batch, values: Mapping[str, Tensor] | None = None) -> tuple[dict[str, Tensor], Batch]:
    r"""Latents sampled from the prior, and data from the likelihood, of a model.

    .. math:: z_i \sim p(z), \qquad x_i \sim p(x \mid z_i)

    One datum is sampled for each of ``x``, of which the model reads only the shape, and of documents the lengths.
    Networks are in evaluation mode, and large batches are split into blocks.

    Arguments:
        model: A model that keeps the contract, with one observed site.
        x: A batch of the model's data, tensors or packed counts.
        values: Latents by site name, ``(data, *event)``, instead of samples from the prior; for some or all sites.

    Returns:
        The latents by site name, ``(data, *event)``, and the data, of the type of ``x``.

    Raises:
        ValueError: If the batch is empty, if values name no latent or are not one per datum, or if the model does not
            have exactly one observed site.

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
        raise ValueError("an empty batch has no shape to sample data of; give a batch of at least one datum")
    values = dict(values or {})
    for name, value in values.items():
        if len(value) != len(x):
            raise ValueError(f"{len(value)} values of site {name!r} were given for {len(x)} data; give one per datum")
    width = max(x.vocabulary, int(x.lengths.max())) if isinstance(x, PackedCounts) else x[0].numel()
    block = max(1, CELLS // max(1, width))
    parts: list[dict[str, Tensor]] = []
    data: list[Batch] = []
    with evaluating(model):
        for start in range(0, len(x), block):
            fixed = {name: value[None, start : start + block] for name, value in values.items()}
            sites = run(model, (x[start : start + block],), {}, draws=1, handler=Generating(fixed))
            observed = [name for name, site in sites.items() if site["infer"].get("was_observed")]
            drawn = [name for name in latents(sites) if name not in observed]
            if len(observed) != 1:
                raise ValueError(
                    f"data can be sampled from a model with one observed site, but this one has {observed}"
                )
            if unknown := set(values) - set(drawn):
                raise ValueError(f"values were given for {sorted(unknown)}, but the latents of the model are {drawn}")
            parts.append({name: sites[name]["value"][0] for name in drawn})
            new = sites[observed[0]]["value"]
            data.append(new if isinstance(new, PackedCounts) else new[0])
            if not start:
                _check(model, observed[0], data[0], {name: sites[name]["value"] for name in drawn})
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}, concatenate(data)


def _check(model: Program, name: str, x: Batch, values: Mapping[str, Tensor]) -> None:
    """Checks that a model observes the data themselves: samples of a part or function of them are no data."""
    try:
        seen = run(model, (x,), {}, draws=1, handler=SubstituteLatents(values))[name]["value"]
    except (ValueError, RuntimeError, IndexError) as error:
        raise ValueError(f"the model cannot read samples of its site {name!r} as data: {error}") from error
    same = seen is x if isinstance(x, PackedCounts) else seen.shape == x.shape and torch.equal(seen, x)
    if not same:
        raise ValueError(
            f"site {name!r} does not observe the data x themselves, but a part or a function of them: "
            "samples of it are no data; observe obs=x"
        )
