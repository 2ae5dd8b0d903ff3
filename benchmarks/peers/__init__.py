"""Ways to take a training step of the text model, one file each, by name."""

from __future__ import annotations

import importlib
import importlib.util
from abc import ABC, abstractmethod

from torch import Tensor

from benchmarks.setting import Setting
from ppl_vae.data.counts import PackedCounts

__all__ = ["PEERS", "Peer", "load"]


class Peer(ABC):
    """One way to take a step, from a batch of packed documents to updated parameters.

    Arguments:
        setting: The model and its guide.
        x: The training documents.
    """

    units = 1
    """Pieces of work that the last step did, where peers differ in it: times are those of one."""

    def __init__(self, setting: Setting, x: PackedCounts) -> None:
        self.setting = setting

    @abstractmethod
    def step(self, x: PackedCounts) -> None:
        """One update by a batch, done when it returns."""

    def gradient(self, x: PackedCounts) -> Tensor:
        """One estimate of the gradient of the mean loss of a batch, flat: each layer's weight ``(outputs, inputs)``
        and bias, the decoder's before the encoder's."""
        raise NotImplementedError


PEERS = {
    "ours": "ours:Ours",
    "ours-arm": "ours:OursARM",
    "pyro-trace": "pyro_svi:Trace",
    "pyro-trace-pairs": "pyro_svi:TracePairs",
    "pyro-tracegraph": "pyro_svi:TraceGraph",
    "torch-arm": "dense_torch:Eager",
    "torch-arm-compiled": "dense_torch:Compiled",
    "torch-sparse-arm": "sparse_torch:SparseARM",
    "torch-sparse-disarm": "sparse_torch:SparseDisARM",
    "jax-arm": "dense_jax:JaxARM",
    "numpyro-tracegraph": "numpyro_svi:NumPyroTraceGraph",
    "reference": "reference:Reference",
    "reference-bf16": "reference:ReferenceBF16",
    "floor-pairs": "reference:FloorPairs",
    "floor": "reference:Floor",
}
"""Where each is, by name. The last four are no steps: only the arithmetic over a dense softmax, of two-sided ARM and of
the cheapest estimates of a pair and of a single code that are unbiased."""


def load(name: str) -> type[Peer]:
    """The class of a peer, or of ``folder.module:Class`` in this package; only its own packages are imported.

    Raises:
        ValueError: If there is none of that name, or what it needs is not installed.
    """
    if name not in PEERS and ":" not in name:
        raise ValueError(f"unknown peer {name!r}; choose from {', '.join(PEERS)}")
    where = f"peers.{PEERS[name]}" if name in PEERS else name
    module, _, kind = where.partition(":")
    try:
        found: type[Peer] = getattr(importlib.import_module(f"benchmarks.{module}"), kind)
    except ImportError as error:
        raise ValueError(f"{error.name} is not installed (pip install -e '.[benchmarks]')") from error
    return found
