"""Noise that outruns the data is seen, and said."""

import math

import pytest
import torch
from ppl_vae.models.gmm import Gmm
from ppl_vae.models.image import Image

from ppl_vae.data.images import bits_per_number, pixels
from ppl_vae.diagnostics.images.scale_collapse import sharpness
from tests.support.small_pairs import documents

pytestmark = pytest.mark.usefixtures("float64")


def images():
    x = torch.randint(0, 256, (50, 6, 6)) / 255
    x[:, 0] = 0
    return x


def test_the_code_of_bytes_by_a_uniform_density_has_eight_bits():
    assert bits_per_number(0.0, 36) == 8
    # Certain of all bytes: each has the density 256 on its interval.
    assert bits_per_number(36 * math.log(256), 36) == pytest.approx(0)


@pytest.mark.parametrize("sigma", ["vector", "learned"])
def test_a_sigma_finer_than_the_data_is_reported_with_the_constant_numbers(sigma):
    found = sharpness(Image(2, 2, 1, sigma=sigma, scale=1e-4, shape=(6, 6)), images())
    assert (found.constants, found.numbers) == (6, 36)
    assert found.least == pytest.approx(1e-4)
    assert found.bits == pytest.approx(6 / 36 * math.log2(1e4 / math.sqrt(2 * math.pi)))
    assert found.diverges
    assert "6 of 36 numbers are constant" in found.warning and "--dequantise" in found.warning


def test_a_given_sigma_falls_nowhere():
    found = sharpness(Image(2, 2, 1, sigma="1e-4", shape=(6, 6)), images())
    assert found.least == pytest.approx(1e-4) and not found.diverges and found.warning is None


def test_only_values_between_0_and_1_with_height_and_width_are_images():
    assert pixels(torch.rand(5, 3, 6, 4)) == 72
    assert pixels(torch.rand(5, 24)) is None and pixels(2 * torch.rand(50, 6, 4)) is None
    assert pixels(torch.rand(0, 6, 4)) is None and pixels(documents(4, 5)) is None


def test_a_coarse_one_is_not():
    for x in (images(), images().round()):
        assert sharpness(Image(2, 2, 1, scale=0.4, shape=(6, 6)), x).warning is None
    dequantised = (255 * images() + torch.rand(50, 6, 6)) / 256
    assert sharpness(Image(2, 2, 1, scale=2e-3, shape=(6, 6)), dequantised).warning is None


def test_of_few_values_a_tenth_of_their_distance_is_too_fine():
    two = images().round()
    assert sharpness(Image(2, 2, 1, scale=0.15, shape=(6, 6)), two).warning is None
    assert "below half the data's resolution of 0.2" in sharpness(Image(2, 2, 1, scale=0.05, shape=(6, 6)), two).warning


def test_other_models_have_none():
    assert sharpness(Gmm(), torch.randn(5, 2)) is None or not sharpness(Gmm(), torch.randn(5, 2)).diverges
