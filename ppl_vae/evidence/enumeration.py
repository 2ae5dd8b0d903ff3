"""Evidence and bound by visiting every state of the discrete latents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor

from ppl_vae.batches import PackedCounts
from ppl_vae.bits import bit_states
from ppl_vae.evidence.products import Products
from ppl_vae.evidence.results import Estimate, Measurement
from ppl_vae.log_weight import Sites, check_cover, latents, log_joint, log_proposal, run, shares_codes
from ppl_vae.randomness import kept_random_state
from ppl_vae.sites import GuideSite

__all__ = ["FirstRow", "States", "enumerate_states"]

Program = Callable[..., Any]
Progress = Callable[[int], None]

CELLS = 2**22
"""Largest number of (code, datum) cells held at once: 16 MB, which the allocator still recycles."""
BLOCK = 2**11
"""Most codes scored by one run of the programs."""


class States:
    """The joint states of a model's discrete latents.

    Arguments:
        sites: How the model draws its latents; all must list their values.
        model: The model.
        x: A few data.
    """

    def __init__(self, sites: list[GuideSite], model: Program, x: Any) -> None:
        self.sites, self.count = sites, prod(site.states for site in sites)
        with kept_random_state():
            self.run: Sites = run(model, (x,), {}, draws=1)
        self.priors = {name: site["fn"] for name, site in latents(self.run).items()}
        self.device = next(iter(latents(self.run).values()))["value"].device
        self.x = x

    def values(self, index: Tensor) -> dict[str, Tensor]:
        """Values of every site in the states numbered ``index``, ``(states, 1, *event)``; the last turns fastest."""
        found, stride = {}, self.count
        for site in self.sites:
            fn, stride = self.priors[site.name], stride // site.states
            which = index // stride % site.states
            if site.kind == "bits":
                drawn = self.run[site.name]["value"]
                found[site.name] = bit_states(site.size, like=drawn)[which].reshape(len(index), 1, *fn.event_shape)
            else:
                found[site.name] = fn.enumerate_support(expand=False)[:, 0][which]
        return found

    def codes(self, start: int, stop: int, data: int, shared: bool) -> dict[str, Tensor]:
        """Values of the states from ``start`` to ``stop``, of batch size 1 if shared, else repeated for each datum."""
        found = self.values(torch.arange(start, min(stop, self.count), device=self.device))
        if shared:
            return found
        return {name: value.expand(len(value), data, *value.shape[2:]).clone() for name, value in found.items()}

    def shared(self, *scores: Callable[[Any, Mapping[str, Tensor]], Tensor]) -> bool:
        """Whether the programs behind the scores take codes of batch size 1 for all data at once."""
        if len(self.x) < 2:
            return False
        few = {name: FirstRow(fn) for name, fn in self.priors.items()}
        return all(shares_codes(lambda values, score=score: score(self.x, values), few) for score in scores)  # type: ignore[misc]


class FirstRow:
    """A prior of shape ``(1, batch)`` seen as one of shape ``(batch,)``."""

    def __init__(self, fn: Any) -> None:
        self.fn = fn

    def sample(self, shape: tuple[int, ...]) -> Tensor:
        drawn: Tensor = self.fn.sample(shape)[:, 0]
        return drawn

    def shape(self) -> torch.Size:
        return torch.Size(self.fn.shape()[1:])


def enumerate_states(
    model: Program,
    guide: Program | None,
    x: Any,
    sites: list[GuideSite],
    progress: Progress | None = None,
) -> Measurement | Tensor:
    r"""Evidence and bound of each datum by sums over all states, a block of states at a time.

    Arguments:
        model: The model.
        guide: Its guide; None leaves the bound out.
        x: The data.
        sites: How the model draws its latents.
        progress: Called with the number of (state, datum) cells done.

    Returns:
        A measurement; without a guide only the evidence, ``(data,)``, in nats.
    """
    states = States(sites, model, x[:3])
    if guide is not None:
        check_cover(states.run, run(guide, (x[:1],), {}, draws=1))
    shared = states.shared(partial(log_joint, model), *([partial(log_proposal, guide)] if guide is not None else []))
    found = _by_products(model, guide, x, states, progress) if shared else None
    evidence, bound = found or _by_densities(model, guide, x, states, shared, progress)
    if guide is None:
        return evidence
    method = f"enumeration of {states.count} states"
    return Measurement(
        Estimate(bound, method, "exact"),
        Estimate(evidence, method, "exact"),
        Estimate(evidence - bound, method, "exact"),
    )


def _by_products(
    model: Program, guide: Program | None, x: Any, states: States, progress: Progress | None
) -> tuple[Tensor, Tensor] | None:
    """Evidence and bound where codes and data meet in matrix products only; None where they do not."""
    try:
        products = Products(model, guide, x, states.codes(0, 2, len(x), True))
        for start in range(0, states.count, BLOCK):
            products.add(states.codes(start, start + BLOCK, len(x), True))
            if progress:
                progress(min(BLOCK, states.count - start) * len(x))
    except ValueError:
        return None
    return products.result()


def _by_densities(
    model: Program, guide: Program | None, x: Any, states: States, shared: bool, progress: Progress | None
) -> tuple[Tensor, Tensor]:
    """Evidence and bound of any pair, from the log-densities of its sites."""
    width = 1 if isinstance(x, PackedCounts) else x[0].numel()
    block = max(1, min(BLOCK, CELLS // (len(x) * width)))
    precise = torch.float32 if states.device.type == "mps" else torch.float64
    evidence = torch.full((len(x),), -torch.inf, dtype=precise, device=states.device)
    bound, mass, reference = torch.zeros_like(evidence), torch.zeros_like(evidence), None
    for start in range(0, states.count, block):
        codes = states.codes(start, start + block, len(x), shared)
        joint = log_joint(model, x, codes)
        if reference is None:
            # Relative to some code's, log-densities are small numbers, and float32 enough for their sums.
            high = joint.amax(0)
            reference = torch.where(high.isfinite(), high, 0)
        joint.sub_(reference)
        evidence = torch.logaddexp(evidence, joint.logsumexp(0).to(evidence))
        if guide is not None:
            proposal = log_proposal(guide, x, codes)
            probability = proposal.exp()
            mass += probability.sum(0)
            # A code the guide never draws adds nothing, however improbable the model finds it.
            bound += joint.sub_(proposal).mul_(probability).masked_fill_(probability == 0, 0).sum(0)
        if progress:
            progress(joint.numel())
    assert reference is not None
    # Probabilities add up to one but for rounding, which the size of the log-densities would magnify.
    return reference + evidence, reference + bound / mass
