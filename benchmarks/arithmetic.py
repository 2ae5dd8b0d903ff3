"""What a step of the text model computes and moves: of ARM over a dense softmax, and of estimators that need less."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.setting import Setting

__all__ = ["Arithmetic", "Product", "arithmetic"]


@dataclass(frozen=True)
class Product:
    """A product of an (m, k) by a (k, n) matrix, made so many times."""

    m: int
    k: int
    n: int
    times: int

    @property
    def flops(self) -> float:
        return 2.0 * self.m * self.k * self.n * self.times


@dataclass(frozen=True)
class Arithmetic:
    """The work of a step of ARM over sparse counts with a softmax over the whole vocabulary.

    Arguments:
        products: Dense matrix products, forward and backward.
        exponentials: Of the logits.
        parameters: All of which Adam updates.
        gathered: Bytes of the encoder's first layer and of the likelihood's linear term, over the entries of a batch.
    """

    products: tuple[Product, ...]
    exponentials: int
    parameters: int
    gathered: int

    @property
    def flops(self) -> float:
        return sum(product.flops for product in self.products)

    @property
    def bytes(self) -> int:
        """Adam reads a parameter, its gradient and two moments and writes three of them; the gradient was written."""
        return 32 * self.parameters + self.gathered


def arithmetic(
    setting: Setting, vocabulary: int, entries: int, *, evaluated: int = 2, differentiated: int = 2
) -> Arithmetic:
    """Counts a step.

    Arguments:
        setting: The text model and its guide.
        vocabulary: Number of words.
        entries: Distinct words of a batch's documents, added up.
        evaluated: Codes of a pair whose likelihood is computed: both of ARM, one of REINFORCE.
        differentiated: Of them those through which the decoder's gradient goes. One is enough for an unbiased estimate.
    """
    pairs, batch, width = setting.draws * setting.batch, setting.batch, setting.width
    rows, graded = evaluated * pairs, differentiated * pairs
    sizes = [setting.bits, *[width] * setting.hidden]
    products, parameters = [], 0
    for level, (inputs, outputs) in enumerate(zip(sizes, [*sizes[1:], vocabulary], strict=True)):
        products.append(Product(rows, inputs, outputs, 1))
        # For the weight, and for the layer below, if there is one: codes need no gradient.
        products.append(Product(graded, inputs, outputs, 1 + (level > 0)))
        parameters += (inputs + 1) * outputs
    first = width if setting.layers else setting.bits
    parameters += (vocabulary + 1) * first
    for level in range(setting.layers):
        outputs = setting.bits if level == setting.layers - 1 else width
        products.append(Product(batch, width, outputs, 3))
        parameters += (width + 1) * outputs
    # Rows of both tables are gathered forward, and scattered backward.
    gathered = 2 * 4 * entries * (first + sizes[-1])
    return Arithmetic(tuple(products), rows * vocabulary, parameters, gathered)
