"""Data sampled from a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import overload

import torch
from pyro import poutine
from torch import Tensor

from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.inputs import Batch, Field, Inputs, as_batch, concatenate, data_width, documents
from ppl_vae.nn.modes import evaluating
from ppl_vae.programs.handlers import Site, SubstituteLatents, latents, run
from ppl_vae.programs.missing import counted
from ppl_vae.programs.types import Program

__all__ = ["equals", "simulate"]

CELLS = 2**24
"""Largest number of (datum, observed number) cells sampled at once."""


class Generating(SubstituteLatents):
    """Samples observed sites, whose values it keeps aside, and latents without a value."""

    def _pyro_sample(self, msg: Site) -> None:
        super()._pyro_sample(msg)
        if msg["is_observed"] and not poutine.util.site_is_subsample(msg):
            msg["infer"]["observed_value"] = msg["value"]
            msg["is_observed"], msg["value"], msg["done"] = False, None, False


@overload
def simulate(
    model: Program, x: Tensor, values: Mapping[str, Tensor] | None = None
) -> tuple[dict[str, Tensor], Tensor]: ...
@overload
def simulate(
    model: Program, x: object, values: Mapping[str, Tensor] | None = None
) -> tuple[dict[str, Tensor], Batch]: ...
def simulate(model: Program, x: object, values: Mapping[str, Tensor] | None = None) -> tuple[dict[str, Tensor], Batch]:
    r"""Latents sampled from the prior, and data from the likelihood, of a model.

    .. math:: z_i \sim p(z \mid y_i), \qquad x_i \sim p(x \mid z_i, y_i)

    One datum is sampled for each of the batch. Fields that the model does not observe, y, are its inputs and stay as
    they are; of those it observes, x, it reads the shape alone, and of documents the lengths. What a mask leaves out of
    the density, and NaN, stays as it is, too. Networks are in evaluation mode, and large batches are split into blocks.

    Arguments:
        model: A model that keeps the contract, whose observed sites observe fields of the data.
        x: A batch of the model's data; several fields in a tuple, dict, named tuple or dataclass
            (:func:`~ppl_vae.data.inputs.as_batch`).
        values: Latents by site name, ``(data, *event)``, instead of samples from the prior; for some or all sites.

    Returns:
        The latents by site name, ``(data, *event)``, and the data, of the type of ``x``.

    Raises:
        ValueError: If the batch is empty, if values name no latent or are not one per datum, or if the model observes
            nothing, or other values than fields of the data, each by one site, naming the site.

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
    x = as_batch(x)
    if len(x) == 0:
        raise ValueError("an empty batch has no shape to sample data of; give a batch of at least one datum")
    values = dict(values or {})
    for name, value in values.items():
        if len(value) != len(x):
            raise ValueError(f"{len(value)} values of site {name!r} were given for {len(x)} data; give one per datum")
    packed = documents(x)
    width = max(data_width(x), int(packed.lengths.max()) if packed is not None else 1)
    block = max(1, CELLS // width)
    parts: list[dict[str, Tensor]] = []
    data: list[Batch] = []
    with evaluating(model):
        for start in range(0, len(x), block):
            part = x[start : start + block]
            fixed = {name: value[None, start : start + block] for name, value in values.items()}
            sites = run(model, (part,), {}, draws=1, handler=Generating(fixed))
            observed = {name: site for name, site in sites.items() if "observed_value" in site["infer"]}
            drawn = [name for name in latents(sites) if name not in observed]
            if not observed:
                raise ValueError("the model observes nothing, so that it draws no data; give its observation obs=x")
            if unknown := set(values) - set(drawn):
                raise ValueError(f"values were given for {sorted(unknown)}, but the latents of the model are {drawn}")
            parts.append({name: sites[name]["value"][0] for name in drawn})
            new, places = _replaced(part, observed)
            data.append(new)
            if not start:
                _check(model, new, places, {name: sites[name]["value"] for name in drawn})
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}, concatenate(data)


def _fields(x: Batch) -> dict[str, Field]:
    return x.fields() if isinstance(x, Inputs) else {"": x}


def _replaced(x: Batch, observed: Mapping[str, Site]) -> tuple[Batch, dict[str, str]]:
    """The batch with samples of the observed sites in the places of what they observed, and their fields by site."""
    fields, places, new = _fields(x), dict[str, str](), dict[str, Field]()
    for name, site in observed.items():
        value = site["infer"]["observed_value"]
        same = [key for key, field in fields.items() if value is field] or [
            key for key, field in fields.items() if equals(value, field)
        ]
        if not same:
            raise _is_function(name, x)
        if same[0] in new:
            raise ValueError(
                f"data can be sampled from a model with one observed site for each field, but the sites "
                f"{list(observed)} observe the same"
            )
        places[name] = same[0]
        new[same[0]] = _sample(site, fields[same[0]])
    return (x.replace(new) if isinstance(x, Inputs) else new[""]), places


def equals(value: object, field: Field) -> bool:
    """Whether an observed value is a field, maybe in another shape, but for what is missing (NaN) in the field."""
    if value is field or isinstance(field, PackedCounts) or not isinstance(value, Tensor):
        return value is field
    if value.shape[:1] != field.shape[:1] or value.numel() != field.numel():
        return False
    value = value.reshape(field.shape)
    return bool(((value == field) | field.isnan()).all())


def _sample(site: Site, field: Field) -> Field:
    """The sample of an observed site in the place of a field, with what a mask leaves out, or NaN, as it was."""
    value: Field = site["value"]
    if isinstance(value, PackedCounts) or isinstance(field, PackedCounts):
        return value
    shape = field.shape
    field = field.reshape(value[0].shape)
    result = torch.where(field.isnan(), field, value[0].to(field.dtype))
    counts = counted(site, result)
    return (result if counts is None else torch.where(counts, result, field)).reshape(shape)


def _check(model: Program, x: Batch, places: Mapping[str, str], values: Mapping[str, Tensor]) -> None:
    """Checks that a model observes the data themselves: samples of a part or function of them are no data."""
    fields = _fields(x)
    try:
        seen = run(model, (x,), {}, draws=1, handler=SubstituteLatents(values))
    except (ValueError, RuntimeError, IndexError) as error:
        sites = " and ".join(map(repr, places))
        raise ValueError(f"the model cannot read samples of its site {sites} as data: {error}") from error
    for name, place in places.items():
        if not equals(seen[name]["value"], fields[place]):
            raise _is_function(name, x)


def _is_function(name: str, x: Batch) -> ValueError:
    whole = "a field of the data" if isinstance(x, Inputs) else "the data x themselves"
    return ValueError(
        f"site {name!r} does not observe {whole}, but a part or a function of them: samples of it are no data; "
        "observe obs=x"
    )
