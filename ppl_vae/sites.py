"""How a guide, or a prior, draws each of its latents: read off one run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ppl_vae import exponential_family
from ppl_vae.log_weight import latents, run
from ppl_vae.modes import evaluation_mode
from ppl_vae.randomness import kept_random_state

__all__ = ["GuideSite", "guide_sites"]

Program = Callable[..., Any]
Kind = Literal["bits", "states", "score", "pathwise"]


@dataclass(frozen=True)
class GuideSite:
    """How a guide draws one latent.

    Arguments:
        name: Of the site.
        family: In words.
        kind: ``"bits"`` (Bernoulli), ``"states"`` (another discrete family that lists its support), ``"score"``
            (any other family without reparameterised draws) or ``"pathwise"`` (with them).
        size: The number of bits or of states; 0 for the other kinds.
        independent: Whether its parameters are the same whatever the other latents' draws are.
        frames: Names and dimensions of the plates it lies in.
    """

    name: str
    family: str
    kind: Kind
    size: int
    independent: bool
    frames: tuple[tuple[str, int], ...]

    @property
    def discrete(self) -> bool:
        return self.kind != "pathwise"

    @property
    def states(self) -> int:
        return 2**self.size if self.kind == "bits" else self.size


class _Probe(Messenger):
    """Gives discrete sites values that differ from row to row, so that what depends on them shows.

    Row 0 holds zeros or the first state, row 1 ones or the last state, the others chance.
    """

    def __init__(self) -> None:
        super().__init__()
        self.depends: dict[str, bool] = {}
        self.before: list[Tensor] = []

    def _pyro_sample(self, msg: Any) -> None:
        fn = msg["fn"]
        if msg["is_observed"] or poutine.util.site_is_subsample(msg):
            return
        logits = exponential_family.bit_logits(fn)
        value = fn() if logits is None else torch.rand_like(logits).round().reshape(fn.shape())
        if logits is None and not fn.has_rsample and fn.has_enumerate_support:
            support = fn.enumerate_support(expand=False)
            value[0], value[1] = support[0, 0], support[-1, 0]
        elif logits is not None:
            value[0], value[1] = 0, 1
        # The same value is scored under the parameters of every row; a coupling whose weights are still zero shows
        # only in the graph.
        scored = fn.log_prob(value[:1].expand(value.shape)) if logits is None else logits
        linked = False
        if scored.requires_grad and self.before:
            found = torch.autograd.grad(scored.sum(), self.before, allow_unused=True, retain_graph=True)
            linked = any(gradient is not None for gradient in found)
        self.depends[msg["name"]] = linked or not bool((scored == scored[:1]).all())
        if value.is_floating_point():
            value = value if value.requires_grad else value.requires_grad_()
            self.before.append(value)
        msg["value"] = value


def guide_sites(
    guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None, plates: int = 1
) -> list[GuideSite]:
    """Reads off one run of a guide how it draws each latent. Leaves the random state as it was."""
    found, probe = [], _Probe()
    with kept_random_state(), evaluation_mode(guide), torch.enable_grad():
        traced = latents(run(guide, args, kwargs or {}, draws=4, plates=plates, handler=probe))
    for name, site in traced.items():
        fn = site["fn"]
        frames = tuple((f.name, f.dim) for f in site["cond_indep_stack"] if f.dim > -plates - 1)
        logits = exponential_family.bit_logits(fn)
        kind: Kind
        if logits is not None:
            kind, size = "bits", logits.shape[-1]
        elif fn.has_rsample:
            kind, size = "pathwise", 0
        elif fn.has_enumerate_support:
            kind, size = "states", len(fn.enumerate_support(expand=False))
        else:
            kind, size = "score", 0
        found.append(GuideSite(name, exponential_family.family(fn), kind, size, not probe.depends[name], frames))
    return found
