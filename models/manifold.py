"""Points near a curve: a Gaussian VAE with residual networks."""

from __future__ import annotations

from ppl_vae.models.ppca import Ppca
from torch import nn

from ppl_vae.nn.arguments import check_at_least
from ppl_vae.nn.dense import DenseResidualBlock


class Manifold(Ppca):
    r"""A Gaussian VAE whose decoder is a residual network (Berger and Sebag 2020, section 4.1).

    .. math:: z \sim \mathcal{N}(0, I_k), \qquad x \mid z \sim \mathcal{N}(\mu(z), \sigma^2 I)

    Whether sigma is given, learned or an output of the decoder is ``sigma``; it decides how much of the data's detail
    the means must carry.

    Arguments:
        latents: Number k of latents.
        blocks: Number of residual blocks of the decoder.
        width: Units of each layer.
        sigma: ``"learned"``, a scalar; ``"vector"``, one per dimension of x, by the network; a number, which is
            fixed; or ``"schedule:RUN"``, its values over the epochs of a run.
        scale: Start of a learned sigma.
        floor: Lower bound of a learned sigma.
        shape: Shape of a datum; the data give it.

    Raises:
        ValueError: If a number is out of range.
    """

    corpus = "manifold"

    def __init__(
        self,
        latents: int = 2,
        blocks: int = 4,
        width: int = 200,
        sigma: str = "learned",
        scale: float = 1.0,
        floor: float = 0.0,
        shape: tuple[int, ...] = (2,),
    ) -> None:
        check_at_least(0, blocks=blocks)
        super().__init__(latents, 1, width, sigma, scale, floor, shape)
        residual = (DenseResidualBlock(width) for _ in range(blocks))
        self.hidden = nn.Sequential(nn.Linear(latents, width), *residual, nn.ReLU())
