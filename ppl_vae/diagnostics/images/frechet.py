"""The Frechet distance between two sets of images, by the first two moments of their features."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from ppl_vae.nn.modes import evaluating
from ppl_vae.programs.handlers import observations, run
from ppl_vae.programs.types import Program

__all__ = ["Moments", "drawn_images", "frechet_distance"]


class Moments:
    r"""Mean and covariance of vectors that come in batches, in double precision.

    Batches are merged by their own means (Chan, Golub and LeVeque 1983, eq. 2.1), so that nothing cancels.

    Arguments:
        batches: Batches of vectors, ``(batch, features)``.

    Example:
        >>> x = torch.tensor([[1.0, 2.0], [3.0, 5.0], [8.0, 0.0]])
        >>> moments = Moments([x[:1], x[1:]])
        >>> moments.count, moments.mean.tolist()
        (3, [4.0, 2.3333333333333335])
        >>> torch.allclose(moments.covariance, x.double().T.cov())
        True
    """

    def __init__(self, batches: Iterable[Tensor] = ()) -> None:
        self.count = 0
        self._mean: Tensor | None = None
        self._scatter: Tensor | None = None
        for batch in batches:
            self.add(batch)

    def add(self, vectors: Tensor) -> None:
        """Adds a batch, ``(batch, features)``.

        Raises:
            ValueError: If a number is not finite.
        """
        if not len(vectors):
            return
        vectors = vectors.detach().cpu().double()
        if not vectors.isfinite().all():
            raise ValueError("features of images must be finite numbers; check the images for values that are not")
        count, mean = len(vectors), vectors.mean(0)
        scatter = (vectors - mean).T @ (vectors - mean)
        if self._mean is None or self._scatter is None:
            self.count, self._mean, self._scatter = count, mean, scatter
            return
        shift, both = mean - self._mean, self.count + count
        self._scatter = self._scatter + scatter + torch.outer(shift, shift) * (self.count * count / both)
        self._mean = self._mean + shift * (count / both)
        self.count = both

    @property
    def mean(self) -> Tensor:
        """Mean, ``(features,)``."""
        self._check(1)
        assert self._mean is not None
        return self._mean

    @property
    def covariance(self) -> Tensor:
        """Unbiased covariance, ``(features, features)``."""
        self._check(2)
        assert self._scatter is not None
        return self._scatter / (self.count - 1)

    def _check(self, least: int) -> None:
        if self.count < least:
            raise ValueError(f"moments need at least {least} vectors, got {self.count}; give more images")


def frechet_distance(first: Moments, second: Moments) -> float:
    r"""Returns the squared Frechet distance between the normal distributions with these moments.

    .. math:: |m_1 - m_2|^2 + \mathrm{tr}\bigl(C_1 + C_2 - 2 (C_1^{1/2} C_2\, C_1^{1/2})^{1/2}\bigr)

    (Dowson and Landau 1982, eq. 4; of features of the Inception network the FID of Heusel et al. 2017, eq. 6.) Between
    two samples of one distribution it is above 0, by more for smaller samples: compare with that value, not with 0.

    Raises:
        ValueError: If there are fewer than two vectors, or the numbers of features differ.

    Example:
        >>> one = Moments([torch.tensor([[-1.0], [1.0]])])
        >>> two = Moments([torch.tensor([[2.0], [8.0]])])  # a mean apart by 5, three times as wide
        >>> round(frechet_distance(one, two), 6)  # 25 + (3 - 1)^2 times the variance, 2
        33.0
    """
    if len(first.mean) != len(second.mean):
        raise ValueError(f"images of {len(first.mean)} and of {len(second.mean)} features cannot be compared")
    a, b = first.covariance, second.covariance
    root = _root(a)
    cross = torch.linalg.eigvalsh(root @ b @ root).clamp(min=0).sqrt().sum()
    return float((first.mean - second.mean).square().sum() + a.trace() + b.trace() - 2 * cross)


def _root(matrix: Tensor) -> Tensor:
    """The square root of a symmetric matrix without negative eigenvalues."""
    values, vectors = torch.linalg.eigh(matrix)
    result: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    return result


def drawn_images(
    model: Program, like: Tensor, count: int, *, means: bool = False, block: int = 500
) -> Iterator[Tensor]:
    """Yields images that a model draws, in blocks.

    Arguments:
        model: A model with one observed site of images.
        like: At least one datum, of which only shape and device are used.
        count: Number of images.
        means: Whether to return the means of p(x | z) instead of samples.
        block: Number of images per block.

    Yields:
        Images, ``(block, *shape)``.

    Raises:
        ValueError: If the model has no observed site or several.
    """
    for start in range(0, count, block):
        placeholders = like[:1].expand(min(block, count - start), *like.shape[1:])
        with evaluating(model):
            sites = run(model, (placeholders,), {}, draws=1)
            observed = list(observations(sites).values())
            if len(observed) != 1:
                raise ValueError(
                    f"images can be drawn from a model with one observed site, this one has {len(observed)}"
                )
            fn = observed[0]["fn"]
            result: Tensor = (fn.mean if means else fn.sample()).reshape(placeholders.shape)
        yield result
