"""Points near a plane, or near a curved surface, with a few normal latents as coordinates."""

from __future__ import annotations

from math import prod
from typing import Unpack

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppl_vae.nn.arguments import check_at_least
from ppl_vae.nn.dense import HiddenLayers
from ppl_vae.nn.observation_noise import GaussianDecoder, NoiseOptions
from ppl_vae.nn.priors import StandardNormal


class Ppca(GaussianDecoder):
    r"""Probabilistic principal component analysis (Tipping and Bishop 1999, eq. 2), or a Gaussian VAE.

    .. math:: z \sim \mathcal{N}(0, I_k), \qquad x \mid z \sim \mathcal{N}(W z + b, \sigma^2 I)

    with sigma learned, or as ``sigma`` says. The posterior of z is Gaussian with one covariance for all x; it is
    diagonal, and a factorised guide tight, where the columns of W are orthogonal, and turning W turns z without
    changing p(x). Hidden layers put a network in the place of Wz + b: the Gaussian VAE, which only a linear network
    makes tight (Schlesinger, Shekhovtsov and Flach 2021, example 1). Its units are tanh, for a density smooth in z:
    quadrature then converges quickly.

    Arguments:
        latents: Number k of latents.
        hidden: Number of tanh layers before the linear one; 0 is probabilistic PCA.
        width: Units of each layer.
        shape: Shape of a datum; the data give it.
        data_mean: Mean of each number of a datum; the data give it.
        data_spread: Spread of each number of a datum; the data give it.
        noise: Options of sigma, as of :class:`~ppl_vae.nn.observation_noise.GaussianDecoder`.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> x = torch.tensor([[3.0, 1.0], [0.0, 0.0], [-3.0, -1.0]])
        >>> pyro.poutine.trace(Ppca()).get_trace(x).nodes["z"]["value"].shape
        torch.Size([3, 1])
        >>> x = torch.tensor([[3.0, 1.0], [3.0, -1.0], [-3.0, 1.0], [-3.0, -1.0]])
        >>> best = Ppca.maximum_likelihood(x, latents=1)  # variance 9 along the first axis, 1 along the second
        >>> best.log_scale.exp().item(), best.marginal().covariance_matrix.round(decimals=4).tolist()
        (1.0, [[9.0, 0.0], [0.0, 1.0]])
    """

    corpus = "gaussians"

    def __init__(
        self,
        latents: int = 1,
        hidden: int = 0,
        width: int = 64,
        shape: tuple[int, ...] = (2,),
        data_mean: Tensor | None = None,
        data_spread: Tensor | None = None,
        **noise: Unpack[NoiseOptions],
    ) -> None:
        super().__init__(**noise)
        check_at_least(1, latents=latents)
        self.latents, self.shape = latents, tuple(shape)
        self.prior = StandardNormal(latents)
        self.hidden = HiddenLayers(latents, hidden, width, nn.Tanh)
        self.linear = nn.Linear(self.hidden.outputs, prod(self.shape))
        self.set_units(data_mean, data_spread)
        self.set_noise(self.hidden.outputs)

    def forward(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.prior())
            sigma = self.noise(self.hidden(z)) if self.noise.kind == "vector" else self.noise()
            pyro.sample("x", self.likelihood(x, self.mean(z), sigma), obs=x)

    @property
    def log_scale(self) -> Tensor:
        """The logarithm of sigma, where it is a scalar without a floor."""
        return self.noise.log_scale

    def mean(self, z: Tensor) -> Tensor:
        """The mean of x given z, ``(..., *shape)``."""
        return self.in_units(self.linear(self.hidden(z)).unflatten(-1, self.shape))

    def posterior(self, x: Tensor) -> dict[str, dist.MultivariateNormal]:
        r"""The exact posterior (Tipping and Bishop 1999, eqs. 8 and 9), for the linear decoder alone.

        .. math:: z \mid x \sim \mathcal{N}(M^{-1} W^\top (x - b),\, \sigma^2 M^{-1}), \qquad M = W^\top W + \sigma^2 I
        """
        w, b, variance = self._linear()
        m = w.T @ w + variance * torch.eye(self.latents, dtype=w.dtype, device=w.device)
        mean = torch.linalg.solve(m, w.T @ (x.flatten(1) - b).T).T
        return {"z": dist.MultivariateNormal(mean, precision_matrix=m / variance)}

    def marginal(self) -> dist.LowRankMultivariateNormal:
        r"""The distribution of flat data :math:`p(x) = \mathcal{N}(b, W W^\top + \sigma^2 I)`, of a linear decoder."""
        w, b, variance = self._linear()
        return dist.LowRankMultivariateNormal(b, w, variance.expand_as(b))

    def _linear(self) -> tuple[Tensor, Tensor, Tensor]:
        if len(self.hidden) or self.noise.kind == "vector":
            raise ValueError(
                "posterior and marginal have closed forms for the linear decoder with one sigma alone; take hidden=0 "
                "and a scalar sigma"
            )
        weight, bias = self.linear.weight, self.linear.bias
        if self.data_mean is not None and self.data_spread is not None:
            spread = self.data_spread.flatten()
            weight, bias = spread[:, None] * weight, self.data_mean.flatten() + spread * bias
        return weight, bias, self.noise() ** 2

    @classmethod
    def maximum_likelihood(cls, x: Tensor, latents: int) -> Ppca:
        r"""The maximum-likelihood model with a linear decoder and this number of latents.

        .. math:: W = U_k (\Lambda_k - \sigma^2 I)^{1/2}, \qquad b = \bar x, \qquad
            \sigma^2 = \frac{1}{n - k} \sum_{j > k} \lambda_j

        with eigenvalues :math:`\lambda_j` of the covariance of the data in falling order and the first k eigenvectors
        as columns of :math:`U_k` (Tipping and Bishop 1999, section 3.2). Its mean log-likelihood is

        .. math:: -\frac12 \Bigl( n \log 2 \pi + \sum_{j \le k} \log \lambda_j + (n - k) \log \sigma^2 + n \Bigr).

        Any rotation of z does as well; under this one the posterior factorises.

        Arguments:
            x: The data, ``(data, *shape)``.
            latents: Number of latents, fewer than a datum has numbers.

        Raises:
            ValueError: If there are too many latents, or so many that nothing is left for sigma: the likelihood then
                has no maximum.
        """
        flat = x.flatten(1).double()
        b = flat.mean(0)
        values, vectors = torch.linalg.eigh((flat - b).T @ (flat - b) / len(x))
        values, vectors = values.flip(0), vectors.flip(1)
        if not 1 <= latents < len(values):
            raise ValueError(f"{len(values)}-dimensional data allow 1 to {len(values) - 1} latents, got {latents}")
        variance = values[latents:].mean()
        if not variance > 1e-12 * values[0]:
            raise ValueError(
                f"{latents} latents explain these data completely: the likelihood grows without bound as sigma "
                "goes to zero; take fewer latents, or more data"
            )
        model = cls(latents, shape=tuple(x.shape[1:])).to(x)
        with torch.no_grad():
            model.linear.weight.copy_(vectors[:, :latents] * (values[:latents] - variance).clamp(min=0).sqrt())
            model.linear.bias.copy_(b)
            model.log_scale.copy_(variance.log() / 2)
        return model
