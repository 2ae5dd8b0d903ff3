"""The guide of normals transformed by a flow."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.distributions import Distribution

from ppl_vae.data.inputs import Batch
from ppl_vae.distributions.exponential_family import Family
from ppl_vae.distributions.flows import autoregressive_steps, normalizing_flow
from ppl_vae.distributions.scales import bounded_log_scale
from ppl_vae.nn.arguments import check_at_least
from ppl_vae.nn.dcgan import encoder
from ppl_vae.nn.dense import Activation, LinearPlusMLP
from ppl_vae.programs.amortised import AmortisedGuide
from ppl_vae.programs.types import Program


class Flow(AmortisedGuide):
    r"""Inverse autoregressive flow (Kingma et al. 2016, section 3).

    .. math:: z_0 = \mu(x) + \sigma(x) \odot \epsilon, \qquad
        z_t = s_t(z_{t-1}, c(x)) \odot z_{t-1} + m_t(z_{t-1}, c(x))

    with the scales s and shifts m of a number from masked networks of the numbers before it (Papamakarios, Pavlakou
    and Murray 2017), with alternating orders of the coordinates. A draw and its density take one pass; the
    density of any other point takes one per number. The networks start at the identity: there this is ``mean_field``.

    Arguments:
        model: The generative model, with one latent site of normals.
        x: An example batch.
        transforms: Number of steps t.
        units: Units of both hidden layers of each step's networks.
        context: Length of c, on which the flow is conditioned.
        layers: Number of hidden layers of the network over the data.
        width: Units of each layer.
        activation: Activation of those layers.
        network: Encoder of the data: those layers, or for images a GAN's discriminator.
        channels: Channels of the discriminator's first layer.
    """

    supports = (Family.NORMAL,)

    def __init__(
        self,
        model: Program,
        x: Batch,
        transforms: int = 2,
        units: int = 64,
        context: int = 32,
        layers: int = 2,
        width: int = 512,
        activation: Activation = "elu",
        network: Literal["dense", "discriminator"] = "dense",
        channels: int = 16,
    ) -> None:
        super().__init__(model, x)
        check_at_least(1, transforms=transforms, units=units, context=context)
        self.context, size = context, self.latent.size
        outputs = 2 * size + context

        def dense() -> LinearPlusMLP:
            return LinearPlusMLP(x, outputs, layers, width, activation, read_as=self.reads_counts)

        self.encoder = self.near_prior(encoder(network, x, outputs, channels, dense=dense), x)
        self.steps = autoregressive_steps(size, transforms, units, context)

    def members(self, parameters: Tensor) -> dict[str, Distribution]:
        size = self.latent.size
        loc, log_scale, context = parameters.split([size, size, self.context], -1)
        scale = bounded_log_scale(log_scale, self.latent.unit).exp()
        fn = normalizing_flow(self.steps, loc, scale, context, inverse=True)
        return {self.latent.name: self.latent.onto(fn)}
