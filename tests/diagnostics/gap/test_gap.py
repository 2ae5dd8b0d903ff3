import math
from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from matplotlib.figure import Figure
from ppl_vae.guides.full import Full
from ppl_vae.guides.linear_counts import LinearCounts
from ppl_vae.guides.mean_field import MeanField
from ppl_vae.models.text import Text

from ppl_vae.diagnostics.gap.branch_and_bound import bracket_mean_field
from ppl_vae.diagnostics.gap.coordinate_ascent import optimal_mean_field
from ppl_vae.diagnostics.gap.gap import Gap
from ppl_vae.diagnostics.gap.split import split_gap
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.measure import measure
from tests.support.small_pairs import BitsOfPoints, documents

pytestmark = pytest.mark.usefixtures("float64")


def bound(table, sizes, factors):
    """ELBO of given factors by forming their joint distribution."""
    joint = factors[0]
    for factor in factors[1:]:
        joint = (joint[:, :, None] + factor[:, None, :]).flatten(1)
    return (joint.exp() * (table - joint)).sum(1)


@pytest.mark.parametrize("sizes", [[2], [2, 2, 2], [3, 2, 4], [5]], ids=str)
def test_factors_are_worth_the_bound_that_is_returned(sizes):
    table = 2 * torch.randn(20, torch.tensor(sizes).prod())
    start = [torch.randn(20, size).log_softmax(1) for size in sizes]
    best, factors = optimal_mean_field(table, sizes, [start])
    torch.testing.assert_close(best, bound(table, sizes, factors))
    assert (best >= bound(table, sizes, start) - 1e-9).all()
    assert (best <= table.logsumexp(1) + 1e-9).all()


def test_sweeps_never_lower_the_bound():
    sizes, table = [2] * 5, 3 * torch.randn(30, 32)
    start = [torch.randn(30, 2).log_softmax(1) for _ in sizes]
    bounds = [optimal_mean_field(table, sizes, [start], sweeps=k)[0] for k in range(1, 12)]
    assert all((after >= before - 1e-9).all() for before, after in zip(bounds, bounds[1:], strict=False))


def test_gradient_ascent_finds_nothing_better_nearby():
    sizes, table = [2] * 4, 2 * torch.randn(10, 16)
    _, factors = optimal_mean_field(table, sizes, [[torch.zeros(10, 2).log_softmax(1)] * 4])
    logits = [f.clone().requires_grad_() for f in factors]
    value = bound(table, sizes, [l.log_softmax(1) for l in logits])  # noqa: E741
    for gradient in torch.autograd.grad(value.sum(), logits):
        assert gradient.abs().max() < 1e-3


def test_independent_posteriors_leave_no_family_gap():
    """A table that is a sum over bits is a member of the family."""
    parts = [torch.randn(6, 2) for _ in range(4)]
    table = parts[0]
    for part in parts[1:]:
        table = (table[:, :, None] + part[:, None, :]).flatten(1)
    best, _ = optimal_mean_field(table, [2] * 4, [[torch.zeros(6, 2).log_softmax(1)] * 4])
    torch.testing.assert_close(best, table.logsumexp(1))


def test_states_of_probability_zero():
    table = torch.tensor([[-torch.inf, 0.0, 0.0, -torch.inf]])
    best, _ = optimal_mean_field(table, [2, 2], [[torch.tensor([[0.9, 0.1]]).log(), torch.tensor([[0.2, 0.8]]).log()]])
    torch.testing.assert_close(best, torch.zeros(1))  # one of the two codes for sure; the evidence is log 2


@pytest.mark.parametrize("guide", [LinearCounts, MeanField, Full])
def test_the_parts_add_up_to_the_gap(guide, monkeypatch):
    x = documents(12, 9)
    model = Text(9, bits=4, hidden=1, width=8)
    q = guide(model, x)
    whole, found = measure(model, q, x), split_gap(model, q, x)
    total = found.family_gap.pointwise + found.amortisation_gap.pointwise
    torch.testing.assert_close(total, whole.gap.pointwise)
    torch.testing.assert_close(found.evidence.pointwise, whole.evidence.pointwise)
    torch.testing.assert_close(found.elbo.pointwise, whole.elbo.pointwise)
    assert found.family_gap.pointwise.min() > -1e-9
    assert found.amortisation_gap.pointwise.min() > -1e-9
    if guide is Full:
        assert found.family_gap.mean == 0
    else:
        # A bound of the best member from below is one of the family gap from above.
        assert (found.family_gap.bound, found.amortisation_gap.bound) == ("upper", "lower")
    monkeypatch.setattr("ppl_vae.diagnostics.gap.enumeration.CELLS", 80)
    torch.testing.assert_close(split_gap(model, q, x).best.pointwise, found.best.pointwise)
    assert found.worst(3)[0] == int(whole.gap.pointwise.argmax())


def test_a_ladder_of_families_only_gains():
    """The best factorised member does not depend on the guide's network; the full family is the posterior."""
    x = documents(12, 9)
    model = Text(9, bits=4)
    linear, deep, full = (split_gap(model, guide(model, x), x) for guide in (LinearCounts, MeanField, Full))
    torch.testing.assert_close(linear.best.pointwise, deep.best.pointwise)
    assert (full.best.pointwise >= linear.best.pointwise - 1e-9).all()


def test_a_square_of_gaussians_in_two_orders():
    """Codes 00, 01, 10, 11 at its corners: where neighbours differ by one bit the posterior factorises."""
    corners = {"gray": [[-1, -1], [1, -1], [-1, 1], [1, 1]], "around": [[-1, -1], [1, -1], [1, 1], [-1, 1]]}
    gaps = {}
    for order, centres in corners.items():
        table = torch.tensor(centres, dtype=torch.float64)

        def model(x, table=table):
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Bernoulli(0.5 * torch.ones(2)).to_event(1))
                pyro.sample("x", dist.Normal(table[(2 * z[..., 0] + z[..., 1]).long()], 1.0).to_event(1), obs=x)

        def guide(x):
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Bernoulli(logits=torch.zeros(len(x), 2)).to_event(1))

        with torch.no_grad():
            gaps[order] = split_gap(model, guide, 1.5 * torch.randn(200, 2)).family_gap.mean
    assert gaps["gray"] < 1e-6
    assert gaps["around"] > 0.05


def test_what_cannot_be_split_is_named():
    pair, x = BitsOfPoints(2), torch.randn(4, 3)

    def chained(x, observed=True):
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Bernoulli(0.5 * torch.ones(2)).to_event(1))
            pyro.sample("b", dist.Bernoulli(logits=a).to_event(1))
            if observed:
                pyro.sample("x", dist.Normal(0.0, 1.0).expand([3]).to_event(1), obs=x)

    def continuous(x, observed=True):
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.Normal(0.0, 1.0))
            if observed:
                pyro.sample("x", dist.Normal(0.0, 1.0).expand([3]).to_event(1), obs=x)

    with pytest.raises(ValueError, match="sites are independent, but 'a', 'b' are not; use method='ascent'"):
        split_gap(chained, partial(chained, observed=False), x, method="enumeration")
    with pytest.raises(ValueError, match="site 'y' is normal"):
        split_gap(continuous, partial(continuous, observed=False), x, method="enumeration")
    with pytest.raises(ValueError, match="the latents have 4 joint states, more than 2.1"):
        split_gap(pair.model, pair.guide, x, method="enumeration", most_bits=1)


def test_saddles_of_symmetric_data_are_left():
    """In natural order around a square, the centre's posterior is uniform: its best factors are not."""
    corners = torch.tensor([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.5 * torch.ones(2)).to_event(1))
            pyro.sample("x", dist.Normal(corners[(2 * z[..., 0] + z[..., 1]).long()], 0.5).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(logits=torch.zeros(len(x), 2)).to_event(1))

    x = torch.tensor([[0.0, 0.3], [0.3, 0.0], [0.0, 1.0]])
    gap = split_gap(model, guide, x)
    found = gap.family_gap.pointwise
    total = (gap.evidence.pointwise - gap.elbo.pointwise).mean().item()
    assert f"gap (evidence minus ELBO, both parts together): {total:.3f}" in " ".join(str(gap).split())
    # With few states the best of many random starts is the best there is.
    table = torch.stack([dist.Normal(c, 0.5).to_event(1).log_prob(x) for c in corners], 1) + torch.tensor(0.25).log()
    starts = [[torch.randn(3, 2).log_softmax(1) for _ in range(2)] for _ in range(30)]
    best, _ = optimal_mean_field(table, [2, 2], starts)
    torch.testing.assert_close(found, table.logsumexp(1) - best, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", ["categorical", "one-hot"])
def test_categoricals_are_split_too(kind):
    """Two of three states each, coupled through the observation."""
    fn = dist.Categorical if kind == "categorical" else dist.OneHotCategorical
    centres = torch.randn(3, 3)

    def number(value):
        return value if kind == "categorical" else value.argmax(-1)

    def model(x):
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", fn(logits=torch.tensor([0.0, 1.0, -1.0])))
            b = pyro.sample("b", fn(logits=torch.zeros(3)))
            pyro.sample("x", dist.Normal(centres[number(a), number(b)], 0.7), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("b", fn(logits=torch.stack([x, 0 * x, -x], -1)))
            pyro.sample("a", fn(logits=torch.stack([0 * x, x, x], -1)))

    x = torch.randn(8)
    found, whole = split_gap(model, guide, x), measure(model, guide, x)
    total = found.family_gap.pointwise + found.amortisation_gap.pointwise
    torch.testing.assert_close(total, whole.gap.pointwise)
    assert (found.family_gap.pointwise >= 0).all()
    assert found.family_gap.mean > 1e-3
    assert "32 more starts at random (no proof): the best member was missed in 0 of 8 data checked" in found.table()


def test_a_universal_family_stays_universal_when_put_together():
    x = documents(6, 9)
    model = Text(9, bits=3)
    found = split_gap(model, Full(model, x, width=8), x)
    joined = type(found).join([found, found])
    assert joined.best is joined.evidence
    assert joined.family_gap.bound == "exact"


@pytest.mark.parametrize("bits", [2, 5, 7])
def test_a_likely_code_among_impossible_ones_is_found(bits):
    """All that lies around it is a thousand nats below: a start that doubts it would leave it."""
    table = -1000 * torch.rand(6, 2**bits) - 3
    table[torch.arange(6), torch.randint(2**bits, (6,))] = 0
    best, _ = optimal_mean_field(table, [2] * bits)
    assert (best >= 0).all()
    lower, upper = bracket_mean_field(table, best)
    assert (upper >= best).all()
    assert (lower >= best - 1e-9).all()


@pytest.mark.parametrize(("least", "drawn"), [(0.02, "log10 of nats"), (0.0, "log10 of nats"), (-0.6, "nats")])
def test_parts_below_zero_are_drawn_where_they_are(least, drawn):
    parts = torch.tensor([least, 0.5, 0.1, 2.0])
    elbo, evidence = (Estimate(each, "draws", "exact") for each in (torch.zeros(4), parts + 0.2))
    gap = Gap(evidence, Estimate(parts, "ascent", "exact"), elbo, "independent latents")
    axes = Figure().subplots(1, 2)
    gap.draw_panels(*axes)
    assert axes[1].get_xlabel().startswith(f"{drawn} (")
    low = min(bar.get_x() for bar in axes[1].patches)
    assert low == pytest.approx(least if least < 0 else max(math.log10(max(least, 1e-6)), -6), abs=1e-6)
