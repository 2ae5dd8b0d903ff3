"""Features by which images are compared: those of a small classifier of the same images, or of Inception."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol
from unittest import mock

import torch
from torch import Tensor, nn

from ppl_vae.data.images import image_shape
from ppl_vae.nn.checkpoint import Checkpoint, fill
from ppl_vae.nn.dcgan import Discriminator
from ppl_vae.plugins.extras import install
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.training.progress import Reporter, log

__all__ = ["INCEPTION", "ClassifierFeatures", "Features", "classifier", "inception"]

UNITS = 64

CHANNELS = 16

EPOCHS, BATCH, RATE = 4, 128, 2e-3

INCEPTION = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
)
"""URL of Inception's weights for the FID; the last digits of the name begin the file's SHA-256."""


class Features(Protocol):
    """A function from images in [0, 1], ``(batch, *shape)``, to vectors ``(batch, features)``, with a name."""

    @property
    def name(self) -> str: ...

    def __call__(self, x: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class ClassifierFeatures:
    """The last hidden layer of a classifier.

    Arguments:
        network: Network from images to the layer before its rectifier.
        head: Map from the layer to logits of the classes.
        title: Name of the images it was trained on.
        state: Digest of its tensors, since distances by two trainings cannot be compared.
        accuracy: Share of test images that it classifies correctly; None without test images.
    """

    network: Discriminator
    head: nn.Linear
    title: str
    state: str
    accuracy: float | None = None

    @property
    def name(self) -> str:
        """Name of the features."""
        return f"{self.title} classifier {self.state[:8]}, {self.head.in_features} features"

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        result: Tensor = self.network(x).relu()
        return result

    @torch.no_grad()
    def classes(self, x: Tensor) -> Tensor:
        """Returns the most probable class of each image, ``(batch,)``."""
        return torch.cat([self.head(self(part)).argmax(-1) for part in x.split(1_000)])


def classifier(
    x: Tensor,
    labels: Tensor,
    title: str,
    file: Path | None = None,
    test: tuple[Tensor, Tensor] | None = None,
    seed: int = 0,
) -> ClassifierFeatures:
    """Trains a classifier on labelled images, or reads the one that was trained on them before.

    Arguments:
        x: Images in [0, 1].
        labels: Class ids, ``(data,)``.
        title: Name of the images.
        file: File of the classifier; None if it is not stored.
        test: Other images and their labels, on which the trained classifier is tested.
        seed: Seed of its weights and of the order of the images.

    Raises:
        ValueError: If there is not one label per image, or only one class, or the file holds another classifier.
    """
    count = int(labels.max()) + 1 if len(labels) else 0
    if len(labels) != len(x) or count < 2:
        raise ValueError(
            f"a classifier needs a label for each image and two classes, got {len(labels)} labels of {count} "
            f"class{'es' if count != 1 else ''} for {len(x)} images"
        )
    with fork_random_state(seed):
        parts = nn.ModuleDict({"network": Discriminator(x[:2], UNITS, CHANNELS), "head": nn.Linear(UNITS, count)})
        parts.to(x.device)
        identity = {
            "data": len(x),
            "shape": list(x.shape[1:]),
            "classes": count,
            "seed": seed,
            # Exact, so that the number of threads does not change it; in blocks, since it takes twice the memory.
            "sum": sum(int((255 * part).round().long().sum()) for part in x.split(1_000)),
        }
        stored = None
        if file is not None and file.exists():
            stored = Checkpoint.read(
                file, "delete that file, and the classifier is trained anew; the model is not in it"
            )
            if stored.state.get("of") != identity:
                raise ValueError(f"{file} holds a classifier of other images; delete it to train one of these")
            fill(parts, stored.tensors, str(file), "classifier", "delete it to train one anew")
        else:
            _fit(parts, x, labels)
    network, head = parts["network"], parts["head"]
    assert isinstance(network, Discriminator) and isinstance(head, nn.Linear)
    result = ClassifierFeatures(network, head, title, Checkpoint(parts.state_dict(), {}).digest)
    if stored is not None:
        return replace(result, accuracy=stored.state["accuracy"])
    accuracy = None if test is None else (result.classes(test[0]) == test[1]).double().mean().item()
    if file is not None:
        Checkpoint(parts.state_dict(), {"of": identity, "accuracy": accuracy, "title": title}).write(file)
    return replace(result, accuracy=accuracy)


def _fit(parts: nn.ModuleDict, x: Tensor, labels: Tensor) -> None:
    network, head = parts["network"], parts["head"]
    batches = -(-len(x) // BATCH)
    optimizer = torch.optim.Adam(parts.parameters(), RATE, fused=True)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=EPOCHS * batches)
    with Reporter("classifier", EPOCHS * batches) as reporter:
        for _ in range(EPOCHS):
            for rows in torch.randperm(len(x)).to(x.device).split(BATCH):
                optimizer.zero_grad(set_to_none=True)
                nn.functional.cross_entropy(head(network(x[rows]).relu()), labels[rows]).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                scheduler.step()
                reporter.advance(1)


@dataclass(frozen=True)
class InceptionFeatures:
    """The last pooling layer of Inception as in the FID (Heusel et al. 2017); images are rounded to bytes.

    Arguments:
        network: Network of torch-fidelity.
        name: Name of the features.
    """

    network: Callable[[Tensor], Sequence[Tensor]]
    name: str = "Inception, 2048 features"

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        images = x.reshape(-1, *image_shape(x.shape[1:]))
        coloured = images if images.shape[1] == 3 else images[:, :1].expand(-1, 3, -1, -1)
        result: Tensor = self.network((255 * coloured.clamp(0, 1)).round().to(torch.uint8))[0]
        return result


def inception(weights: Path | None = None, device: str | torch.device = "cpu") -> InceptionFeatures:
    """Returns Inception with the weights of the FID, which are never downloaded.

    Arguments:
        weights: File of the weights; by default in torch's folder of downloads.
        device: Device of the network.

    Raises:
        ValueError: If torch-fidelity is not installed, or the file is missing or another, with the remedy.
    """
    file = weights or Path(torch.hub.get_dir()) / "checkpoints" / INCEPTION.rpartition("/")[2]
    if not file.is_file():
        raise ValueError(
            f"Inception's weights are not at {file}, and are never downloaded; get {INCEPTION} and name the file "
            "(--weights), or compare by a classifier of labelled images (--features classifier)"
        )
    with open(file, "rb") as content:
        digest, wanted = hashlib.file_digest(content, "sha256").hexdigest(), INCEPTION[-12:-4]
    if not digest.startswith(wanted):
        raise ValueError(
            f"{file} has the SHA-256 {digest[:12]}..., Inception's weights begin with {wanted}; get {INCEPTION}"
        )
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as error:
        raise ValueError(f"Inception needs torch-fidelity ({error}): {install('fid')}") from error
    tensors = torch.load(file, map_location="cpu", weights_only=True)
    # It would unpickle the file; it is given the tensors instead.
    with mock.patch.object(torch, "load", lambda *args, **kwargs: tensors):
        network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], str(file))
    log(f"features by {file}")
    return InceptionFeatures(network.to(device))
