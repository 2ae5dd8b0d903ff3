"""Binary data with a binary code: the restricted Boltzmann machine, and the Bernoulli VAE with its decoder."""

from __future__ import annotations

from math import prod
from typing import Literal

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule
from torch import Tensor, nn

from ppl_vae.distributions.bits import JointBits
from ppl_vae.distributions.rbm import ENUMERATED, AnnealedPartition, RBMPrior, log_partition
from ppl_vae.nn.arguments import check_at_least
from ppl_vae.nn.dense import HiddenLayers
from ppl_vae.programs.random_state import fork_random_state


class Rbm(PyroModule):
    r"""Restricted Boltzmann machine as a pair (Schlesinger, Shekhovtsov and Flach 2021, example 2 and eq. 19).

    .. math:: p(x, z) = \frac1c \exp(x^\top W z + u^\top x + v^\top z), \qquad x \in \{0, 1\}^n,\ z \in \{0, 1\}^m

    Its decoder is :math:`x \mid z \sim \mathrm{Bernoulli}(\sigma(W z + u))`, its posterior :math:`z \mid x \sim
    \mathrm{Bernoulli}(\sigma(W^\top x + v))`: a linear guide is exact. Theorem 1 says that no other Bernoulli pair has
    a factorised posterior: with a prior of its own the same decoder is a Bernoulli VAE like any other.

    Arguments:
        bits: Length m of the code.
        prior: ``"rbm"``, the one that makes the posterior factorise; ``"free"``, independent learned bits; or
            ``"any"``, a learned table of all codes of up to 16 bits, the Boltzmann machine's among them.
        hidden: Number of ReLU layers of the decoder before the linear one; not with the prior of a Boltzmann machine.
        width: Units of each layer.
        shape: Shape of a datum; the data give it.

    Raises:
        ValueError: If a number is out of range, or there are hidden layers with the prior of a Boltzmann machine,
            or a table of too many codes.

    Example:
        >>> x = torch.tensor([[0.0, 1.0, 1.0]])
        >>> model = Rbm(bits=2, shape=(3,))
        >>> model.posterior(x)["z"].base_dist.logits.shape
        torch.Size([1, 2])
    """

    corpus = "bars"

    def __init__(
        self,
        bits: int = 8,
        prior: Literal["rbm", "free", "any"] = "rbm",
        hidden: int = 0,
        width: int = 128,
        shape: tuple[int, ...] = (16,),
    ) -> None:
        super().__init__()
        check_at_least(1, bits=bits)
        check_at_least(0, hidden=hidden)
        if hidden and prior == "rbm":
            raise ValueError(f"a Boltzmann machine has a linear decoder, got hidden={hidden}; take prior 'free'")
        if bits > 16 and prior == "any":
            raise ValueError(f"prior 'any' lists all codes of at most 16 bits, got {bits}; take prior 'free'")
        self.bits, self.kind, self.shape = bits, prior, tuple(shape)
        self.hidden = HiddenLayers(bits, hidden, width)
        self.linear = nn.Linear(self.hidden.outputs, prod(self.shape))
        self.code_bias = nn.Parameter(torch.zeros(2**bits if prior == "any" else bits))
        self._known: tuple[tuple[Tensor, ...], AnnealedPartition | tuple[Tensor, float]] | None = None

    def forward(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.prior())
            logits = self.linear(self.hidden(z)).unflatten(-1, self.shape)
            pyro.sample("x", dist.Bernoulli(logits=logits).to_event(len(self.shape)), obs=x)

    def prior(self) -> RBMPrior | JointBits | dist.Independent:
        """The prior of the code."""
        if self.kind == "rbm":
            log_c = self.log_c()
            known = None if self.training or self._known is None else self._known[1]
            annealed = known if isinstance(known, AnnealedPartition) else None
            return RBMPrior(self.linear.weight, self.linear.bias, self.code_bias, log_c, annealed)
        return JointBits(self.code_bias) if self.kind == "any" else dist.Bernoulli(logits=self.code_bias).to_event(1)

    def log_c(self) -> tuple[Tensor, float]:
        """The log-normaliser and its standard error, computed once for a state but for the gradient of a step.

        Where both sides have over 20 bits, chains are annealed for every step; all that looks at a pair beside its
        training takes the same chains for the same state.
        """
        parts = (self.linear.weight, self.linear.bias, self.code_bias)
        annealed = min(self.linear.weight.shape) > ENUMERATED
        wanted = torch.is_grad_enabled() and any(part.requires_grad for part in parts)
        if wanted and (self.training or not annealed):
            return log_partition(*parts)
        # By value: a fused optimiser and .data change parameters without raising their version.
        known = self._known
        if known is None or any(
            a.dtype != b.dtype or a.device != b.device or not a.equal(b) for a, b in zip(known[0], parts, strict=True)
        ):
            # The same state must have the same normaliser, also when a measurement is resumed.
            with torch.no_grad(), fork_random_state(0):
                state = tuple(part.clone() for part in parts)
                known = self._known = state, AnnealedPartition(*parts) if annealed else log_partition(*parts)
        log_c = known[1]
        return log_c.at(*parts) if isinstance(log_c, AnnealedPartition) else log_c

    def posterior(self, x: Tensor) -> dict[str, dist.Independent]:
        """The exact posterior of the code, for the prior of a Boltzmann machine."""
        if self.kind != "rbm":
            raise ValueError("the posterior is known for the prior of a Boltzmann machine alone; take prior 'rbm'")
        logits = x.flatten(1) @ self.linear.weight + self.code_bias
        return {"z": dist.Bernoulli(logits=logits).to_event(1)}
