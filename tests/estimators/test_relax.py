"""RELAX: its formula is the paper's for controls of known coefficients, which follow from the steps before."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.special import expit, logit

from ppl_vae.estimators import Code, estimate
from ppl_vae.estimators.base.integrand import FunctionIntegrand
from ppl_vae.estimators.loo import ReinforceLOO
from ppl_vae.estimators.rebar import REBAR
from ppl_vae.estimators.relax import RELAX
from ppl_vae.objectives.elbo import DiscreteELBO
from tests.support.small_pairs import BitsOfPoints
from tests.support.z_test import assert_mean

pytestmark = pytest.mark.usefixtures("float64")

WEIGHTS = np.array([[0.9, -1.4], [0.3, 1.6], [-0.7, 0.5]])
TEMPERATURES = (0.2, 0.7)


def f(z):
    return 40 + np.tanh(z @ WEIGHTS).sum(-1) + np.exp(z @ WEIGHTS[:, 0])


def in_torch(z):
    weights = torch.tensor(WEIGHTS)
    return 40 + torch.tanh(z @ weights).sum(-1) + (z @ weights[:, 0]).exp()


def written_out(logits, uniforms, coefficients):
    """Each draw as in the paper, with sum of c_k f(y_k) as control, and the rest of the weight on other draws."""
    mean = expit(logits)
    codes = (uniforms > 1 - mean).astype(float)
    total, step = np.zeros(len(logits)), 1e-5
    for s, (u, b) in enumerate(zip(uniforms, codes, strict=True)):
        baseline = np.mean([f(other) for t, other in enumerate(codes) if t != s])
        tied = np.where(b == 1, (u - (1 - mean)) / mean, u / (1 - mean))

        def control(noise, at, baseline=baseline):
            relaxed = [f(expit((at + logit(noise)) / tau)) for tau in TEMPERATURES]
            return np.dot(coefficients, relaxed) + (1 - np.sum(coefficients)) * baseline

        def given_the_code(at, tied=tied, b=b, control=control):
            p = expit(at)
            return control(np.where(b == 1, tied * p + 1 - p, tied * (1 - p)), at)

        for bit, shift in enumerate(step * np.eye(len(logits))):
            path = control(u, logits + shift) - control(u, logits - shift)
            path -= given_the_code(logits + shift) - given_the_code(logits - shift)
            score = (f(b) - given_the_code(logits)) * (b - mean)[bit]
            total[bit] += (score + path / (2 * step)) / len(uniforms)
    return total


def test_the_gradient_is_that_of_the_paper_whatever_the_coefficients():
    random = np.random.default_rng(5)
    for moments in (None, [[2.0, 0.3, 0.4], [0.3, 1.0, -0.7]]):
        relax = RELAX(TEMPERATURES)
        if moments is not None:
            relax.state = {f"relax.{i}.{j}": moments[i][j] for i in range(2) for j in range(3)}
            solved = np.linalg.solve(np.array(moments)[:, :2], np.array(moments)[:, 2])
            np.testing.assert_allclose(relax.coefficients, solved, rtol=0.01)
        else:
            assert relax.coefficients == pytest.approx([0.5, 0.5])
        logits, uniforms = random.normal(size=3), random.uniform(size=(3, 3))
        noise = torch.tensor(logit(uniforms))[:, None]
        code = Code((torch.tensor(logits) + noise > 0).double(), noise, torch.tensor(logits)[None])
        found = relax.gradient(code, FunctionIntegrand(in_torch, code))
        expected = written_out(logits, uniforms, relax.coefficients)
        torch.testing.assert_close(found, torch.tensor(expected)[None], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("curve", "best"), [(1.0, 1.0), (60.0, 0.0)], ids=["smooth", "far off between bits"])
def test_it_learns_how_much_relaxed_bits_tell(curve, best):
    """Nearly linear, f is f at relaxed bits; with a bump between the bits, these tell nothing."""
    slope, logits = torch.tensor([1.0, -2.0, 0.5, 3.0]), torch.tensor([0.3, -0.8, 1.2, 0.1]).expand(20, 4)

    def bumpy(z):
        return z @ slope + curve * (z * (1 - z)).sum(-1)

    relax, draws = RELAX((0.5,)), 4
    for _ in range(150):
        estimate(relax, bumpy, logits, draws)
        relax.after_step()
    (coefficient,) = relax.coefficients
    assert abs(coefficient - best) < 0.35

    def noise(estimator):
        samples = torch.stack([estimate(estimator, bumpy, logits, draws) for _ in range(100)])
        return samples.var(0).sum()

    assert noise(relax) < 1.1 * min(noise(ReinforceLOO()), noise(REBAR(0.5)))


def test_learning_keeps_the_mean_of_a_training_pair_and_goes_on_from_its_state():
    pair, x = BitsOfPoints(3), torch.randn(4, 3)
    expected = pair.gradient(DiscreteELBO("enumerate"), x)
    objective = DiscreteELBO("relax", draws=2)
    assert not objective.is_stationary and DiscreteELBO("rebar").is_stationary
    samples = [pair.gradient(objective, x) for _ in range(200)]
    before, learned = DiscreteELBO("relax").state, objective.state
    assert set(learned) == set(before) == {"relax.0.0", "relax.0.1"} and learned != before
    assert_mean(torch.stack(samples), expected)

    resumed = DiscreteELBO("relax", draws=2)
    resumed.state = learned
    for _ in range(2):
        torch.manual_seed(3)
        first = pair.gradient(objective, x)
        torch.manual_seed(3)
        assert torch.equal(first, pair.gradient(resumed, x))
    assert objective.state == resumed.state != learned


def test_a_loss_alone_teaches_nothing():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(torch.full((2,), 0.3)).to_event(1))
            pyro.sample("x", dist.Normal(z.sum(-1), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(logits=torch.zeros(2)).to_event(1))

    objective = DiscreteELBO("relax")
    objective.loss(model, guide, torch.zeros(3))
    objective.after_step()
    assert objective.state == DiscreteELBO("relax").state


def test_temperatures_are_positive():
    for temperatures in ((), (0.1, 0.0)):
        with pytest.raises(ValueError, match="the temperatures are .*; give positive numbers"):
            RELAX(temperatures)
