"""The general factorised guide."""

from __future__ import annotations

from ppl_vae.data.inputs import Batch
from ppl_vae.nn.dense import Activation, LinearPlusMLP
from ppl_vae.programs.amortised import Factorised
from ppl_vae.programs.types import Program


class MeanField(Factorised):
    r"""Independent latents whose parameters are an affine map of the data plus a deep network.

    .. math:: g(x) = W x + b + \mathrm{network}(x)

    The affine map reads the counts of a document, as the true posterior of a linear decoder does; the network
    reads its frequencies. ``linear_counts``, ``deep_frequencies`` and ``linear_frequencies`` are special cases.

    Arguments:
        model: The generative model, with latents of any family.
        x: An example batch.
        layers: Number of hidden layers of the network.
        width: Units of each layer.
        activation: Activation of those layers.
    """

    def __init__(
        self, model: Program, x: Batch, layers: int = 2, width: int = 512, activation: Activation = "elu"
    ) -> None:
        def network(outputs: int) -> LinearPlusMLP:
            return LinearPlusMLP(x, outputs, layers, width, activation, read_as=self.reads_counts)

        super().__init__(model, x, network)
