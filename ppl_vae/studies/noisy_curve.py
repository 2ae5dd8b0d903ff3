"""Points near a curve in the plane whose noise differs from part to part: fresh data, and evidence where codes fold.

The curve is that of :mod:`ppl_vae.data.readers.manifold`, after Berger and Sebag (2020, section 4).
"""

from __future__ import annotations

from math import log
from typing import Protocol

import numpy as np
import pyro.distributions as dist
import torch
from numpy.typing import NDArray
from torch import Tensor

from ppl_vae.data.readers.manifold import curve_points
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.importance import from_log_weights
from ppl_vae.nn.modes import evaluating
from ppl_vae.programs.amortised import AmortisedGuide
from ppl_vae.programs.log_weight import log_joint

__all__ = ["FreshPoints", "grid_evidence", "held_out_points"]


class FreshPoints:
    """Training data of which every batch is new.

    Arguments:
        points: Number of data in an epoch.
        device: Device of the batches.
    """

    def __init__(self, points: int, device: torch.device) -> None:
        self.points, self.device = points, device

    def __len__(self) -> int:
        return self.points

    def __getitem__(self, index: slice | Tensor) -> Tensor:
        count = len(range(self.points)[index]) if isinstance(index, slice) else len(index)
        # From the random state that a training keeps, so that a resumed one continues with the same points.
        seed = int(torch.randint(2**31, ()))
        return torch.from_numpy(curve_points(count, seed)[0]).float().to(self.device)


def held_out_points(count: int, seed: int) -> NDArray[np.float64]:
    """Returns the test data of a seed, in the precision in which models see them, ``(count, 2)``."""
    return curve_points(count, 1_000 + seed)[0].astype(np.float32).astype(np.float64)


class NoisyDecoder(Protocol):
    """A model of normal data: what its decoder computes of latents, the means, and the scales."""

    def hidden(self, z: Tensor, /) -> Tensor: ...

    def mean(self, z: Tensor, /) -> Tensor: ...

    def noise(self, hidden: Tensor, /) -> Tensor: ...

    def __call__(self, *args: object, **kwargs: object) -> object: ...


@torch.no_grad()
def grid_evidence(model: NoisyDecoder, guide: AmortisedGuide, x: Tensor, draws: int, spacing: float = 0.05) -> Estimate:
    r"""Evidence by importance weights, half of draws from the guide and half from where a grid of latents has mass.

    .. math:: r(z \mid x) = \frac12 q(z \mid x) + \frac{1}{2 h^2} \sum_k p_k(x)\, [z \text{ in the square around } z_k],
        \qquad p_k(x) \propto p(z_k)\, p(x \mid z_k)

    A folded latent space has several codes of one point of the plane, of which a normal guide knows one: its weights
    alone would miss the others, and their share of the evidence.

    Arguments:
        model: ``manifold`` with two latents.
        guide: ``residual``, which factorises.
        x: The data, ``(data, 2)``.
        draws: Draws per datum, an even number.
        spacing: Spacing h of the grid, which reaches to 5.

    Returns:
        A lower bound in expectation, ``(data,)``, in nats.
    """
    half = round(5 / spacing)
    axis = spacing * torch.arange(-half, half + 1, device=x.device, dtype=x.dtype)
    grid, evidence = torch.cartesian_prod(axis, axis), []
    with evaluating(model, guide):
        mean, sigma = model.mean(grid), model.noise(model.hidden(grid))
        # Within a square the mean moves as far as from one node to the next: the likelihood is taken that much wider.
        nodes = mean.unflatten(0, (len(axis), len(axis)))
        moves = [nodes.diff(dim=d, append=nodes.narrow(d, -1, 1)).flatten(0, 1) for d in (0, 1)]
        widened = dist.Normal(mean, (sigma**2 + (moves[0] ** 2 + moves[1] ** 2) / 4).sqrt())
        for part in x.split(max(1, 2**16 // draws)):
            log_share = widened.log_prob(part[:, None]).sum(-1) - (grid**2).sum(-1) / 2
            log_share = log_share.log_softmax(-1)
            q = guide.members(guide.encoder(part))["z"]
            nodes = grid[torch.multinomial(log_share.exp(), draws // 2, replacement=True).T]
            z = torch.cat([q.sample((draws // 2,)), nodes + spacing * (torch.rand_like(nodes) - 0.5)])
            at = (z / spacing).round().long() + half
            inside = ((at >= 0) & (at < len(axis))).all(-1)
            at = at.clamp(0, len(axis) - 1)
            proposal = log_share.T[at[..., 0] * len(axis) + at[..., 1], torch.arange(len(part), device=x.device)]
            proposal = proposal.where(inside, -torch.inf) - 2 * log(spacing)
            weights = log_joint(model, part, {"z": z}) - torch.logaddexp(q.log_prob(z), proposal) + log(2)
            evidence.append(
                from_log_weights(weights.double(), torch.ones(len(part), dtype=torch.bool, device=x.device)).evidence
            )
    return Estimate.join(evidence)
