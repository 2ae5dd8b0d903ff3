"""The multinomial over packed counts, blockwise in the last linear layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints
from torch.nn import functional

from ppl_vae.data.counts import PackedCounts
from ppl_vae.distributions.sampled_words import few_words
from ppl_vae.distributions.shapes import broadcast_shapes
from ppl_vae.distributions.softmax import log_normaliser, log_normaliser_and_flips

__all__ = ["LONG", "PackedMultinomial"]

LONG = 2**13
"""Words of a document from which a log-probability that needs no gradient is computed in float64.

In float32 it is off by some units of the last place times its words: 1e-3 nats at this length, tenths at a million.
"""


class PackedMultinomial(TorchDistribution):
    r"""Multinomial over documents of packed counts, given their lengths.

    .. math:: \log p(x \mid l, \eta) = \log \frac{l!}{\prod_k x_k!} + \sum_k x_k \eta_k - l A(\eta),
        \qquad A(\eta) = \log \sum_k e^{\eta_k}

    (Schlesinger, Shekhovtsov and Flach 2021, eq. 21, without the length's own density.) The natural
    parameters come as ``logits``, or as the last linear layer that makes them, :math:`\eta = W h + b`:
    then only :math:`x^\top W`, shared by all draws, and the normaliser are computed, blockwise. Without gradients the
    documents of a batch whose longest has over :data:`LONG` words are scored in float64.

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
        batch_shape = broadcast_shapes(lengths.shape, made_from.shape[:-1])  # type: ignore[union-attr]
        vocabulary = logits.shape[-1] if logits is not None else len(weight)  # type: ignore[arg-type]
        super().__init__(batch_shape, torch.Size((vocabulary,)), validate_args=False)

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> constraints.Constraint:
        return constraints.nonnegative_integer

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Self:
        """The same distribution under a larger batch; parameters stay small and broadcast when used."""
        new: Self = self._get_checked_instance(PackedMultinomial, _instance)
        for name in ("lengths", "logits", "hidden", "weight", "bias"):
            setattr(new, name, getattr(self, name))
        super(PackedMultinomial, new).__init__(torch.Size(batch_shape), self.event_shape, validate_args=False)
        return new

    def log_prob(self, value: PackedCounts) -> Tensor:
        """Log-probability of each document in nats, ``batch_shape``, with the multinomial coefficient."""
        return self._precise()._score(value)[0]

    def _precise(self) -> Self:
        """The same in float64, if a document is long and no gradient is needed."""
        made_from = self.logits if self.logits is not None else self.hidden
        assert made_from is not None
        if torch.is_grad_enabled() or made_from.dtype == torch.float64 or made_from.device.type == "mps":
            return self
        if not len(self.lengths) or self.lengths.max() <= LONG:
            return self
        new = self.expand(self.batch_shape)
        for name in ("logits", "hidden", "weight", "bias"):
            value = getattr(self, name)
            setattr(new, name, None if value is None else value.double())
        return new

    def log_prob_and_flip_differences(self, value: PackedCounts) -> tuple[Tensor, Tensor]:
        r"""Log-probability and its flip differences, where all features are bits: at 1 minus at 0, bit by bit.

        .. math:: x^\top w_j - l \bigl(A(h_{-j}, 1) - A(h_{-j}, 0)\bigr), \qquad
            A(h \pm e_j) - A(h) = \log \sum_k \mathrm{softmax}_k(W h + b)\, e^{\pm w_{kj}}

        All of them cost two products with the exponentials that the normaliser needs anyway.

        Returns:
            ``batch_shape`` and ``(*batch_shape, features)``, in nats; the second without gradient.
        """
        log_prob, differences = self._score(value, with_flips=True)
        assert differences is not None
        return log_prob, differences

    def _score(self, value: PackedCounts, with_flips: bool = False) -> tuple[Tensor, Tensor | None]:
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
        constant, differences = value.log_coefficient, None
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
            if with_flips:
                share = value.lengths.to(self.hidden.dtype)
                share = share if self.hidden.shape[-2] == len(share) else share.sum()
                normaliser, differences = log_normaliser_and_flips(self.hidden, self.weight, self.bias, share)
                differences = words.detach() - value.lengths.to(differences.dtype)[:, None] * differences
            else:
                normaliser = log_normaliser(self.hidden, *few_words(self.hidden, self.weight, self.bias))
        lengths = value.lengths.to(linear.dtype)
        return (linear - lengths * normaliser + constant.to(linear.dtype)).expand(self.batch_shape), differences

    def code_features(self) -> Tensor | None:
        r"""The vectors u of codes in :math:`\log p(x \mid z) = u_z^\top v_x + b_x`, where documents share their codes.

        Returns:
            ``(codes, features + 1)``: the hidden states, and their normalisers less that of zero; None where each
            document has codes of its own, or logits were given.
        """
        if self.hidden is None or self.hidden.ndim != 3 or self.hidden.shape[1] != 1:
            return None
        precise = self._precise()
        assert precise.hidden is not None and precise.weight is not None and precise.bias is not None
        hidden = precise.hidden[:, 0]
        # Normalised biases: a normaliser near zero has all its digits, which a document's length multiplies.
        normaliser = log_normaliser(hidden, precise.weight, precise.bias - precise.bias.logsumexp(0))
        return torch.cat([hidden, normaliser[:, None]], 1)

    def document_features(self, value: PackedCounts) -> tuple[Tensor, Tensor]:
        """The vectors v of documents in that product, ``(documents, features + 1)``, and b, ``(documents,)``, in nats.

        What does not depend on the code, thousands of nats, is in b, in double precision: the products are small.
        """
        precise = self._precise()
        assert precise.weight is not None and precise.bias is not None
        lengths = value.lengths.to(precise.weight.dtype)
        constant = value.log_coefficient
        bias = precise.bias[:, None].to(constant.dtype)
        constant = constant + (value @ bias)[:, 0] - value.lengths.to(constant.dtype) * precise.bias.logsumexp(0)
        return torch.cat([value @ precise.weight, -lengths[:, None]], 1), constant

    @torch.no_grad()
    def sample(self, sample_shape: Sequence[int] = ()) -> PackedCounts:
        """Documents of the given lengths, packed.

        Raises:
            ValueError: If the shape asks for more than one document per row: a packed batch has no further
                dimensions.
        """
        if torch.Size(sample_shape).numel() * self.batch_shape.numel() != len(self.lengths):
            raise ValueError(
                f"one document per row of the batch can be drawn, got sample shape {tuple(sample_shape)} and "
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
