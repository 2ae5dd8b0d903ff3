"""Dense networks: a first layer that reads any data, hidden layers, residual blocks, masked networks."""

from __future__ import annotations

from itertools import chain, pairwise
from math import sqrt
from typing import Literal

import torch
from torch import Tensor, nn

from ppl_vae.data.inputs import Batch, documents
from ppl_vae.distributions.shapes import broadcast_shapes
from ppl_vae.nn.arguments import check_at_least
from ppl_vae.nn.ends import Ends, ends, start_constant
from ppl_vae.nn.numbers import Numbers

__all__ = [
    "MLP",
    "Activation",
    "CountsLinear",
    "DenseResidualBlock",
    "HiddenLayers",
    "LinearPlusMLP",
    "MaskedAutoregressiveLogits",
    "ReadAs",
]

ReadAs = Literal["counts", "frequencies", "shrunk"]

Activation = Literal["relu", "elu", "tanh", "silu"]
"""Activation of hidden layers; all but the first are smooth."""

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "elu": nn.ELU, "tanh": nn.Tanh, "silu": nn.SiLU}


class CountsLinear(nn.Module):
    r"""An affine map of the data.

    Documents of l words are read as word counts x; as frequencies in per cent, :math:`100\, x / l`; or shrunk,
    :math:`100\, x / (l + \bar l)` with the mean length :math:`\bar l` of the example. The mean of a normal posterior
    changes so with the length of a document, from its prior's to a limit; affine maps of counts, which have none, give
    long documents means and deviations without bound. The cost grows with the distinct words. Other fields are read as
    :class:`~ppl_vae.nn.numbers.Numbers`.

    Arguments:
        x: An example of the data.
        outputs: Width of the result.
        read_as: How documents are read.

    Shapes:
        A batch to ``(batch, outputs)``.
    """

    length: Tensor | None

    def __init__(self, x: Batch, outputs: int, read_as: ReadAs = "counts") -> None:
        super().__init__()
        self.read_as = read_as
        packed, self.numbers = documents(x), Numbers(x)
        inputs = packed.vocabulary if packed is not None else self.numbers.width
        bound = 1 / sqrt(inputs)
        if packed is not None and read_as != "counts":
            bound = min(
                bound, 1 / (100 * bound)
            )  # in short documents each word has a large share, which must not saturate bits
        self.weight = nn.Parameter(torch.empty(inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(outputs).uniform_(-bound, bound))
        self.beside: nn.Linear | None = None
        if packed is not None and self.numbers.width:
            self.beside = nn.Linear(self.numbers.width, outputs, bias=False)
        length = packed.lengths.double().mean().clamp(min=1).float() if packed is not None else None
        self.register_buffer("length", length if read_as == "shrunk" else None)

    def forward(self, x: Batch) -> Tensor:
        packed = documents(x)
        if packed is None:
            numbers: Tensor = self.numbers(x, self.weight.dtype)
            return numbers @ self.weight + self.bias
        product = packed @ self.weight
        if self.read_as != "counts":
            # Percentages are of the size of counts: for fractions, hundreds of times smaller, an optimiser like Adam
            # would need hundreds of epochs.
            over = packed.lengths.clamp(min=1) if self.length is None else packed.lengths + self.length
            product = product * (100 / over[:, None].to(product.dtype))
        if self.beside is not None:
            product = product + self.beside(self.numbers(x, product.dtype))
        return product + self.bias

    def ends(self) -> Ends:
        return [self.weight.T, *([] if self.beside is None else [self.beside.weight])], self.bias


class HiddenLayers(nn.Sequential):
    """Hidden layers of equal width; the identity if there are none.

    Arguments:
        inputs: Width of the input.
        layers: Number of layers.
        width: Number of units per layer.
        activation: Activation after each affine map.

    Shapes:
        ``(..., inputs)`` to ``(..., outputs)``: ``outputs`` is the width, or ``inputs`` without layers.

    Raises:
        ValueError: If the number of layers is negative, or a layer has no unit.
    """

    def __init__(self, inputs: int, layers: int, width: int, activation: type[nn.Module] = nn.ReLU) -> None:
        check_at_least(0, hidden=layers)
        check_at_least(1, width=width)
        widths = [inputs, *[width] * layers]
        parts = ((nn.Linear(a, b), activation()) for a, b in pairwise(widths))
        super().__init__(*chain.from_iterable(parts))
        self.outputs = widths[-1]


class MLP(nn.Module):
    """A multilayer perceptron of the data.

    Arguments:
        x: An example of the data.
        outputs: Width of the result.
        layers: Number of hidden layers; 0 is an affine map.
        width: Number of units per layer.
        read_as: How documents are read.
        activation: Activation after each hidden layer.
        keeps_scale: Whether the initial weights preserve the scale of differences between data (He, Zhang, Ren and Sun
            2015, eq. 10). Else each layer shrinks them: this suits a network beside an affine map, but alone all data
            look alike at first, and a decoder learns to ignore the code before the guide has learned to use it.

    Shapes:
        A batch to ``(batch, outputs)``.
    """

    def __init__(
        self,
        x: Batch,
        outputs: int,
        layers: int = 2,
        width: int = 512,
        read_as: ReadAs = "frequencies",
        *,
        activation: Activation = "relu",
        keeps_scale: bool = False,
    ) -> None:
        super().__init__()
        check_at_least(0, layers=layers)
        check_at_least(1, width=width)
        if activation not in ACTIVATIONS:
            raise ValueError(f"unknown activation {activation!r}; choose from {', '.join(ACTIVATIONS)}")
        widths = [width] * layers + [outputs]
        self.first = CountsLinear(x, widths[0], read_as)
        self.rest = nn.Sequential()
        for inputs, units in zip(widths, widths[1:], strict=False):
            layer = nn.Linear(inputs, units)
            if keeps_scale:
                nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
            self.rest.extend([ACTIVATIONS[activation](), layer])

    def forward(self, x: Batch) -> Tensor:
        result: Tensor = self.rest(self.first(x))
        return result

    def ends(self) -> Ends:
        return ends(self.rest[-1] if len(self.rest) else self.first)


class DenseResidualBlock(nn.Module):
    r"""A residual block, :math:`h + W_2\, \mathrm{ReLU}(W_1\, \mathrm{ReLU}(h))` (He, Zhang, Ren and Sun 2016b).

    Arguments:
        width: Width of h, and of the hidden layer.

    Shapes:
        ``(..., width)`` to the same.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, h: Tensor) -> Tensor:
        result: Tensor = h + self.out(self.hidden(h.relu()).relu())
        return result


class LinearPlusMLP(nn.Module):
    """An affine map of counts plus a network of frequencies: the usual encoder of a guide.

    The posterior of a linear decoder is affine in the counts; the network adds nonlinear terms.

    Arguments:
        x: An example of the data.
        outputs: Width of the result.
        layers: Number of hidden layers of the network.
        width: Number of units per layer.
        activation: Activation of those layers.
        affine: Number of outputs, the first ones, that have an affine map; None for all.
        zeros: Number of outputs, the last ones, that are initialised to zero.
        read_as: How the affine map reads documents.

    Shapes:
        A batch to ``(batch, outputs)``.
    """

    def __init__(
        self,
        x: Batch,
        outputs: int,
        layers: int,
        width: int,
        activation: Activation = "relu",
        *,
        affine: int | None = None,
        zeros: int = 0,
        read_as: ReadAs = "counts",
    ) -> None:
        super().__init__()
        self.linear = CountsLinear(x, outputs if affine is None else affine, read_as=read_as)
        self.network = MLP(x, outputs, layers, width, read_as="frequencies", activation=activation)
        if zeros:
            start_constant(self, slice(outputs - zeros, None))

    def forward(self, x: Batch) -> Tensor:
        affine: Tensor = self.linear(x)
        network: Tensor = self.network(x)
        return network + nn.functional.pad(affine, (0, network.shape[-1] - affine.shape[-1]))

    def ends(self) -> Ends:
        (weights, bias), (affine, offset) = ends(self.network), ends(self.linear)
        return [*weights, *affine, offset], bias


class MaskedAutoregressiveLogits(nn.Module):
    r"""Logits of bits, each from the bits before it, by a masked network (Germain et al. 2015, section 4).

    .. math:: \mathrm{logit}_j = a_j + \mathrm{network}_j(z_1, \dots, z_{j-1}, c)

    The network is initialised to zero.

    Arguments:
        bits: Number of bits.
        context: Width of c.
        hidden: Number of units of the hidden layer; None for four times the bits.

    Shapes:
        Parameters ``(batch, outputs)``, a and c side by side, and codes ``(..., batch or 1, bits)`` to logits
        ``(..., batch, bits)``.
    """

    def __init__(self, bits: int, context: int = 64, hidden: int | None = None) -> None:
        from zuko.nn import MaskedMLP

        super().__init__()
        self.bits, self.outputs = bits, bits + context
        before = torch.ones(bits, bits).tril(-1)
        adjacency = torch.cat([before, torch.ones(bits, context)], 1).bool()
        self.network = MaskedMLP(adjacency, hidden_features=(hidden or 4 * bits,), activation=nn.ReLU)
        nn.init.zeros_(self.network[-1].weight)
        nn.init.zeros_(self.network[-1].bias)

    def forward(self, parameters: Tensor, code: Tensor) -> Tensor:
        lead = broadcast_shapes(code.shape[:-1], parameters.shape[:-1])
        natural, context = parameters.split([self.bits, parameters.shape[-1] - self.bits], -1)
        both = torch.cat([code.expand(*lead, -1), context.expand(*lead, -1)], -1)
        result: Tensor = natural + self.network(both)
        return result
