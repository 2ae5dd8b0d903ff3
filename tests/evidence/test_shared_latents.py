"""Latents that all data share: their joint bound and the evidence given them, against Gaussian joints in NumPy."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy import stats
from scipy.special import logsumexp

import ppl_vae as pv

pytestmark = pytest.mark.usefixtures("float64")

X = torch.tensor([0.4, 1.9, -0.6, 1.2], dtype=torch.float64)


def mean(x):
    mu = pyro.sample("mu", dist.Normal(0.0, 2.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(mu, 1.0), obs=x)


def posterior(shift=0.0):
    """Of the mean, whose precision is 1/4 + N, by as much aside."""

    def guide(x):
        precision = 0.25 + len(X)
        pyro.sample("mu", dist.Normal(X.sum() / precision + shift, precision**-0.5))

    return guide


def joint_of_all():
    """log p of all data: a Gaussian of covariance 1 + 4 on the diagonal and 4 elsewhere."""
    return stats.multivariate_normal(np.zeros(4), np.eye(4) + 4).logpdf(X.numpy())


def test_the_joint_bound_of_the_posterior_is_the_evidence_of_all_data():
    result = pv.measure(mean, posterior(), X)
    assert abs(result.joint.mean - joint_of_all()) < 1e-9  # the weights are constant
    assert result.joint.bound == "lower"
    # Given the mean: log N(x; m, 1) - v / 2 on average over its posterior N(m, v).
    v = 1 / 4.25
    given = stats.norm(X.sum().item() * v, 1).logpdf(X.numpy()) - v / 2
    assert result.evidence.bound == "unbiased"
    assert abs(result.evidence.mean - given.mean()) < 5 * result.evidence.se
    assert "no bound on log p(x) of a datum" in result.evidence.notes[0]
    assert "joint_bound_of_all_data" in result.to_json()


def test_another_guide_loses_its_divergence_from_the_posterior():
    """KL of two normals of equal deviations: half the square of the shift over the variance."""
    result = pv.measure(mean, posterior(0.3), X)
    loss = 0.5 * 0.3**2 * 4.25
    assert abs(result.joint.mean - (joint_of_all() - loss)) < 5 * result.joint.se


def test_the_joint_number_is_no_bound_where_the_evidence_is_none():
    def model(x):
        mu = pyro.sample("mu", dist.Normal(0.0, 2.0))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(mu, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        pyro.sample("mu", dist.Normal(0.5, 0.5))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2, 0.8))

    result = pv.measure(model, guide, X, method="psis", draws=30)
    assert result.evidence.bound == result.joint.bound == "approximate"
    assert "data together, is about" in result.evidence.notes[-1]
    with pytest.raises(ValueError, match="share the latent site 'mu', .*leave the check out"):
        pv.measure(model, guide, X, check=True)


def test_rows_taken_by_the_indices_of_a_plate_of_all_data_meet_the_batch_in_order():
    def model(x):
        mu = pyro.sample("mu", dist.Normal(0.0, 2.0))
        with pyro.plate("data", 300, subsample_size=len(x)) as rows:
            pyro.sample("x", dist.Normal(mu, 1.0), obs=x[rows])

    def guide(x):
        with pyro.plate("data", 300, subsample_size=len(x)) as rows:
            centre = x[rows].sum() / 4.25
        pyro.sample("mu", dist.Normal(centre, 4.25**-0.5))

    assert abs(pv.measure(model, guide, X).joint.mean - joint_of_all()) < 1e-9


def mixture(x):
    """Two components whose centres are unknown, indexed as in the tutorials."""
    with pyro.plate("components", 2):
        locs = pyro.sample("locs", dist.Normal(0.0, 2.0))
    with pyro.plate("data", len(x)):
        k = pyro.sample("k", dist.Categorical(torch.tensor([0.3, 0.7])))
        pyro.sample("x", dist.Normal(locs[k], 0.5), obs=x)


def mixture_guide(x):
    with pyro.plate("components", 2):
        pyro.sample("locs", dist.Normal(torch.tensor([-0.5, 1.2]), 0.1))
    with pyro.plate("data", len(x)):
        pyro.sample("k", dist.Categorical(logits=torch.stack([-x, x], -1)))


def test_other_latents_are_summed_out_given_what_is_shared():
    result = pv.measure(mixture, mixture_guide, X)
    rng = np.random.default_rng(0)
    locs = np.array([-0.5, 1.2]) + 0.1 * rng.standard_normal((20_000, 2))
    logs = np.log([0.3, 0.7])[:, None] + stats.norm(locs[..., None], 0.5).logpdf(X.numpy())
    each = logsumexp(logs, 1)  # (draws of the centres, data)
    assert abs(result.evidence.mean - each.mean()) < 5 * result.evidence.se
    kl = (np.log(2 / 0.1) + (0.1**2 + np.array([-0.5, 1.2]) ** 2) / (2 * 4) - 0.5).sum()
    bound = each.sum(1).mean() - kl
    assert abs(result.joint.mean - bound) < 5 * result.joint.se
    assert result.elbo.mean < result.evidence.mean
    assert "enumeration" in result.evidence.method


def test_a_guide_without_the_shared_latent_is_refused():
    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("k", dist.Categorical(logits=torch.stack([-x, x], -1)))

    with pytest.raises(ValueError, match="the guide does not draw 'locs', which all data share"):
        pv.measure(mixture, guide, X)


def test_a_point_in_the_place_of_a_shared_density_gives_no_joint_bound():
    def point(x):
        pyro.sample("mu", dist.Delta(torch.zeros((), dtype=torch.float64)))

    with pytest.raises(ValueError, match="latent site 'mu' of the guide is a Delta"):
        pv.measure(mean, point, X)


def test_measures_of_single_data_refuse_shared_latents_by_name():
    for measurement in (pv.split_gap, pv.tightness, pv.information):
        with pytest.raises(ValueError, match="all data share the latent site 'locs', outside the plate"):
            measurement(mixture, mixture_guide, X)
