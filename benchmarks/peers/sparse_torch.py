"""ARM and DisARM written by hand in PyTorch for packed counts: no autograd, no dense counts, memory that is kept."""

from __future__ import annotations

from contextlib import ExitStack

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag, softplus

from benchmarks.peers import Peer
from benchmarks.setting import Layers, Setting, layers_of
from ppl_vae.data.counts import PackedCounts
from ppl_vae.nn.kept_memory import keeping_memory

NARROW, WIDE = 2**20, 2**23
"""Logits of a block: 4 MB, which stay in the cache between the passes, where the product over few hidden units is
soon made; 32 MB where it is most of the work, and every block adds to a large gradient."""


def gather(table: Tensor, rows: Tensor, offsets: Tensor, scale: Tensor) -> Tensor:
    """Sparse times dense: sums of scaled rows of a table, one sum between each two offsets."""
    return embedding_bag(rows, table, offsets, mode="sum", per_sample_weights=scale, include_last_offset=True)


class SparseARM(Peer):
    """Plain two-sided ARM (Yin and Zhou 2019), as one would write it who knows PyTorch's kernels.

    The guide's first layer is a gather over the words that occur, and its gradient one over the transposed counts. The
    likelihood is a softmax in place, block by block; counts are scattered into it, and what results is the gradient of
    the logits. The last bias is one more row of the weight, which lies by unit, as products are fastest. Memory of all
    large tensors is kept from step to step, and Adam is one kernel.
    """

    one_sided = False
    """Whether the decoder's gradient goes through the first code of a pair only."""

    def __init__(self, setting: Setting, x: PackedCounts) -> None:
        super().__init__(setting, x)
        self.freed = ExitStack()
        self.freed.enter_context(keeping_memory())  # others set the variables of malloc to the same end
        decoder, encoder = layers_of(*setting.pair(x))
        weight, bias = decoder[-1]
        self.words = torch.cat([weight.detach().T, bias.detach()[None]])
        self.by_word = encoder[0][0].detach().T.contiguous(), encoder[0][1].detach().clone()
        self.decoder, self.encoder = (
            [(w.detach().clone(), b.detach().clone()) for w, b in layers] for layers in (decoder[:-1], encoder[1:])
        )
        layers = [*self.decoder, self.by_word, *self.encoder]
        parameters = [self.words, *(parameter for layer in layers for parameter in layer)]
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)
        self.optimizer = torch.optim.Adam(parameters, lr=1e-3, fused=True)
        self.kept: dict[str, Tensor] = {}
        # The logit by which a normaliser is read off the softmax: its probability does not underflow.
        self.frequent = int(bias.argmax())

    def memory(self, name: str, *shape: int) -> Tensor:
        """A tensor whose memory is kept from step to step."""
        found = self.kept.get(name)
        if found is None or found.shape != shape:
            found = self.kept[name] = torch.empty(shape)
        return found

    @torch.no_grad()
    def step(self, x: PackedCounts) -> None:
        self.set_gradients(x)
        self.optimizer.step()

    @torch.no_grad()
    def gradient(self, x: PackedCounts) -> Tensor:
        self.set_gradients(x)
        before = [p.grad for layer in self.decoder for p in layer]
        words, first = self.words.grad, self.by_word[0].grad
        assert words is not None and first is not None
        after = [self.by_word[1].grad, *(p.grad for layer in self.encoder for p in layer)]
        parts = [*before, words[:-1].T, words[-1], first.T, *after]
        return torch.cat([part.flatten() for part in parts if part is not None])

    def set_gradients(self, x: PackedCounts) -> Tensor:
        """Sets the gradients of the mean loss of a batch; returns the mean bound but for a constant."""
        draws, batch = self.setting.draws, len(x)
        scale = 100 * x.counts / x.lengths[x.documents] if self.setting.layers else x.counts
        inputs = [gather(self.by_word[0], x.words, x.offsets, scale).add_(self.by_word[1])]
        for at, layer in enumerate(self.encoder):
            inputs.append(self.affine(f"encoder {at}", inputs[-1].relu_(), layer))
        logits = inputs.pop()
        noise = torch.rand(draws, *logits.shape, out=self.memory("noise", draws, *logits.shape))
        positive = logits.sigmoid()
        z = self.memory("z", 2, *noise.shape)
        torch.gt(noise, 1 - positive, out=z[0])
        torch.lt(noise, positive, out=z[1])
        f = self.likelihood(x, z.view(2 * draws, *logits.shape)).view(2, draws, batch)
        f -= (z * logits).sum(-1)
        slope = self.slope(f[0] - f[1], noise, z, logits).sum(0).div_(-draws * batch)
        slope = self.backward(slope, self.encoder, inputs)
        offsets, documents, counts = x.transposed
        if self.setting.layers:
            counts = 100 * counts / x.lengths[documents]
        self.by_word[0].grad = gather(slope, documents, offsets, counts)
        torch.sum(slope, 0, out=self.by_word[1].grad)
        return f.mean() + softplus(logits).sum() / batch

    def slope(self, difference: Tensor, noise: Tensor, z: Tensor, logits: Tensor) -> Tensor:
        """The estimates of the pairs, ``(draws, documents, bits)``."""
        return difference[..., None] * (noise - 0.5)

    def affine(self, name: str, value: Tensor, layer: tuple[Tensor, Tensor]) -> Tensor:
        """One layer, into memory that is kept."""
        weight, bias = layer
        return torch.addmm(bias, value, weight.T, out=self.memory(name, len(value), len(weight)))

    def backward(self, gradient: Tensor, layers: Layers, inputs: list[Tensor], through: int = 0) -> Tensor:
        """Sets the gradients of layers; returns that of what entered the rectifier before layer ``through``."""
        for at in reversed(range(len(layers))):
            (weight, bias), value = layers[at], inputs[at]
            torch.mm(gradient.T, value, out=weight.grad)
            torch.sum(gradient, 0, out=bias.grad)
            if at >= through:
                gradient = torch.ops.aten.threshold_backward(gradient @ weight, value, 0)
        return gradient

    def likelihood(self, x: PackedCounts, z: Tensor) -> Tensor:
        """The log-likelihood of codes ``(rows, documents, bits)`` but for a constant; sets the decoder's gradients."""
        rows, batch, vocabulary = len(z), len(x), x.vocabulary
        graded = rows // 2 if self.one_sided else rows
        inputs = [z.flatten(0, 1)]
        for at, layer in enumerate(self.decoder):
            inputs.append(self.affine(f"decoder {at}", inputs[-1], layer).relu_())
        units = inputs[-1].shape[1]
        hidden = self.memory("hidden", rows, batch, units + 1)
        hidden[..., :-1], hidden[..., -1] = inputs[-1].view(rows, batch, units), 1
        share = x.lengths[:, None] / (graded * batch)
        weighted = torch.mul(hidden[:graded], share, out=self.memory("weighted", graded, batch, units + 1))
        back = self.memory("back", graded, batch, units) if self.decoder else None
        chosen = self.memory("chosen", rows, len(x.words))  # logits of the words that occur
        pivots = self.memory("pivots", 2, rows, batch)  # logit and probability of the frequent word
        places, tokens = x.documents * vocabulary + x.words, x.counts / x.lengths[x.documents]
        # A block is some rows of the whole batch, or some documents of one row.
        budget = max(1, (WIDE if self.decoder else NARROW) // vocabulary)
        several, documents = max(1, budget // batch), min(budget, batch)
        bounds = [*range(0, graded, several), *range(graded, rows, several), rows]
        for i in range(0, batch, documents):
            j = min(batch, i + documents)
            first, last = int(x.offsets[i]), int(x.offsets[j])
            starts = torch.arange(0, several * (j - i), j - i)[:, None] - i
            where, taken = starts * vocabulary + places[first:last], tokens[first:last].repeat(several, 1)
            for a, b in zip(bounds, bounds[1:], strict=False):
                block = self.memory(f"block {b - a} {j - i}", (b - a) * (j - i), vocabulary)
                torch.mm(hidden[a:b, i:j].view(-1, units + 1), self.words, out=block)
                here = where[: b - a].view(-1)
                chosen[a:b, first:last] = block.view(-1).index_select(0, here).view(b - a, -1)
                pivots[0, a:b, i:j] = block[:, self.frequent].view(b - a, -1)
                torch.softmax(block, 1, out=block)
                pivots[1, a:b, i:j] = block[:, self.frequent].view(b - a, -1)
                if a >= graded:
                    continue
                block.view(-1).index_add_(0, here, taken[: b - a].view(-1), alpha=-1)
                # The first block overwrites what was there.
                inner = weighted[a:b, i:j].view(-1, units + 1)
                torch.addmm(self.words.grad, inner.T, block, beta=int(a + i > 0), out=self.words.grad)  # type: ignore
                if back is not None:
                    back[a:b, i:j] = (block @ self.words[:-1].T).view(b - a, j - i, units)
        if back is not None:
            gradient = torch.ops.aten.threshold_backward(
                back.mul_(share).flatten(0, 1), inputs[-1][: graded * batch], 0
            )
            self.backward(gradient, self.decoder, [value[: graded * batch] for value in inputs[:-1]], through=1)
        normaliser = pivots[0] - pivots[1].log()
        return torch.zeros_like(normaliser).index_add_(1, x.documents, chosen.mul_(x.counts)) - x.lengths * normaliser


class SparseDisARM(SparseARM):
    """DisARM (Dong, Mnih and Tucker 2020), the decoder's gradient through the first code of each pair."""

    one_sided = True

    def slope(self, difference: Tensor, noise: Tensor, z: Tensor, logits: Tensor) -> Tensor:
        # Half of (-1)^second where the codes differ, by the probability of the likelier bit.
        return 0.5 * difference[..., None] * (z[0] - z[1]) * logits.abs().sigmoid()
