"""Binary codes of data, read off a guide."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.distributions import Bernoulli

from ppl_vae.data.inputs import Batch
from ppl_vae.distributions import exponential_family
from ppl_vae.distributions.bits import BitsDistribution, JointBits, bit_states
from ppl_vae.nn.modes import evaluating
from ppl_vae.programs.handlers import Site, latents, run
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.sites import guide_sites
from ppl_vae.programs.types import Program, Progress

__all__ = ["Codes", "draw_codes", "log_odds"]

ROWS = 4096
"""Number of codes drawn at once."""


@dataclass(frozen=True, eq=False)
class Codes:
    """Binary codes, packed eight bits per byte.

    Arguments:
        packed: The bytes, ``(data, bytes)``, uint8: the first bit is the highest of the first byte, as in
            ``numpy.packbits``, and the last byte is padded with zeros.
        bits: Length of a code.

    Example:
        >>> Codes.pack([[1, 0, 1], [0, 0, 1]]).packed.tolist()
        [[160], [32]]
    """

    packed: NDArray[np.uint8]
    bits: int

    @classmethod
    def pack(cls, bits: Tensor | ArrayLike) -> Codes:
        """Packs codes ``(data, bits)`` of zeros and ones, or of truth values."""
        table = np.asarray(bits.cpu() if isinstance(bits, Tensor) else bits).astype(bool)
        return cls(np.packbits(table, axis=1), table.shape[1])

    def unpack(self) -> NDArray[np.uint8]:
        """Returns the bits as zeros and ones, ``(data, bits)``."""
        return np.unpackbits(self.packed, axis=1, count=self.bits)

    def __len__(self) -> int:
        return len(self.packed)

    def __getitem__(self, rows: slice) -> Codes:
        return Codes(self.packed[rows], self.bits)

    @property
    def distinct(self) -> int:
        """Number of distinct codes."""
        return len(np.unique(self.packed, axis=0))


def log_odds(model: Program, guide: Program, x: Batch, *, draws: int = 100, progress: Progress | None = None) -> Tensor:
    r"""Returns the log-odds of each bit of the code of each datum under the guide.

    .. math:: \log \frac{q(z_j = 1 \mid x)}{q(z_j = 0 \mid x)}

    Where they are positive a bit is more probably one: these signs are the codes of semantic hashing (Salakhutdinov
    and Hinton 2009; Chaidaroon and Fang 2017 take the sides of their medians over the training data).
    Latents other than bits are ignored; several sites of bits lie side by side in the order the model draws them.

    Arguments:
        model: The generative model, which says which latents are bits.
        guide: Its guide.
        x: The data; worked through in blocks.
        draws: Number of draws per datum over which probabilities are averaged, where a bit's probability depends on
            other draws; else it is exact.
        progress: Called with the number of data completed since the last call.

    Returns:
        ``(data, bits)``, on the CPU.

    Raises:
        ValueError: If there are no data, or the model has no latent bits, naming those it has.
    """
    names = _bit_sites(model, x)
    with evaluating(guide):
        free = {site.name for site in guide_sites(guide, (x[:2],)) if site.independent}
        with fork_random_state():
            first = run(guide, (x[:1],), {}, draws=1)
        exact = all(
            name in free and isinstance(exponential_family.base(first[name]["fn"]), (Bernoulli, JointBits))
            for name in names
        )
        pieces = []
        for sites in _blocks(guide, x, 1 if exact else draws, progress):
            parts = [_marginal(sites[name]) for name in names]
            odds = torch.cat(parts, -1)
            pieces.append((odds[0] if exact else odds.sigmoid().mean(0).logit()).cpu())
    return torch.cat(pieces)


def draw_codes(model: Program, guide: Program, x: Batch, *, progress: Progress | None = None) -> Codes:
    """Returns one code per datum, drawn from the guide; see :func:`log_odds`."""
    names = _bit_sites(model, x)
    with evaluating(guide):
        parts = [
            torch.cat([_flat(sites[name]) for name in names], -1)[0].cpu() for sites in _blocks(guide, x, 1, progress)
        ]
    return Codes.pack(torch.cat(parts))


def _bit_sites(model: Program, x: Batch) -> list[str]:
    if len(x) == 0:
        raise ValueError("there are no data to encode; give at least one datum")
    with evaluating(model), fork_random_state():
        drawn = latents(run(model, (x[:1],), {}, draws=1))
    inner = {name: exponential_family.base(site["fn"]) for name, site in drawn.items()}
    names = [name for name, fn in inner.items() if isinstance(fn, (Bernoulli, BitsDistribution))]
    if not names:
        latent_sites = ", ".join(f"{name!r} ({exponential_family.family(fn)})" for name, fn in inner.items())
        raise ValueError(
            f"binary codes need latent bits, but the model has {latent_sites}; take a model with Bernoulli sites"
        )
    return names


def _blocks(guide: Program, x: Batch, draws: int, progress: Progress | None) -> Iterator[dict[str, Site]]:
    step = max(1, ROWS // draws)
    for start in range(0, len(x), step):
        part = x[start : start + step]
        yield run(guide, (part,), {}, draws=draws)
        if progress:
            progress(len(part))


def _marginal(site: Site) -> Tensor:
    """Log-odds of a site's bits given the other draws, ``(draws, batch, bits)``; infinite where only drawn."""
    logits = exponential_family.bit_logits(site["fn"])
    if logits is not None:
        return logits
    inner = exponential_family.base(site["fn"])
    if isinstance(inner, JointBits):
        states = bit_states(inner.event_shape.numel(), like=inner.logits)
        # By sums over both sides, so that sure bits keep their odds.
        sides = [(inner.logits[..., None] + side.log()).logsumexp(-2) for side in (states, 1 - states)]
        return (sides[0] - sides[1]).expand(*site["fn"].batch_shape, -1)
    return _flat(site).logit()


def _flat(site: Site) -> Tensor:
    """Values of a site as ``(draws, batch, bits)``."""
    value: Tensor = site["value"]
    return value.reshape(*value.shape[:2], -1)
