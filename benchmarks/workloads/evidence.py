"""Evidence of images under a Gaussian VAE by importance sampling and by annealing: ours, and the loops by hand.

The time is that of one evaluation of the decoder, with its gradient in annealing: programs differ in their number.
"""

from __future__ import annotations

from math import log, tau
from typing import Any

import pyro
import torch
from torch import Tensor

import ppl_vae as pv
from benchmarks.workloads import Size
from benchmarks.workloads.gaussian import Networks


class Counted(Networks):
    """Counts rows that pass through the decoder's last layer."""

    with_gradient = False

    def __init__(self, setting: Size, x: Tensor) -> None:
        super().__init__(setting, x)
        for parameter in self.parameters:
            parameter.requires_grad_(False)
        self.units = 0
        self.model.linear.register_forward_hook(self._count)

    def _count(self, layer: Any, given: tuple[Tensor, ...], found: Tensor) -> None:
        if found.requires_grad or not self.with_gradient:
            self.units += given[0].shape[:-1].numel()

    def step(self, x: Tensor) -> None:
        self.units = 0
        with pyro.validation_enabled(False):
            self.evidence(x)

    def evidence(self, x: Tensor) -> Tensor:
        """The log-evidence of each datum, in nats, ``(data,)``."""
        raise NotImplementedError

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x, z) but for constants, of flat data."""
        error = (x - self.reconstruction(z)).square().sum(-1) * (-2 * self.log_scale).exp()
        return -0.5 * (error + z.square().sum(-1)) - x.shape[-1] * self.log_scale

    def guess(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the deviation of each latent."""
        mean, log_sigma = self.encoder(x).chunk(2, -1)
        return mean, log_sigma


class OursImportance(Counted):
    """``ppl-vae evidence --method importance``."""

    method = "importance"

    def evidence(self, x: Tensor) -> Tensor:
        draws = self.setting.draws
        return pv.measure(self.model, self.guide, x, draws=draws, method="importance", check=False).evidence.pointwise


class Importance(Counted):
    """One product for all images and some draws at a time."""

    rows = 1024

    @torch.no_grad()
    def evidence(self, x: Tensor) -> Tensor:
        x, draws = x.flatten(1), self.setting.draws
        mean, log_sigma = self.guess(x)
        sigma, found = log_sigma.exp(), []
        some = max(1, self.rows // len(x))
        for start in range(0, draws, some):
            noise = torch.randn(min(some, draws - start), *mean.shape)
            log_q = -0.5 * noise.square().sum(-1) - log_sigma.sum(-1)
            found.append(self.log_joint(x, torch.addcmul(mean, sigma, noise)) - log_q)
        weights = torch.cat(found).double()
        return weights.logsumexp(0) - log(draws) - 0.5 * x.shape[1] * log(tau)


class OursAnnealing(Counted):
    """``ppl-vae evidence --method annealing``."""

    with_gradient = True

    def evidence(self, x: Tensor) -> Tensor:
        size = self.setting
        options = {"draws": size.draws, "temperatures": size.temperatures, "start": "prior", "check": False}
        return pv.measure(self.model, self.guide, x, method="annealing", **options).evidence.pointwise


class Annealing(Counted):
    """Hamiltonian moves from the prior, all chains of all images at once, with one step size."""

    with_gradient = True
    leapfrog, stride = 5, 0.1

    def slope(self, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """log p(x | z) and its gradient in z."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            value = self.log_joint(x, z) + 0.5 * z.square().sum(-1)
            (gradient,) = torch.autograd.grad(value.sum(), z)
        return value.detach(), gradient

    @torch.no_grad()
    def evidence(self, x: Tensor) -> Tensor:
        x, draws = x.flatten(1), self.setting.draws
        z = torch.randn(draws, len(x), self.setting.latents)
        betas = torch.linspace(-4, 4, self.setting.temperatures + 1).sigmoid()
        betas = ((betas - betas[0]) / (betas[-1] - betas[0])).tolist()
        value, gradient = self.slope(x, z)
        weight = value.double() * betas[1]
        for beta, after in zip(betas[1:], betas[2:], strict=False):
            momentum = torch.randn_like(z)
            energy = beta * value - 0.5 * (z.square() + momentum.square()).sum(-1)
            there, likelihood, slope = z, value, gradient
            momentum = momentum + 0.5 * self.stride * (beta * slope - there)
            for left in range(self.leapfrog, 0, -1):
                there = there + self.stride * momentum
                likelihood, slope = self.slope(x, there)
                momentum = momentum + (0.5 if left == 1 else 1.0) * self.stride * (beta * slope - there)
            chance = (
                (beta * likelihood - 0.5 * (there.square() + momentum.square()).sum(-1) - energy).clamp(max=0).exp()
            )
            accept = torch.rand_like(chance) < chance
            z, gradient = torch.where(accept[..., None], there, z), torch.where(accept[..., None], slope, gradient)
            value = torch.where(accept, likelihood, value)
            weight += (after - beta) * value
        return weight.logsumexp(0) - log(draws) - 0.5 * x.shape[1] * log(tau)
