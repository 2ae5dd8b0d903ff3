"""What every guide must do; a new one is tested by being found in its folder."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from ppl_vae.models.text import Text
from torch import nn

from ppl_vae.bits import bit_states
from ppl_vae.log_weight import latents, log_proposal, log_weight, run
from ppl_vae.networks import FirstLayer
from ppl_vae.objectives import DiscreteELBO
from ppl_vae.pairs import available, find
from tests.pairs_in_small import documents
from tests.statistics import assert_mean

pytestmark = pytest.mark.usefixtures("float64")
GUIDES = [d.target for d in available("guides")[0] if d.shipped and d.name != "posterior"]
"""All but the one that only some models have: tests/models has its tests."""
BITS = [1, 3, 14]


def named(target):
    return target.__name__


def text_pair(target, bits):
    x = documents(6, 9)
    model = Text(9, bits=bits)
    return model, target(model, x), x


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("target", GUIDES, ids=named)
def test_draws_the_latents_of_the_model_and_learns_all_its_parameters(target, bits):
    model, guide, x = text_pair(target, bits)
    assert log_weight(model, guide, x, 4).shape == (4, 6)
    drawn = latents(run(guide, (x,), {}, draws=4))["z"]["value"]
    assert drawn.shape == (4, 6, bits)
    assert ((drawn == 0) | (drawn == 1)).all()
    estimator = "disarm" if bits > 1 else "enumerate"
    try:
        objective = DiscreteELBO(estimator, draws=4)
        loss = objective(model, guide)(x)
    except ValueError:
        objective = DiscreteELBO("loo" if bits > 3 else "enumerate", draws=4)
        objective.estimator = getattr(objective.estimator, "estimator", objective.estimator)
        loss = objective(model, guide)(x)
    loss.backward()
    for name, parameter in guide.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("bits", [1, 3])
@pytest.mark.parametrize("target", GUIDES, ids=named)
def test_probabilities_sum_to_one_and_draws_follow_them(target, bits):
    model, guide, x = text_pair(target, bits)
    for parameter in guide.parameters():
        parameter.data += 0.03 * torch.randn_like(parameter)
    states = bit_states(bits)[:, None]
    probabilities = log_proposal(guide, x, {"z": states}).exp()
    torch.testing.assert_close(probabilities.sum(0), torch.ones(6))
    drawn = latents(run(guide, (x,), {}, draws=4000))["z"]["value"]
    assert_mean(drawn, (probabilities[..., None] * states).sum(0))


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("target", GUIDES, ids=named)
def test_a_datum_is_guessed_alone_as_in_company(target, bits):
    model, guide, x = text_pair(target, bits)
    code = {"z": torch.rand(2, 1, bits).round()}
    together = log_proposal(guide, x, {"z": code["z"].expand(2, 6, bits)})
    for i in (0, 5):
        torch.testing.assert_close(log_proposal(guide, x[i : i + 1], code)[:, 0], together[:, i])


class Gaussians(pyro.nn.PyroModule):
    """Two latent sites of different shapes, and data that are tensors."""

    def __init__(self, kind: str):
        super().__init__()
        self.kind = kind
        self.net = nn.Linear(4, 5)

    def prior(self):
        if self.kind == "normal":
            return dist.Normal(torch.zeros(2, 2), 1.0).to_event(2)
        if self.kind == "categorical":
            return dist.Categorical(logits=torch.zeros(4))
        return dist.OneHotCategorical(logits=torch.zeros(4))

    def forward(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.prior())
            if self.kind == "categorical":
                z = torch.nn.functional.one_hot(z.long(), 4).to(x.dtype)
            mean = self.net(z.reshape(*z.shape[: z.ndim - (2 if self.kind == "normal" else 1)], 4))
            pyro.sample("x", dist.Normal(mean.reshape(*mean.shape[:-1], 5), 1.0).to_event(1), obs=x)


@pytest.mark.parametrize("kind", ["normal", "categorical", "one-hot"])
@pytest.mark.parametrize("name", ["mean_field", "full", "linear_counts"])
def test_other_families_of_latents_are_served(name, kind):
    x, model = torch.randn(6, 5), Gaussians(kind)
    guide = find("guides", name).target(model, x)
    objective = DiscreteELBO("enumerate")(model, guide)
    loss = objective(x)
    loss.backward()
    assert all(p.grad is not None for p in guide.parameters())
    assert log_weight(model, guide, x, 3).shape == (3, 6)


def test_full_covariance_is_one():
    """Draws of two normals under the full guide are as correlated as their parameters say."""
    x, model = torch.randn(1, 5), Gaussians("normal")
    guide = find("guides", "full").target(model, x)
    guide.coupling.bias.data.fill_(0.8)
    z = latents(run(guide, (x,), {}, draws=20_000))["z"]["value"].reshape(-1, 4)
    loc, log_scale = (guide.linear(x) + guide.natural(guide.trunk(x))).chunk(2, -1)
    scale = torch.diag(log_scale[0].exp()) + 0.8 * torch.ones(4, 4).tril(-1)
    centred = z - loc
    assert_mean(centred[:, :, None] * centred[:, None, :], scale @ scale.T)


def test_mean_field_contains_the_linear_guide_and_full_contains_mean_field():
    x = documents(6, 9)
    model = Text(9, bits=3)
    linear, factorised, full = (find("guides", n).target(model, x) for n in ("linear_counts", "mean_field", "full"))
    states = {"z": bit_states(3)[:, None]}
    for module in (factorised.encoder.network.rest[-1], full.natural):
        nn.init.zeros_(module.weight)
        nn.init.zeros_(module.bias)
    for layer in (factorised.encoder.linear, full.linear):
        layer.load_state_dict(linear.encoder.state_dict())
    expected = log_proposal(linear, x, states)
    torch.testing.assert_close(log_proposal(factorised, x, states), expected)
    torch.testing.assert_close(log_proposal(full, x, states), expected)


def test_frequencies_do_not_see_the_length_and_counts_do():
    x = documents(3, 9)
    twice = type(x)(x.offsets, x.words, 2 * x.counts, x.vocabulary)
    for reads, same in (("frequencies", True), ("counts", False)):
        layer = FirstLayer(x, 4, reads)
        assert torch.allclose(layer(x), layer(twice)) is same


@pytest.mark.parametrize("target", GUIDES, ids=named)
def test_unsupported_latents_are_refused_by_name(target):
    def counts(x):
        with pyro.plate("data", len(x)):
            n = pyro.sample("n", dist.Poisson(1.0))
            pyro.sample("x", dist.Normal(n[..., None], 1.0).expand([*n.shape, 5]).to_event(1), obs=x)

    with pytest.raises(ValueError, match="does not support latent site 'n', which is Poisson"):
        target(counts, torch.randn(4, 5))


def test_broken_contracts_are_refused_by_name():
    linear = find("guides", "linear_counts").target

    def no_plate(x):
        pyro.sample("z", dist.Bernoulli(0.5).expand([len(x)]).to_event(1))

    def nothing_latent(x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(0.0, 1.0).expand([len(x), 5]).to_event(1), obs=x)

    def two(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.5)) + pyro.sample("y", dist.Bernoulli(0.5))
            pyro.sample("x", dist.Normal(z[..., None], 1.0).expand([*z.shape, 5]).to_event(1), obs=x)

    x = torch.randn(4, 5)
    with pytest.raises(ValueError, match=r"site 'z' of the model lies in the plates \[\]"):
        linear(no_plate, x)
    with pytest.raises(ValueError, match="no latent site"):
        linear(nothing_latent, x)
    with pytest.raises(ValueError, match="one latent site, but the model has 'z', 'y'; use mean_field"):
        find("guides", "full").target(two, x)
    with pytest.raises(ValueError, match="at least one hidden layer"):
        find("guides", "full").target(Text(9), documents(2, 9), layers=0)
    with pytest.raises(ValueError, match="layers=-1"):
        find("guides", "deep_frequencies").target(Text(9), documents(2, 9), layers=-1)
