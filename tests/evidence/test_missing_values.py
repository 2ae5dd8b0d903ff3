"""Models that mask missing values, measured against the marginal of what is observed, by NumPy."""

from collections.abc import Callable

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from ppl_vae.guides.mean_field import MeanField
from scipy.stats import multivariate_normal
from torch import Tensor, nn

import ppl_vae as pv
from ppl_vae.data.inputs import examples

RANDOM = np.random.default_rng(0)
MAP, NOISE = RANDOM.normal(size=(2, 5)), 0.5
WHOLE = RANDOM.normal(size=(24, 2)) @ MAP + NOISE * RANDOM.normal(size=(24, 5))
SEEN = RANDOM.random(WHOLE.shape) < 0.7
SEEN[0] = False  # nothing is known of the first datum
HOLES = np.where(SEEN, WHOLE, np.nan)


def evidence() -> np.ndarray:
    covariance = MAP.T @ MAP + NOISE**2 * np.eye(5)
    return np.array(
        [
            multivariate_normal(cov=covariance[np.ix_(seen, seen)]).logpdf(x[seen]) if seen.any() else 0.0
            for x, seen in zip(WHOLE, SEEN, strict=True)
        ]
    )


def latent(x: Tensor) -> Tensor:
    return pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1)) @ torch.tensor(MAP, dtype=x.dtype)


def masked_distribution(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(latent(x), NOISE).mask(~x.isnan()).to_event(1), obs=x)


def filled_with_zeros(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        fn = dist.Normal(latent(x), NOISE).mask(~x.isnan()).to_event(1)
        pyro.sample("x", fn, obs=x.nan_to_num())


def a_site_for_each_number(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        loc = latent(x)
        for d in range(5):
            with pyro.poutine.mask(mask=~x[:, d].isnan()):
                pyro.sample(f"x{d}", dist.Normal(loc[..., d], NOISE), obs=x[:, d])


def mask_beside(x: Tensor, seen: Tensor) -> None:
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(latent(x), NOISE).mask(seen).to_event(1), obs=x)


def guide(x: Tensor, *others: Tensor) -> None:
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(0.1 * x.nan_to_num()[..., :2], 0.8).to_event(1))


@pytest.mark.parametrize("validated", [True, False])
@pytest.mark.parametrize(
    "model, data",
    [
        (masked_distribution, (HOLES,)),
        (filled_with_zeros, (HOLES,)),
        (a_site_for_each_number, (HOLES,)),
        (mask_beside, (HOLES, SEEN)),
        (mask_beside, (np.where(SEEN, WHOLE, 7.0), SEEN)),
    ],
)
def test_the_evidence_is_that_of_what_is_seen(
    model: Callable[..., None], data: tuple[np.ndarray, ...], validated: bool
):
    with pyro.validation_enabled(validated):
        found = pv.measure(model, guide, *data).evidence
    assert found.bound == "exact"
    np.testing.assert_allclose(found.pointwise, evidence(), rtol=1e-5, atol=1e-5)


def test_nan_that_no_mask_covers_is_named():
    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(latent(x), NOISE).mask(x[:, :1].isnan().logical_not()).to_event(1), obs=x)

    with pytest.raises(ValueError, match="site 'x' is Normal and takes finite numbers, but the given data have nan"):
        pv.measure(model, guide, HOLES)


def test_missing_values_leave_gradients_finite():
    decoder = nn.Linear(2, 5)

    def model(x: Tensor) -> None:
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), NOISE).mask(~x.isnan()).to_event(1), obs=x)

    x = torch.tensor(HOLES).float()
    own = MeanField(model, examples(x), layers=1, width=8)
    pv.DiscreteELBO().loss_and_grads(model, own, x)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in (*decoder.parameters(), *own.parameters()))


def test_simulated_data_miss_what_the_data_miss():
    _, drawn = pv.simulate(masked_distribution, torch.tensor(HOLES).float())
    assert torch.equal(drawn.isnan(), torch.tensor(~SEEN))
    _, both = pv.simulate(mask_beside, (np.where(SEEN, WHOLE, 7.0), SEEN))
    assert bool((both.args[0][torch.tensor(~SEEN)] == 7).all()) and torch.equal(both.args[1], torch.tensor(SEEN))


def test_gap_tightness_and_export_take_missing_values():
    from ppl_vae.runs.export_arviz import to_arviz

    x = torch.tensor(HOLES).float()
    gap = pv.split_gap(masked_distribution, guide, x, steps=40, draws=20, restarts=1)
    np.testing.assert_allclose(gap.evidence.pointwise, evidence(), rtol=1e-5, atol=1e-5)
    assert pv.tightness(masked_distribution, guide, x).status == "outside"
    found = to_arviz(masked_distribution, guide, x, draws=4, predictive=1)
    assert np.array_equal(np.isnan(found["posterior_predictive"]["x"].values[0, 0]), ~SEEN)
