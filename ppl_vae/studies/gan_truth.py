"""The generator of a GAN as the true model of its own images: trained once per seed, then drawn from and compared with.

Schlesinger, Shekhovtsov and Flach (2021, section 4.2) train a decoder that is right from the start; here is that
decoder, with what all trainings of a seed share.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from ppl_vae.diagnostics.images.features import Features, classifier, inception
from ppl_vae.diagnostics.images.frechet import Moments, drawn_images, frechet_distance
from ppl_vae.evidence.ais import Schedule
from ppl_vae.evidence.bdmc import sandwich
from ppl_vae.nn.modes import evaluating
from ppl_vae.programs.amortised import AmortisedGuide
from ppl_vae.programs.loading import find
from ppl_vae.programs.simulate import simulate
from ppl_vae.studies.image_data import LabelledImages, labelled_images
from ppl_vae.studies.study import Study
from ppl_vae.training.gan import FILE, fit_generator
from ppl_vae.training.gan_settings import GanSettings
from ppl_vae.training.run_folder import RunFolder

__all__ = ["GanTruth", "against_truth"]

BLOCK = 500
"""Images whose features are computed at once."""


class ImageDecoder(Protocol):
    """A model that decodes latents to the means of images, and to their noise."""

    def decode(self, z: Tensor, /) -> tuple[Tensor, Tensor]: ...

    def __call__(self, *args: object, **kwargs: object) -> object: ...


@dataclass(frozen=True)
class GanTruth:
    """A generator with a little noise as the truth, and the images drawn from it.

    Arguments:
        study: Folder of the results.
        corpus: Name of the images the generator learns from, as of :func:`labelled_images`.
        size: Height and width of an image.
        data: Number of training images.
        settings: Training of the generator; its seed is that of everything drawn from it.
        sigma: Scale of the noise.
        by: Features that Frechet distances compare.
    """

    study: Study
    corpus: str
    size: int
    data: int
    settings: GanSettings
    sigma: float
    by: Literal["classifier", "inception"]

    @property
    def folder(self) -> Path:
        """Folder of the generator's training."""
        return self.study.folder / "runs" / f"generator-{self.settings.seed}"

    @property
    def images(self) -> tuple[LabelledImages, LabelledImages]:
        """Training and test images."""
        return labelled_images(self.corpus, self.size, self.data)

    def trained(self, sampled: int, shown: int) -> dict[str, Tensor]:
        """Trains the generator, or what is left of its training, and compares its images with those it learned from.

        Arguments:
            sampled: Number of images to compare.
            shown: Number of test images and of means of the truth to return.
        """
        config = {"generator": json.loads(json.dumps(asdict(self.settings)))}
        begun = (self.folder / "config.json").exists()
        run = RunFolder.open(self.folder) if begun else RunFolder.create(self.folder, config)
        train, test = self.images
        device = self.study.device
        rows = fit_generator(train.x.to(device), run, self.settings).rows
        model = self.model()
        data, drawn = self.moments(test.x), self.drawn(model, sampled)
        again = self.moments(train.x[:sampled])
        with torch.no_grad():
            means = model.decode(torch.randn(shown, self.settings.latents, device=device))[0]
        return {
            "from test images": torch.tensor(frechet_distance(drawn, data)),
            "training from test images": torch.tensor(frechet_distance(again, data)),
            "test images": test.x[:shown],
            "means of the truth": means,
            "losses": torch.tensor([[row["generator_loss"], row["discriminator_loss"]] for row in rows]),
        }

    @cached_property
    def features(self) -> Features:
        """Features of images: Inception's, or those of a classifier, which is trained once."""
        device = self.study.device
        if self.by == "inception":
            return inception(device=device)
        (x, labels), (test, test_labels) = ((part.x, part.labels) for part in self.images)
        if labels is None or test_labels is None:
            raise ValueError(f"{self.corpus} has no labels to train a classifier by; compare images by inception")
        title = {"mnist": "MNIST"}.get(self.corpus, self.corpus)
        file = self.study.folder / "classifier.safetensors"
        return classifier(x.to(device), labels.to(device), title, file, (test.to(device), test_labels.to(device)))

    def moments(self, images: Iterable[Tensor] | Tensor) -> Moments:
        """Returns the moments of the features of images, given in blocks or as one tensor."""
        features = self.features
        blocks = images.split(BLOCK) if isinstance(images, Tensor) else images
        return Moments(features(block.to(self.study.device)) for block in blocks)

    def drawn(self, model: nn.Module, count: int, means: bool = False) -> Moments:
        """Returns the moments of the features of ``count`` images that a model draws, or of their means."""
        return self.moments(drawn_images(model, self.batch(1), count, means=means, block=BLOCK))

    def model(self, sigma: str | None = None) -> Any:  # a gan_gaussian, whose methods nn.Module does not declare
        """Returns the true model; with sigma ``"learned"`` its noise is a parameter, which starts at the truth."""
        options = self.options(sigma)
        model = find("models", "gan_gaussian", own=False).target(shape=tuple(self.images[0].x.shape[1:]), **options)
        return model.to(self.study.device)

    def options(self, sigma: str | None = None) -> dict[str, object]:
        """Options of ``gan_gaussian`` that make it the truth."""
        return {
            "latents": self.settings.latents,
            "channels": self.settings.channels,
            "generator": str(self.folder / FILE),
            "sigma": sigma or str(self.sigma),
            "scale": self.sigma,
        }

    def pair(self, guide: str, **options: object) -> tuple[Any, Any]:
        """Returns the true model, frozen, and an untrained guide with the discriminator's convolutions.

        Arguments:
            guide: Name of a guide of images.
            options: Further options of its constructor.
        """
        options |= {"network": "discriminator", "channels": self.settings.channels}
        x, seed = self.batch(2), self.settings.seed
        model, new = self.study.pair("gan_gaussian", guide, x, seed, guide_options=options, **self.options())
        return model.requires_grad_(False), new

    def batch(self, count: int) -> Tensor:
        """Returns a batch of ``count`` images, of which only the shape counts, expanded, without a copy."""
        shape = self.images[0].x.shape[1:]
        return torch.zeros(1, *shape, device=self.study.device).expand(count, *shape)

    def draw(self, count: int, stream: int) -> tuple[Tensor, Tensor]:
        """Returns latents and images drawn from the truth; another stream gives others."""
        torch.manual_seed(1_000 * self.settings.seed + stream)
        latents, x = simulate(self.model(), self.batch(count))
        return latents["z"], x

    @property
    def shift(self) -> float:
        """The log-density of an image in [0, 1] less that of the same image in [-1, 1], the scale of the paper."""
        return math.log(2) * self.batch(1)[0].numel()

    def evidence(
        self, pair: tuple[Any, Any], drawn: tuple[Tensor, Tensor], chains: int, schedule: Schedule
    ) -> dict[str, Tensor]:
        """Evidence of images of the truth under it, by annealing from both sides, since their codes are known.

        Arguments:
            pair: The true model, and the guide that annealing begins from.
            drawn: Latents and images of :meth:`draw`.
            chains: Chains per image and direction.
            schedule: Schedule of the annealing.

        Returns:
            Lower and upper bounds of images in [-1, 1], ``"lower"`` and ``"upper"``, and their ``"width"``, in nats.
        """
        z, x = drawn
        both = sandwich(*pair, x, draws=chains, schedule=schedule, drawn_with={"z": z})
        lower, upper = (bound.pointwise - self.shift for bound in (both.lower, both.upper))
        return {"lower": lower, "upper": upper, "width": both.width.pointwise}

    def distance(self, model: nn.Module, count: int, means: bool = False) -> Tensor:
        """Returns the Frechet distance of images that a model draws from as many of the truth, or of their means."""
        ours, theirs = (self.drawn(each, count, means=means) for each in (model, self.model()))
        return torch.tensor(frechet_distance(ours, theirs))

    def shown(self, model: ImageDecoder, guide: AmortisedGuide, x: Tensor) -> dict[str, Tensor]:
        """Returns images, their reconstructions at the mean of the guide and at a draw, and images of fixed codes."""
        codes = torch.randn(len(x), self.settings.latents, generator=torch.Generator().manual_seed(self.settings.seed))
        with evaluating(model, guide):
            fn = guide.members(guide.encoder(x))["z"]
            means = {"from the mean": fn.mean, "from a draw": fn.sample(), "same codes": codes.to(x.device)}
            return {"shown": x, **{name: model.decode(z)[0] for name, z in means.items()}}


def against_truth(pair: dict[str, Tensor], truth: dict[str, Tensor]) -> dict[str, Tensor]:
    """Adds what the evidence of the truth says of a pair: means over the same annealed images.

    Arguments:
        pair: Measurements of a pair: the ELBO of the annealed images, ``"elbo of few"``, and, unless its decoder is
            the true one, ``"lower"``, a lower bound of their evidence.
        truth: Bounds of the evidence of the same images under the truth, by :meth:`GanTruth.evidence`.

    Returns:
        The measurements with ``"lower"``, the evidence at least; ``"gap"``, it minus the ELBO; and ``"lost"``, the
        approximation error of eq. (4) at most: upper bound of the truth's evidence minus lower bound of the pair's.
    """
    lowest = pair.get("lower", truth["lower"])
    lower, upper, elbo = (value.double().mean() for value in (lowest, truth["upper"], pair["elbo of few"]))
    return pair | {"lower": lower, "gap": lower - elbo, "lost": upper - lower}
