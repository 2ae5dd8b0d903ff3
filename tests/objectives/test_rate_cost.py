"""Every cost of the rate with every estimator, against sums over codes written without the objective."""

import math
from copy import copy

import pyro
import pyro.distributions as dist
import pytest
import torch
from ppl_vae.guides.linear_counts import LinearCounts
from ppl_vae.models.text import Text

from ppl_vae.distributions.bits import bit_states
from ppl_vae.objectives.choice import make_estimator
from ppl_vae.objectives.elbo import DiscreteELBO
from ppl_vae.objectives.rate_cost import RateCost
from ppl_vae.programs.log_weight import log_parts, log_proposals
from tests.support.small_pairs import BitsOfPoints, LinearGaussian, copies_of, documents
from tests.support.z_test import assert_mean

pytestmark = pytest.mark.usefixtures("float64")

ESTIMATORS = [
    *((name, control) for name in ("arm", "disarm", "arms", "loo") for control in (False, True)),
    ("double_cv", None),
    ("local", None),
]
COSTS = {
    "beta": RateCost(0.3),
    "free of charge": RateCost(0.0),
    "all paid": RateCost(free_bits=1e-3),
    "all free": RateCost(free_bits=50.0),
    "aim above": RateCost(0.5, rate=50.0),
    "aim below": RateCost(2.0, rate=0.0),
}


class TwoSites:
    """Bits at two sites, one of which says much more than the other."""

    def __init__(self) -> None:
        self.map = torch.randn(3, 3)
        self.first, self.second = (torch.nn.Parameter(s * torch.randn(3, k)) for s, k in ((3.0, 2), (0.1, 1)))
        self.prior = torch.nn.Parameter(torch.randn(2))
        self.parameters = (self.prior, self.first, self.second)

    def model(self, x):
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.Bernoulli(logits=self.prior).to_event(1))
            z = pyro.sample("z", dist.Bernoulli(0.5 * torch.ones(1)).to_event(1))
            pyro.sample("x", dist.Normal(torch.cat([y, z], -1) @ self.map, 1.0).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            first, second = ((x[:, None] @ w).squeeze(-2) for w in (self.first, self.second))
            pyro.sample("y", dist.Bernoulli(logits=first).to_event(1))
            pyro.sample("z", dist.Bernoulli(logits=second).to_event(1))

    def gradients(self, objective, x, count):
        """Independent estimates ``(count, parameters)``: of one batch of copies, which have parameters of their own."""
        pair = copy(self)
        leaves, (pair.prior, pair.first, pair.second) = copies_of(self.parameters, count, len(x))
        loss = objective.differentiable_loss(pair.model, pair.guide, x.repeat(count, 1))
        return torch.cat([g.flatten(1) for g in torch.autograd.grad(loss, leaves)], -1)


def parts(model, guide, x, sizes):
    """Distortion, and the rate of each site, summed over the batch, with their gradients."""
    codes = bit_states(sum(sizes.values()))[:, None].expand(-1, len(x), -1)
    values = dict(zip(sizes, codes.split(list(sizes.values()), -1), strict=True))
    likelihood, prior = log_parts(model, x, values)
    proposal = log_proposals(guide, x, values)
    q = sum(proposal.values()).exp()
    return -(q * likelihood).sum(), {name: (q * (proposal[name] - prior[name])).sum() for name in sizes}


def gradient(loss, parameters):
    found = torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=True)
    return torch.cat(
        [torch.zeros_like(p).flatten() if g is None else g.flatten() for p, g in zip(parameters, found, strict=True)]
    )


def own_gradient(objective, pair, x):
    return gradient(objective.differentiable_loss(pair.model, pair.guide, x), pair.parameters)


@pytest.mark.parametrize("name", COSTS)
def test_enumeration_has_value_and_gradient_of_every_cost(name):
    pair, x, cost = TwoSites(), torch.randn(4, 3), COSTS[name]
    distortion, rates = parts(pair.model, pair.guide, x, {"y": 2, "z": 1})
    rate = sum(rates.values()) / 4
    h = {
        "beta": lambda: 0.3 * rate,
        "free of charge": lambda: 0 * rate,
        "all paid": lambda: sum((r / 4).clamp(min=1e-3) for r in rates.values()),
        "all free": lambda: torch.tensor(100.0),
        "aim above": lambda: 0.5 * (rate - 50).abs(),
        "aim below": lambda: 2 * rate.abs(),
    }[name]()
    expected = distortion + 4 * h
    objective = DiscreteELBO("enumerate", beta=cost)
    loss = objective.differentiable_loss(pair.model, pair.guide, x)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradient(loss, pair.parameters), gradient(expected, pair.parameters))
    torch.testing.assert_close(objective.batch_metrics["rate"], 4 * rate.detach())
    torch.testing.assert_close(objective.batch_metrics["distortion"], distortion.detach())


def test_free_bits_are_those_of_each_site():
    pair, x = TwoSites(), torch.randn(4, 3)
    distortion, rates = parts(pair.model, pair.guide, x, {"y": 2, "z": 1})
    assert rates["z"] / 4 < 0.2 < rates["y"] / 4
    expected = distortion + rates["y"] + 4 * 0.2
    objective = DiscreteELBO("enumerate", beta=RateCost(free_bits=0.2))
    loss = objective.differentiable_loss(pair.model, pair.guide, x)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradient(loss, pair.parameters), gradient(expected, pair.parameters))


@pytest.mark.parametrize("beta", [0.3, -1.0])
@pytest.mark.parametrize(("name", "control"), ESTIMATORS)
def test_every_estimator_has_the_gradient_of_a_beta_elbo(name, control, beta):
    """Of the rate rewarded, too: what an aim does below its target."""
    pair, x = TwoSites(), torch.randn(3, 3)
    distortion, rates = parts(pair.model, pair.guide, x, {"y": 2, "z": 1})
    expected = gradient(distortion + beta * sum(rates.values()), pair.parameters)
    cost = RateCost(beta) if beta > 0 else RateCost(-beta, rate=50.0)
    objective = DiscreteELBO(make_estimator(name, control), draws=2, beta=cost)
    assert_mean(pair.gradients(objective, x, 2000), expected)


@pytest.mark.parametrize("estimator", ["local", "enumerate", "auto", "disarm"])
def test_documents_whose_likelihood_knows_its_flip_differences(estimator):
    """Beta scales the flip differences of prior and log q, not those of the likelihood; codes are shared."""
    x = documents(4)
    model = Text(7, bits=3)
    guide = LinearCounts(model, x)
    parameters = [p for module in (model, guide) for p in module.parameters()]
    for parameter in parameters:
        parameter.data = 0.5 * torch.randn_like(parameter)
    distortion, rates = parts(model, guide, x, {"z": 3})
    expected = gradient(distortion + 0.3 * rates["z"], parameters)
    objective = DiscreteELBO(estimator, beta=0.3)
    count = 1 if estimator in ("enumerate", "auto") else 200
    samples = [gradient(objective.differentiable_loss(model, guide, x), parameters) for _ in range(count)]
    assert objective._knows_flips is (True if estimator == "local" else None)
    if count == 1:
        torch.testing.assert_close(samples[0], expected)
    else:
        assert_mean(torch.stack(samples), expected)


@pytest.mark.parametrize(("name", "control"), [*ESTIMATORS, ("enumerate", None)])
@pytest.mark.parametrize(
    "cost", [RateCost(0.7, rate=1.0, lagrangian=True), RateCost(rate=1.0), RateCost(3.0, free_bits=0.2)], ids=str
)
def test_any_cost_has_the_gradient_of_the_beta_that_it_holds_fixed(name, control, cost):
    pair, x = BitsOfPoints(2), torch.randn(4, 3)
    objective = DiscreteELBO(make_estimator(name, control), draws=2, beta=cost)
    torch.manual_seed(5)
    found = own_gradient(objective, pair, x)
    fixed = RateCost(objective.beta) if objective.beta >= 0 else RateCost(-objective.beta, rate=1e6)
    torch.manual_seed(5)
    again = own_gradient(DiscreteELBO(make_estimator(name, control), draws=2, beta=fixed), pair, x)
    torch.testing.assert_close(found, again, rtol=0, atol=0)


def test_reparameterised_sites():
    pair, x = LinearGaussian(2), torch.randn(3, 4)
    pair.weight = torch.nn.Parameter(pair.weight)
    mean = (x - pair.offset) @ pair.weight
    rate = 0.5 * (mean.square() + 0.64 - 1 - math.log(0.64)).sum()
    spread = 0.64 * pair.map.square().sum() / pair.noise**2
    off = (x - pair.offset - mean @ pair.map).square().sum() / pair.noise**2
    distortion = 0.5 * (off + len(x) * spread) + x.numel() * (math.log(pair.noise) + 0.5 * math.log(2 * math.pi))
    expected = torch.autograd.grad(distortion + 0.3 * rate, pair.weight)[0]
    objective, samples, seen = DiscreteELBO(beta=0.3), [], []
    for _ in range(200):
        loss = objective.differentiable_loss(pair.model, pair.guide, x)
        samples.append(torch.autograd.grad(loss, pair.weight)[0])
        seen.append(torch.stack([objective.batch_metrics["rate"], objective.batch_metrics["distortion"]]))
    assert_mean(torch.stack(samples), expected)
    assert_mean(torch.stack(seen), torch.stack([rate, distortion]).detach())


@pytest.mark.parametrize(("name", "control"), [*ESTIMATORS, ("enumerate", None)])
def test_one_is_the_elbo_bit_for_bit(name, control):
    for pair in (BitsOfPoints(3), TwoSites()):
        x, found = torch.randn(4, 3), []
        for cost in (1.0, RateCost(anneal="linear:2"), RateCost(anneal="cyclic:4"), RateCost(free_bits=1e-9)):
            objective = DiscreteELBO(make_estimator(name, control), draws=2, beta=cost)
            objective.epoch = 2.0
            torch.manual_seed(3)
            loss = objective.differentiable_loss(pair.model, pair.guide, x)
            found.append((loss.detach(), gradient(loss, pair.parameters)))
        for loss, slope in found[1:]:
            assert torch.equal(slope, found[0][1])
            # The value of free bits is put together anew from the rates of the sites.
            torch.testing.assert_close(loss, found[0][0], rtol=1e-12 if found[3][0] is loss else 0, atol=0)


def test_scaled_pairs_may_be_weighed_but_have_no_rate_to_aim_at():
    pair, x = BitsOfPoints(2), torch.randn(4, 3)

    def scaled(program):
        def run(x):
            with pyro.poutine.scale(scale=2.5):
                program(x)

        return run

    once = DiscreteELBO("enumerate", beta=0.3).loss(pair.model, pair.guide, x)
    assert DiscreteELBO("enumerate", beta=0.3).loss(scaled(pair.model), scaled(pair.guide), x) == pytest.approx(
        2.5 * once
    )
    with pytest.raises(ValueError, match="site 'z' is scaled or masked.*weight the rate by beta alone"):
        DiscreteELBO("enumerate", beta=RateCost(rate=1.0)).loss(scaled(pair.model), scaled(pair.guide), x)


def test_the_multiplier_follows_the_rate_and_is_kept():
    pair, x = BitsOfPoints(2), torch.randn(4, 3)
    objective = DiscreteELBO("enumerate", beta=RateCost(2.0, rate=0.0, lagrangian=True))
    objective.differentiable_loss(pair.model, pair.guide, x)
    assert objective.multiplier == 2
    rate = (objective.batch_metrics["rate"] / 4).item()
    objective.after_step()
    assert objective.multiplier == pytest.approx(2 * math.exp(0.01 * rate))
    other = DiscreteELBO(beta=objective.cost)
    other.state = objective.state
    assert other.multiplier == objective.multiplier


def test_the_lagrangian_form_ends_at_its_rate():
    pair, x = BitsOfPoints(3), torch.randn(20, 3)
    objective = DiscreteELBO("enumerate", beta=RateCost(rate=0.5, lagrangian=True))
    optimiser = torch.optim.Adam(pair.parameters, 0.03)
    for _ in range(600):
        optimiser.zero_grad()
        objective.loss_and_grads(pair.model, pair.guide, x)
        optimiser.step()
    assert objective.batch_metrics["rate"].item() / 20 == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"beta": -1.0}, "beta must be a number that is not negative, got -1"),
        ({"beta": math.nan}, "beta must be a number"),
        ({"rate": -3.0}, "rate must be a number that is not negative"),
        ({"anneal": "linear"}, "annealing is none, linear:EPOCHS or cyclic:EPOCHS, got 'linear'"),
        ({"anneal": "linear:x"}, "positive number of epochs, got 'linear:x'"),
        ({"anneal": "cosine:3"}, "annealing is none, linear"),
        ({"anneal": "cyclic:0"}, "positive number of epochs"),
        ({"rate": 3.0, "free_bits": 0.1}, "contradict each other.*leave one out"),
        ({"lagrangian": True}, "needs a rate to aim at"),
        ({"lagrangian": True, "rate": 1.0, "anneal": "linear:3"}, "leave out annealing"),
        ({"lagrangian": True, "rate": 1.0, "beta": 0.0}, "begin with a positive beta"),
    ],
)
def test_contradictions_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        RateCost(**options)


def test_annealing_asks_for_the_epoch():
    pair, x = BitsOfPoints(2), torch.randn(4, 3)
    with pytest.raises(ValueError, match=r"set `objective\.epoch` before each step"):
        DiscreteELBO(beta=RateCost(anneal="linear:2")).loss(pair.model, pair.guide, x)


def test_slopes_are_those_of_the_cost():
    for cost in (*COSTS.values(), RateCost(0.5, rate=2.0, lagrangian=True), RateCost(2.0, free_bits=1.0)):
        for rate in (0.4, 1.7, 2.3, 6.0):
            above, below = (cost.penalty({"z": rate + step})[0] for step in (1e-6, -1e-6))
            assert cost.penalty({"z": rate})[1]["z"] == pytest.approx((above - below) / 2e-6, rel=1e-5, abs=1e-7)
