import numpy as np
import pytest
import torch
from ppl_vae.guides.linear_counts import LinearCounts
from ppl_vae.models.text import Text
from scipy.special import logsumexp, xlogy

from benchmarks.searches.oracle import best_bits
from ppl_vae.diagnostics.gap import enumeration
from ppl_vae.diagnostics.gap.branch_and_bound import bracket_mean_field
from ppl_vae.diagnostics.gap.split import split_gap
from tests.support.small_pairs import BitsOfPoints, documents

pytestmark = pytest.mark.usefixtures("float64")


def best_of_two_bits(table, points=601):
    """The highest ELBO of two independent bits over a grid of their probabilities."""
    one = np.linspace(0, 1, points)
    entropy = -xlogy(one, one) - xlogy(1 - one, 1 - one)
    both = np.stack([1 - one, one])
    expected = np.einsum("ia,jb,ij->ab", both, both, table.reshape(2, 2))
    return (expected + entropy[:, None] + entropy).max()


def test_the_bracket_of_two_bits_holds_the_highest_value_on_a_grid():
    random = np.random.default_rng(0)
    tables = np.concatenate([random.normal(size=(8, 4)) * scale for scale in (0.3, 1, 3, 10)])
    lower, upper = bracket_mean_field(torch.tensor(tables), torch.full((32,), -99.0))
    best = np.array([best_of_two_bits(table) for table in tables])
    assert (upper.numpy() >= best).all()
    assert (lower.numpy() <= best + 1e-3).all()  # the grid has gaps
    assert (upper - lower).max() <= 0.01
    assert (upper.numpy() <= logsumexp(tables, 1) + 1e-9).all()


@pytest.mark.parametrize("bits", [1, 3, 5])
def test_the_bracket_holds_what_ascents_from_every_code_find(bits):
    random = np.random.default_rng(bits)
    tables = np.concatenate([random.normal(size=(4, 2**bits)) * scale for scale in (0.5, 2, 6, 60)])
    best = np.array([best_bits(table, random) for table in tables])
    lower, upper = bracket_mean_field(torch.tensor(tables), torch.tensor(best - 1))
    assert (upper.numpy() >= best - 1e-9).all()
    np.testing.assert_allclose(lower.numpy(), best, atol=0.01)
    assert (upper - lower).max() <= 0.01


def test_without_the_time_to_close_it_the_bracket_is_wide_but_holds():
    random = np.random.default_rng(7)
    tables = 4 * random.normal(size=(6, 2**6))
    best = np.array([best_bits(table, random) for table in tables])
    _, upper = bracket_mean_field(torch.tensor(tables), torch.tensor(best), most=2**9)
    assert (upper.numpy() >= best - 1e-9).all()
    assert (upper.numpy() - best).max() > 0.01
    assert (upper.numpy() <= logsumexp(tables, 1) + 1e-9).all()


def test_impossible_codes_are_bounded_too():
    table = torch.tensor([[-torch.inf, 0.0, 0.0, -torch.inf], [0.0, -torch.inf, -torch.inf, -torch.inf]])
    lower, upper = bracket_mean_field(table, torch.tensor([-1.0, -1.0]))
    assert (lower <= 1e-9).all()  # one code for sure, though the evidence of the first is log 2
    assert (upper >= 0).all()
    assert (upper <= 0.02).all()


def test_a_split_of_independent_bits_is_checked_on_a_sample():
    pair, x = BitsOfPoints(5), torch.randn(40, 3)
    found = split_gap(pair.model, pair.guide, x, check=7)
    assert {name: len(each.pointwise) for name, each in found.missed.items()} == {"at least": 7, "at most": 7}
    assert found.missed["at most"].pointwise.max() <= 0.011
    assert found.to_json()["search_check"]["missed"] == 0
    assert "branch and bound: the best member was missed in 0 of 7 data checked, by at most 0.0" in found.table()
    assert not split_gap(pair.model, pair.guide, x, check=0).missed


def test_a_search_that_fails_is_found_out(monkeypatch):
    """A search that stops at the uniform distribution."""

    def stop(table, sizes, starts):
        uniform = [table.new_zeros(len(table), size).log_softmax(1) for size in sizes]
        return table.mean(1) + sum(np.log(size) for size in sizes), uniform

    x = documents(12, 9)
    model = Text(9, bits=3)
    with torch.no_grad():
        model.words.weight.mul_(8)
    guide = LinearCounts(model, x)
    right = split_gap(model, guide, x, check=12)
    monkeypatch.setattr(enumeration, "optimal_mean_field", stop)
    found = split_gap(model, guide, x, check=12)
    short = right.best.pointwise - found.best.pointwise
    missed = found.missed["at least"].pointwise
    assert (missed - short).abs().max() < 0.011
    count = int((missed > 0.01).sum())
    assert count > 0
    assert any(f"the best member was missed in {count} of 12 data checked" in line for line in found.warnings)


@pytest.mark.parametrize(("steps", "restarts"), [(200, 4), (4, 1)])
def test_gradient_ascents_of_bits_are_checked_too(steps, restarts):
    """Their exact bounds are as far below the best ones as the check says, and too short a search is warned of."""
    pair, x = BitsOfPoints(5), torch.randn(6, 3)
    best = split_gap(pair.model, pair.guide, x, check=0).best.pointwise
    torch.manual_seed(0)
    found = split_gap(pair.model, pair.guide, x, method="ascent", steps=steps, restarts=restarts, draws=2000, check=6)
    missed = found.missed["at least"].pointwise
    error = 4 * found.best.pointwise_se + 0.01
    assert ((best - missed - found.best.pointwise).abs() < error).all()
    assert found.to_json()["search_check"]["missed"] == int((missed > 0.01).sum())
    assert (missed > 0.01).any() == (steps == 4)
    assert any("the best member was missed" in line for line in found.warnings) == (steps == 4)
