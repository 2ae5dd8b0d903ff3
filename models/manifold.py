"""Points near a curve: a Gaussian VAE with residual networks."""

from __future__ import annotations

from typing import Unpack

from ppl_vae.models.ppca import Ppca
from torch import Tensor, nn

from ppl_vae.nn.arguments import check_at_least
from ppl_vae.nn.dense import DenseResidualBlock
from ppl_vae.nn.observation_noise import NoiseOptions


class Manifold(Ppca):
    r"""A Gaussian VAE whose decoder is a residual network (Berger and Sebag 2020, section 4.1).

    .. math:: z \sim \mathcal{N}(0, I_k), \qquad x \mid z \sim \mathcal{N}(\mu(z), \sigma^2 I)

    Whether sigma is given, learned or an output of the decoder is ``sigma``; it decides how much of the data's detail
    the means must carry.

    Arguments:
        latents: Number k of latents.
        blocks: Number of residual blocks of the decoder.
        width: Units of each layer.
        shape: Shape of a datum; the data give it.
        data_mean: Mean of each number of a datum; the data give it.
        data_spread: Spread of each number of a datum; the data give it.
        noise: Options of sigma, as of :class:`~ppl_vae.nn.observation_noise.GaussianDecoder`.

    Raises:
        ValueError: If a number is out of range.
    """

    corpus = "manifold"

    def __init__(
        self,
        latents: int = 2,
        blocks: int = 4,
        width: int = 200,
        shape: tuple[int, ...] = (2,),
        data_mean: Tensor | None = None,
        data_spread: Tensor | None = None,
        **noise: Unpack[NoiseOptions],
    ) -> None:
        check_at_least(0, blocks=blocks)
        super().__init__(latents, 1, width, shape, data_mean, data_spread, **noise)
        residual = (DenseResidualBlock(width) for _ in range(blocks))
        self.hidden = nn.Sequential(nn.Linear(latents, width), *residual, nn.ReLU())
