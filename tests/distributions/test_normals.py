"""Vectors of normals are scored as SciPy scores them."""

import pyro.distributions as dist
import pytest
import torch
from scipy import stats

from ppl_vae.distributions.exponential_family import log_prob
from ppl_vae.distributions.normals import log_prob_of_normals


def scales(kind):
    return {
        "one": torch.tensor(0.7),
        "one per row": torch.rand(4, 1, 1) + 0.5,
        "one per number": torch.rand(3, 5) + 0.5,
    }[kind]


@pytest.mark.parametrize("kind", ["one", "one per row", "one per number"])
@pytest.mark.parametrize("events", [0, 1, 2])
def test_vectors_of_normals(kind, events, float64):
    loc, scale, x = torch.randn(4, 3, 5, requires_grad=True), scales(kind).requires_grad_(), torch.randn(3, 5)
    fn = dist.Normal(loc, scale, validate_args=False).to_event(events)
    expected = torch.from_numpy(stats.norm.logpdf(x, loc.detach(), scale.detach().expand(4, 3, 5)))
    found = log_prob(fn, x)
    torch.testing.assert_close(found, expected.sum(tuple(range(-events, 0))) if events else expected)
    # One deviation of a whole vector is what the short way is for.
    assert (log_prob_of_normals(fn, x) is None) == (not events or kind == "one per number")
    for one, other in zip(
        torch.autograd.grad(found.sum(), (loc, scale), create_graph=True),
        torch.autograd.grad(fn.log_prob(x).sum(), (loc, scale)),
        strict=True,
    ):
        torch.testing.assert_close(one, other)
        assert one.requires_grad


@pytest.mark.parametrize("learned", [True, False])
def test_one_deviation_for_all_has_its_gradient_without_one_for_each_number(learned, float64):
    start, loc, x = torch.tensor(0.3, requires_grad=True), torch.randn(4, 3, 5), torch.randn(4, 3, 5)
    with torch.set_grad_enabled(learned):
        fn = dist.Normal(loc, start.exp(), validate_args=False).to_event(2)
    found, expected = log_prob(fn, x), fn.log_prob(x)
    torch.testing.assert_close(found, expected)
    assert found.requires_grad == learned
    if learned:
        names, nodes = [], [found.grad_fn]
        while nodes:
            names.append(nodes[-1].name())
            nodes += [before for before, _ in nodes.pop().next_functions if before is not None]
        assert "ExpBackward0" in names and not any("Slice" in name for name in names)
        both = [torch.autograd.grad(density.sum(), start, retain_graph=True)[0] for density in (found, expected)]
        torch.testing.assert_close(*both)


def test_a_density_of_its_own_and_checks_of_values_are_left_alone():
    class Shifted(dist.Normal):
        def log_prob(self, value):
            return super().log_prob(value) + 1

    loc, x = torch.zeros(2, 3), torch.ones(2, 3)
    assert log_prob_of_normals(Shifted(loc, 1.0, validate_args=False).to_event(1), x) is None
    assert log_prob_of_normals(dist.Normal(loc, 1.0, validate_args=True).to_event(1), x) is None
    masked = dist.Normal(loc, 1.0, validate_args=False).to_event(1).mask(torch.tensor([True, False]))
    assert log_prob(masked, x).tolist()[1] == 0
