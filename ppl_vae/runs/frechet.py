"""The Frechet distance of images that trained runs draw, from their data or from each other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from ppl_vae.data.images import pixels
from ppl_vae.data.inputs import main_field
from ppl_vae.diagnostics.images.features import ClassifierFeatures, Features, classifier, inception
from ppl_vae.diagnostics.images.frechet import Moments, drawn_images, frechet_distance
from ppl_vae.evidence.tables import text_table
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.types import Progress
from ppl_vae.runs.open import Run, open_run
from ppl_vae.training.progress import Reporter

__all__ = ["Frechet", "measure_frechet"]

BLOCK = 500


@dataclass(frozen=True)
class Frechet:
    """A Frechet distance, with that between two samples of the reference as a scale.

    Arguments:
        distance: Distance between the images of a run and the reference.
        same: Distance between the reference and others of its kind: another split, or further draws of the same model.
        features: Name of the features.
        images: Description of the run's images.
        reference: Description of the reference.
        others: Description of the others.
        count: Number of images of the run, of the reference, and of the others.
        width: Number of features.
        accuracy: Share of test images that the classifier classifies correctly; None for Inception or without them.
    """

    distance: float
    same: float
    features: str
    images: str
    reference: str
    others: str
    count: tuple[int, int, int]
    width: int
    accuracy: float | None = None

    @property
    def warnings(self) -> list[str]:
        """Reasons not to take the numbers at face value."""
        if (fewest := min(self.count)) > self.width:
            return []
        return [
            f"{fewest} images give no covariance of full rank for {self.width} features, so that the distance means "
            "little; take more images than features"
        ]

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self)) | {"count": list(self.count), "warnings": self.warnings}

    def __str__(self) -> str:
        count, first, second = self.count
        rows = [
            (f"{count} {self.images}", f"{first} {self.reference}", f"{self.distance:.4g}"),
            (f"{second} {self.others}", f"{first} {self.reference}", f"{self.same:.4g}"),
        ]
        caption = "lower is nearer, and never 0; compare with the second line"
        if self.accuracy is not None:
            caption += f"; the classifier is correct on {self.accuracy:.1%} of test images"
        title, columns = f"Frechet distance ({self.features})", ("between", "and", "distance")
        table = text_table(title, columns, rows, left=columns[:2], caption=caption, width=100, min_width=70)
        return "\n".join([table, *(f"note: {line}" for line in self.warnings)])

    __repr__ = __str__


def measure_frechet(
    opened: Run,
    split: str,
    count: int,
    against: str | Path | None,
    images: int,
    means: bool,
    features: Literal["classifier", "inception"],
    weights: str | Path | None,
) -> Frechet:
    """Returns the Frechet distance of a model's images from its data, or from those of another run's model.

    Arguments:
        opened: The run.
        split: Split of the reference images, where there is no other run.
        count: Size of a random sample of the split; 0 for all.
        against: Folder of another run, whose model's images are the reference.
        images: Number of images that each model draws.
        means: Whether to compare means of p(x | z) instead of samples.
        features: Features of a classifier, which is trained on the run's labelled training images and stored in its
            folder, or of Inception.
        weights: File of Inception's weights.

    Raises:
        ValueError: If the data are no images, or have no labels to train a classifier on.
    """
    if weights is not None and features != "inception":
        raise ValueError("weights is a file of Inception: take --features inception, or leave it out")
    x = opened.split(split, count)
    if not isinstance(x, Tensor) or pixels(x) is None:
        raise ValueError("the Frechet distance compares images with values in [0, 1]; take a run of such data")
    if images < 2:
        raise ValueError(f"moments need at least 2 images, got {images}; raise --images")
    network = (
        inception(None if weights is None else Path(weights), x.device)
        if features == "inception"
        else _classifier(opened)
    )
    other = None if against is None else open_run(against)
    seed = opened.config.settings.seed
    kind = "means of p(x | z)" if means else "samples"
    total = images if other is None else 3 * images
    with Reporter("frechet", total) as reporter, fork_random_state(seed):

        def moments_of(batches: Iterable[Tensor], progress: Progress = reporter.advance) -> Moments:
            result = Moments()
            for batch in batches:
                result.add(network(batch.to(x.device)))
                progress(len(batch))
            return result

        def drawn(run: Run) -> Moments:
            return moments_of(drawn_images(run.pair.model, run.tensor("train"), images, means=means, block=BLOCK))

        moments = drawn(opened)
        if other is None:
            other_split = (
                "train" if split != "train" else next(name for name in ("test", "validation") if name in opened.data)
            )
            first, second = (
                moments_of(part.split(BLOCK), lambda done: None) for part in (x, opened.tensor(other_split, images))
            )
            reference, others = f"{split} images", f"{other_split} images"
        else:
            if (shape := main_field(other.data["train"]).shape[1:]) != x.shape[1:]:
                raise ValueError(f"{against} draws images of another shape, {tuple(shape)}")
            first, second = drawn(other), drawn(other)
            reference, others = f"{kind} of {against}", f"others of {against}"
    result = Frechet(
        frechet_distance(moments, first),
        frechet_distance(second, first),
        network.name,
        f"{kind} of {opened.folder}",
        reference,
        others,
        (moments.count, first.count, second.count),
        len(moments.mean),
        network.accuracy if isinstance(network, ClassifierFeatures) else None,
    )
    # Runs of one name may lie in many folders, and one folder may be trained again.
    of = split
    if other is not None:
        of = other.state.named(f"{other.run.folder.resolve().name}-{other.state.checkpoint[:8]}")
    name = opened.state.named(f"frechet-{of}-{features}{'-means' if means else ''}")
    opened.run.write_json(f"{name}.json", result.to_json())
    return result


def _classifier(opened: Run) -> Features:
    corpus, x = opened.corpus, opened.tensor("train")
    labels, tested = opened.labels("train"), opened.labels("test")
    if labels is None:
        raise ValueError(
            f"the images of {corpus.name} have no labels to train a classifier on; put them in folders by class, or "
            "take Inception (--features inception)"
        )
    test = None if tested is None else (opened.tensor("test"), tested.to(x.device))
    return classifier(
        x, labels.to(x.device), Path(corpus.name).name, opened.run.folder / "classifier.safetensors", test
    )
