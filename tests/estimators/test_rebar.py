"""REBAR: its formula is the paper's with tied noise, f is the same at relaxed bits, and jumps of f are refused."""

from itertools import count, islice

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.special import expit, logit

from benchmarks.gradients.pairs import Pair
from benchmarks.gradients.table import sampled, sites_of
from ppl_vae.estimators import Code, estimate
from ppl_vae.estimators.base.continuity import check_continuous
from ppl_vae.estimators.base.integrand import FunctionIntegrand
from ppl_vae.estimators.rebar import REBAR
from ppl_vae.objectives.choice import refusal
from ppl_vae.objectives.elbo import DiscreteELBO
from tests.support.estimator_checks import curved

pytestmark = pytest.mark.usefixtures("float64")

TEMPERATURE, WEIGHTS = 0.3, np.array([[0.9, -1.4], [0.3, 1.6], [-0.7, 0.5]])


def f(z):
    return np.tanh(z @ WEIGHTS).sum(-1) + np.exp(z @ WEIGHTS[:, 0])


def in_torch(z):
    weights = torch.tensor(WEIGHTS)
    return torch.tanh(z @ weights).sum(-1) + (z @ weights[:, 0]).exp()


def as_in_the_paper(logits, uniforms):
    """Its section 3.1, by finite differences: the noise given the bit is tied to the first noise, and then held."""
    mean = expit(logits)
    code = (uniforms > 1 - mean).astype(float)
    tied = np.where(code == 1, (uniforms - (1 - mean)) / mean, uniforms / (1 - mean))

    def relaxed(at):
        return expit((at + logit(uniforms)) / TEMPERATURE)

    def relaxed_given_the_code(at):
        p = expit(at)
        uniform = np.where(code == 1, tied * p + 1 - p, tied * (1 - p))
        return expit((at + logit(uniform)) / TEMPERATURE)

    step = 1e-5 * np.eye(len(logits))
    paths = [
        np.array([f(of(logits + s)) - f(of(logits - s)) for s in step]) / 2e-5
        for of in (relaxed, relaxed_given_the_code)
    ]
    return (f(code) - f(relaxed_given_the_code(logits))) * (code - mean) + paths[0] - paths[1]


def test_the_gradient_is_that_of_the_paper_with_tied_noise():
    random = np.random.default_rng(3)
    for _ in range(5):
        logits, uniforms = random.normal(size=3) * 2, random.uniform(size=(2, 3))
        noise = torch.tensor(logit(uniforms))[:, None]
        bits = (torch.tensor(logits) + noise > 0).double()
        code = Code(bits, noise, torch.tensor(logits)[None])
        found = REBAR(TEMPERATURE).gradient(code, FunctionIntegrand(in_torch, code))
        expected = np.mean([as_in_the_paper(logits, u) for u in uniforms], 0)
        torch.testing.assert_close(found, torch.tensor(expected)[None], rtol=1e-6, atol=1e-8)


def test_bits_that_are_all_but_certain_have_a_finite_gradient():
    torch.set_default_dtype(torch.float32)
    for logits in (torch.tensor([[200.0, -200.0, 0.0]]), torch.tensor([[30.0, -30.0, 1e-8]])):
        result = estimate(REBAR(), curved(3), logits, 50)
        assert result.isfinite().all()
        assert result[0, :2].abs().max() < 1e-4


class Probe(REBAR):
    """Compares f at the drawn codes, and between them, as relaxed bits and as drawn."""

    def gradient(self, code, f):
        torch.testing.assert_close(f.relaxed(code.bits)[0], f.values)
        inside, away = 0.3 + 0.4 * code.bits, 1e-5 * torch.randn_like(code.bits)
        change = f.relaxed(inside + away)[0] - f.relaxed(inside - away)[0]
        torch.testing.assert_close(change, 2 * (f.relaxed(inside)[1] * away).sum(-1), rtol=1e-4, atol=1e-8)
        self.probed = True
        return super().gradient(code, f)


def test_f_at_relaxed_bits_agrees_with_f_at_the_draws_of_any_pair():
    """Beside normals, in several sites, under scales, masks and weights of the rate."""
    probe = Probe()
    served = (pair for pair in map(Pair, count()) if refusal(probe, sites_of(pair)) is None)
    pairs = list(islice(served, 12))
    assert any(pair.normal for pair in pairs) and any(len(pair.sizes) > 1 for pair in pairs)
    assert any(not pair.mask.all() for pair in pairs) and any(pair.beta != 1 and pair.scale != 1 for pair in pairs)
    for pair in pairs:
        probe.probed = False
        with pyro.validation_enabled(False):
            sampled(probe, pair, 3)
        assert probe.probed


@pytest.mark.parametrize("jump", ["compared", "index"])
def test_a_model_that_jumps_between_its_bits_is_refused(jump):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(torch.full((2,), 0.3)).to_event(1))
            mean = {
                "compared": lambda: (z > 0.5).to(z) @ torch.tensor([1.0, 2.0]),
                "index": lambda: torch.arange(4.0)[(2 * z[..., 0] + z[..., 1]).long()],
            }[jump]()
            pyro.sample("x", dist.Normal(mean, 0.5), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(logits=torch.zeros(2, requires_grad=True)).to_event(1))

    with pytest.raises(ValueError, match="rebar needs a model that is continuous in bits between 0 and 1.*use disarm"):
        DiscreteELBO("rebar").differentiable_loss(model, guide, torch.tensor([0.3, 2.0]))


def test_kinks_and_steep_slopes_are_no_jumps():
    generator = torch.Generator().manual_seed(0)
    for scale in (0.1, 1.0, 10.0, 1000.0):
        weights = scale * torch.randn(6, 3, generator=generator, dtype=torch.float64)
        for function in (
            lambda z, w=weights: (z @ w).relu().sum(-1),
            lambda z, w=weights: ((z - 0.3) @ w).abs().sum(-1),
            lambda z, w=weights: (z @ w).tanh().sum(-1),
            lambda z, w=weights, s=scale: -(z @ w / s).exp().sum(-1),
        ):
            code = REBAR().draw(torch.zeros(50, 6), 2)
            check_continuous(code, FunctionIntegrand(function, code), "rebar")


def test_latents_that_follow_the_bits_and_models_that_refuse_relaxed_ones_are_named():
    def guide(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(logits=x[:, :1]).to_event(1))
            pyro.sample("y", dist.Normal(z.sum(-1), 1.0))

    with pytest.raises(ValueError, match="rebar changes bits with all other latents fixed, but site 'y' depends on"):
        DiscreteELBO(REBAR()).loss(guide, guide, torch.randn(4, 3))

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(torch.full((1,), 0.5)).to_event(1))
            if not (z == z.round()).all():
                raise ValueError("half a bit")

    def bits(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(logits=torch.zeros(1, requires_grad=True)).to_event(1))

    message = r"the estimator evaluates .* between 0 and 1 \(sites \['z'\]\), which it refuses: half a bit; use one"
    with pytest.raises(ValueError, match=message):
        DiscreteELBO("rebar").differentiable_loss(model, bits, torch.zeros(3))


def test_a_temperature_is_positive():
    with pytest.raises(ValueError, match="the temperature is -1; give a positive number"):
        REBAR(-1)
