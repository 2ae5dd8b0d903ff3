"""The networks of guides: a first layer that reads any data, and what may follow it."""

from __future__ import annotations

from math import sqrt
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ppl_vae.batches import PackedCounts

__all__ = ["Encoder", "FirstLayer"]

Reads = Literal["counts", "frequencies"]


class FirstLayer(nn.Module):
    """An affine map of the data.

    Documents are read as word counts, or as frequencies in per cent, 100 times the counts over the document's
    length; the cost grows with the distinct words. Tensors are read as they are, flattened.

    Arguments:
        x: An example of the data.
        outputs: Width of the result.
        reads: How documents are read.

    Shapes:
        A batch of documents or tensors to ``(batch, outputs)``.
    """

    def __init__(self, x: PackedCounts | Tensor, outputs: int, reads: Reads = "counts") -> None:
        super().__init__()
        self.reads = reads
        inputs = x.vocabulary if isinstance(x, PackedCounts) else x[0].numel()
        bound = 1 / sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(outputs).uniform_(-bound, bound))

    def forward(self, x: PackedCounts | Tensor) -> Tensor:
        if not isinstance(x, PackedCounts):
            return x.flatten(1).to(self.weight.dtype) @ self.weight + self.bias
        product = x @ self.weight
        if self.reads == "frequencies":
            # In per cent they are of the size of counts: as fractions, hundreds of times smaller, they would take an
            # optimiser like Adam hundreds of epochs to see.
            product = product * (100 / x.lengths.clamp(min=1)[:, None].to(product.dtype))
        return product + self.bias


class Encoder(nn.Module):
    """ReLU layers over the data.

    Arguments:
        x: An example of the data.
        outputs: Width of the result.
        layers: Hidden layers; 0 is an affine map.
        width: Units of each.
        reads: How documents are read.

    Shapes:
        A batch to ``(batch, outputs)``.
    """

    def __init__(
        self, x: PackedCounts | Any, outputs: int, layers: int = 2, width: int = 512, reads: Reads = "frequencies"
    ) -> None:
        super().__init__()
        if layers < 0 or width < 1:
            raise ValueError(f"a network has 0 or more layers of at least 1 unit, got layers={layers}, width={width}")
        widths = [width] * layers + [outputs]
        self.first = FirstLayer(x, widths[0], reads)
        self.rest = nn.Sequential()
        for inputs, units in zip(widths, widths[1:], strict=False):
            self.rest.extend([nn.ReLU(), nn.Linear(inputs, units)])

    def forward(self, x: PackedCounts | Tensor) -> Tensor:
        result: Tensor = self.rest(self.first(x))
        return result
