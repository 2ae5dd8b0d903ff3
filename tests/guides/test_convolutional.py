"""Convolutional networks: every size of image, and no datum that depends on another."""

import pytest
import torch
from ppl_vae.guides.convolutional import Convolutional
from ppl_vae.models.gmm import Gmm
from ppl_vae.models.image import Image
from ppl_vae.models.text import Text

from ppl_vae.nn.convolutional import ConvResidualBlock
from ppl_vae.programs.log_weight import log_joint, log_proposal, log_weight
from tests.support.small_pairs import documents

pytestmark = pytest.mark.usefixtures("float64")
SHAPES = [(28, 28), (4, 4), (1, 1), (5, 9), (3, 16, 12), (1, 8, 8)]


def pair(shape, sigma="vector", count=5):
    x = torch.rand(count, *shape)
    model = Image(3, channels=2, blocks=1, sigma=sigma, shape=shape)
    guide = Convolutional(model, x[:2], channels=2, blocks=1)
    for parameter in [*model.parameters(), *guide.parameters()]:
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model, guide, x


@pytest.mark.parametrize("sigma", ["0.3", "learned", "vector"])
@pytest.mark.parametrize("shape", SHAPES)
def test_any_size_and_channels(shape, sigma):
    model, guide, x = pair(shape, sigma)
    weights = log_weight(model, guide, x, 4)
    assert weights.shape == (4, 5)
    weights.sum().backward()
    for parameter in [*model.parameters(), *guide.parameters()]:
        assert parameter.grad is not None and parameter.grad.isfinite().all()


@pytest.mark.parametrize("training", [True, False])
def test_no_datum_depends_on_the_others_of_its_batch(training):
    model, guide, x = pair((7, 6))
    model.train(training), guide.train(training)
    values = {"z": torch.randn(4, 5, 3)}
    one = {"z": values["z"][:, 2:3]}
    for score, part in ((log_joint, model), (log_proposal, guide)):
        torch.testing.assert_close(score(part, x, values)[:, 2:3], score(part, x[2:3], one))


def test_a_code_of_batch_size_one_serves_every_datum():
    model, _, x = pair((7, 6))
    shared = torch.randn(4, 1, 3)
    found = log_joint(model, x, {"z": shared})
    torch.testing.assert_close(found, log_joint(model, x, {"z": shared.expand(4, 5, 3).clone()}))


def test_the_density_is_that_of_the_formula():
    model, _, x = pair((7, 6))
    z = torch.randn(1, 5, 3)
    mean, sigma = model.decode(z)
    assert mean.shape == sigma.shape == (1, 5, 7, 6)
    normal = torch.distributions.Normal
    expected = normal(mean, sigma).log_prob(x).sum((-1, -2)) + normal(0.0, 1.0).log_prob(z).sum(-1)
    torch.testing.assert_close(log_joint(model, x, {"z": z}), expected)


def test_residual_blocks_begin_as_the_identity():
    h = torch.randn(2, 4, 3, 3)
    assert torch.equal(ConvResidualBlock(4)(h), h)


def test_what_is_no_image_is_refused():
    with pytest.raises(ValueError, match=r"Convolutional reads images .* shape \(2,\)"):
        Convolutional(Gmm(), torch.randn(4, 2))
    with pytest.raises(ValueError, match="convolutions read images"):
        Image(shape=(16,))
    with pytest.raises(ValueError, match="Convolutional reads images .* the data are documents"):
        Convolutional(Text(5, bits=2), documents(4, 5))
    with pytest.raises(ValueError, match="latents must be at least 1, got 0"):
        Image(0)
