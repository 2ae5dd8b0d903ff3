"""What Pyro programs say beside densities: measured without, or refused, before anything is computed."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.stats import multivariate_normal
from torch import nn

import ppl_vae as pv
from ppl_vae.diagnostics.gap.split import split_gap
from ppl_vae.diagnostics.information.information import information
from ppl_vae.diagnostics.tightness.tightness import tightness
from ppl_vae.evidence.bdmc import sandwich
from ppl_vae.evidence.measure import measure
from ppl_vae.programs import support
from ppl_vae.programs.log_weight import log_weight

WEIGHT = torch.tensor([[1.0, 0.5, -0.3, 0.2], [0.0, 1.0, 0.4, -0.6]])
SIGMA = 0.5


@pytest.fixture(autouse=True)
def in_float64(float64):
    pass


def data(count=20):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, 2)) @ WEIGHT.double().numpy() + SIGMA * rng.normal(size=(count, 4))
    return torch.from_numpy(x)


def truth(x):
    """log N(x; 0, W'W + sigma^2) by SciPy."""
    weight = WEIGHT.double().numpy()
    return multivariate_normal.logpdf(x.numpy(), np.zeros(4), weight.T @ weight + SIGMA**2 * np.eye(4))


def linear(before=lambda: None, scale=1.0, plate=None, scaled="latent"):
    """A linear Gaussian model with something around its sites."""
    weight = WEIGHT.double()

    def model(x):
        with plate(x) if plate else pyro.plate("data", len(x)):
            before()
            with pyro.poutine.scale(scale=scale if scaled != "observed" else 1.0):
                z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            with pyro.poutine.scale(scale=scale if scaled != "latent" else 1.0):
                pyro.sample("x", dist.Normal(z @ weight, SIGMA).to_event(1), obs=x)

    def guide(x):
        with plate(x) if plate else pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal((x @ weight.T) / 2, 0.7).to_event(1))

    return model, guide


METHODS = ["closed_form", "quadrature", "importance", "psis", "annealing"]


@pytest.mark.parametrize("scaled", ["latent", "observed", "both"])
@pytest.mark.parametrize("method", METHODS)
def test_a_scale_is_taken_off_by_every_method(scaled, method):
    x = data()
    pair, plain = linear(scale=0.5, scaled=scaled), linear()
    results = []
    for model, guide in (pair, plain):
        torch.manual_seed(0)
        options = {"temperatures": 4, "draws": 4} if method == "annealing" else {"draws": 100}
        results.append(measure(model, guide, x, method=method, **options))
    assert torch.equal(results[0].evidence.pointwise, results[1].evidence.pointwise)
    assert torch.equal(results[0].elbo.pointwise, results[1].elbo.pointwise)
    if method in ("closed_form", "quadrature"):
        assert np.allclose(results[0].evidence.pointwise.numpy(), truth(x), atol=1e-4)
    assert any("scaled in the model" in line for line in results[0].warnings)
    assert not any("scaled" in line for line in results[1].warnings)


@pytest.mark.parametrize("size", [20, 300])
@pytest.mark.parametrize("taken", [lambda x: {"subsample_size": len(x)}, lambda x: {"subsample": torch.arange(len(x))}])
def test_a_plate_of_the_whole_data_set_is_measured_per_datum(size, taken):
    x = data()
    model, guide = linear(plate=lambda x: pyro.plate("data", size, **taken(x)))
    result = measure(model, guide, x)
    assert result.evidence.bound == "exact"
    assert np.allclose(result.evidence.pointwise.numpy(), truth(x), atol=1e-6)


def test_a_model_that_takes_its_rows_by_the_plates_indices_meets_the_batch_in_order():
    x, weight = data(), WEIGHT.double()

    def model(x):
        with pyro.plate("data", 300, subsample_size=len(x)) as rows:
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ weight, SIGMA).to_event(1), obs=x[rows])

    def guide(x):
        with pyro.plate("data", 300, subsample_size=len(x)) as rows:
            pyro.sample("z", dist.Normal((x[rows] @ weight.T) / 2, 0.7).to_event(1))

    assert np.allclose(measure(model, guide, x).evidence.pointwise.numpy(), truth(x), atol=1e-6)


@pytest.mark.parametrize("taken", [{"subsample_size": 5}, {"subsample": torch.arange(5)}])
def test_a_plate_of_another_size_than_the_batch_is_refused(taken):
    x = data()
    model, guide = linear(plate=lambda x: pyro.plate("data", len(x), **taken))
    with pytest.raises(ValueError, match="plate 'data' takes 5 of .* rows, but the batch has"):
        measure(model, guide, x)


def measurements(model, guide, x):
    return {
        "measure": lambda: measure(model, guide, x),
        "importance": lambda: measure(model, guide, x, method="importance"),
        "log_weight": lambda: log_weight(model, guide, x, 3),
        "split_gap": lambda: split_gap(model, guide, x),
        "tightness": lambda: tightness(model, guide, x),
        "information": lambda: information(model, guide, x),
        "sandwich": lambda: sandwich(model, guide, x, draws=4),
        "ladder": lambda: pv.ladder(model, {"one": guide}, x),
        "curve": lambda: pv.rate_distortion_curve(model, guide, x, chains=2, temperatures=10, draws=10),
    }


NAMES = list(measurements(*linear(), data(2)))


@pytest.mark.parametrize("name", NAMES)
def test_a_factor_is_refused_by_every_measurement(name):
    model, guide = linear(before=lambda: pyro.factor("penalty", torch.tensor(-7.0)))
    with pytest.raises(ValueError, match=r"site 'penalty' is a pyro\.factor: .* no density"):
        measurements(model, guide, data(4))[name]()


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"log_weight", "sandwich"}))
def test_every_measurement_checks_its_data_once(name, monkeypatch):
    model, guide = linear()
    x, looked = data(30), list[int]()
    whole = support.check_support
    monkeypatch.setattr(support, "check_support", lambda model, x: looked.append(len(x)) or whole(model, x))
    measurements(model, guide, x)[name]()
    assert looked == [30]
    x[23, 1] = torch.nan
    with pytest.raises(ValueError, match="site 'x' is Normal and takes finite numbers, but .* have nan in datum 23"):
        measurements(model, guide, x)[name]()


def test_a_factor_declared_a_regulariser_is_left_out():
    def penalty():
        with pv.regulariser():
            pyro.factor("penalty", torch.tensor(-7.0))

    x = data()
    result = measure(*linear(before=penalty), x)
    assert result.evidence.bound == "exact" and np.allclose(result.evidence.pointwise.numpy(), truth(x), atol=1e-6)


def test_an_objective_keeps_scales_and_factors():
    x = data()
    plain, scaled = linear(), linear(scale=0.5, scaled="both")
    losses = []
    for model, guide in (plain, scaled, linear(before=lambda: pyro.factor("penalty", torch.tensor(-7.0)))):
        torch.manual_seed(0)
        losses.append(pv.DiscreteELBO().loss(model, guide, x))
    parts = pyro.poutine.trace(scaled[0]).get_trace(x).nodes
    assert parts["x"]["scale"] == 0.5
    assert losses[1] != pytest.approx(losses[0])
    assert losses[2] == pytest.approx(losses[0] + 7 * len(x))


@pytest.mark.parametrize("name", NAMES)
def test_a_masked_latent_is_refused_by_every_measurement(name):
    x, weight = data(4), WEIGHT.double()
    seen = torch.tensor([True, False, True, True])

    def model(x):
        with pyro.plate("data", len(x)):
            with pyro.poutine.mask(mask=seen):
                z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ weight, SIGMA).to_event(1), obs=x)

    with pytest.raises(ValueError, match=r"latent site 'z' is masked|depends on masked latents \('z'\)"):
        measurements(model, linear()[1], x)[name]()


def test_missing_values_behind_a_mask_of_the_observation_are_summed_out():
    x, weight = data(), WEIGHT.double()
    seen = torch.from_numpy(np.random.default_rng(3).random(x.shape) < 0.7)

    def model(batch):
        with pyro.plate("data", len(batch)):
            z = pyro.sample("z", dist.Normal(batch.new_zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ weight, SIGMA).mask(~batch.isnan()).to_event(1), obs=batch.nan_to_num())

    holed = torch.where(seen, x, torch.nan)

    def guide(batch):
        with pyro.plate("data", len(batch)):
            pyro.sample("z", dist.Normal((batch.nan_to_num() @ weight.T) / 2, 0.7).to_event(1))

    result = measure(model, guide, holed, method="quadrature")
    covariance = (weight.T @ weight).numpy() + SIGMA**2 * np.eye(4)
    for value, row, keep in zip(result.evidence.pointwise, x.numpy(), seen.numpy(), strict=True):
        if keep.any():
            part = np.ix_(keep, keep)
            assert value.item() == pytest.approx(
                multivariate_normal.logpdf(row[keep], np.zeros(keep.sum()), covariance[part]), abs=1e-3
            )


def test_a_deterministic_site_is_neither_latent_nor_observed():
    x, weight = data(), WEIGHT.double()

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            mean = pyro.deterministic("mean", z @ weight, event_dim=1)
            pyro.sample("x", dist.Normal(mean, SIGMA).to_event(1), obs=x)

    result = measure(model, linear()[1], x)
    assert result.evidence.bound == "exact" and np.allclose(result.evidence.pointwise.numpy(), truth(x), atol=1e-6)

    def blind(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.deterministic("mean", z @ weight, event_dim=1)

    with pytest.raises(ValueError, match="the model observes nothing"):
        measure(blind, linear()[1], x)


def test_modules_that_a_function_reaches_are_in_evaluation_mode_and_restored():
    x = data()
    net = nn.Sequential(nn.Linear(2, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Dropout(0.5), nn.Linear(16, 4)).double()
    held = {"net": net}

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            flat = held["net"](z.reshape(-1, 2)).reshape(*z.shape[:-1], 4)
            pyro.sample("x", dist.Normal(flat, SIGMA).to_event(1), obs=x)

    before = net[1].running_mean.clone()
    one, other = (measure(model, linear()[1], x, method="quadrature").evidence for _ in range(2))
    assert torch.equal(one.pointwise, other.pointwise)
    assert torch.equal(net[1].running_mean, before) and all(module.training for module in net.modules())


def test_randomness_outside_the_sites_is_refused():
    x, weight = data(), WEIGHT.double()

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            mean = nn.functional.dropout(z @ weight, 0.5)
            pyro.sample("x", dist.Normal(mean, SIGMA).to_event(1), obs=x)

    with pytest.raises(ValueError, match="density of site 'x' changes from call to call"):
        measure(model, linear()[1], x)


def test_a_density_that_depends_on_the_other_data_of_the_batch_is_refused():
    weight = WEIGHT.double()

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal((z + z.mean(-2, keepdim=True)) @ weight, SIGMA).to_event(1), obs=x)

    with pytest.raises(ValueError, match="density of site 'x' for a datum changes with the other data of its batch"):
        measure(model, linear()[1], data())


def recurrence(z, x):
    return (z @ WEIGHT.double()).cumsum(-2)


def rows_from_outside(z, x):
    return z @ WEIGHT.double() + torch.arange(99.0, dtype=torch.double)[: len(x), None]


@pytest.mark.parametrize("mean", [recurrence, rows_from_outside])
def test_a_density_that_depends_on_the_place_of_a_datum_is_refused(mean):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(mean(z, x), SIGMA).to_event(1), obs=x)

    for function in (measure, sandwich):
        with pytest.raises(ValueError, match="density of site 'x' for a datum changes with its place in the batch"):
            function(model, linear()[1], data())
