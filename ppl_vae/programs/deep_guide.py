"""The base of guides whose parameters come from an affine map of the data plus a deep network."""

from __future__ import annotations

from typing import Literal, TypedDict

from ppl_vae.data.inputs import Batch
from ppl_vae.nn.dcgan import encoder
from ppl_vae.nn.dense import Activation, LinearPlusMLP
from ppl_vae.programs.amortised import AmortisedGuide
from ppl_vae.programs.types import Program

__all__ = ["DeepGuide", "LayerOptions", "NetworkOptions"]


class LayerOptions(TypedDict, total=False):
    """The options of :class:`DeepGuide` for data of every kind."""

    layers: int
    width: int
    activation: Activation


class NetworkOptions(LayerOptions, total=False):
    """The options of :class:`DeepGuide`."""

    network: Literal["dense", "discriminator"]
    channels: int


class DeepGuide(AmortisedGuide):
    r"""A guide whose parameters are an affine map of the data plus a deep network.

    .. math:: g(x) = W x + b + \mathrm{network}(x)

    The affine map reads the counts of a document, as the true posterior of a linear decoder does; the network
    reads its frequencies. A subclass whose constructor ends in ``**encoder: Unpack[LayerOptions]``, or
    ``NetworkOptions``, has these options too, and calls :meth:`set_encoder`.

    Arguments:
        model: The generative model.
        x: An example batch.
        layers: Number of hidden layers of the network over the data.
        width: Units of each layer.
        activation: Activation of those layers.
        network: Encoder of the data: those layers, or for images a GAN's discriminator.
        channels: Channels of the discriminator's first layer.
    """

    def __init__(
        self,
        model: Program,
        x: Batch,
        layers: int = 2,
        width: int = 512,
        activation: Activation = "elu",
        network: Literal["dense", "discriminator"] = "dense",
        channels: int = 16,
    ) -> None:
        super().__init__(model, x)
        self._layers: tuple[int, int, Activation] = (layers, width, activation)
        self._network = (network, channels)

    def set_encoder(self, x: Batch, outputs: int, *, affine: int | None = None, zeros: int = 0) -> None:
        """Makes the encoder of a number of parameters.

        Arguments:
            x: The example batch.
            outputs: Number of parameters.
            affine: Number of them, the first ones, that have an affine map; None for all.
            zeros: Number of them, the last ones, that are initialised to zero.
        """

        def dense() -> LinearPlusMLP:
            read_as = self.reads_counts
            return LinearPlusMLP(x, outputs, *self._layers, affine=affine, zeros=zeros, read_as=read_as)

        network, channels = self._network
        self.encoder = self.near_prior(encoder(network, x, outputs, channels, dense=dense), x)
