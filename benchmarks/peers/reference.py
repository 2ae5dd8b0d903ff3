"""The arithmetic of two-sided ARM over a dense softmax and nothing else: products, exponentials, and memory."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from benchmarks.arithmetic import arithmetic
from benchmarks.peers import Peer
from benchmarks.setting import Setting
from ppl_vae.data.counts import PackedCounts


class Reference(Peer):
    """Products at the very shapes of the setting, in memory that is there already."""

    dtype = torch.float32
    evaluated = differentiated = 2
    """Codes of a pair whose likelihood is computed, and through which the decoder's gradient goes."""

    def __init__(self, setting: Setting, x: PackedCounts) -> None:
        super().__init__(setting, x)
        entries = setting.batch * len(x.words) // len(x)
        ways = {"evaluated": self.evaluated, "differentiated": self.differentiated}
        self.work = arithmetic(setting, x.vocabulary, entries, **ways)
        self.products = []
        for p in self.work.products:
            left, right = torch.rand(p.m, p.k).to(self.dtype), torch.rand(p.k, p.n).to(self.dtype)
            self.products.append((left, right, torch.empty(p.m, p.n, dtype=self.dtype), p.times))
        # A block that stays in the cache, as a fused softmax has it.
        self.block = torch.rand(2**15)
        self.result = torch.empty_like(self.block)
        self.stream = torch.zeros(max(2**20, self.work.bytes // 8))
        self.seconds = {"products": 0.0, "exponentials": 0.0, "memory": 0.0}

    def step(self, x: PackedCounts) -> None:
        begun = time.perf_counter()
        for left, right, result, times in self.products:
            for _ in range(times):
                torch.mm(left, right, out=result)
        then = time.perf_counter()
        for _ in range(-(-self.work.exponentials // len(self.block))):
            torch.exp(self.block, out=self.result)
        after = time.perf_counter()
        self.stream[: self.work.bytes // 8].add_(1)  # read and written once: half the bytes each
        for part, taken in zip(self.seconds, (then - begun, after - then, time.perf_counter() - after), strict=True):
            self.seconds[part] = taken

    def gradient(self, x: PackedCounts) -> Tensor:
        raise NotImplementedError("the reference has no gradient")


class ReferenceBF16(Reference):
    """The same with products in bfloat16."""

    dtype = torch.bfloat16


class FloorPairs(Reference):
    """The least that an unbiased estimate with both codes of each pair needs over a dense softmax: DisARM's."""

    differentiated = 1


class Floor(Reference):
    """The least that any unbiased estimate needs over a dense softmax: one code a pair, with its gradient."""

    evaluated = differentiated = 1
