"""Data known again: a number for each, the same for the same datum in whatever batch it comes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.inputs import Batch, Field, Inputs

__all__ = ["fingerprints"]

_Numbers = NDArray[np.uint64]


def fingerprints(x: Batch, names: Sequence[str] = ()) -> NDArray[np.uint64]:
    r"""A 64-bit number of each datum, ``(data,)``, made of all its fields.

    .. math:: h_i = \sum_j f\bigl(b_{ij} + f(j)\bigr) \bmod 2^{64}

    over the places j of a datum, with the bits :math:`b_{ij}` of its numbers as float64, to which integers that are no
    float64 add what rounding takes off, and the finaliser f of SplitMix64 (Steele, Lea and Flood 2014). Of n different
    data two have the same number with probability about :math:`n^2 / 2^{65}`.

    Arguments:
        x: The data. Their fields count in the order of their names, however they are given.
        names: Those of positional fields, else their positions.

    Example:
        >>> x = torch.tensor([[0.0, 1.0], [2.0, 1.0], [0.0, 1.0]])
        >>> one, other, same = fingerprints(x)
        >>> bool(one == same), bool(one == other)
        (True, False)
    """
    fields: list[Field] = [field for _, field in sorted(x.fields(names).items())] if isinstance(x, Inputs) else [x]
    result = np.zeros(len(x), np.uint64)
    for position, field in enumerate(fields):
        result += _mixed(_of_field(field) + np.uint64(position))
    return result


def _of_field(field: Field) -> _Numbers:
    if isinstance(field, PackedCounts):
        sums = np.zeros(len(field), np.uint64)
        places = field.words.cpu().numpy().astype(np.uint64)
        np.add.at(sums, field.documents.cpu().numpy(), _mixed(_bits(field.counts) + _mixed(places)))
        return sums
    numbers = _bits(field.detach().reshape(len(field), -1))
    places = np.arange(numbers.shape[1], dtype=np.uint64)
    total: _Numbers = _mixed(numbers + _mixed(places)).sum(1, dtype=np.uint64)
    return total


def _bits(values: torch.Tensor) -> _Numbers:
    # Adding zero turns -0.0, which equals 0.0, into it.
    rounded = (values.cpu().double() + 0.0).contiguous()
    bits: _Numbers = rounded.numpy().view(np.uint64)
    if values.dtype == torch.int64:
        bits = bits + _mixed((values.cpu() - rounded.long()).numpy().view(np.uint64))
    return bits


def _mixed(numbers: _Numbers) -> _Numbers:
    """SplitMix64's finaliser, modulo 2^64."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))
