"""Networks whose features images are compared by: a small classifier of the same images, or Inception."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol
from unittest import mock

import torch
from torch import Tensor, nn

from ppl_vae.data.images import image_shape
from ppl_vae.nn.checkpoint import Checkpoint, fill
from ppl_vae.nn.dcgan import Discriminator
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.training.progress import Reporter, log

__all__ = ["INCEPTION", "ClassifierFeatures", "Features", "classifier", "inception"]

UNITS = 64

CHANNELS = 16

EPOCHS, BATCH, RATE = 4, 128, 2e-3

INCEPTION = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
)
"""Where Inception's weights for the FID are published; the last digits of the name begin the file's SHA-256."""


class Features(Protocol):
    """Images in [0, 1], ``(batch, *shape)``, to vectors ``(batch, features)``, with a name to tell figures by."""

    @property
    def name(self) -> str: ...

    def __call__(self, x: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class ClassifierFeatures:
    """The last hidden layer of a classifier.

    Arguments:
        network: From images to the layer before its rectifier.
        head: From the layer to logits of the classes.
        title: Of the images it was trained on.
        state: Digest of its tensors, since figures by two trainings cannot be compared.
        accuracy: Share of test images that it classifies right; None if none were there.
    """

    network: Discriminator
    head: nn.Linear
    title: str
    state: str
    accuracy: float | None = None

    @property
    def name(self) -> str:
        """What figures are named by."""
        return f"{self.title} classifier {self.state[:8]}, {self.head.in_features} features"

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        result: Tensor = self.network(x).relu()
        return result

    @torch.no_grad()
    def classes(self, x: Tensor) -> Tensor:
        """The most probable class of each image, ``(batch,)``."""
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
        title: Of the images, by which all figures are named.
        file: Where it is kept; None keeps it nowhere.
        test: Images and labels that it was not trained on, and is tested on once it is trained.
        seed: Of its weights and the order of images.

    Raises:
        ValueError: If there is not one label an image, or only one class, or the file holds another classifier.
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
        of = {
            "data": len(x),
            "shape": list(x.shape[1:]),
            "classes": count,
            "seed": seed,
            # Exact, so that the number of threads does not change it; in blocks, since it takes twice the memory.
            "sum": sum(int((255 * part).round().long().sum()) for part in x.split(1_000)),
        }
        kept = None
        if file is not None and file.exists():
            kept = Checkpoint.read(file, "delete that file, and the classifier is trained anew; the model is not in it")
            if kept.state.get("of") != of:
                raise ValueError(f"{file} holds a classifier of other images; delete it to train one of these")
            fill(parts, kept.tensors, str(file), "classifier", "delete it to train one anew")
        else:
            _fit(parts, x, labels)
    network, head = parts["network"], parts["head"]
    assert isinstance(network, Discriminator) and isinstance(head, nn.Linear)
    result = ClassifierFeatures(network, head, title, Checkpoint(parts.state_dict(), {}).digest)
    if kept is not None:
        return replace(result, accuracy=kept.state["accuracy"])
    accuracy = None if test is None else (result.classes(test[0]) == test[1]).double().mean().item()
    if file is not None:
        Checkpoint(parts.state_dict(), {"of": of, "accuracy": accuracy, "title": title}).write(file)
    return replace(result, accuracy=accuracy)


def _fit(parts: nn.ModuleDict, x: Tensor, labels: Tensor) -> None:
    network, head = parts["network"], parts["head"]
    batches = -(-len(x) // BATCH)
    optimizer = torch.optim.Adam(parts.parameters(), RATE, fused=True)
    course = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=EPOCHS * batches)
    with Reporter("classifier", EPOCHS * batches) as reporter:
        for _ in range(EPOCHS):
            for rows in torch.randperm(len(x)).to(x.device).split(BATCH):
                optimizer.zero_grad(set_to_none=True)
                nn.functional.cross_entropy(head(network(x[rows]).relu()), labels[rows]).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                course.step()
                reporter.advance(1)


@dataclass(frozen=True)
class InceptionFeatures:
    """The last pooling layer of Inception as the FID has it (Heusel et al. 2017); images are cut to bytes.

    Arguments:
        network: Of torch-fidelity.
    """

    network: Any
    name: str = "Inception, 2048 features"

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        images = x.reshape(-1, *image_shape(x.shape[1:]))
        coloured = images if images.shape[1] == 3 else images[:, :1].expand(-1, 3, -1, -1)
        result: Tensor = self.network((255 * coloured.clamp(0, 1)).round().to(torch.uint8))[0]
        return result


def inception(weights: Path | None = None, device: str | torch.device = "cpu") -> InceptionFeatures:
    """Inception with the weights of the FID, which are never fetched.

    Arguments:
        weights: Their file; by default where torch keeps what it fetches.
        device: Where to compute.

    Raises:
        ValueError: If torch-fidelity is not installed, or the file is missing or another, with what to do.
    """
    file = weights or Path(torch.hub.get_dir()) / "checkpoints" / INCEPTION.rpartition("/")[2]
    if not file.is_file():
        raise ValueError(
            f"Inception's weights are not at {file}, and are not fetched unasked; get {INCEPTION} and name the file "
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
        raise ValueError(f"Inception needs torch-fidelity ({error}): pip install 'ppl-vae[fid]'") from error
    tensors = torch.load(file, map_location="cpu", weights_only=True)
    # It would unpickle whatever the file holds; it is handed the tensors instead.
    with mock.patch.object(torch, "load", lambda *args, **kwargs: tensors):
        network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], str(file))
    log(f"features by {file}")
    return InceptionFeatures(network.to(device))
