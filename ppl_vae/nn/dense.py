"""The networks of guides: a first layer that reads any data, and what may follow it."""

from __future__ import annotations

from math import sqrt
from typing import Any, Literal

import torch
from torch import Tensor, nn
from zuko.nn import MaskedMLP

from ppl_vae.data.counts import PackedCounts

__all__ = ["MaskedAutoregressiveLogits", "MLP", "CountsLinear", "Residual", "LinearPlusMLP"]

Reads = Literal["counts", "frequencies"]


class CountsLinear(nn.Module):
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
        if isinstance(x, PackedCounts) and reads == "frequencies":
            bound = min(bound, 1 / (100 * bound))  # of few words each has a large share, which must not saturate bits
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


class MLP(nn.Module):
    """ReLU layers over the data.

    Arguments:
        x: An example of the data.
        outputs: Width of the result.
        layers: Hidden layers; 0 is an affine map.
        width: Units of each.
        reads: How documents are read.
        keeps_scale: Whether what tells data apart comes through the layers as large as it is from the start (He, Zhang,
            Ren and Sun 2015, eq. 10). Else each shrinks it: right beside an affine map, but alone all data look
            alike at first, and a decoder learns to do without the code before the guide has learned to use it.

    Shapes:
        A batch to ``(batch, outputs)``.
    """

    def __init__(
        self,
        x: PackedCounts | Any,
        outputs: int,
        layers: int = 2,
        width: int = 512,
        reads: Reads = "frequencies",
        *,
        keeps_scale: bool = False,
    ) -> None:
        super().__init__()
        if layers < 0 or width < 1:
            raise ValueError(f"a network has 0 or more layers of at least 1 unit, got layers={layers}, width={width}")
        widths = [width] * layers + [outputs]
        self.first = CountsLinear(x, widths[0], reads)
        self.rest = nn.Sequential()
        for inputs, units in zip(widths, widths[1:], strict=False):
            layer = nn.Linear(inputs, units)
            if keeps_scale:
                nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
            self.rest.extend([nn.ReLU(), layer])

    def forward(self, x: PackedCounts | Tensor) -> Tensor:
        result: Tensor = self.rest(self.first(x))
        return result


class Residual(nn.Module):
    r"""A residual block, :math:`h + W_2\, \mathrm{ReLU}(W_1\, \mathrm{ReLU}(h))` (He, Zhang, Ren and Sun 2016b).

    Arguments:
        width: Units of h, and of the layer within.

    Shapes:
        ``(..., width)`` to the same.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inside, self.out = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, h: Tensor) -> Tensor:
        result: Tensor = h + self.out(self.inside(h.relu()).relu())
        return result


class LinearPlusMLP(nn.Module):
    """An affine map of counts plus a network of frequencies: what a guide reads off the data.

    The posterior of a linear decoder is affine in the counts; the network may add what is not.

    Arguments:
        x: An example of the data.
        outputs: Width of the result.
        layers: Hidden ReLU layers of the network.
        width: Units of each.
        affine: How many of the outputs, the first, have an affine map; None is all.
        zeros: How many of the outputs, the last, are zero until they are trained.

    Shapes:
        A batch to ``(batch, outputs)``.
    """

    def __init__(
        self, x: Any, outputs: int, layers: int, width: int, *, affine: int | None = None, zeros: int = 0
    ) -> None:
        super().__init__()
        self.linear = CountsLinear(x, outputs if affine is None else affine, reads="counts")
        self.network = MLP(x, outputs, layers, width, reads="frequencies")
        if zeros:
            last: Any = self.network.rest[-1] if layers else self.network.first
            weight = last.weight if layers else last.weight.T  # FirstLayer's lies the other way round
            ends = (self.linear.weight.T, self.linear.bias, weight, last.bias)
            with torch.no_grad():
                for end in ends:
                    end[outputs - zeros :] = 0

    def forward(self, x: PackedCounts | Tensor) -> Tensor:
        straight: Tensor = self.linear(x)
        found: Tensor = self.network(x)
        return found + nn.functional.pad(straight, (0, found.shape[-1] - straight.shape[-1]))


class MaskedAutoregressiveLogits(nn.Module):
    r"""Logits of bits, each from the bits before it, by a masked network (Germain et al. 2015, section 4).

    .. math:: \mathrm{logit}_j = a_j + \mathrm{network}_j(z_1, \dots, z_{j-1}, c)

    The network adds nothing until it is trained.

    Arguments:
        bits: The number of bits.
        context: Width of c.
        hidden: Units of its only hidden layer; None is four times the bits.

    Shapes:
        Parameters ``(batch, outputs)``, a and c side by side, and codes ``(..., batch or 1, bits)`` to logits
        ``(..., batch, bits)``.
    """

    def __init__(self, bits: int, context: int = 64, hidden: int | None = None) -> None:
        super().__init__()
        self.bits, self.outputs = bits, bits + context
        before = torch.ones(bits, bits).tril(-1)
        adjacency = torch.cat([before, torch.ones(bits, context)], 1).bool()
        self.network = MaskedMLP(adjacency, hidden_features=(hidden or 4 * bits,), activation=nn.ReLU)
        nn.init.zeros_(self.network[-1].weight)
        nn.init.zeros_(self.network[-1].bias)

    def forward(self, part: Tensor, code: Tensor) -> Tensor:
        lead = torch.broadcast_shapes(code.shape[:-1], part.shape[:-1])
        natural, context = part.split([self.bits, part.shape[-1] - self.bits], -1)
        both = torch.cat([code.expand(*lead, -1), context.expand(*lead, -1)], -1)
        result: Tensor = natural + self.network(both)
        return result
