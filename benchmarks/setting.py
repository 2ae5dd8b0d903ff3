"""The text models that are timed, and the data they are timed on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse
import torch
from ppl_vae.guides.deep_frequencies import DeepFrequencies
from ppl_vae.guides.linear_counts import LinearCounts
from ppl_vae.models.text import Text
from torch import Tensor, nn

from ppl_vae.data import load_corpus
from ppl_vae.data.counts import PackedCounts
from ppl_vae.programs.loading import find

Layers = list[tuple[Tensor, Tensor]]
"""Weight, ``(outputs, inputs)``, and bias of each affine layer; ReLU lies between them."""


@dataclass(frozen=True)
class Setting:
    """A text model, its guide, and how a step is taken.

    Arguments:
        hidden: ReLU layers of the decoder.
        layers: ReLU layers of the guide, which then reads frequencies in per cent; 0 is the guide linear in the counts.
        draws: Antithetic pairs a document.
        bits: Length of the code.
        width: Units of each hidden layer.
        batch: Documents a step.
    """

    hidden: int = 0
    layers: int = 0
    draws: int = 1
    bits: int = 32
    width: int = 512
    batch: int = 256

    def __str__(self) -> str:
        return f"d{self.hidden} {'e2' if self.layers else 'e1'} S{self.draws}"

    def read(self, path: Path) -> PackedCounts:
        """The training documents."""
        return read_corpus(path)

    def pair(self, x: PackedCounts) -> tuple[Text, LinearCounts | DeepFrequencies]:
        """The shipped model and guide, as the command line builds them."""
        model = Text(**find("models", "text").facts(x), bits=self.bits, hidden=self.hidden, width=self.width)
        example = x[:2]
        if self.layers:  # the peers have rectified units
            return model, DeepFrequencies(model, example, self.layers, self.width, "relu")
        guide = LinearCounts(model, example)
        return model, guide


def layers_of(model: nn.Module, guide: nn.Module) -> tuple[Layers, Layers]:
    """The affine layers of decoder and encoder in their order: what every peer starts from and is judged by."""
    decoder, encoder = (list(module.parameters()) for module in (model, guide))
    pairs = [list(zip(p[::2], p[1::2], strict=True)) for p in (decoder, encoder)]
    # The first layer of our guides is stored by word.
    pairs[1][0] = (pairs[1][0][0].T, pairs[1][0][1])
    return pairs[0], pairs[1]


def dense(x: PackedCounts) -> Tensor:
    """The counts as those who have no sparse products hold them, ``(documents, vocabulary)``."""
    table = torch.zeros(x.shape)
    table[x.documents, x.words] = x.counts
    return table


def zipf(documents: int, vocabulary: int, seed: int = 0) -> PackedCounts:
    """Documents whose words follow a power law, about 130 tokens and, of 10,000 words, 83 distinct ones each."""
    random = np.random.default_rng(seed)
    frequencies = (np.arange(vocabulary) + 4.0) ** -1.2
    lengths = np.maximum(1, random.negative_binomial(2, 2 / 132, documents))
    words = random.choice(vocabulary, lengths.sum(), p=frequencies / frequencies.sum())
    rows = np.repeat(np.arange(documents), lengths)
    return PackedCounts.from_csr(
        scipy.sparse.csr_matrix((np.ones(len(words)), (rows, words)), shape=(documents, vocabulary))
    )


def keep_corpus(name: str, documents: int, vocabulary: int, folder: Path) -> Path:
    """Writes the training documents of a corpus, or synthetic ones (``zipf``), to a file that workers read."""
    if name == "zipf":
        x = zipf(documents, vocabulary)
    else:
        x = load_corpus(name, vocabulary=vocabulary, validation=0).train.values[:documents]
    path = folder / f"{Path(name).stem}-{documents}-{vocabulary}.npz"
    scipy.sparse.save_npz(path, x.to_csr(), compressed=False)
    return path


def read_corpus(path: Path) -> PackedCounts:
    """What :func:`keep_corpus` wrote."""
    return PackedCounts.from_csr(scipy.sparse.load_npz(path))
