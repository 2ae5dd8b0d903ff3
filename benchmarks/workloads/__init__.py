"""All that is timed beside programs written by hand: ``python -m benchmarks.workloads``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

__all__ = ["Size"]


@dataclass(frozen=True)
class Size:
    """How large a piece of work is.

    Arguments:
        data: Number of data.
        batch: Data of a step.
        width: Units of each hidden layer.
        side: Pixels of an image's side; 0 is a point of the plane.
        latents: Normal latents, or bits.
        draws: Samples of each datum that its evidence is estimated by, or annealed chains.
        temperatures: Of annealing.
    """

    data: int = 4096
    batch: int = 256
    width: int = 512
    side: int = 28
    latents: int = 32
    draws: int = 1000
    temperatures: int = 40

    def read(self, path: Path) -> Tensor:
        """Synthetic data: smooth grey images of strokes and empty background, or points around the origin."""
        generator = torch.Generator().manual_seed(0)
        if not self.side:
            return torch.randn(self.data, 2, generator=generator)
        noise = torch.randn(self.data, 1, self.side, self.side, generator=generator)
        return torch.nn.functional.avg_pool2d(noise, 3, 1, 1)[:, 0].mul_(4).sigmoid_()
