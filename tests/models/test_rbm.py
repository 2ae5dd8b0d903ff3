import sys

import pytest
import torch
from ppl_vae.guides.linear_counts import LinearCounts
from ppl_vae.guides.posterior import Posterior
from ppl_vae.models.rbm import Rbm

from ppl_vae.diagnostics.gap.split import split_gap
from ppl_vae.diagnostics.tightness.tightness import tightness
from ppl_vae.distributions import rbm as boltzmann
from ppl_vae.distributions.bits import bit_states
from ppl_vae.distributions.rbm import RBMPrior, log_partition
from ppl_vae.evidence.measure import measure
from ppl_vae.programs.log_weight import log_joint
from ppl_vae.programs.simulate import simulate
from tests.support.z_test import assert_mean

pytestmark = pytest.mark.usefixtures("float64")


def machine(bits=3, visible=4):
    model = Rbm(bits=bits, shape=(visible,))
    for parameter in model.parameters():
        parameter.data.normal_()
    return model


def test_is_the_density_of_the_formula():
    model, x, z = machine(), bit_states(4), bit_states(3)
    w, u, v = model.linear.weight, model.linear.bias, model.code_bias
    joint = log_joint(model, x, {"z": z[:, None].expand(-1, len(x), -1)})
    by_hand = torch.einsum("xi,ij,zj->zx", x, w, z) + x @ u + (z @ v)[:, None]
    torch.testing.assert_close(joint, by_hand - by_hand.logsumexp((0, 1)))


def test_its_linear_posterior_is_exact_and_found_tight():
    model, x = machine(), bit_states(4)
    guide = LinearCounts(model, x[:2])
    guide.encoder.weight.data.copy_(model.linear.weight)
    guide.encoder.bias.data.copy_(model.code_bias)
    for each in (guide, Posterior(model, x)):
        found = measure(model, each, x)
        assert found.evidence.bound == "exact"
        torch.testing.assert_close(found.gap.pointwise, torch.zeros(len(x)), atol=1e-10, rtol=0)
        torch.testing.assert_close(found.evidence.pointwise.exp().sum(), torch.tensor(1.0))
    assert tightness(model, guide, x).status == "tight"


def test_both_sides_give_the_same_normaliser_and_blocks_do_not_matter(monkeypatch):
    w, u, v = torch.randn(6, 5), torch.randn(6), torch.randn(5)
    whole = log_partition(w, u, v)[0]
    torch.testing.assert_close(log_partition(w.T, v, u)[0], whole)
    monkeypatch.setattr(boltzmann, "BLOCK", 3)
    torch.testing.assert_close(log_partition(w, u, v)[0], whole)


def test_annealing_estimates_the_normaliser_and_its_gradient(monkeypatch):
    weight, visible, hidden = (0.7 * torch.randn(shape) for shape in ((6, 4), (6,), (4,)))
    parts = [part.requires_grad_() for part in (weight, visible, hidden)]
    exact = log_partition(*parts)[0]
    slopes = torch.autograd.grad(exact, parts)
    monkeypatch.setattr(boltzmann, "ENUMERATED", 0)
    shares, excess, gradients = [], [], []
    for _ in range(100):
        log_c, error = log_partition(*parts, chains=200, temperatures=20)
        share = (log_c.detach() - exact.detach()).exp()
        shares.append(share)
        excess.append((share - 1) ** 2 - (share * error) ** 2)
        gradients.append(share * torch.cat([g.flatten() for g in torch.autograd.grad(log_c, parts)]))
    # Without bias are the estimates of c, of its gradient, and of the variance of the former.
    assert_mean(torch.stack(shares), torch.tensor(1.0))
    assert_mean(torch.stack(gradients), torch.cat([slope.flatten() for slope in slopes]))
    assert_mean(torch.stack(excess), torch.tensor(0.0))


@pytest.mark.parametrize(("visible", "most"), [(5, 20), (3, 3), (5, 0)], ids=["hidden", "visible", "annealed"])
def test_draws_follow_the_law(monkeypatch, visible, most):
    fn = RBMPrior(torch.randn(visible, 4), torch.randn(visible), torch.randn(4))
    states = fn.enumerate_support()
    probabilities = fn.log_prob(states).exp()
    torch.testing.assert_close(probabilities.sum(), torch.tensor(1.0))
    monkeypatch.setattr(boltzmann, "ENUMERATED", most)
    monkeypatch.setattr(boltzmann, "TEMPERATURES", 40)
    # Draws of one call begin at the same chains: calls are what is independent.
    drawn = fn.sample((4_000,)) if most else torch.stack([fn.sample((400,)).mean(0) for _ in range(20)])
    assert_mean(drawn, probabilities @ states)


def test_data_drawn_are_those_of_the_machine():
    model = machine(bits=2, visible=3)
    _, x = simulate(model, torch.zeros(4_000, 3))
    evidence = measure(model, Posterior(model, bit_states(3)), bit_states(3)).evidence.pointwise
    assert_mean(x, evidence.exp() @ bit_states(3))


def test_the_normaliser_is_computed_once_for_a_state(monkeypatch):
    model, calls = machine(), []
    exact = log_partition
    monkeypatch.setattr("ppl_vae.models.rbm.log_partition", lambda *parts: calls.append(1) or exact(*parts))

    def found():
        with torch.no_grad():
            return model.log_c()[0]

    first = found()
    assert torch.equal(found(), first)
    assert len(calls) == 1
    assert model.log_c()[0].requires_grad
    # A fused step and .data leave the version of a parameter as it was.
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1, fused=True)
    model.log_c()[0].backward()
    optimizer.step()
    second = found()
    model.code_bias.data.add_(1.0)
    assert first != second != found()
    model.float()
    assert found().dtype == torch.float32


def test_chains_are_annealed_once_for_a_state_but_for_a_step(monkeypatch):
    for module in (boltzmann, sys.modules[Rbm.__module__]):
        monkeypatch.setattr(module, "ENUMERATED", 2)
    monkeypatch.setattr(boltzmann, "TEMPERATURES", 5)
    calls, anneal = [], boltzmann._anneal
    monkeypatch.setattr(boltzmann, "_anneal", lambda *parts: calls.append(1) or anneal(*parts))
    model, x = machine(), bit_states(4)[:3]
    model.eval()
    measure(model, Posterior(model, x), x, method="importance", draws=10, check=False)
    value = model.log_c()[0]
    assert value.requires_grad and torch.equal(value, model.log_c()[0])
    assert len(calls) == 1
    model.train()
    assert model.log_c()[0].item() != value.item()  # of other chains
    assert len(calls) == 2


def test_an_annealed_normaliser_is_one_number_a_state_and_its_error_is_told(monkeypatch):
    monkeypatch.setattr(boltzmann, "ENUMERATED", 2)
    monkeypatch.setattr(boltzmann, "TEMPERATURES", 40)  # of the draws
    model, x = machine(), bit_states(4)
    guide = Posterior(model, x)
    found = measure(model, guide, x, method="importance")
    with torch.no_grad():
        error = model.prior().log_prob_se
    assert error > 0
    assert found.evidence.se == found.elbo.se == error
    assert (found.evidence.bound, found.gap.bound, found.gap.se) == ("approximate", "lower", 0.0)
    assert found.evidence.minus(found.elbo).se < 1e-12  # they are off together
    (line,) = (line for line in found.evidence.warnings if f"with standard error {error:.2g} nats" in line)
    gap = split_gap(model, guide, x, steps=4, draws=4)
    assert gap.evidence.common_se == gap.best.common_se == gap.elbo.common_se == error
    assert gap.family_gap.common_se == gap.amortisation_gap.common_se == 0.0
    assert line in gap.to_json()["warnings"]
    assert f"note: {line}" in str(gap)
    torch.rand(3)
    model._known = None
    again = measure(model, guide, x, method="importance")
    torch.testing.assert_close(again.evidence.pointwise, found.evidence.pointwise)
    assert measure(model, guide, x).evidence.bound == "approximate"  # enumeration, too, needs the normaliser


def test_any_prior_holds_that_of_the_machine():
    model, x = machine(), bit_states(4)
    other = Rbm(bits=3, prior="any", shape=(4,))
    other.linear.load_state_dict(model.linear.state_dict())
    other.code_bias.data.copy_(model.prior().log_prob(bit_states(3)))
    guide = LinearCounts(model, x[:2])
    one, two = (measure(each, guide, x).evidence.pointwise for each in (model, other))
    torch.testing.assert_close(one, two)
    assert tightness(other, guide, x).status == "tight"
    other.code_bias.data.normal_()
    assert tightness(other, guide, x).status == "outside"


@pytest.mark.parametrize("bits", [3, 22])
def test_annealing_agrees_with_what_is_exact(monkeypatch, bits):
    model = Rbm(bits=bits, shape=(4,))
    model.linear.weight.data.mul_(2)
    x = bit_states(4)
    exact = measure(model, Posterior(model, x), x).evidence
    assert exact.bound == ("exact" if bits == 3 else "lower")  # beyond 16 bits by constant weights of the posterior
    guide = LinearCounts(model, x[:2])
    for start in ("guide", "prior"):
        found = measure(model, guide, x, method="annealing", draws=50, temperatures=60, start=start).evidence
        assert_mean((found.pointwise - exact.pointwise).exp()[:, None], torch.ones(1))  # chains of no two data are one


def test_what_it_cannot_be_is_refused():
    with pytest.raises(ValueError, match="linear decoder, got hidden=1; take prior 'free'"):
        Rbm(hidden=1)
    with pytest.raises(ValueError, match="bits must be at least 1, got 0"):
        Rbm(bits=0)
    with pytest.raises(ValueError, match="at most 16 bits, got 17; take prior 'free'"):
        Rbm(bits=17, prior="any")
    with pytest.raises(ValueError, match="take prior 'rbm'"):
        Posterior(Rbm(prior="free", hidden=1), torch.zeros(2, 16))


@pytest.mark.parametrize("prior", ["rbm", "any"])
def test_evidence_is_exact_beyond_the_codes_that_a_guide_lists(prior):
    model, x = Rbm(bits=13, prior=prior, shape=(6,)), torch.rand(3, 6).round()
    found = measure(model, LinearCounts(model, x), x)
    assert found.evidence.bound == "exact"
    assert found.evidence.method == "enumeration of 8192 states"
