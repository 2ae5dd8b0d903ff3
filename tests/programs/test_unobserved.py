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
    options = {"temperatures": 30} if method == "annealing" else {}
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


def test_the_gap_of_labels_of_some_data_is_that_of_the_others_network():
    x, y, joint, log_q = labels()
    gap = split_gap(labelled, guess, (torch.tensor(x), torch.tensor(y), KNOWN))
    network = np.where(KNOWN, 0, logsumexp(joint, -1) - (np.exp(log_q) * (joint - log_q)).sum(-1))
    assert np.allclose(gap.amortisation_gap.pointwise, network) and np.allclose(gap.family_gap.pointwise, 0)


def test_tightness_refuses_latents_that_count_for_some_data():
    x, y, *_ = labels()
    with pytest.raises(ValueError, match="'y_unobserved' is masked: it counts for some data only"):
        tightness(labelled, guess, (torch.tensor(x), torch.tensor(y), KNOWN))


def test_a_masked_latent_of_another_name_is_refused():
    def model(x, known):
        with pyro.plate("data", len(x)):
            with poutine.mask(mask=known):
                z = pyro.sample("z_unobserved", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x, known):
        with pyro.plate("data", len(x)):
            pyro.sample("z_unobserved", dist.Normal(0.0, 1.0))

    with pytest.raises(ValueError, match="site 'x' depends on masked latents .'z_unobserved'."):
        measure(model, guide, (torch.zeros(4), KNOWN))


STEPS = 3


def chain(x, lengths, leaks=False):
    """A Gaussian random walk of ``lengths`` steps, each seen with noise."""
    z = torch.zeros(1)
    with pyro.plate("sequences", len(x)):
        for t in range(STEPS):
            with poutine.mask(mask=t < lengths):
                z = pyro.sample(f"z_{t}", dist.Normal(0.7 * z, 0.8).to_event(1))
                if not leaks:
                    pyro.sample(f"x_{t}", dist.Normal(z, 0.5).to_event(1), obs=x[:, t])
        if leaks:
            pyro.sample("x", dist.Normal(z, 0.5).to_event(1), obs=x[:, -1])


def walk(masked):
    def guide(x, lengths, leaks=False):
        with pyro.plate("sequences", len(x)):
            for t in range(STEPS):
                with poutine.mask(mask=t < lengths) if masked else nullcontext():
                    pyro.sample(f"z_{t}", dist.Normal(0.5 * x[:, t], 0.7).to_event(1))

    return guide


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("method", ["auto", "importance", "annealing"])
def test_steps_beyond_the_length_of_a_sequence_have_no_part(method, masked):
    """Whether or not the guide masks them, too."""
    torch.manual_seed(0)
    x, lengths = torch.randn(6, STEPS, 1), torch.tensor([1, 2, 3, 3, 2, 1])
    forward = np.array([[0.7 ** (t - s) if s <= t else 0.0 for s in range(STEPS)] for t in range(STEPS)])
    covariance = 0.64 * forward @ forward.T + 0.25 * np.eye(STEPS)
    truth = [
        multivariate_normal(np.zeros(n), covariance[:n, :n]).logpdf(row[:n, 0].numpy())
        for row, n in zip(x, lengths.tolist(), strict=True)
    ]
    options = {"auto": {}, "importance": {"draws": 4000}, "annealing": {"draws": 20, "temperatures": 30}}[method]
    result = measure(chain, walk(masked), x, lengths, method=method, **options).evidence
    assert result.bound == ("exact" if method == "auto" else "lower")
    error = 4 * result.pointwise_se.numpy() if method != "auto" else 1e-6
    assert (np.abs(result.pointwise.numpy() - truth) < error + 1e-6).all()


def test_the_objective_leaves_out_steps_beyond_the_length_of_a_sequence():
    """With the guide's mask or without it."""
    torch.manual_seed(0)
    x, lengths = torch.randn(6, STEPS, 1), torch.tensor([1, 2, 3, 3, 2, 1])
    bound = measure(chain, walk(False), x, lengths, draws=1000).elbo
    for masked in (True, False):
        objective = DiscreteELBO(draws=50)
        loss = torch.tensor([objective.loss(chain, walk(masked), x, lengths) for _ in range(10)])
        assert abs(-loss.mean() / 6 - bound.mean) < 5 * (loss.std() / 10**0.5 / 6 + bound.se)


def test_a_masked_latent_with_an_influence_where_it_is_masked_is_refused():
    x, lengths = torch.randn(6, STEPS, 1), torch.tensor([1, 2, 3, 3, 2, 1])
    with pytest.raises(ValueError, match="site 'x' depends on masked latents .*'z_2'.* mask what depends on them"):
        measure(lambda *a: chain(*a, leaks=True), lambda *a: walk(True)(*a), x, lengths)


@pytest.mark.parametrize("prior", [dist.Bernoulli(0.01), dist.Categorical(torch.tensor([0.98, 0.01, 0.01]))])
def test_the_influence_of_a_rare_value_that_is_masked_is_found(prior):
    def model(x, known):
        with pyro.plate("data", len(x)):
            with poutine.mask(mask=~known):
                rare = pyro.sample("rare", prior)
            pyro.sample("x", dist.Normal(3.0 * rare, 1.0), obs=x)

    def guide(x, known):
        with pyro.plate("data", len(x)):
            pyro.sample("rare", prior)

    with pytest.raises(ValueError, match="site 'x' depends on masked latents .'rare'."):
        measure(model, guide, torch.zeros(3), torch.tensor([True, False, True]))


def test_data_whose_latents_do_not_count_are_not_said_to_be_left_out_by_the_guide():
    def model(x, known):
        with pyro.plate("data", len(x)):
            with poutine.mask(mask=~known):
                z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
            pyro.sample("x", dist.Normal(torch.where(known, 0.0, z), 1.0), obs=x)

    def guide(x, known):
        with pyro.plate("data", len(x)), poutine.mask(mask=~known):
            pyro.sample("z", dist.Normal(0.5 * x, 0.9))

    x, known = torch.tensor([0.3, -1.0, 2.0, 0.5]), torch.tensor([True, False, False, False])
    torch.manual_seed(0)
    found = measure(model, guide, x, known, method="importance", draws=100, check=False)
    assert found.evidence.pointwise[0].item() == pytest.approx(-0.5 * 0.3**2 - 0.5 * np.log(2 * np.pi))
    assert not any("elsewhere" in line for line in found.warnings)
