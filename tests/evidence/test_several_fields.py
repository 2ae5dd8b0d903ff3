"""Measurements of programs of several arguments, against NumPy."""

from collections import namedtuple

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

import ppl_vae as pv
from ppl_vae.evidence.ais import Schedule
from ppl_vae.objectives.base import Objective
from tests.support.conditional_pairs import ConditionalGaussian, LabelledMixture
from tests.support.z_test import assert_mean

PAIR = ConditionalGaussian()
X, Y = PAIR.data(30)


def test_a_conditional_model_is_measured_exactly():
    found = pv.measure(PAIR.model, PAIR.guide, X, Y)
    assert found.evidence.bound == found.elbo.bound == "exact"
    np.testing.assert_allclose(found.evidence.pointwise, PAIR.evidence(X, Y), rtol=1e-5)
    np.testing.assert_allclose(found.elbo.pointwise, PAIR.elbo(X, Y), rtol=1e-5)


def test_every_way_of_passing_the_fields_is_the_same():
    expected = pv.measure(PAIR.model, PAIR.guide, X, Y).evidence.pointwise
    for given in ((X, Y), {"x": X, "y": Y}, {"y": Y, "x": X}, namedtuple("Batch", "x y")(X, Y)):
        assert torch.equal(pv.measure(PAIR.model, PAIR.guide, given).evidence.pointwise, expected)


def test_a_program_of_one_argument_takes_the_container_whole():
    def of_dict(program):
        return lambda batch: program(batch["x"], batch["y"])

    found = pv.measure(of_dict(PAIR.model), of_dict(PAIR.guide), {"x": X, "y": Y})
    np.testing.assert_allclose(found.evidence.pointwise, PAIR.evidence(X, Y), rtol=1e-5)


@pytest.mark.parametrize("objective", [pv.DiscreteELBO(), pv.ImportanceWeightedELBO(), pv.SleepPhase()])
def test_objectives_take_fields_as_svi_passes_them(objective: Objective):
    x, y = torch.tensor(X).float(), torch.tensor(Y).float()

    def loss(*args, **kwargs):
        torch.manual_seed(0)
        return objective.loss(PAIR.model, PAIR.guide, *args, **kwargs)

    assert loss(x, y) == loss(x, y=y) == loss((x, y)) == loss({"x": x, "y": y})
    assert loss(x, y) != loss(x, -y)


def test_a_prior_that_depends_on_a_field_has_no_grid_of_its_own():
    y = np.zeros((40, 3))
    y[-1] = 1  # one datum in forty has another prior
    one = ConditionalGaussian(latents=1)
    with pytest.raises(ValueError, match=r"p\(z\) differs between the data"):
        pv.measure(one.model, one.guide, one.data(40)[0], y, method="quadrature")
    assert not pv.information(one.model, one.guide, one.data(40)[0], y).one_prior


def test_a_linear_guide_is_not_found_where_few_data_have_another_decoder():
    y = np.zeros((40, 3))
    y[-1] = 1
    found = pv.tightness(PAIR.model, PAIR.guide, PAIR.data(40)[0], y)
    assert "depend on the other fields of the data" in str(found)


def test_simulated_data_keep_what_is_not_observed():
    latents, data = pv.simulate(PAIR.model, (torch.zeros(4000, 4), torch.tensor(Y[:1]).float().expand(4000, 3)))
    x, y = data.args
    assert torch.equal(y, torch.tensor(Y[:1]).float().expand(4000, 3))
    assert_mean(x, torch.tensor((Y[0] @ PAIR.prior) @ PAIR.map + Y[0] @ PAIR.shift).float())
    assert latents["z"].shape == (4000, 2)


def test_the_sandwich_holds_the_evidence_of_data_given_their_fields():
    bounds = pv.sandwich(PAIR.model, PAIR.guide, X[:20], Y[:20], draws=8, schedule=Schedule(temperatures=60))
    assert bounds.lower.mean - 5 * bounds.lower.se <= bounds.upper.mean + 5 * bounds.upper.se
    assert bounds.width.mean < 1


MIXTURE = LabelledMixture()
SEEN, LABELS = MIXTURE.data(30)


def mixture(x, y=None):
    shares, centres, weights = (torch.tensor(v, dtype=x.dtype) for v in (MIXTURE.shares, MIXTURE.centres, MIXTURE.map))
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
        y = pyro.sample("y", dist.Categorical(shares), obs=y)
        pyro.sample("x", dist.Normal(z @ weights + centres[y], MIXTURE.noise).to_event(1), obs=x)


ENCODER = torch.nn.Linear(4, 5)


def guess(x, y=None):
    logits, loc, log_scale = ENCODER(x).split([3, 1, 1], -1)
    with pyro.plate("data", len(x)):
        if y is None:
            pyro.sample("y", dist.Categorical(logits=logits))
        pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


def test_a_label_that_is_given_is_observed_and_one_that_is_not_is_summed_out():
    given = pv.measure(mixture, guess, SEEN, LABELS).evidence
    free = pv.measure(mixture, guess, SEEN, None).evidence
    assert given.bound == free.bound == "exact"
    np.testing.assert_allclose(given.pointwise, MIXTURE.joint_evidence(SEEN)[np.arange(30), LABELS], rtol=1e-5)
    np.testing.assert_allclose(free.pointwise, MIXTURE.evidence(SEEN), rtol=1e-5)
    for other in (pv.measure(mixture, guess, SEEN), pv.measure(mixture, guess, {"x": SEEN, "y": None})):
        assert torch.equal(other.evidence.pointwise, free.pointwise)


def test_one_objective_serves_batches_with_and_without_labels():
    x, y = torch.tensor(SEEN).float(), torch.tensor(LABELS)

    def gradient(objective: Objective, *args: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(0)
        ENCODER.zero_grad()
        objective.loss_and_grads(mixture, guess, *args)
        return torch.cat([p.grad.flatten() for p in ENCODER.parameters()])

    both = pv.DiscreteELBO("enumerate")
    for args in ((x, y), (x,), (x, y), (x,)):
        assert torch.equal(gradient(both, *args), gradient(pv.DiscreteELBO("enumerate"), *args))
    assert gradient(both, x)[:12].abs().max() > 0  # the label's logits learn


@pytest.mark.parametrize(
    "data, message",
    [
        ((X,), "ConditionalGaussian.model takes x, y, but the data are one field"),
        (({"x": X, "w": Y},), "takes x, y, but the data are the fields x, w: give as many"),
        ((X, Y[:3]), "1 has 30, 2 has 3 data"),
        ((), "no data are given"),
    ],
)
def test_fields_that_do_not_fit_are_named(data, message):
    with pytest.raises(ValueError, match=message):
        pv.measure(PAIR.model, PAIR.guide, *data)
