"""Masked latents that have no influence where they are masked, as the steps of a sequence beyond its length."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from ppl_vae.data.inputs import Batch
from ppl_vae.distributions import exponential_family
from ppl_vae.distributions.exponential_family import Family
from ppl_vae.nn.modes import evaluating
from ppl_vae.programs.blocks import data_block
from ppl_vae.programs.densities import InOrder, agree
from ppl_vae.programs.handlers import SubstituteLatents, latents, log_prob, run
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.types import Program
from ppl_vae.programs.unobserved import VERIFIED, without_masked

__all__ = ["masks_verified"]


@contextmanager
def masks_verified(model: Program, x: Batch) -> Iterator[None]:
    r"""Lets runs inside take masked latents of a model, if they have no influence where they are masked.

    Then :math:`\int p(x, z, m)\, \mathrm{d} m = p(x, z)` for the masked values m of a datum, whose prior is normalised,
    and its evidence is that of its other latents. Checked on all data, with two values of each masked latent.

    Arguments:
        model: The model.
        x: All data.

    Raises:
        ValueError: If a density depends on a masked latent, naming both.
    """
    with evaluating(model), fork_random_state(), InOrder(None):
        sites = latents(run(model, (x[:2],), {}, draws=1, training=True)) if len(x) else {}
    names = frozenset(name for name, site in sites.items() if isinstance(site["mask"], Tensor))
    token = VERIFIED.set(VERIFIED.get() | names)
    try:
        if names:
            with evaluating(model), fork_random_state(), torch.no_grad():
                step = data_block(x)
                for start in range(0, len(x), step):
                    _check(model, x[start : start + step], sorted(names))
        yield
    finally:
        VERIFIED.reset(token)


def _check(model: Program, x: Batch, names: list[str]) -> None:
    first, second = (run(model, (x,), {}, draws=1) for _ in range(2))
    values = first.values_of_latents()
    for name in names:
        free = first[name].get("free")
        if free is not None:
            fn = first[name]["fn"]
            everywhere = free.expand(fn.batch_shape)[(..., *(None,) * len(fn.event_shape))]
            changed = _another(fn, values[name], second[name]["value"])
            values[name] = torch.where(everywhere, changed, values[name])
    again = run(model, (x,), {}, draws=1, handler=SubstituteLatents(values))
    one, other = (without_masked(sites, {n: log_prob(s) for n, s in sites.items()}) for sites in (first, again))
    for name in one:
        if not agree(one[name], other[name]):
            raise ValueError(
                f"site {name!r} depends on masked latents ({', '.join(map(repr, names))}) of data for which they are "
                "masked, so that their values are free and the ELBO has no bound; mask what depends on them, too, or "
                "mask the observation instead"
            )


def _another(fn: TorchDistribution, value: Tensor, drawn: Tensor) -> Tensor:
    """Other values than these: the next state of bits and categoricals, which two draws may share; else those drawn."""
    if exponential_family.bit_logits(fn) is not None:
        return 1 - value
    if exponential_family.family(fn) == Family.CATEGORICAL:
        states: int = exponential_family.base(fn).logits.shape[-1]
        return (value + 1) % states
    if exponential_family.family(fn) == Family.ONE_HOT:
        return value.roll(1, -1)
    return drawn
