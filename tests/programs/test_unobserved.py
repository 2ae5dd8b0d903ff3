"""Values of which some are missing, by ``obs_mask``: evidence and bound against NumPy and SciPy."""

from contextlib import nullcontext

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from scipy.special import log_softmax, logsumexp
from scipy.stats import multivariate_normal, norm

from ppl_vae.diagnostics.gap.split import split_gap
from ppl_vae.diagnostics.tightness.tightness import tightness
from ppl_vae.evidence.measure import measure
from ppl_vae.objectives.elbo import DiscreteELBO
from tests.support.z_test import assert_mean

pytestmark = pytest.mark.usefixtures("float64")

RNG = np.random.default_rng(1)
WEIGHT = RNG.normal(size=(2, 3))
CENTRES, PRIOR = RNG.normal(size=(3, 2)), log_softmax(RNG.normal(size=3))
SLOPES = torch.tensor(RNG.normal(size=(2, 3)))
KNOWN = torch.tensor([True, False, True, False])


def factors(x, known):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z @ torch.tensor(WEIGHT), 0.5).to_event(1), obs=x, obs_mask=known)


def proposal(masked, scale=0.8):
    def guide(x, known):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), scale).to_event(1))
            with poutine.mask(mask=~known) if masked else nullcontext():
                pyro.sample("x_unobserved", dist.Normal(z @ torch.tensor(WEIGHT), 0.6).to_event(1))

    return guide


def labelled(x, y, known):
    with pyro.plate("data", len(x)):
        y = pyro.sample("y", dist.Categorical(logits=torch.tensor(PRIOR)), obs=y, obs_mask=known)
        pyro.sample("x", dist.Normal(torch.tensor(CENTRES)[y], 1.0).to_event(1), obs=x)


def guess(x, y, known):
    with pyro.plate("data", len(x)):
        pyro.sample("y_unobserved", dist.Categorical(logits=x @ SLOPES))


def labels():
    """Data with labels, log p(x, y) of every label, ``(data, labels)``, and log q(y given x)."""
    x, y = RNG.normal(size=(4, 2)), np.array([0, 2, 1, 1])
    joint = norm.logpdf(x[:, None], CENTRES).sum(-1) + PRIOR
    return x, y, joint, log_softmax(x @ SLOPES.numpy(), -1)


@pytest.mark.parametrize("method", ["closed_form", "importance", "psis", "annealing"])
@pytest.mark.parametrize("masked", [True, False])
def test_evidence_of_data_of_which_some_are_missing(masked, method):
    x = torch.tensor(RNG.normal(size=(4, 3)))
    density = multivariate_normal.logpdf(x, np.zeros(3), WEIGHT.T @ WEIGHT + 0.25 * np.eye(3))
    truth = np.where(KNOWN, density, 0.0)
    draws = {"annealing": 16, "closed_form": None}.get(method, 4000)
    options = {"temperatures": 50} if method == "annealing" else {}
    measured = measure(factors, proposal(masked), (x, KNOWN), method=method, draws=draws, **options).evidence
    if method == "closed_form":
        assert np.allclose(measured.pointwise, truth)
    else:
        assert (np.abs(measured.pointwise.numpy() - truth) < 5 * measured.pointwise_se.numpy() + 1e-3).all()


def test_the_mask_of_the_model_holds_for_a_guide_without_one():
    x = torch.tensor(RNG.normal(size=(4, 3)))
    losses = []
    for guide in (proposal(True), proposal(False)):
        torch.manual_seed(0)
        losses.append(DiscreteELBO(draws=2).loss(factors, guide, x, KNOWN))
    assert losses[0] == losses[1]
    torch.manual_seed(0)
    with poutine.block():
        wide = DiscreteELBO(draws=2).loss(factors, proposal(False), x, torch.ones(4, dtype=torch.bool))
    torch.manual_seed(0)
    with poutine.block():
        again = DiscreteELBO(draws=2).loss(factors, proposal(True), x, torch.ones(4, dtype=torch.bool))
    assert wide == again


@pytest.mark.parametrize("method", ["enumeration", "importance"])
def test_labels_of_some_data(method):
    x, y, joint, log_q = labels()
    evidence = np.where(KNOWN, joint[np.arange(4), y], logsumexp(joint, -1))
    bound = np.where(KNOWN, joint[np.arange(4), y], (np.exp(log_q) * (joint - log_q)).sum(-1))
    torch.manual_seed(2)
    measured = measure(labelled, guess, (torch.tensor(x), torch.tensor(y), KNOWN), method=method, draws=4000)
    if method == "enumeration":
        assert np.allclose(measured.evidence.pointwise, evidence)
    for estimate, truth in ((measured.evidence, evidence), (measured.elbo, bound)):
        error = 0 if estimate.pointwise_se is None else 5 * estimate.pointwise_se.numpy()
        assert (np.abs(estimate.pointwise.numpy() - truth) <= error + 1e-9).all()


def test_the_objective_is_the_bound_and_its_gradient_is_that_of_the_data_without_a_label():
    x, y, joint, log_q = labels()
    arguments = torch.tensor(x), torch.tensor(y), KNOWN
    bound = np.where(KNOWN, joint[np.arange(4), y], (np.exp(log_q) * (joint - log_q)).sum(-1))
    slopes = SLOPES.requires_grad_()
    try:
        objective = DiscreteELBO("enumerate")
        loss = objective.differentiable_loss(labelled, guess, *arguments)
        assert loss.item() == pytest.approx(-bound.sum())
        (gradient,) = torch.autograd.grad(loss, slopes)
        q = np.exp(log_q)
        f = joint - log_q
        by_logits = q * (f - (q * f).sum(-1, keepdims=True)) * ~KNOWN.numpy()[:, None]
        assert np.allclose(gradient, -x.T @ by_logits)
        loo = DiscreteELBO("loo", draws=4)
        draws = [
            torch.autograd.grad(loo.differentiable_loss(labelled, guess, *arguments), slopes)[0] for _ in range(200)
        ]
        assert_mean(torch.stack(draws), gradient)
    finally:
        slopes.requires_grad_(False)


def test_diagnostics_refuse_latents_that_count_for_some_data():
    x, y, *_ = labels()
    for diagnose in (split_gap, tightness):
        with pytest.raises(ValueError, match="'y_unobserved' of obs_mask counts for some data only"):
            diagnose(labelled, guess, (torch.tensor(x), torch.tensor(y), KNOWN))


def test_a_masked_latent_of_another_name_is_refused():
    def model(x, known):
        with pyro.plate("data", len(x)):
            with poutine.mask(mask=known):
                z = pyro.sample("z_unobserved", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x, known):
        with pyro.plate("data", len(x)):
            pyro.sample("z_unobserved", dist.Normal(0.0, 1.0))

    with pytest.raises(ValueError, match="latent site 'z_unobserved' is masked"):
        measure(model, guide, (torch.zeros(4), KNOWN))
