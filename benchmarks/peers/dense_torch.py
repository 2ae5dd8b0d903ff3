"""ARM written by hand in PyTorch, on dense counts."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.peers import Peer
from benchmarks.setting import Layers, Setting, dense, layers_of
from ppl_vae.data.counts import PackedCounts


class MLP(nn.Module):
    """Affine layers with ReLU between them."""

    def __init__(self, layers: Layers) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for weight, bias in layers:
            layer = nn.Linear(weight.shape[1], weight.shape[0])
            layer.weight.data, layer.bias.data = weight.detach().clone().contiguous(), bias.detach().clone()
            self.layers.append(layer)

    def forward(self, value: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            value = layer(value).relu()
        logits: Tensor = self.layers[-1](value)
        return logits


class Eager(Peer):
    """As it is written down from the paper (Yin and Zhou 2019): all codes of the batch through one dense decoder."""

    optimizer_options: dict[str, Any] = {}

    def __init__(self, setting: Setting, x: PackedCounts) -> None:
        super().__init__(setting, x)
        decoder, encoder = layers_of(*setting.pair(x))
        self.decoder, self.encoder = MLP(decoder), MLP(encoder)
        self.parameters = [*self.decoder.parameters(), *self.encoder.parameters()]
        self.optimizer = torch.optim.Adam(self.parameters, lr=1e-3, **self.optimizer_options)
        self.loss: Callable[[Tensor], Tensor] = self.eager_loss

    def eager_loss(self, counts: Tensor) -> Tensor:
        """The mean loss of a batch but for a constant, its gradient by ARM."""
        lengths = counts.sum(1)
        logits = self.encoder(100 * counts / lengths[:, None] if self.setting.layers else counts)
        noise = torch.rand(self.setting.draws, *logits.shape)
        positive = logits.detach().sigmoid()
        z = torch.cat([noise > 1 - positive, noise < positive]).to(logits.dtype)
        words = self.decoder(z)
        log_p = torch.einsum("bv,sbv->sb", counts, words) - lengths * words.logsumexp(-1)
        log_q = -functional.softplus((1 - 2 * z) * logits.detach()).sum(-1)
        first, second = (log_p.detach() - log_q).chunk(2)
        slope = (0.5 * (first - second)[..., None] * (2 * noise - 1)).mean(0)
        return -(log_p.mean(0).sum() + (slope * logits).sum()) / len(counts)

    def step(self, x: PackedCounts) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        self.loss(dense(x)).backward()
        self.optimizer.step()

    def gradient(self, x: PackedCounts) -> Tensor:
        return torch.cat([g.flatten() for g in torch.autograd.grad(self.loss(dense(x)), self.parameters)])


class Compiled(Eager):
    """The same under ``torch.compile``, with Adam in one kernel."""

    optimizer_options = {"fused": True}

    def __init__(self, setting: Setting, x: PackedCounts) -> None:
        if not any(map(shutil.which, ("c++", "g++", "clang++"))):
            raise ValueError("torch.compile needs a C++ compiler, and there is none")
        super().__init__(setting, x)
        self.loss = torch.compile(self.eager_loss)
