"""The normaliser of a softmax over many words, and its gradient, without storing the logits."""

from __future__ import annotations

from math import exp, log

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["log_normaliser", "log_normaliser_and_flips"]

BLOCK = 2**23
"""Largest number of logits formed at once (32 MB in float32)."""

CACHED = 2**19
"""Largest number of logits that stay in a core's cache while they are used more than once (2 MB)."""

FEWEST = 32
"""Smallest number of rows per block: each block also passes once over the gradient of the layer."""


def log_normaliser(hidden: Tensor, weight: Tensor, bias: Tensor, *, block: int | None = None) -> Tensor:
    r"""Returns the log-sum-exp of a linear layer, without storing its output.

    .. math:: A(h) = \log \sum_k \exp(w_k^\top h + b_k)

    Logits are formed for as many rows at a time as fit in ``block`` numbers. Where one block holds them
    all, the exponentials are stored for the gradient; otherwise the gradient forms each block again.

    Arguments:
        hidden: Inputs of the layer, ``(..., features)``.
        weight: Weight of the layer, ``(vocabulary, features)``.
        bias: Bias of the layer, ``(vocabulary,)``.
        block: Largest number of logits formed at once.

    Returns:
        Log-normalisers, ``(...)``, in nats.

    Example:
        >>> h, w, b = torch.randn(2, 3, 4), torch.randn(5, 4), torch.randn(5)
        >>> torch.allclose(log_normaliser(h, w, b), (h @ w.T + b).logsumexp(-1), atol=1e-5)
        True
    """
    rows = hidden.reshape(-1, hidden.shape[-1])
    if not torch.is_grad_enabled():
        by_halves = _sum_by_halves(rows, weight, bias)
        if by_halves is not None:
            return by_halves.reshape(hidden.shape[:-1])
    total: Tensor = _LogNormaliser.apply(rows, weight, bias, max(1, (block or BLOCK) // len(weight)))
    return total.reshape(hidden.shape[:-1])


def log_normaliser_and_flips(hidden: Tensor, weight: Tensor, bias: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    r"""Returns the log-normaliser of rows of bits, and its flip differences: the value at 1 minus that at 0, by bit.

    .. math:: A(h \pm e_j) - A(h) = \log \sum_k \mathrm{softmax}_k(W h + b)\, e^{\pm w_{kj}}

    All flip differences cost two products with the exponentials of the normaliser. If the gradient of each row's
    normaliser is known up to a common factor, the gradient of the layer comes from the same exponentials while they are
    in the cache: then nothing is stored or formed twice, whatever the number of draws.

    Arguments:
        hidden: Bits, ``(..., features)``.
        weight: Weight of the layer, ``(vocabulary, features)``.
        bias: Bias of the layer, ``(vocabulary,)``.
        share: Expected gradient of each normaliser up to a common factor, ``(...)``; other gradients cost a second
            pass.

    Returns:
        Log-normalisers, ``(...)``, in nats, and flip differences, ``(..., features)``, without gradient.
    """
    rows, share = hidden.reshape(-1, hidden.shape[-1]), share.expand(hidden.shape[:-1]).reshape(-1)
    # On other devices there is no such cache, and reading the gradient would synchronise.
    ahead = rows.device.type == "cpu" and torch.is_grad_enabled() and not rows.requires_grad
    block = max(FEWEST, CACHED // len(weight)) if ahead else max(1, BLOCK // len(weight))
    total, differences = _NormaliserAndFlips.apply(rows, weight, bias, share if ahead else None, block)
    return total.reshape(hidden.shape[:-1]), differences.reshape(hidden.shape)


def _sum_by_halves(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor | None:
    """The log-sum-exp of rows that form a grid; None if they do not, or if the product would lose digits."""
    inner = 2 ** (len(rows).bit_length() // 2)
    if len(rows) < 64 or len(rows) % inner:
        return None
    grid = rows.reshape(-1, inner, rows.shape[1])
    outer, steps = grid[:, 0], grid[0] - grid[0, 0]
    # The last row first: most inputs form no grid.
    if not torch.equal(grid[-1, -1], outer[-1] + steps[-1]) or not torch.equal(grid, outer[:, None] + steps):
        return None
    # For so few exponentials double precision is cheap.
    outer, steps, weight, bias = (v if v.device.type == "mps" else v.double() for v in (outer, steps, weight, bias))
    info = torch.finfo(outer.dtype)
    low = log(info.tiny) / 2 + 1  # products of two exponentials do not underflow
    one, one_high = _exponentials(outer, weight, bias, low)
    other, other_high = _exponentials(steps, weight, torch.zeros_like(bias), low)
    total = one @ other.T
    if total.min() * info.eps < len(weight) * exp(low):  # clamped terms might matter
        return None
    return total.log_().add_(one_high[:, None]).add_(other_high).flatten().to(rows.dtype)


def _exponentials(rows: Tensor, weight: Tensor, bias: Tensor, low: float = -80) -> tuple[Tensor, Tensor]:
    """Exponentials of the logits relative to the largest of their row, and the largest logits."""
    logits = torch.mm(rows, weight.T).add_(bias)  # addmm would first copy the bias into every row
    high = logits.amax(1, keepdim=True)
    # Float32 exponentials are tens of times slower where they underflow.
    return logits.sub_(high).clamp_(min=low).exp_(), high[:, 0]


class _LogNormaliser(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows: Tensor, weight: Tensor, bias: Tensor, block: int) -> Tensor:  # type: ignore[no-untyped-def]
        result = rows.new_empty(len(rows))
        stored = total = None
        for start in range(0, len(rows), block):
            exponentials, high = _exponentials(rows[start : start + block], weight, bias)
            total = exponentials.sum(1)
            torch.add(total.log(), high, out=result[start : start + block])
            stored = exponentials if len(rows) <= block and any(ctx.needs_input_grad) else None
        ctx.save_for_backward(rows, weight, bias, total, stored)
        ctx.block = block
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[no-untyped-def]
        rows, weight, bias, total, stored = ctx.saved_tensors
        of_rows, of_weight, of_bias = ctx.needs_input_grad[:3]
        d_rows = torch.zeros_like(rows) if of_rows else None
        d_weight = d_bias = None
        used = _used(gradient)
        for start in range(0, used, ctx.block):
            part = slice(start, min(used, start + ctx.block))
            exponentials = _exponentials(rows[part], weight, bias)[0] if stored is None else stored[part]
            # The softmax is exponentials / their sum; the division goes into the small operands.
            scale = gradient[part] / (exponentials.sum(1) if stored is None else total[part])
            if d_rows is not None:
                d_rows[part] = (exponentials @ weight) * scale[:, None]
            if of_weight:
                small = rows[part] * scale[:, None]
                d_weight = exponentials.T @ small if d_weight is None else d_weight.addmm_(exponentials.T, small)
            if of_bias:
                d_bias = scale @ exponentials if d_bias is None else d_bias.addmv_(exponentials.T, scale)
        return d_rows, d_weight, d_bias, None


def _used(gradient: Tensor) -> int:
    """Number of rows up to the last with a gradient: an estimator may use its first draws only."""
    if gradient.device.type != "cpu":  # reading the gradient would synchronise
        return len(gradient)
    rows = gradient.nonzero()
    return int(rows[-1]) + 1 if len(rows) else 0


class _NormaliserAndFlips(torch.autograd.Function):
    """The log-normaliser of codes, its flip differences, and the layer's gradient computed in the forward pass."""

    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx, rows: Tensor, weight: Tensor, bias: Tensor, share: Tensor | None, block: int
    ) -> tuple[Tensor, Tensor]:
        result, differences = rows.new_empty(len(rows)), torch.empty_like(rows)
        # exp(w_kj) for a bit that flips to 1 and exp(-w_kj) for one that flips to 0, over the largest of the column.
        changes = torch.cat([weight, -weight], 1)
        top = changes.amax(0)
        factors = (changes - top).clamp_(min=-80).exp_()
        stored = total = None
        layer = None if share is None else weight.new_zeros(len(weight), rows.shape[1] + 1)
        for start in range(0, len(rows), block):
            part = slice(start, start + block)
            exponentials, high = _exponentials(rows[part], weight, bias)
            total = exponentials.sum(1)
            on, off = (exponentials @ factors).div_(total[:, None]).log_().add_(top).chunk(2, 1)
            differences[part] = torch.where(rows[part] < 0.5, on, -off)
            torch.add(total.log(), high, out=result[part])
            if share is not None and layer is not None:
                scale = (share[part] / total)[:, None]
                layer.addmm_(exponentials.T, torch.cat([rows[part] * scale, scale], 1))
            elif len(rows) <= block and any(ctx.needs_input_grad):
                stored = exponentials
        ctx.save_for_backward(rows, weight, bias, total, stored)
        ctx.share, ctx.layer, ctx.block = share, layer, block
        ctx.mark_non_differentiable(differences)
        return result, differences

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[no-untyped-def]
        if ctx.share is not None:
            factor = gradient.sum() / ctx.share.sum()
            if torch.allclose(gradient, factor * ctx.share, rtol=1e-4, atol=0):
                layer = ctx.layer * factor
                return None, layer[:, :-1], layer[:, -1], None, None
        return *_LogNormaliser.backward(ctx, gradient), None
