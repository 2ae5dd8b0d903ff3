"""Points of the plane, or of any space, that a binary code assigns to Gaussians."""

from __future__ import annotations

from typing import Literal

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule
from torch import Tensor, nn

from ppl_vae.data.readers.gaussians import FOUR_GAUSSIANS
from ppl_vae.distributions.bits import JointBits, bit_states

PLACEMENTS = {
    "four": FOUR_GAUSSIANS,
    # Codes 00, 01, 11, 10 go around the square: neighbours differ in one bit.
    "gray_square": [(-1.0, -1.0), (1.0, -1.0), (-1.0, 1.0), (1.0, 1.0)],
    # Codes 00, 01, 10, 11 go around it: two of its sides flip both bits at once.
    "natural_square": [(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)],
}
"""Centres of four Gaussians in the plane, in the order of their codes 00, 01, 10, 11."""


class Gmm(PyroModule):
    r"""Mixture of Gaussians numbered by a binary code (Schlesinger, Shekhovtsov and Flach 2021, section 4.1).

    .. math::
        z \sim \mathrm{Bernoulli}(1/2)^m, \qquad x \mid z \sim \mathcal{N}(\mu_z, \sigma^2 I)

    with one centre per code. The posterior of the code can be any distribution over its states; where it factorises, a
    factorised guide is tight.

    Arguments:
        bits: Length m of the code of one of 2^m Gaussians, at most 16.
        centres: ``"four"``, those with which the paper's figures come out; ``"gray_square"`` and ``"natural_square"``,
            the corners of a square of side 2 with codes in Gray and in natural order around it; or ``"random"``,
            standard normal ones to start from.
        scale: The standard deviation sigma, or its start if it is learned.
        learn_centres: Whether the centres are learned.
        learn_scale: Whether sigma is learned.
        shape: Shape of a datum, ``(dimensions,)``; the data give it.

    Raises:
        ValueError: If bits or scale are out of range, data are no vectors, or the placement is one of four points of
            the plane and the code or the data are not.

    Example:
        >>> x = torch.zeros(3, 2)
        >>> pyro.poutine.trace(Gmm()).get_trace(x).nodes["z"]["value"].shape
        torch.Size([3, 2])
        >>> Gmm(centres="gray_square").posterior(x)["z"].logits.exp()[0]  # in the middle of the square
        tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """

    corpus = "gaussians"

    def __init__(
        self,
        bits: int = 2,
        centres: Literal["four", "gray_square", "natural_square", "random"] = "four",
        scale: float = 1.0,
        learn_centres: bool = False,
        learn_scale: bool = False,
        shape: tuple[int, ...] = (2,),
    ) -> None:
        super().__init__()
        if not 1 <= bits <= 16 or not scale > 0:
            raise ValueError(
                f"bits must be 1 to 16, each code has a Gaussian, and scale positive, got {bits} and {scale:g}"
            )
        if len(shape) != 1:
            raise ValueError(f"a datum must be a vector, got the shape {tuple(shape)}; flatten the data")
        if centres != "random" and (bits, *shape) != (2, 2):
            raise ValueError(
                f"centres {centres!r} are four points of the plane, but there are {2**bits} Gaussians and data of "
                f"shape {tuple(shape)}; take centres 'random'"
            )
        self.bits = bits
        start = torch.randn(2**bits, *shape) if centres == "random" else torch.tensor(PLACEMENTS[centres])
        self.register_buffer("states", bit_states(bits), persistent=False)
        for name, value, learned in (
            ("centres", start, learn_centres),
            ("log_scale", torch.tensor(scale).log(), learn_scale),
        ):
            if learned:
                setattr(self, name, nn.Parameter(value))
            else:
                self.register_buffer(name, value)

    def forward(self, x: Tensor) -> None:
        prior = self.centres.new_zeros(self.bits)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(logits=prior).to_event(1))
            pyro.sample("x", dist.Normal(self.centre(z), self.log_scale.exp()).to_event(1), obs=x)

    def centre(self, z: Tensor) -> Tensor:
        """The centre of the code's Gaussian, ``(..., dimensions)``; between codes linear in each bit."""
        first, *others = torch.stack([1 - z, z], -1).unbind(-2)
        chosen = first
        for bit in others:  # twice as many codes with each
            chosen = (chosen[..., None] * bit[..., None, :]).flatten(-2)
        return chosen @ self.centres

    def posterior(self, x: Tensor) -> dict[str, JointBits]:
        """The exact posterior of the code, over all joint states of its bits."""
        return {"z": JointBits(dist.Normal(self.centres, self.log_scale.exp()).to_event(1).log_prob(x[:, None]))}
