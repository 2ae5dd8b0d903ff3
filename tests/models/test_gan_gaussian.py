"""The GAN's decoder: no image depends on another, and a generator's file fits or says where it does not."""

import copy

import pytest
import torch
from ppl_vae.guides.convolutional import Convolutional
from ppl_vae.guides.flow import Flow
from ppl_vae.guides.low_rank import LowRank
from ppl_vae.models.gan_gaussian import GanGaussian
from safetensors.torch import save_file
from torch import nn

from ppl_vae.nn.dcgan import Discriminator, FrozenBatchNorm, Generator
from ppl_vae.objectives.elbo import DiscreteELBO
from ppl_vae.programs.log_weight import log_joint, log_proposal, log_weight

pytestmark = pytest.mark.usefixtures("float64")
SHAPES = [(8, 8), (28, 28), (32, 32), (3, 16, 24), (1, 64, 64)]


def loosened(module):
    """With statistics as training leaves them."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.2, 2.0)
    return module


def pair(shape=(16, 16), sigma="0.3", count=5, latents=3):
    x = torch.rand(count, *shape)
    model = loosened(GanGaussian(latents, channels=2, sigma=sigma, shape=shape))
    return model, Convolutional(model, x[:2], channels=2, network="discriminator"), x


@pytest.mark.parametrize("shape", SHAPES)
def test_any_even_size_and_channels(shape):
    model, guide, x = pair(shape)
    weights = log_weight(model, guide, x, 2)
    assert weights.shape == (2, 5)
    weights.sum().backward()
    for parameter in [*model.parameters(), *guide.parameters()]:
        assert parameter.grad is not None and parameter.grad.isfinite().all()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("sigma", ["0.3", "learned", "vector"])
def test_no_image_depends_on_the_others_nor_on_how_many_there_are(sigma, training):
    model, guide, x = pair(sigma=sigma)
    model.train(training), guide.train(training)
    values = {"z": torch.randn(4, 5, 3)}
    whole, order = log_joint(model, x, values), torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(log_joint(model, x[order], {"z": values["z"][:, order]}), whole[:, order])
    for size in (1, 2, 3):
        parts = zip(x.split(size), values["z"].split(size, 1), strict=True)
        torch.testing.assert_close(torch.cat([log_joint(model, part, {"z": z}) for part, z in parts], 1), whole)
    log_q = log_proposal(guide, x, values)
    torch.testing.assert_close(log_proposal(guide, x[2:3], {"z": values["z"][:, 2:3]}), log_q[:, 2:3])


def test_training_moves_weights_and_leaves_statistics():
    model, guide, x = pair()
    model.train()
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(3):
        DiscreteELBO()(model, guide)(x).backward()
        optimizer.step()
    for name, value in model.state_dict().items():
        statistics = name.endswith(("running_mean", "running_var", "num_batches_tracked", "log_scale"))
        assert torch.equal(value, before[name]) is statistics, name


def test_the_density_is_that_of_the_formula_and_a_code_is_shared():
    model, _, x = pair((3, 16, 16), "learned")
    z = torch.randn(1, 5, 3)
    mean = torch.stack([(1 + model.generator(each)) / 2 for each in z[0]])
    assert mean.min() > 0 and mean.max() < 1
    normal = torch.distributions.Normal
    expected = normal(mean, 0.025).log_prob(x).sum((-1, -2, -3)) + normal(0.0, 1.0).log_prob(z[0]).sum(-1)
    torch.testing.assert_close(log_joint(model, x, {"z": z})[0], expected)
    shared = log_joint(model, x, {"z": z[:, :1]})
    torch.testing.assert_close(shared, log_joint(model, x, {"z": z[:, :1].expand(1, 5, 3).clone()}))


def test_frozen_normalisation_is_that_of_evaluation():
    plain, frozen = loosened(nn.BatchNorm2d(4)), FrozenBatchNorm(4)
    frozen.load_state_dict(plain.state_dict())
    h = torch.randn(3, 4, 5, 5)
    torch.testing.assert_close(frozen.train()(h), plain.eval()(h))


def tutorial(latents=100, channels=64, depth=3):
    """The generator of PyTorch's DCGAN tutorial."""
    widths = [channels * 8, channels * 4, channels * 2, channels]
    layers = [nn.ConvTranspose2d(latents, widths[0], 4, 1, 0, bias=False)]
    for units, following in zip(widths, [*widths[1:], depth], strict=True):
        layers += [nn.BatchNorm2d(units), nn.ReLU(True), nn.ConvTranspose2d(units, following, 4, 2, 1, bias=False)]
    net = nn.Module()
    net.main = nn.Sequential(*layers, nn.Tanh())
    return net


def test_a_generator_of_the_tutorial_loads_and_draws_the_same(tmp_path):
    net = loosened(tutorial(channels=4)).eval()
    save_file(net.state_dict(), tmp_path / "g.safetensors")
    model = GanGaussian(channels=4, generator=str(tmp_path / "g.safetensors"), shape=(3, 64, 64))
    z = torch.randn(2, 100)
    torch.testing.assert_close(model.generator(z), net.main(z[..., None, None]))


def test_a_generator_that_does_not_fit_is_named_by_its_first_tensor(tmp_path):
    file = tmp_path / "g.safetensors"
    kept = {name: value for name, value in Generator(3, (16, 16), 2).state_dict().items()}

    def told(tensors, **options):
        save_file({name: value.contiguous() for name, value in tensors.items()}, file)
        with pytest.raises(ValueError) as error:
            GanGaussian(**{"latents": 3, "channels": 2, "generator": str(file), "shape": (16, 16)} | options)
        return str(error.value)

    assert "tensor main.0.weight has shape (3, 4, 4, 4), the generator needs (5, 4, 4, 4); give --latents" in told(
        kept, latents=5
    )
    assert "tensor main.6.weight has shape (2, 1, 4, 4), the generator needs (2, 3, 4, 4)" in told(
        kept, shape=(3, 16, 16)
    )
    assert "give --latents and --channels as it has, and images like its own (--image-size" in told(
        kept, shape=(32, 32)
    )
    less = {name: value for name, value in kept.items() if name != "main.1.running_var"}
    assert "has no tensor main.1.running_var; was it written by another generator?" in told(less)
    assert "has a tensor surplus, which the generator lacks" in told(kept | {"surplus": torch.zeros(1)})
    file.write_bytes(b"no tensors")
    with pytest.raises(ValueError, match="no readable file of tensors"):
        GanGaussian(3, 2, str(file), shape=(16, 16))
    with pytest.raises(ValueError, match="no readable file of tensors"):
        GanGaussian(3, 2, str(tmp_path / "missing"), shape=(16, 16))


@pytest.mark.parametrize("guide", [LowRank, Flow])
def test_richer_families_read_images_by_the_discriminator(guide):
    model, _, x = pair()
    q = guide(model, x[:2], network="discriminator", channels=2)
    assert isinstance(q.encoder, Discriminator)
    assert log_weight(model, q, x, 4).shape == (4, 5)
    z = {"z": torch.randn(2, 5, 3)}
    torch.testing.assert_close(log_proposal(q, x, z)[:, :1], log_proposal(q, x[:1], {"z": z["z"][:, :1]}))


@pytest.mark.parametrize("shape", [(1, 1), (5, 9), (1, 5), (3, 33, 20)])
def test_the_discriminator_reads_any_size(shape):
    assert Discriminator(torch.rand(2, *shape), 4, 2)(torch.rand(3, *shape)).shape == (3, 4)


def test_misuse_is_named():
    for shape in ((4, 4), (9, 9), (3, 10, 7)):
        with pytest.raises(ValueError, match="even sides of at least 8, not .*--image-size"):
            GanGaussian(shape=shape)
    with pytest.raises(ValueError, match="convolutions read images"):
        GanGaussian(shape=(16,))
    with pytest.raises(ValueError, match="latents must be at least 1, got 0"):
        GanGaussian(0)
    with pytest.raises(ValueError, match="channels must be at least 1"):
        Convolutional(pair()[0], torch.rand(2, 8, 8), channels=0, network="discriminator")
    with pytest.raises(ValueError, match="convolutions read images"):
        Discriminator(torch.randn(4, 2), 3)
    for guide, wrong in ((LowRank, "residual"), (Flow, "residual"), (Convolutional, "dense")):
        with pytest.raises(ValueError, match=f"network must be one of .*, discriminator, got '{wrong}'"):
            guide(pair()[0], torch.rand(2, 16, 16), network=wrong)
