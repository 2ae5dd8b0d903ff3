"""The Frechet distance: the closed form between normals, streaming moments, features and their names."""

import re
import sys

import pyro
import pyro.distributions as dist
import pytest
import torch
from ppl_vae.models.gan_gaussian import GanGaussian

from ppl_vae.diagnostics.images import features
from ppl_vae.diagnostics.images.features import classifier, inception
from ppl_vae.diagnostics.images.frechet import Moments, drawn_images, frechet_distance
from ppl_vae.plugins.extras import install
from tests.support.z_test import assert_mean


class Known(Moments):
    """Moments that are given."""

    def __init__(self, mean, covariance):
        super().__init__()
        self.count, self._mean, self._scatter = 2, mean, covariance


@pytest.mark.usefixtures("float64")
class TestDistance:
    def test_of_commuting_covariances_it_is_that_of_the_roots(self):
        basis = torch.linalg.qr(torch.randn(5, 5)).Q
        a, b = torch.rand(5), torch.rand(5)
        a[0] = 0  # a direction without variance
        first, second = ((basis * each) @ basis.T for each in (a, b))
        m = torch.randn(2, 5)
        expected = (m[0] - m[1]).square().sum() + (a.sqrt() - b.sqrt()).square().sum()
        found = frechet_distance(Known(m[0], first), Known(m[1], second))
        assert found == pytest.approx(expected.item(), rel=1e-7)
        assert frechet_distance(Known(m[0], first), Known(m[0], first)) == pytest.approx(0, abs=1e-6)

    def test_of_two_dimensions_it_is_the_explicit_root(self):
        """The trace of the root of a 2 x 2 product is the root of its trace plus twice the root of its determinant."""
        a, b = (each @ each.T for each in torch.randn(2, 2, 2))
        cross = ((a @ b).trace() + 2 * torch.det(a @ b).sqrt()).sqrt()
        expected = (a + b).trace() - 2 * cross
        zero = torch.zeros(2)
        assert frechet_distance(Known(zero, a), Known(zero, b)) == pytest.approx(expected.item())
        assert frechet_distance(Known(zero, b), Known(zero, a)) == pytest.approx(expected.item())

    def test_large_samples_of_normals_come_to_the_closed_form(self):
        scale = torch.tensor([[1.0, 0.0], [0.8, 0.5]])
        shift = torch.tensor([1.0, -2.0])
        found = []
        for _ in range(200):
            first = Moments([torch.randn(4_000, 2)])
            found.append(frechet_distance(first, Moments([torch.randn(4_000, 2) @ scale.T + shift])))
        b = scale @ scale.T
        expected = shift.square().sum() + 2 + b.trace() - 2 * (b.trace() + 2 * torch.det(b).sqrt()).sqrt()
        # The bias of 4,000 draws is far below the error of the mean over 200 pairs.
        assert_mean(torch.tensor(found), expected)

    def test_misuse_is_named(self):
        one, two = Moments([torch.randn(5, 2)]), Moments([torch.randn(5, 3)])
        with pytest.raises(ValueError, match="images of 2 and of 3 features cannot be compared"):
            frechet_distance(one, two)
        with pytest.raises(ValueError, match="at least 2 vectors, got 1"):
            frechet_distance(one, Moments([torch.randn(1, 2)]))
        with pytest.raises(ValueError, match="at least 1 vectors, got 0"):
            frechet_distance(one, Moments())
        with pytest.raises(ValueError, match="must be finite"):
            Moments([torch.tensor([[1.0, torch.nan]])])


def test_streaming_is_the_same_in_any_batches_and_far_from_zero():
    x = torch.randn(1_000, 4, dtype=torch.float64) + 1e6
    for size in (1, 7, 1_000):
        found = Moments([*x.split(size), x[:0]])
        assert found.count == 1_000
        torch.testing.assert_close(found.mean, x.mean(0), rtol=1e-14, atol=0)
        torch.testing.assert_close(found.covariance, x.T.cov(), rtol=1e-7, atol=1e-9)
    assert Moments(x.float().split(10)).covariance.dtype == torch.float64


def test_drawn_images_are_those_of_the_model_in_blocks():
    model = GanGaussian(2, 2, sigma="0.5", shape=(3, 8, 8))
    like = torch.rand(4, 3, 8, 8)
    parts = list(drawn_images(model, like, 25, block=10))
    assert [len(part) for part in parts] == [10, 10, 5]
    assert parts[0].shape == (10, 3, 8, 8) and not torch.equal(parts[0][0], parts[0][1])
    means = torch.cat(list(drawn_images(model, like, 25, means=True)))
    assert means.min() >= 0 and means.max() <= 1 and torch.cat(parts).min() < 0

    def twice(x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(0.0, 1.0).expand(x.shape).to_event(x.ndim - 1), obs=x)
            pyro.sample("y", dist.Normal(0.0, 1.0).expand(x.shape).to_event(x.ndim - 1), obs=x)

    with pytest.raises(ValueError, match="one observed site, this one has 2"):
        next(drawn_images(twice, like, 3))


def striped(count, seed):
    """Images with a bright row or a bright column."""
    random = torch.Generator().manual_seed(seed)
    x = 0.2 * torch.rand(count, 8, 8, generator=random)
    labels, places = (torch.randint(k, (count,), generator=random) for k in (2, 8))
    for i, (label, place) in enumerate(zip(labels, places, strict=True)):
        x[i].select(int(label), int(place)).add_(0.7)
    return x, labels


def test_a_classifier_learns_is_kept_and_names_itself(tmp_path):
    x, labels = striped(1_000, 0)
    file = tmp_path / "c.safetensors"
    found = classifier(x, labels, "stripes", file, striped(200, 1))
    assert found.accuracy > 0.9
    assert found.name == f"stripes classifier {found.state[:8]}, 64 features" and found(x[:5]).shape == (5, 64)
    written = file.read_bytes()
    threads = torch.get_num_threads()
    torch.set_num_threads(3)  # which changes sums of floats
    again = classifier(x, labels, "stripes", file)
    torch.set_num_threads(threads)
    assert file.read_bytes() == written and (again.name, again.accuracy) == (found.name, found.accuracy)
    assert classifier(x, labels, "stripes", seed=1).name != found.name
    torch.testing.assert_close(again(x[:5]), found(x[:5]))
    # What it knows of stripes tells other images from them.
    apart = [frechet_distance(Moments([found(x)]), Moments([found(y)])) for y in (striped(1_000, 2)[0], 1 - x)]
    assert 0 < 10 * apart[0] < apart[1]
    with pytest.raises(ValueError, match="holds a classifier of other images; delete it"):
        classifier(x[:500], labels[:500], "stripes", file)
    file.write_bytes(written[:-1])
    with pytest.raises(ValueError, match="c.safetensors is not a readable .*; delete that file, and the classifier is"):
        classifier(x, labels, "stripes", file)
    for wrong in (labels[:5], torch.zeros_like(labels)):
        with pytest.raises(ValueError, match="a label for each image and two classes"):
            classifier(x, wrong, "stripes")


class Extractor(torch.nn.Module):
    """What torch-fidelity has, as far as it is used."""

    def __init__(self, name, features_list, path):
        super().__init__()
        self.weight = torch.load(path, weights_only=False)["weight"]

    def forward(self, x):
        assert x.dtype == torch.uint8 and x.shape[1] == 3
        return (x.double().mean((2, 3)) * self.weight,)


def test_inception_reads_bytes_in_colour_and_unpickles_nothing(tmp_path, monkeypatch):
    file = tmp_path / "weights.pth"
    torch.save({"weight": torch.tensor(2.0)}, file)
    monkeypatch.setattr(features, "INCEPTION", "https://somewhere/weights-" + sha(file)[:8] + ".pth")
    module = type(sys)("feature_extractor_inceptionv3")
    module.FeatureExtractorInceptionV3 = Extractor
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "torch_fidelity", type(sys)("torch_fidelity"))
        patched.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", module)
        found = inception(file)
        assert found.name == "Inception, 2048 features"
        grey = found(torch.full((2, 4, 4), 1.7))
        assert grey.tolist() == [[510.0] * 3] * 2
        assert found(torch.rand(2, 3, 4, 4)).shape == (2, 3)
        torch.save({"weight": Extractor}, file)  # a pickle of more than tensors
        monkeypatch.setattr(features, "INCEPTION", "https://somewhere/weights-" + sha(file)[:8] + ".pth")
        with pytest.raises(Exception, match="Weights only load failed"):
            inception(file)
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
        with pytest.raises(ValueError, match=re.escape(install("fid"))):
            inception(file)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="has the SHA-256 .* Inception's weights begin with 6726825d"):
        inception(file)
    with pytest.raises(ValueError, match="are never downloaded; get https://.*--features classifier"):
        inception(tmp_path / "missing")


def sha(file):
    import hashlib

    return hashlib.sha256(file.read_bytes()).hexdigest()
