"""How a guide, or a prior, draws each of its latents: read off one run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ppl_vae import exponential_family
from ppl_vae.log_weight import latents, run
from ppl_vae.randomness import kept_random_state

__all__ = ["GuideSite", "guide_sites"]

Program = Callable[..., Any]


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
    kind: Literal["bits", "states", "score", "pathwise"]
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
    """Makes all bits of row 0 zero, of row 1 one, and of the others chance, so that what depends on them shows."""

    def _pyro_sample(self, msg: Any) -> None:
        logits = exponential_family.bit_logits(msg["fn"])
        if msg["is_observed"] or logits is None:
            return
        value = torch.rand_like(logits).round()
        value[0], value[1] = 0, 1
        msg["value"] = value.reshape(msg["fn"].shape())


@torch.no_grad()
def guide_sites(
    guide: Program, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None, plates: int = 1
) -> list[GuideSite]:
    """Reads off one run of a guide how it draws each latent. Leaves the random state as it was."""
    found = []
    with kept_random_state():
        traced = latents(run(guide, args, kwargs or {}, draws=4, plates=plates, handler=_Probe()))
    for name, site in traced.items():
        fn, value = site["fn"], site["value"]
        frames = tuple((f.name, f.dim) for f in site["cond_indep_stack"] if f.dim > -plates - 1)
        logits = exponential_family.bit_logits(fn)
        if logits is not None:
            kind, size, shown = "bits", logits.shape[-1], logits
        else:
            # The same value is scored under the parameters of every row.
            shown = fn.log_prob(value[:1].expand(value.shape)) if isinstance(value, Tensor) else torch.zeros(4)
            if fn.has_rsample:
                kind, size = "pathwise", 0
            elif fn.has_enumerate_support:
                kind, size = "states", len(fn.enumerate_support(expand=False))
            else:
                kind, size = "score", 0
        independent = bool((shown == shown[:1]).all())
        found.append(GuideSite(name, exponential_family.family(fn), kind, size, independent, frames))  # type: ignore[arg-type]
    return found
