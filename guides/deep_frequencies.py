"""Guide e2: deep, on word frequencies."""

from __future__ import annotations

from ppl_vae.data.inputs import Batch
from ppl_vae.nn.dense import MLP, Activation, ReadAs
from ppl_vae.programs.amortised import Factorised
from ppl_vae.programs.types import Program


class DeepFrequencies(Factorised):
    r"""Independent latents with natural parameters from hidden layers over the word frequencies x / l: encoder e2.

    .. math:: g(x) = \mathrm{network}(x / l)

    The encoder usual in semantic hashing (Schlesinger, Shekhovtsov and Flach 2021, section 4.3). Where latents are
    neither bits nor categoricals the frequencies are shrunk, x / (l + mean of l): short documents tell little.

    Arguments:
        model: The generative model; its latents may be of any family of ``mean_field``.
        x: An example batch.
        layers: Number of hidden layers.
        width: Units of each layer.
        activation: Activation of those layers.
    """

    def __init__(
        self, model: Program, x: Batch, layers: int = 2, width: int = 512, activation: Activation = "elu"
    ) -> None:
        def network(outputs: int) -> MLP:
            read_as: ReadAs = "frequencies" if self.reads_counts == "counts" else "shrunk"
            return MLP(x, outputs, layers, width, read_as, activation=activation, keeps_scale=True)

        super().__init__(model, x, network)
