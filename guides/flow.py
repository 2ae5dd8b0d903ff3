"""The guide of normals transformed by a flow."""

from __future__ import annotations

from typing import Unpack

from torch import Tensor
from torch.distributions import Distribution

from ppl_vae.data.inputs import Batch
from ppl_vae.distributions.exponential_family import Family
from ppl_vae.distributions.flows import autoregressive_steps, normalizing_flow
from ppl_vae.distributions.scales import bounded_log_scale
from ppl_vae.nn.arguments import check_at_least
from ppl_vae.programs.deep_guide import DeepGuide, NetworkOptions
from ppl_vae.programs.types import Program


class Flow(DeepGuide):
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
        encoder: Options of the encoder, as of :class:`~ppl_vae.programs.deep_guide.DeepGuide`.
    """

    supports = (Family.NORMAL,)

    def __init__(
        self,
        model: Program,
        x: Batch,
        transforms: int = 2,
        units: int = 64,
        context: int = 32,
        **encoder: Unpack[NetworkOptions],
    ) -> None:
        super().__init__(model, x, **encoder)
        check_at_least(1, transforms=transforms, units=units, context=context)
        self.context, size = context, self.latent.size
        self.set_encoder(x, 2 * size + context)
        self.steps = autoregressive_steps(size, transforms, units, context)

    def members(self, parameters: Tensor) -> dict[str, Distribution]:
        size = self.latent.size
        loc, log_scale, context = parameters.split([size, size, self.context], -1)
        scale = bounded_log_scale(log_scale, self.latent.unit).exp()
        fn = normalizing_flow(self.steps, loc, scale, context, inverse=True)
        return {self.latent.name: self.latent.onto(fn)}
