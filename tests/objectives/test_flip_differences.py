"""Flip differences: known to the likelihood, and by running the model for each bit."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from ppl_vae.guides.full import Full
from ppl_vae.guides.linear_counts import LinearCounts
from ppl_vae.models.text import Text

from ppl_vae.distributions.bits import bit_states
from ppl_vae.distributions.multinomial import PackedMultinomial
from ppl_vae.estimators.double_cv import DoubleCV
from ppl_vae.estimators.local import Local
from ppl_vae.objectives.choice import fit_estimator, make_estimator
from ppl_vae.objectives.elbo import DiscreteELBO
from ppl_vae.objectives.flip_differences import knows_flip_differences
from ppl_vae.programs.sites import guide_sites
from tests.support.small_pairs import BitsOfPoints, documents
from tests.support.z_test import assert_mean

pytestmark = pytest.mark.usefixtures("float64")


def text_pair(bits=3, **options):
    x = documents()
    model = Text(x.vocabulary, bits, **options)
    model.words.weight.data *= 5
    return model, LinearCounts(model, x), x


def gradient(objective, model, guide, x):
    parameters = [*model.parameters(), *guide.parameters()]
    found = torch.autograd.grad(objective.differentiable_loss(model, guide, x), parameters)
    return torch.cat([g.flatten() for g in found])


@pytest.mark.parametrize("block", [1, 2**23])
@pytest.mark.parametrize("batch", [1, 5])
def test_flip_differences_of_documents_are_differences_of_their_log_probability(batch, block, monkeypatch):
    for name in ("BLOCK", "CACHED", "FEWEST"):
        monkeypatch.setattr(f"ppl_vae.distributions.softmax.{name}", block)
    x, weight, bias = documents(), torch.randn(7, 3, requires_grad=True), torch.randn(7, requires_grad=True)
    codes = bit_states(3)[:, None].expand(8, batch, 3)

    def of(hidden):
        return PackedMultinomial(x.lengths, hidden=hidden, weight=weight, bias=bias)

    log_prob, differences = of(codes).log_prob_and_flip_differences(x)
    torch.testing.assert_close(log_prob, of(codes).log_prob(x))
    for bit in range(3):
        on, off = codes.clone(), codes.clone()
        on[..., bit], off[..., bit] = 1, 0
        torch.testing.assert_close(differences[..., bit], of(on).log_prob(x) - of(off).log_prob(x))
    values = log_prob, of(codes).log_prob(x)
    # The first is the gradient computed ahead of time, the second one that nobody could foresee.
    for weights in (torch.tensor(-0.3), torch.rand(8, len(x))):
        found, expected = (torch.autograd.grad((weights * v).sum(), (weight, bias), retain_graph=True) for v in values)
        torch.testing.assert_close(found, expected)


def test_flip_differences_of_large_weights_are_finite():
    torch.set_default_dtype(torch.float32)
    x, weight = documents(), 100 * torch.randn(7, 3)
    fn = PackedMultinomial(x.lengths, hidden=bit_states(3)[:, None], weight=weight, bias=torch.zeros(7))
    assert fn.log_prob_and_flip_differences(x)[1].isfinite().all()


def test_known_flip_differences_are_those_of_running_the_model():
    model, guide, x = text_pair()
    gradients = []
    for known in (True, False):
        objective = DiscreteELBO("local", draws=2)
        gradient(objective, model, guide, x)
        assert objective._knows_flips
        objective._knows_flips = known
        torch.manual_seed(4)
        gradients.append(gradient(objective, model, guide, x))
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(("name", "draws"), [("local", 1), ("local", 3), ("double_cv", 2), ("arms", 3)])
@pytest.mark.parametrize("hidden", [0, 1])
def test_mean_gradient_of_documents_is_the_enumerated_one(hidden, name, draws):
    model, guide, x = text_pair(hidden=hidden, width=4)
    expected = gradient(DiscreteELBO("enumerate"), model, guide, x)
    objective = DiscreteELBO(name, draws=draws)
    assert_mean(torch.stack([gradient(objective, model, guide, x) for _ in range(100)]), expected)


class TwoSites:
    """Bits in two sites, scaled and masked, with a normal beside them."""

    def __init__(self):
        self.logits = torch.nn.Parameter(torch.randn(4, 3))
        self.loc = torch.nn.Parameter(torch.randn(4))
        self.mask = torch.tensor([True, False, True, True])

    def model(self, x):
        with pyro.plate("data", len(x)), pyro.poutine.scale(scale=2.0), pyro.poutine.mask(mask=self.mask):
            a = pyro.sample("a", dist.Bernoulli(0.3 * torch.ones(2)).to_event(1))
            b = pyro.sample("b", dist.Bernoulli(0.6))
            y = pyro.sample("y", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal((a.sum(-1) * (1 + b) + y) ** 2, 2.0), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)), pyro.poutine.scale(scale=2.0), pyro.poutine.mask(mask=self.mask):
            pyro.sample("a", dist.Bernoulli(logits=self.logits[:, :2]).to_event(1))
            pyro.sample("y", dist.Normal(self.loc, 0.1))
            pyro.sample("b", dist.Bernoulli(logits=self.logits[:, 2]))

    def gradient(self, objective, x):
        loss = objective.differentiable_loss(self.model, self.guide, x)
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, (self.logits, self.loc))])


@pytest.mark.parametrize("estimator", [Local(), DoubleCV()], ids=lambda e: e.name)
def test_several_sites_scaled_and_masked_beside_a_normal(estimator):
    """Against the estimator that knows nothing but values, both sampled: the difference has mean zero."""
    pair, x = TwoSites(), torch.randn(4)
    objectives = [DiscreteELBO(estimator, draws=2), DiscreteELBO("enumerate")]
    differences = [torch.sub(*(pair.gradient(objective, x) for objective in objectives)) for _ in range(100)]
    assert_mean(torch.stack(differences), torch.zeros(16))


def test_auto_lists_few_codes_and_takes_local_where_flip_differences_are_known():
    pair, points = BitsOfPoints(9), torch.randn(4, 3)
    model, guide, x = text_pair()
    more = Text(x.vocabulary, 9)
    deep = Text(x.vocabulary, 9, hidden=1)
    for program, proposal, data, name in (
        (model, guide, x, "enumerate"),
        (more, LinearCounts(more, x), x, "local"),
        (deep, LinearCounts(deep, x), x, "disarm+first_order"),
        (pair.model, pair.guide, points, "disarm+first_order"),
    ):
        objective = DiscreteELBO()
        objective.differentiable_loss(program, proposal, data)
        assert objective.estimator.name == name
        sites = guide_sites(proposal, (data,))
        assert fit_estimator("auto", sites, program, (data,))[0].name == name
    full = Full(model, x)
    assert fit_estimator("auto", guide_sites(full, (x,)), model, (x,))[0].name == "enumerate"
    full = Full(more, x)
    assert fit_estimator("auto", guide_sites(full, (x,)), more, (x,))[0].name == "loo"
    objective = DiscreteELBO()
    objective.differentiable_loss(more, full, x).backward()
    assert objective.estimator.name == "loo"
    assert make_estimator("auto", control=True).name == "disarm+first_order"
    assert make_estimator("auto", control=False).name == "disarm"


def test_bits_whose_prior_leans_on_others_are_not_known():
    x = documents()
    weight = torch.randn(7, 2)

    def model(x):
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Bernoulli(0.5 * torch.ones(2)).to_event(1))
            b = pyro.sample("b", dist.Bernoulli(logits=a @ torch.ones(2, 2)).to_event(1))
            pyro.sample("x", PackedMultinomial(x.lengths, hidden=b, weight=weight, bias=torch.zeros(7)), obs=x)

    logits = torch.randn(5, 4, requires_grad=True)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("a", dist.Bernoulli(logits=logits[:, :2]).to_event(1))
            pyro.sample("b", dist.Bernoulli(logits=logits[:, 2:]).to_event(1))

    assert not knows_flip_differences(model, guide_sites(guide, (x,)), (x,), {})
    expected, *samples = (
        torch.autograd.grad(DiscreteELBO(name).differentiable_loss(model, guide, x), logits)[0]
        for name in ["enumerate"] + ["local"] * 150
    )
    assert_mean(torch.stack(samples), expected)


def test_local_refuses_latents_that_follow_the_bits():
    def guide(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(logits=x[:, :1]).to_event(1))
            pyro.sample("y", dist.Normal(z.sum(-1), 1.0))

    message = "changes bits with all other latents fixed, but site 'y' depends on others"
    with pytest.raises(ValueError, match=message):
        DiscreteELBO(Local()).loss(guide, guide, torch.randn(4, 3))
    with pytest.warns(UserWarning, match=f"{message}: using enumerate instead"):
        DiscreteELBO("local").loss(guide, guide, torch.randn(4, 3))


def test_double_serves_models_that_do_not_differentiate_their_bits():
    pair, x = BitsOfPoints(2), torch.randn(4, 3)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.3 * torch.ones(2)).to_event(1))
            table = torch.arange(4.0)[(2 * z[..., 0] + z[..., 1]).long()]
            pyro.sample("x", dist.Normal(table[..., None].expand(*table.shape, 3), pair.noise.exp()).to_event(1), obs=x)

    pair.model = model
    expected = pair.gradient(DiscreteELBO("enumerate"), x)
    assert_mean(torch.stack([pair.gradient(DiscreteELBO("double_cv", draws=2), x) for _ in range(150)]), expected)
