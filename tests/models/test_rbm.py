import pytest
import torch
from ppl_vae.guides.linear_counts import LinearCounts
from ppl_vae.guides.posterior import Posterior
from ppl_vae.models.rbm import Rbm

from ppl_vae import boltzmann
from ppl_vae.bits import bit_states
from ppl_vae.boltzmann import HiddenBits, log_partition
from ppl_vae.diagnostics import tightness
from ppl_vae.evidence import measure
from ppl_vae.log_weight import log_joint
from ppl_vae.simulate import simulate
from tests.statistics import assert_mean

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
    guide = LinearCounts(model, x)
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
    found, gradients = [], []
    for _ in range(60):
        log_c, error = log_partition(*parts, chains=300, temperatures=40)
        found.append((log_c.detach() - exact.detach()).exp())
        gradients.append(torch.cat([g.flatten() for g in torch.autograd.grad(log_c, parts)]))
    assert_mean(torch.stack(found), torch.tensor(1.0))
    assert 0.5 < torch.stack(found).std() / error < 2
    off = torch.stack(gradients).mean(0) - torch.cat([slope.flatten() for slope in slopes])
    assert off.abs().max() < 0.02  # the ratio of two unbiased estimates has a bias of order 1 / chains


@pytest.mark.parametrize("most", [20, 0])
def test_draws_follow_the_law(monkeypatch, most):
    weight, visible, hidden = torch.randn(5, 3), torch.randn(5), torch.randn(3)
    fn = HiddenBits(weight, visible, hidden)
    states = fn.enumerate_support()
    probabilities = fn.log_prob(states).exp()
    torch.testing.assert_close(probabilities.sum(), torch.tensor(1.0))
    monkeypatch.setattr(boltzmann, "ENUMERATED", most)
    if most:
        assert_mean(fn.sample((4_000,)), probabilities @ states)
    else:  # ends of 1,000 chains, resampled: about as good as so many draws
        torch.testing.assert_close(fn.sample((20_000,)).mean(0), probabilities @ states, atol=0.08, rtol=0)


def test_data_drawn_are_those_of_the_machine():
    model = machine(bits=2, visible=3)
    _, x = simulate(model, torch.zeros(4_000, 3))
    evidence = measure(model, Posterior(model, bit_states(3)), bit_states(3)).evidence.pointwise
    assert_mean(x, evidence.exp() @ bit_states(3))


def test_the_normaliser_is_computed_once_for_a_state(monkeypatch):
    model, calls = machine(), []
    exact = log_partition
    monkeypatch.setattr("ppl_vae.models.rbm.log_partition", lambda *parts: calls.append(1) or exact(*parts))
    with torch.no_grad():
        first = model.log_c()
        assert torch.equal(model.log_c(), first)
        assert len(calls) == 1
        model.code_bias.add_(1.0)
        assert not torch.equal(model.log_c(), first)
    assert model.log_c().requires_grad


def test_what_it_cannot_be_is_refused():
    with pytest.raises(ValueError, match="linear decoder, got hidden=1; take prior 'free'"):
        Rbm(hidden=1)
    with pytest.raises(ValueError, match="bits must be at least 1, got 0"):
        Rbm(bits=0)
    with pytest.raises(ValueError, match="take prior 'rbm'"):
        Posterior(Rbm(prior="free", hidden=1), torch.zeros(2, 16))
