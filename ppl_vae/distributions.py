"""The multinomial over packed counts, blockwise in the last linear layer."""

from __future__ import annotations

from math import exp, log
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributions import constraints
from torch.nn import functional

from ppl_vae.batches import PackedCounts

__all__ = ["PackedMultinomial", "log_normaliser"]

BLOCK = 2**23
"""Largest number of logits formed at once (32 MB in float32)."""


def log_normaliser(hidden: Tensor, weight: Tensor, bias: Tensor, *, block: int = BLOCK) -> Tensor:
    r"""Log-sum-exp of a linear layer, without keeping its output.

    .. math:: A(h) = \log \sum_k \exp(w_k^\top h + b_k)

    Logits are formed for as many rows at a time as fit in ``block`` numbers. Where one block holds them
    all, the exponentials are kept for the gradient; otherwise the gradient forms each block again.

    Arguments:
        hidden: Inputs of the layer, ``(..., features)``.
        weight: ``(vocabulary, features)``.
        bias: ``(vocabulary,)``.
        block: Largest number of logits formed at once.

    Returns:
        ``(...)``, in nats.

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
    total: Tensor = _LogNormaliser.apply(rows, weight, bias, max(1, block // len(weight)))
    return total.reshape(hidden.shape[:-1])


def _sum_by_halves(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor | None:
    """The log-sum-exp of rows that form a grid; None if they do not, or if the product would lose digits."""
    inner = 2 ** (len(rows).bit_length() // 2)
    if len(rows) < 64 or len(rows) % inner:
        return None
    grid = rows.reshape(-1, inner, rows.shape[1])
    outer, steps = grid[:, 0], grid[0] - grid[0, 0]
    # The last row first: most inputs are no grid.
    if not torch.equal(grid[-1, -1], outer[-1] + steps[-1]) or not torch.equal(grid, outer[:, None] + steps):
        return None
    # So few exponentials may well be precise ones.
    outer, steps, weight, bias = (v if v.device.type == "mps" else v.double() for v in (outer, steps, weight, bias))
    info = torch.finfo(outer.dtype)
    low = log(info.tiny) / 2 + 1  # products of two exponentials do not underflow
    one, one_high = _exponentials(outer, weight, bias, low)
    other, other_high = _exponentials(steps, weight, torch.zeros_like(bias), low)
    total = one @ other.T
    if total.min() * info.eps < len(weight) * exp(low):  # what was cut off at the low end might count
        return None
    return total.log_().add_(one_high[:, None]).add_(other_high).flatten().to(rows.dtype)


def _exponentials(rows: Tensor, weight: Tensor, bias: Tensor, low: float = -80) -> tuple[Tensor, Tensor]:
    """Exponentials of the logits over their row's largest, and that largest one."""
    logits = torch.addmm(bias, rows, weight.T)
    high = logits.amax(1, keepdim=True)
    # Float32 exponentials are tens of times slower where they underflow.
    return logits.sub_(high).clamp_(min=low).exp_(), high[:, 0]


class _LogNormaliser(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows: Tensor, weight: Tensor, bias: Tensor, block: int) -> Tensor:  # type: ignore[no-untyped-def]
        result = rows.new_empty(len(rows))
        kept = None
        for start in range(0, len(rows), block):
            exponentials, high = _exponentials(rows[start : start + block], weight, bias)
            result[start : start + block] = exponentials.sum(1).log_().add_(high)
            kept = exponentials if len(rows) <= block and any(ctx.needs_input_grad) else None
        ctx.save_for_backward(rows, weight, bias, result, kept)
        ctx.block = block
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[no-untyped-def]
        rows, weight, bias, result, kept = ctx.saved_tensors
        of_rows, of_weight, of_bias = ctx.needs_input_grad[:3]
        d_rows = torch.empty_like(rows) if of_rows else None
        d_weight = torch.zeros_like(weight) if of_weight else None
        d_bias = torch.zeros_like(bias) if of_bias else None
        for start in range(0, len(rows), ctx.block):
            part = slice(start, start + ctx.block)
            exponentials = _exponentials(rows[part], weight, bias)[0] if kept is None else kept
            # The softmax is exponentials / their sum; the division goes into the small operands.
            scale = gradient[part] / exponentials.sum(1)
            if d_rows is not None:
                d_rows[part] = (exponentials @ weight) * scale[:, None]
            if d_weight is not None:
                d_weight.addmm_(exponentials.T, rows[part] * scale[:, None])
            if d_bias is not None:
                d_bias.addmv_(exponentials.T, scale)
        return d_rows, d_weight, d_bias, None


class PackedMultinomial(TorchDistribution):
    r"""Multinomial over documents of packed counts, given their lengths.

    .. math:: \log p(x \mid l, \eta) = \log \frac{l!}{\prod_k x_k!} + \sum_k x_k \eta_k - l A(\eta),
        \qquad A(\eta) = \log \sum_k e^{\eta_k}

    (Schlesinger, Shekhovtsov and Flach 2021, eq. 21, without the length's own density.) The natural
    parameters come as ``logits``, or as the last linear layer that makes them, :math:`\eta = W h + b`:
    then only :math:`x^\top W`, shared by all draws, and the normaliser are computed, blockwise.

    Arguments:
        lengths: Words of each document, ``(documents,)``.
        logits: ``(..., documents, vocabulary)``; a size of 1 broadcasts over documents.
        hidden: Inputs of the last linear layer, ``(..., documents, features)``, instead of ``logits``.
        weight: ``(vocabulary, features)``, with ``hidden``.
        bias: ``(vocabulary,)``, with ``hidden``.

    Raises:
        ValueError: If both or neither of ``logits`` and ``hidden`` are given.

    Example:
        >>> x = PackedCounts.from_dense([[2, 0, 1]])
        >>> PackedMultinomial(x.lengths, logits=torch.zeros(1, 3)).log_prob(x)
        tensor([-2.1972])
    """

    arg_constraints: dict[str, constraints.Constraint] = {}
    has_rsample = False

    def __init__(
        self,
        lengths: Tensor,
        logits: Tensor | None = None,
        *,
        hidden: Tensor | None = None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        if (
            (logits is None) == (hidden is None)
            or (hidden is None) != (weight is None)
            or (weight is None) != (bias is None)
        ):
            raise ValueError("PackedMultinomial takes either logits, or all of hidden, weight and bias")
        self.lengths, self.logits, self.hidden, self.weight, self.bias = lengths, logits, hidden, weight, bias
        made_from = logits if logits is not None else hidden
        batch_shape = torch.broadcast_shapes(lengths.shape, made_from.shape[:-1])  # type: ignore[union-attr]
        vocabulary = logits.shape[-1] if logits is not None else len(weight)  # type: ignore[arg-type]
        super().__init__(batch_shape, torch.Size((vocabulary,)), validate_args=False)

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> constraints.Constraint:
        return constraints.nonnegative_integer

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """The same distribution under a larger batch; parameters stay small and broadcast when used."""
        new = self._get_checked_instance(PackedMultinomial, _instance)
        for name in ("lengths", "logits", "hidden", "weight", "bias"):
            setattr(new, name, getattr(self, name))
        super(PackedMultinomial, new).__init__(torch.Size(batch_shape), self.event_shape, validate_args=False)
        return new

    def log_prob(self, value: PackedCounts) -> Tensor:
        """Log-probability of each document in nats, ``batch_shape``, with the multinomial coefficient."""
        if not isinstance(value, PackedCounts):
            raise ValueError(
                f"PackedMultinomial scores PackedCounts, got {type(value).__name__}; "
                "pack a dense table with PackedCounts.from_dense"
            )
        if value.vocabulary != self.event_shape[0]:
            raise ValueError(
                f"the model has {self.event_shape[0]} words and the batch {value.vocabulary}; "
                "build the model with vocabulary=x.vocabulary"
            )
        if self.batch_shape[-1:] != (len(value),):
            raise ValueError(
                f"a batch of {len(value)} documents was scored by a distribution of batch shape "
                f"{tuple(self.batch_shape)}; give it the lengths and hidden states of the same documents"
            )
        constant = value.log_coefficient
        if self.hidden is None:
            assert self.logits is not None
            logits = (
                self.logits.expand(*self.logits.shape[:-2], len(value), -1) if self.logits.ndim > 1 else self.logits
            )
            used = logits[..., value.words] if logits.ndim == 1 else logits[..., value.documents, value.words]
            linear = value.sum(used * value.counts.to(used.dtype))
            normaliser = self.logits.logsumexp(-1)
        else:
            assert self.weight is not None and self.bias is not None
            words = value @ self.weight
            if self.hidden.shape[-2:-1] == (1,):
                linear = self.hidden[..., 0, :] @ words.T
            else:
                linear = (self.hidden * words).sum(-1)
            # Thousands of nats of coefficient and of biases all but cancel: they meet in float64.
            constant = constant + (value @ self.bias[:, None].to(constant.dtype))[:, 0]
            normaliser = log_normaliser(self.hidden, self.weight, self.bias)
        lengths = value.lengths.to(linear.dtype)
        return (linear - lengths * normaliser + constant.to(linear.dtype)).expand(self.batch_shape)

    def code_features(self) -> Tensor | None:
        r"""What a code brings to :math:`\log p(x \mid z) = u_z^\top v_x + b_x`, where documents share their codes.

        Returns:
            ``(codes, features + 1)``: the hidden states, and their normalisers less that of none; nothing where each
            document has codes of its own, or logits were given.
        """
        if self.hidden is None or self.hidden.ndim != 3 or self.hidden.shape[1] != 1:
            return None
        assert self.weight is not None and self.bias is not None
        hidden = self.hidden[:, 0]
        # Normalised biases: a normaliser near zero has all its digits, which a document's length multiplies.
        normaliser = log_normaliser(hidden, self.weight, self.bias - self.bias.logsumexp(0))
        return torch.cat([hidden, normaliser[:, None]], 1)

    def document_features(self, value: PackedCounts) -> tuple[Tensor, Tensor]:
        """What documents bring to the same: v, ``(documents, features + 1)``, and b, ``(documents,)``, in nats.

        What does not depend on the code, thousands of nats, is in b, in double precision: the products are small.
        """
        assert self.weight is not None and self.bias is not None
        lengths = value.lengths.to(self.weight.dtype)
        constant = value.log_coefficient
        bias = self.bias[:, None].to(constant.dtype)
        constant = constant + (value @ bias)[:, 0] - value.lengths.to(constant.dtype) * self.bias.logsumexp(0)
        return torch.cat([value @ self.weight, -lengths[:, None]], 1), constant

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> PackedCounts:
        """Documents of the given lengths, packed.

        Raises:
            ValueError: If more than one document a row of the batch is asked for: a packed batch has no
                further dimensions.
        """
        if torch.Size(sample_shape).numel() * self.batch_shape.numel() != len(self.lengths):
            raise ValueError(
                f"one document a row of the batch can be drawn, got sample shape {tuple(sample_shape)} and "
                f"batch shape {tuple(self.batch_shape)}; repeat the lengths and hidden states instead"
            )
        logits = self.logits
        if logits is None:
            assert self.hidden is not None
            logits = functional.linear(self.hidden, self.weight, self.bias)  # type: ignore[arg-type]
        documents, vocabulary = len(self.lengths), self.event_shape[0]
        probabilities = logits.softmax(-1).expand(*self.batch_shape, -1).reshape(documents, vocabulary)
        lengths = self.lengths.long()
        words = torch.multinomial(probabilities, max(1, int(lengths.max())), replacement=True)
        used = torch.arange(words.shape[1], device=words.device) < lengths[:, None]
        cells = (words + vocabulary * torch.arange(documents, device=words.device)[:, None])[used]
        cells, counts = cells.unique(return_counts=True)
        rows = cells.div(vocabulary, rounding_mode="floor")
        sizes = torch.bincount(rows, minlength=documents)
        offsets = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
        return PackedCounts(offsets, cells % vocabulary, counts.to(self.lengths.dtype), vocabulary, check=False)
