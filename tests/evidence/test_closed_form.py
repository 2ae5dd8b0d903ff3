"""Closed forms of linear Gaussian models; nothing that is almost quadratic is called exact."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from ppl_vae.guides.mean_field import MeanField
from ppl_vae.models.gan_gaussian import GanGaussian
from ppl_vae.models.ppca import Ppca
from pyro.distributions.torch_distribution import TorchDistribution
from pyro.nn import PyroModule
from scipy import integrate, stats
from torch.distributions import constraints

from ppl_vae.evidence.measure import measure
from ppl_vae.evidence.plan import plan
from ppl_vae.programs.layout_finder import LayoutFinder
from tests.support.repeated import measured
from tests.support.small_pairs import LinearGaussian
from tests.support.z_test import assert_mean

pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize("latents", [1, 2, 5])
def test_linear_gaussians_have_closed_forms(latents):
    pair = LinearGaussian(latents)
    x = pair.simulate(6)[1]
    found = measure(pair.model, pair.guide, x)
    assert found.evidence.method == "closed form: the posterior is Gaussian"
    assert (found.evidence.bound, found.gap.bound, found.why) == (
        "exact",
        "exact",
        "log p(x, z) is quadratic in the latents",
    )
    torch.testing.assert_close(found.evidence.pointwise, pair.evidence(x))
    runs = measured(100, pair.model, pair.guide, x, method="importance", draws=100)
    assert_mean(torch.stack([run.elbo.pointwise for run in runs]), found.elbo.pointwise)
    torch.testing.assert_close(measure(pair.model, pair.guide, x[[4, 1]]).gap.pointwise, found.gap.pointwise[[4, 1]])


def test_the_posterior_of_a_linear_gaussian_leaves_no_gap():
    pair = LinearGaussian(3)
    x = pair.simulate(5)[1]
    found = measure(pair.model, pair.posterior, x)
    torch.testing.assert_close(found.gap.pointwise, torch.zeros(5))


def test_the_layout_of_a_model_is_found_once_for_all_of_its_copies(monkeypatch):
    model, x, found = Ppca(2, shape=(3,)), torch.randn(6, 3), []
    find = LayoutFinder.find
    monkeypatch.setattr(LayoutFinder, "find", lambda self: found.append(self.program) or find(self))
    assert measure(model, MeanField(model, x, layers=1, width=4), x).evidence.bound == "exact"
    assert [program for program in found if isinstance(program, Ppca)] == [model]


def hierarchical(x):
    with pyro.plate("data", len(x)):
        a = pyro.sample("a", dist.Normal(0.5, 2.0))
        b = pyro.sample("b", dist.Normal(a[..., None] * torch.tensor([1.0, -1.0]), 0.3).to_event(1))
        pyro.sample("x", dist.Normal(b.sum(-1) + a, 0.2), obs=x)


def hierarchical_guide(x):
    with pyro.plate("data", len(x)):
        pyro.sample("b", dist.MultivariateNormal(torch.stack([x, x], -1), torch.tensor([[0.2, 0.1], [0.1, 0.3]])))
        pyro.sample("a", dist.Normal(0.9 * x, 0.4))


def test_hierarchies_of_gaussians_too_whatever_the_order_of_the_guide():
    x = torch.randn(5)
    found = measure(hierarchical, hierarchical_guide, x)
    torch.testing.assert_close(found.evidence.pointwise, dist.Normal(0.5, (4 + 2 * 0.09 + 0.04) ** 0.5).log_prob(x))
    runs = measured(100, hierarchical, hierarchical_guide, x, method="importance", draws=100)
    assert_mean(torch.stack([run.elbo.pointwise for run in runs]), found.elbo.pointwise)


def normals(guide_scale=1.0):
    """A guide that proposes normals for two latents."""

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(len(x), 2), guide_scale).to_event(1))

    return guide


def bent(size):
    """Linear but for a kink, or a wave."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            mean = z @ torch.tensor([[1.0, -0.5, 2.0], [0.3, 1.0, 0.0]])
            mean = mean + size * (z[..., :1] - 2).relu() if size else mean
            pyro.sample("x", dist.Normal(mean, 0.5).to_event(1), obs=x)

    return model


def test_a_kink_far_from_the_data_is_noticed():
    x = torch.zeros(3, 3)
    assert plan(bent(0.0), x).method.name == "closed_form"
    assert plan(bent(0.5), x).method.name == "quadrature"
    with pytest.raises(ValueError, match="closed form is not possible: log p.x, z. is not quadratic in z"):
        measure(bent(0.5), normals(), x, method="closed_form")


class Censored(TorchDistribution):
    """A normal of scale 1, of which numbers below zero are seen as zero."""

    support = constraints.nonnegative

    def __init__(self, loc):
        self.loc = loc
        super().__init__(loc.shape, validate_args=False)

    def expand(self, batch_shape, _instance=None):
        return Censored(self.loc.expand(batch_shape))

    def sample(self, sample_shape=()):
        return (self.loc + torch.randn(self._extended_shape(sample_shape))).clamp(min=0)

    def log_prob(self, value):
        below = torch.distributions.Normal(0.0, 1.0).cdf(-self.loc).clamp(min=1e-300).log()
        return torch.where(value > 0, dist.Normal(self.loc, 1.0).log_prob(value), below)


def test_data_that_are_not_gaussian_after_all_are_found_out_later():
    """Censored at zero: the first data are not, those behind them are."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", Censored(z), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0 * x, 1.0))

    x = torch.tensor([0.5, 1.0, 2.0, 0.3, 0.0, 0.0])
    expected = torch.where(x > 0, dist.Normal(0.0, 2**0.5).log_prob(x), torch.tensor(0.5).log())
    assert plan(model, x).method.name == "closed_form"
    torch.testing.assert_close(measure(model, guide, x).evidence.pointwise, expected, atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match="not quadratic in z"):
        measure(model, guide, x, method="closed_form")


def dipped(how):
    """Noise of scale 1 that drops in a thousandth of the prior's range, where no sample falls."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))[..., 0]
            if how == "smooth":
                scale = 1 - 0.999999 * (-((z - 0.37) / 1e-3).square()).exp()
            elif how == "comparison":  # of which no gradient knows
                scale = torch.where((z - 0.37).abs() < 1e-3, 1e-6, 1.0)
            else:
                scale = torch.from_numpy(np.where(np.abs(z.detach().numpy() - 0.37) < 1e-3, 1e-6, 1.0))
            pyro.sample("x", dist.Normal(torch.zeros(30), scale[..., None]).to_event(1), obs=x)

    return model


@pytest.mark.parametrize("how", ["smooth", "comparison", "numpy"])
def test_noise_that_depends_on_latents_where_no_sample_falls_is_not_taken_for_constant(how):
    x = torch.zeros(2, 30)
    if how == "smooth":  # the dip alone, whose mass the samples do not see
        log_scale = lambda z: np.log(1 - 0.999999 * np.exp(-(((z - 0.37) / 1e-3) ** 2)))  # noqa: E731
        whole = lambda z: np.exp(stats.norm.logpdf(z) + 30 * (stats.norm.logpdf(0) - log_scale(z)) - 300)  # noqa: E731
        truth = np.log(integrate.quad(whole, 0.367, 0.373, points=[0.37], limit=1000)[0]) + 300
    else:
        truth = 30 * stats.norm.logpdf(0, 0, 1e-6) + np.log(np.diff(stats.norm.cdf([0.369, 0.371]))[0])
    assert truth > 30 * stats.norm.logpdf(0) + 100

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(len(x), 3), 1.0).to_event(1))

    found = measure(dipped(how), guide, x)
    assert found.evidence.bound == "lower"
    bracket = found.bracket()
    assert bracket is not None and (bracket.upper is None or truth <= bracket.upper)
    with pytest.raises(ValueError, match="not known to be quadratic in z"):
        measure(dipped(how), guide, x, method="closed_form")


def test_a_closed_form_needs_a_guide_of_these_latents():
    pair = LinearGaussian(2)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("w", dist.Normal(torch.zeros(len(x), 2), 1.0).to_event(1))

    with pytest.raises(ValueError, match=r"the guide draws \['w'\]"):
        measure(pair.model, guide, torch.randn(3, 4))


class Narrow(PyroModule):
    """Two latents and numbers of tiny noise, whose density is some 1e5 nats; a little of it is not linear."""

    def __init__(self, bend: float) -> None:
        super().__init__()
        self.bend = bend
        self.weight = torch.nn.Parameter(torch.randn(2, 500))

    def forward(self, x: torch.Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            mean = z @ self.weight
            mean = mean + self.bend * z[..., :1].square() if self.bend else mean
            pyro.sample("x", dist.Normal(mean, 0.05).to_event(1), obs=x)


@pytest.mark.parametrize(("bend", "method"), [(0.0, "closed_form"), (1e-4, "quadrature"), (1e-2, "quadrature")])
def test_a_network_nearly_linear_is_found_out(bend, method):
    torch.set_default_dtype(torch.float32)
    torch.manual_seed(0)
    assert torch.get_default_dtype() == torch.float32
    assert plan(Narrow(bend), torch.randn(20, 500)).method.name == method
    assert torch.get_default_dtype() == torch.float32


def test_a_generator_whose_weights_are_small_is_no_linear_model():
    torch.set_default_dtype(torch.float32)
    torch.manual_seed(0)
    model = GanGaussian(3, channels=2, sigma="0.025", shape=(16, 16))
    assert "log p(x, z) is not quadratic in z" in plan(model, torch.rand(5, 16, 16)).why


def test_a_module_in_single_precision_is_measured_in_double():
    torch.set_default_dtype(torch.float32)
    torch.manual_seed(0)
    model, x = Ppca(3, sigma="0.05", shape=(200,)), torch.randn(30, 200)
    found = measure(model, MeanField(model, x), x, method="closed_form").evidence
    law = model.double().marginal()
    torch.testing.assert_close(found.pointwise, law.log_prob(x.double()), atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", ["distribution", "whole rows", "NaN"])
def test_observations_behind_a_mask_are_summed_out_in_closed_form(kind):
    pair = LinearGaussian(2)
    x = pair.simulate(12)[1]
    seen = torch.rand(12, 1).lt(0.6).expand(12, 4) if kind == "whole rows" else torch.rand(12, 4) < 0.6
    holed = torch.where(seen, x, torch.nan if kind == "NaN" else 999.0)

    def model(x):
        known = x < 900
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            fn = dist.Normal(z @ pair.map + pair.offset, pair.noise)
            if kind == "whole rows":
                with pyro.poutine.mask(mask=known[:, 0]):
                    pyro.sample("x", fn.to_event(1), obs=x)
            else:
                pyro.sample("x", fn.mask(known).to_event(1), obs=torch.where(known, x, 0.0))

    found = measure(model, lambda x: pair.guide(x.nan_to_num()), holed)
    assert found.evidence.method == "closed form: the posterior is Gaussian"
    covariance = (pair.map.T @ pair.map).numpy() + pair.noise**2 * np.eye(4)
    for value, row, keep in zip(found.evidence.pointwise.tolist(), x.numpy(), seen.numpy(), strict=True):
        mean, part = pair.offset.numpy()[keep], covariance[np.ix_(keep, keep)]
        truth = stats.multivariate_normal(mean, part).logpdf(row[keep]) if keep.any() else 0.0
        assert value == pytest.approx(truth, abs=1e-8)
