"""The best members of families that couple latents: trees, mixtures, low rank."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from ppl_vae.guides.autoregressive import Autoregressive
from ppl_vae.guides.flow import Flow
from ppl_vae.guides.low_rank import LowRank
from ppl_vae.guides.mean_field import MeanField
from ppl_vae.guides.mixture import Mixture
from ppl_vae.guides.tree import Tree
from ppl_vae.models.text import Text

from ppl_vae.diagnostics.gap.gradient_ascent import optimal_member
from ppl_vae.diagnostics.gap.split import split_gap
from ppl_vae.diagnostics.information.information import information
from ppl_vae.diagnostics.tightness.tightness import tightness
from ppl_vae.distributions.bits import TreeBits
from ppl_vae.evidence.measure import measure
from tests.support.small_pairs import BitsOfPoints, LinearGaussian, documents

pytestmark = pytest.mark.usefixtures("float64")


def bits_pair(guide, bits=3, **options):
    pair, x = BitsOfPoints(bits), torch.randn(12, 3)
    return pair.model, guide(pair.model, x, layers=1, width=8, **options), x


@pytest.mark.parametrize(
    ("guide", "options"),
    [(Tree, {}), (Tree, {"layout": "chain"}), (Mixture, {}), (Mixture, {"components": 1})],
    ids=str,
)
def test_richer_families_lie_between_factorised_and_evidence(guide, options):
    model, q, x = bits_pair(guide, **options)
    factorised = split_gap(model, MeanField(model, x, layers=1, width=8), x)
    found = split_gap(model, q, x)
    torch.testing.assert_close(found.evidence.pointwise, factorised.evidence.pointwise)
    assert (found.best.pointwise >= factorised.best.pointwise - 1e-9).all()
    assert (found.best.pointwise <= found.evidence.pointwise + 1e-9).all()
    torch.testing.assert_close(found.elbo.pointwise, measure(model, q, x).elbo.pointwise)
    assert found.family == q.family
    assert (found.family_gap.bound, found.amortisation_gap.bound) == ("upper", "lower")
    errors = max(e.mean for e in found.optimisation.values())
    if options.get("components") == 1:
        assert (found.best.pointwise - factorised.best.pointwise).mean() < 1e-6 + errors
    else:
        assert found.best.mean > factorised.best.mean + 1e-3


def test_trees_of_two_bits_reach_the_evidence():
    model, q, x = bits_pair(Tree, bits=2)
    found = split_gap(model, q, x)
    torch.testing.assert_close(found.best.pointwise, found.evidence.pointwise, rtol=0, atol=1e-6)


@pytest.mark.parametrize("layout", ["balanced", "chain"])
def test_a_posterior_that_is_a_tree_is_found(layout):
    parents = torch.tensor([0, 0, 1] if layout == "balanced" else [0, 1, 2])
    prior = TreeBits(torch.randn(4), 2 * torch.randn(3), parents)
    weight = torch.randn(4, 3)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(logits=torch.zeros(4)).to_event(1))
            # log p(x given z) is a tree's density and what is linear in z: the posterior is along that tree.
            pyro.sample("x", dist.Normal(torch.zeros(3), 1.0).expand([*z.shape[:-1], 3]).to_event(1), obs=x)
            pyro.sample("tree", Weighed(prior.log_prob(z) + (z @ weight * x).sum(-1)), obs=torch.zeros(len(x)))

    x = torch.randn(6, 3)
    q = Tree(model, x, layout=layout, layers=1, width=4)
    found = split_gap(model, q, x)
    torch.testing.assert_close(found.best.pointwise, found.evidence.pointwise, rtol=0, atol=1e-5)
    assert split_gap(model, MeanField(model, x, layers=1, width=4), x).family_gap.mean > 0.01
    assert tightness(model, q, x).verdict.startswith("the posterior is in the family")


class Weighed(dist.TorchDistribution):
    """An observation with a given log-density."""

    arg_constraints = {}
    support = dist.constraints.real

    def __init__(self, value):
        self.value = value
        super().__init__(value.shape, torch.Size(), validate_args=False)

    def expand(self, batch_shape, _instance=None):
        return Weighed(self.value.expand(batch_shape))

    def log_prob(self, x):
        return self.value

    def sample(self, shape=()):
        return torch.zeros(*shape, *self.value.shape)


def test_sampled_ascents_of_trees_and_mixtures_agree_with_exact_ones():
    for guide in (Tree, Mixture):
        model, q, x = bits_pair(guide)
        exact = split_gap(model, q, x)
        found = split_gap(model, q, x, method="ascent", steps=200, restarts=2)
        assert found.family == exact.family
        short = exact.best.minus(found.best)
        errors = [e.mean + 4 * e.se for e in found.optimisation.values()]
        assert -4 * found.best.se < short.mean < max(errors) + 4 * found.best.se


def test_codes_too_long_for_tables_ascend_by_draws():
    x, model = documents(4, 9), Text(9, bits=13)
    q = Tree(model, x, layers=1, width=8)
    with pytest.raises(ValueError, match="over at most 4096 states, but the latents have 8192; use method='ascent'"):
        split_gap(model, q, x, method="enumeration")
    found = split_gap(model, q, x, steps=20, restarts=2)
    assert found.evidence.bound == "exact"
    assert found.family == "bits along a balanced tree"
    assert found.best.method == "ascent of 20 steps from 4 starts"


def test_a_low_rank_posterior_is_found():
    """One observed direction makes the posterior's covariance diagonal plus rank one."""
    pair = LinearGaussian(3, 1, noise=0.3)
    _, x = pair.simulate(10)
    q = LowRank(pair.model, x[:2], rank=1, layers=1, width=8)
    diagonal = optimal_member(pair.model, pair.guide, x, restarts=2, steps=300)
    found = optimal_member(pair.model, q, x, restarts=2)
    errors = [e.mean + 4 * e.se for e in found.optimisation.values()]
    short = (pair.evidence(x) - found.best.pointwise).mean()
    assert -4 * found.best.se < short < max(errors) + 4 * found.best.se
    assert found.best.mean > diagonal.best.mean + 0.1


def test_of_a_flow_the_outputs_of_the_encoder_are_free_for_each_datum():
    pair = LinearGaussian(2, 3)
    _, x = pair.simulate(10)
    q = Flow(pair.model, x, layers=1, width=8)
    gap = split_gap(pair.model, q, x, steps=120, restarts=2)
    assert gap.family == (
        "the guide's own structure, its encoder's outputs free for each datum, its other networks fixed"
    )
    # The untrained flow is the identity, so that its members are independent normals.
    precision = torch.eye(2) + pair.map @ pair.map.T / pair.noise**2
    apart = 0.5 * (precision.diagonal().log().sum() - torch.logdet(precision))
    assert (gap.family_gap.bound, gap.amortisation_gap.bound) == ("upper", "lower")
    errors = [e.mean + 4 * e.se for e in gap.optimisation.values()]
    assert -4 * gap.best.se < gap.family_gap.mean - apart < max(errors) + 4 * gap.best.se
    found = measure(pair.model, q, x, draws=50)
    torch.testing.assert_close(found.evidence.pointwise, pair.evidence(x))
    rates = information(pair.model, q, x, draws=50).rates
    assert abs(rates.elbo.mean - found.elbo.mean) < 5 * (rates.elbo.se + found.elbo.se)


@pytest.mark.parametrize("guide", [Tree, Mixture, Autoregressive])
def test_other_measurements_take_codes_that_depend_on_each_other(guide):
    model, q, x = bits_pair(guide)
    exact = measure(model, q, x[:3])
    annealed = measure(model, q, x[:3], method="annealing", draws=20, temperatures=150)
    z = (annealed.evidence.pointwise - exact.evidence.pointwise) / annealed.evidence.pointwise_se
    assert z.abs().max() < 5
    found = information(model, q, x)
    torch.testing.assert_close(found.rates.elbo.pointwise[:3], exact.elbo.pointwise)


@pytest.mark.parametrize("guide", [Flow, LowRank, Mixture])
def test_other_measurements_take_normals_that_depend_on_each_other(guide):
    pair = LinearGaussian(2, 3)
    _, x = pair.simulate(3)
    q = guide(pair.model, x, layers=1, width=8)
    annealed = measure(pair.model, q, x, method="annealing", draws=8, temperatures=40)
    # So short a walk need not arrive, but it stays below.
    assert annealed.evidence.pointwise.isfinite().all()
    assert ((annealed.evidence.pointwise - pair.evidence(x)) < 5 * annealed.evidence.pointwise_se).all()
    assert information(pair.model, q, x, draws=20).rates.elbo.pointwise.isfinite().all()
