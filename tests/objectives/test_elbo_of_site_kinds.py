"""The ELBO of pairs with categorical, normal, scaled and several latent sites."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO

from ppl_vae.distributions.bits import bit_states
from ppl_vae.estimators import FirstOrder
from ppl_vae.estimators.disarm import DisARM
from ppl_vae.estimators.enumerate import Enumerate
from ppl_vae.estimators.loo import ReinforceLOO
from ppl_vae.objectives.elbo import DiscreteELBO
from ppl_vae.programs.layouts import set_layout
from tests.support.small_pairs import copies_of, number_with_noise
from tests.support.z_test import assert_mean

pytestmark = pytest.mark.usefixtures("float64")


class Mixed:
    """Bits and reparameterisable normals in one pair; the normal may lean on the bits, or the bits on it."""

    def __init__(self, order: str) -> None:
        self.order = order
        self.a, self.b, self.c = (torch.nn.Parameter(torch.randn(*s)) for s in ((3, 2), (3,), (2,)))
        self.parameters = (self.a, self.b, self.c)

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.5 * torch.ones(2)).to_event(1))
            y = pyro.sample("y", dist.Normal(z.sum(-1), 1.0))
            pyro.sample("x", dist.Normal((z * y[..., None]).sum(-1, keepdim=True), torch.ones(3)).to_event(1), obs=x)

    def guide(self, x):
        # The parameters are those of all data, or one of each datum.
        logits, mean = (x[:, None] @ self.a).squeeze(-2), (x * self.b).sum(-1)
        with pyro.plate("data", len(x)):
            if self.order == "bits last":
                y = pyro.sample("y", dist.Normal(mean, 0.7))
                pyro.sample("z", dist.Bernoulli(logits=logits + y[..., None] * self.c).to_event(1))
            else:
                z = pyro.sample("z", dist.Bernoulli(logits=logits).to_event(1))
                lean = ((z if self.order == "bits first" else 1) * self.c).sum(-1)
                pyro.sample("y", dist.Normal(mean + lean, 0.7))


@pytest.mark.parametrize(
    ("order", "estimator"),
    [
        ("independent", FirstOrder(DisARM())),
        ("bits first", FirstOrder(DisARM())),
        ("bits first", DisARM()),
        ("bits last", ReinforceLOO()),
        ("bits last", Enumerate()),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_reparameterised_sites_keep_their_pathwise_gradient(order, estimator):
    """Against quadrature over the normal and a sum over the bits."""
    pair, x = Mixed(order), torch.randn(2, 3)
    pair.c.data *= 2  # the more the sites lean on each other, the more a wrong estimator shows
    nodes, weights = (torch.from_numpy(v) for v in __import__("numpy").polynomial.hermite_e.hermegauss(60))
    weights = weights / weights.sum()
    z = bit_states(2)[:, None, None]  # (codes, nodes, data, bits)
    noise = nodes[None, :, None]
    if order == "bits last":
        y = x @ pair.b + 0.7 * noise
        logits = x @ pair.a + y[..., None] * pair.c
    else:
        logits = (x @ pair.a)[None, None]
        y = x @ pair.b + (z @ pair.c if order == "bits first" else pair.c.sum()) + 0.7 * noise
    log_q_bits = dist.Bernoulli(logits=logits).log_prob(z.expand(4, 60, 2, 2)).sum(-1)
    log_q_normal = dist.Normal(0.0, 0.7).log_prob(0.7 * noise)
    log_p = dist.Normal(z.sum(-1), 1.0).log_prob(y) + 2 * torch.tensor(0.5).log()
    log_p = log_p + dist.Normal((z * y[..., None]).sum(-1, keepdim=True), 1.0).log_prob(x).sum(-1)
    elbo = (weights[:, None] * log_q_bits.exp() * (log_p - log_q_bits - log_q_normal)).sum()
    expected = torch.cat([g.flatten() for g in torch.autograd.grad(-elbo, pair.parameters)])
    copies, (pair.a, pair.b, pair.c) = copies_of(pair.parameters, 1500, len(x))
    DiscreteELBO(estimator, draws=2).loss_and_grads(pair.model, pair.guide, x.repeat(1500, 1))
    assert_mean(torch.cat([p.grad.flatten(1) for p in copies], -1), expected)


def one_hot_pair(scale):
    logits = torch.nn.Parameter(torch.randn(3))

    def model(x):
        with pyro.plate("data", len(x)), pyro.poutine.scale(scale=scale):
            z = pyro.sample("z", dist.OneHotCategorical(logits=torch.zeros(3)))
            pyro.sample("x", dist.Normal(z @ torch.arange(3.0), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)), pyro.poutine.scale(scale=scale):
            pyro.sample("z", dist.OneHotCategorical(logits=logits))

    return logits, model, guide


@pytest.mark.parametrize("estimator", [Enumerate(), ReinforceLOO()], ids=lambda e: e.name)
def test_scaled_categoricals(estimator):
    x, scale = torch.randn(4), 2.5
    logits, model, guide = one_hot_pair(scale)
    log_q = logits.log_softmax(0)
    log_p = dist.Normal(torch.arange(3.0)[:, None], 1.0).log_prob(x) - torch.tensor(3.0).log()
    elbo = scale * (log_q.exp()[:, None] * (log_p - log_q[:, None])).sum()
    (expected,) = torch.autograd.grad(-elbo, logits)
    objective, samples = DiscreteELBO(estimator, draws=4), []
    for _ in range(200):
        logits.grad = None
        objective.loss_and_grads(model, guide, x)
        samples.append(logits.grad.clone())
    assert_mean(torch.stack(samples), expected)
    if estimator.exact:
        assert objective.loss(model, guide, x) == pytest.approx(-elbo.item())


def test_enumeration_of_a_guide_that_works_on_the_codes_of_another_site():
    def guide(x):
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Bernoulli(0.5 * torch.ones(2)).to_event(1))
            both = torch.cat([x.expand(*a.shape[:-1], 3), a], -1)
            pyro.sample("b", dist.Bernoulli(logits=both[..., :2]).to_event(1))

    assert DiscreteELBO("enumerate").loss(guide, guide, torch.randn(4, 3)) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("kl", "pyros"), [("sampled", Trace_ELBO), ("closed_form", TraceMeanField_ELBO)], ids=["sampled", "closed"]
)
def test_pairs_without_discrete_sites_get_the_pathwise_elbo(kl, pyros):
    model, x, loc = number_with_noise(), torch.randn(5), torch.nn.Parameter(torch.tensor(0.3))

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc * x, 0.5))

    torch.manual_seed(3)
    ours = DiscreteELBO(draws=4, kl=kl).differentiable_loss(model, guide, x)
    torch.manual_seed(3)
    theirs = pyros(num_particles=4, vectorize_particles=True, max_plate_nesting=1).differentiable_loss(model, guide, x)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(*(torch.autograd.grad(loss, loc)[0] for loss in (ours, theirs)))


def test_a_guide_that_runs_once_per_sample_has_the_gradient_of_its_scores():
    """Of 400 equal data each has a logit of its own: independent estimates of one gradient."""
    x, logit = torch.full((400,), 0.7), torch.full((400,), 0.3, requires_grad=True)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.5))
            pyro.sample("x", dist.Normal(2 * z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(logits=logit[: len(x)]))

    set_layout(guide, vectorise="loop")
    DiscreteELBO("loo", draws=2).differentiable_loss(model, guide, x).backward()
    q = 1 / (1 + np.exp(-0.3))
    slope = q * (1 - q) * (-0.5 * (0.7 - 2) ** 2 + 0.5 * 0.7**2 - 0.3)
    assert_mean(-logit.grad, torch.tensor(slope))
