"""What the ways to train one pair have in common: its gradient, and steps by our trainer or by hand."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from benchmarks.peers import Peer
from benchmarks.peers.ours import trainer_of
from benchmarks.workloads import Size


class PairPeer(Peer):
    """A way to train a shipped pair, whose networks programs of others take, too."""

    def __init__(self, setting: Size, x: Tensor) -> None:
        self.setting = setting
        self.model, self.guide = self.pair(setting, x)
        self.encoder = self.guide.encoder
        self.parameters = [*self.model.parameters(), *self.guide.parameters()]

    def pair(self, setting: Size, x: Tensor) -> tuple[Any, Any]:
        """The model and the guide."""
        raise NotImplementedError

    def loss(self, x: Tensor) -> Tensor:
        """The mean loss of a batch."""
        raise NotImplementedError

    def gradient(self, x: Tensor) -> Tensor:
        found = torch.autograd.grad(self.loss(x), self.parameters)
        return torch.cat([value.flatten() for value in found])


class ByTrainer(PairPeer):
    """The step of ``ppl-vae train``."""

    replay = False
    """Whether steps are recorded once and replayed."""

    def __init__(self, setting: Size, x: Tensor) -> None:
        super().__init__(setting, x)
        self.trainer = trainer_of(self.model, self.guide, setting.batch, replay=self.replay)

    def step(self, x: Tensor) -> None:
        self.trainer.step(x)

    def loss(self, x: Tensor) -> Tensor:
        return self.trainer.loss(x) / len(x)


class ByHand(PairPeer):
    """A loss that is written down, with PyTorch's Adam."""

    fused = True
    """Whether Adam is one kernel."""

    compiled = False
    """Whether the loss is compiled."""

    def __init__(self, setting: Size, x: Tensor) -> None:
        super().__init__(setting, x)
        self.optimizer = torch.optim.Adam(self.parameters, lr=1e-3, **({"fused": True} if self.fused else {}))
        if self.compiled:
            self.loss = torch.compile(self.loss)  # type: ignore[method-assign]

    def step(self, x: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        self.loss(x).backward()
        self.optimizer.step()
