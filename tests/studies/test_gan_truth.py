"""Images of a GAN's truth."""

import pytest
import torch

from ppl_vae.studies.gan_truth import GanTruth
from ppl_vae.studies.image_data import labelled_images
from ppl_vae.studies.study import Study
from ppl_vae.training.gan_settings import GanSettings


def test_bars_are_doubled_and_keep_their_classes():
    train, test = labelled_images("bars", 8, 50)
    assert train.x.shape == (50, 8, 8) and len(train.labels) == 50
    assert torch.equal(test.x[:, ::2], test.x[:, 1::2]) and torch.equal(test.x[..., ::2], test.x[..., 1::2])
    assert len(test.labels) == len(test.x)


def test_images_of_the_truth_depend_on_seed_and_stream_alone(tmp_path):
    study = Study(tmp_path / "out", {})
    settings = GanSettings(latents=2, channels=2, epochs=1, batch_size=25, seed=3)
    truth = GanTruth(study, "bars", 8, 25, settings, 0.025, "classifier")
    compared = truth.trained(sampled=70, shown=4)
    assert compared["means of the truth"].shape == compared["test images"].shape == (4, 8, 8)
    z, x = truth.draw(5, 1)
    torch.rand(3)
    assert torch.equal(truth.draw(5, 1)[1], x) and not torch.equal(truth.draw(5, 2)[1], x)
    mean, sigma = truth.model().decode(z)
    assert sigma.item() == pytest.approx(0.025) and (x - mean).abs().max() < 6 * 0.025
