"""What every guide must do; a new one is tested by being found in its folder."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from ppl_vae.models.text import Text
from torch import nn

from ppl_vae.distributions.bits import bit_states
from ppl_vae.nn.dense import CountsLinear
from ppl_vae.objectives.elbo import DiscreteELBO
from ppl_vae.programs.handlers import SubstituteLatents, latents, run
from ppl_vae.programs.loading import available, find
from ppl_vae.programs.log_weight import log_joint, log_proposal, log_weight
from tests.support.small_pairs import documents
from tests.support.z_test import assert_mean

pytestmark = pytest.mark.usefixtures("float64")
GUIDES = [d.target for d in available("guides")[0] if d.shipped and d.name != "posterior"]
"""All but the one that only some models have, which has tests of its own."""
assert GUIDES
OF_BITS = [target for target in GUIDES if "Bernoulli" in target.supports]
OF_NORMALS = [target for target in GUIDES if "normal" in target.supports]
BITS = [1, 3, 14]


def named(target):
    return target.__name__


class Drawn(pyro.nn.PyroModule):
    """Bits that explain images."""

    def __init__(self, bits):
        super().__init__()
        self.net = nn.Linear(bits, 20)

    def forward(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.5 * torch.ones(self.net.in_features)).to_event(1))
            pyro.sample("x", dist.Normal(self.net(z).unflatten(-1, (5, 4)), 1.0).to_event(2), obs=x)


def text_pair(target, bits):
    """A guide of bits with documents, or with images if it reads those."""
    images = target.reads == "images"
    x, model = (torch.rand(6, 5, 4), Drawn(bits)) if images else (documents(6, 9), Text(9, bits=bits))
    return model, target(model, x), x


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("target", OF_BITS, ids=named)
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
@pytest.mark.parametrize("target", OF_BITS, ids=named)
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
@pytest.mark.parametrize("target", OF_BITS, ids=named)
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
    guide.encoder.network.rest[-1].bias.data[8:] = 0.8
    z = latents(run(guide, (x,), {}, draws=20_000))["z"]["value"].reshape(-1, 4)
    loc, log_scale, below = guide.encoder(x).split([4, 4, 6], -1)
    torch.testing.assert_close(below, torch.full((1, 6), 0.8))
    scale = torch.diag(log_scale[0].exp()) + 0.8 * torch.ones(4, 4).tril(-1)
    centred = z - loc
    assert_mean(centred[:, :, None] * centred[:, None, :], scale @ scale.T)


class Bent(pyro.nn.PyroModule):
    """Normals that explain five numbers by a non-linear map."""

    def __init__(self, size, shape=(5,)):
        super().__init__()
        self.size, self.net, self.shape = size, nn.Linear(size, 5), shape

    def forward(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(self.size), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.mean(z), 0.5).to_event(len(self.shape)), obs=x)

    def mean(self, z):
        return torch.tanh(self.net(z)).unflatten(-1, self.shape)


def bent_pair(target, size):
    shape = (1, 5) if target.reads == "images" else (5,)
    x, model = 0.1 * torch.randn(3, *shape), Bent(size, shape)  # scales near one, for grids
    guide = target(model, x)
    for name, parameter in guide.named_parameters():  # away from where it starts, and not too far
        parameter.data += (0.01 if name.startswith("encoder") else 0.05) * torch.randn_like(parameter)
    return model, guide, x


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("target", OF_NORMALS, ids=named)
def test_densities_integrate_to_one_and_draws_follow_them(target, size):
    _, guide, x = bent_pair(target, size)
    axis = torch.linspace(-12, 12, 241 if size == 2 else 2001)
    cell = (axis[1] - axis[0]) ** size
    grid = torch.cartesian_prod(*[axis] * size).reshape(-1, 1, size)
    with torch.no_grad():
        density = log_proposal(guide, x, {"z": grid}).exp() * cell
        torch.testing.assert_close(density.sum(0), torch.ones(3), rtol=1e-5, atol=1e-5)
        drawn = latents(run(guide, (x,), {}, draws=4000))["z"]["value"]
    assert drawn.shape == (4000, 3, size)
    for moment in (lambda z: z, torch.sin, lambda z: torch.cos(2 * z.sum(-1))):
        truth = torch.einsum("gb,g...->b...", density, moment(grid)[:, 0])
        assert_mean(moment(drawn), truth)


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("target", OF_NORMALS, ids=named)
def test_draws_of_normals_are_scored_as_they_are_and_alone_as_in_company(target, size):
    model, guide, x = bent_pair(target, size)
    drawn = latents(run(guide, (x,), {}, draws=3))["z"]
    own, value = drawn["fn"].log_prob(drawn["value"]), drawn["value"].detach()
    assert own.shape == (3, 3)
    together = log_proposal(guide, x, {"z": value.clone()})
    torch.testing.assert_close(own, together)
    shared = log_proposal(guide, x, {"z": value[:, :1].clone()})
    torch.testing.assert_close(shared[:, 0], together[:, 0])
    for i in (0, 2):
        torch.testing.assert_close(log_proposal(guide, x[i : i + 1], {"z": value[:, i : i + 1]})[:, 0], together[:, i])
    DiscreteELBO(draws=4)(model, guide)(x).backward()
    for name, parameter in guide.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("target", OF_NORMALS, ids=named)
def test_pathwise_gradients_are_those_of_the_integrated_bound(target):
    """The gradient of draws, for the numbers that members are made from, against quadrature."""
    model, guide, x = bent_pair(target, 2)
    x = x[:1]
    part = guide.encoder(x).detach().requires_grad_()
    axis = torch.linspace(-9, 9, 181)
    grid = torch.cartesian_prod(axis, axis)
    density = guide.members(part)["z"].log_prob(grid[:, None])
    joint = run(model, (x,), {}, draws=len(grid), handler=SubstituteLatents({"z": grid[:, None]}))
    f = sum(site["fn"].log_prob(site["value"]) for site in joint.values()).detach()
    bound = (density.exp() * (f - density)).sum() * (axis[1] - axis[0]) ** 2
    (truth,) = torch.autograd.grad(bound, part)
    many = part.detach().expand(3000, -1).clone().requires_grad_()
    fn = guide.members(many)["z"]
    z = fn()
    scored = run(model, (x.expand(3000, *x.shape[1:]),), {}, draws=1, handler=SubstituteLatents({"z": z[None]}))
    total = sum(site["fn"].log_prob(site["value"]) for site in scored.values()).sum() - fn.log_prob(z).sum()
    (sampled,) = torch.autograd.grad(total, many)
    assert_mean(sampled, truth[0])


@pytest.mark.parametrize("name", ["tree", "mixture", "autoregressive", "full", "linear_counts"])
def test_the_exact_gradient_is_that_of_the_enumerated_bound(name):
    model, guide, x = text_pair(find("guides", name).target, 3)
    for parameter in guide.parameters():
        parameter.data += 0.03 * torch.randn_like(parameter)
    loss = DiscreteELBO("enumerate")(model, guide)(x)
    learned = list(guide.parameters())
    found = torch.autograd.grad(loss, learned)
    states = {"z": bit_states(3)[:, None].expand(8, 6, 3)}
    log_q = log_proposal(guide, x, states)
    bound = (log_q.exp() * (log_joint(model, x, states) - log_q)).sum()
    for mine, truth in zip(found, torch.autograd.grad(-bound, learned), strict=True):
        torch.testing.assert_close(mine, truth)


def start_as(guide, smaller, numbers):
    """Gives a richer guide the encoder of the smaller one for its first numbers, and zero for the others."""
    ours, theirs = guide.encoder, smaller.encoder
    for layer, source in ((ours.linear, theirs.linear), (ours.network.first, theirs.network.first)):
        layer.weight.data[:, : source.weight.shape[1]] = source.weight
        layer.bias.data[: len(source.bias)] = source.bias
    ours.linear.weight.data[:, numbers:], ours.linear.bias.data[numbers:] = 0, 0
    for layer, source in zip(ours.network.rest[1::2], theirs.network.rest[1::2], strict=True):
        layer.weight.data[: len(source.weight)], layer.bias.data[: len(source.bias)] = source.weight, source.bias
    last = ours.network.rest[-1]
    last.weight.data[numbers:], last.bias.data[numbers:] = 0, 0


@pytest.mark.parametrize("name", ["linear_counts", "tree", "mixture", "autoregressive", "full"])
@pytest.mark.parametrize("bits", BITS)
def test_families_of_bits_contain_mean_field(name, bits):
    x = documents(6, 9)
    model = Text(9, bits=bits)
    factorised, other = (find("guides", n).target(model, x) for n in ("mean_field", name))
    if name == "linear_counts":  # itself contained
        nn.init.zeros_(factorised.encoder.network.rest[-1].weight)
        nn.init.zeros_(factorised.encoder.network.rest[-1].bias)
        factorised.encoder.linear.load_state_dict(other.encoder.state_dict())
    else:
        start_as(other, factorised, bits)
    states = {"z": bit_states(min(bits, 3)).repeat(1, 5)[:, None, :bits]}
    torch.testing.assert_close(log_proposal(other, x, states), log_proposal(factorised, x, states))


@pytest.mark.parametrize("name", ["mixture", "low_rank", "full", "flow"])
def test_families_of_normals_contain_mean_field(name):
    x, model = torch.randn(6, 5), Gaussians("normal")
    factorised, other = (find("guides", n).target(model, x) for n in ("mean_field", name))
    start_as(other, factorised, 8)
    values = {"z": torch.randn(3, 6, 2, 2)}
    torch.testing.assert_close(log_proposal(other, x, values), log_proposal(factorised, x, values))
    drawn = latents(run(other, (x,), {}, draws=3))["z"]
    torch.testing.assert_close(drawn["fn"].log_prob(drawn["value"]), log_proposal(other, x, {"z": drawn["value"]}))


def test_trees_and_full_start_where_mean_field_would():
    for name, bits in (("tree", 5), ("full", 5), ("full", 14), ("autoregressive", 5)):
        _, guide, x = text_pair(find("guides", name).target, bits)
        part = guide.encoder(x)
        alone = dist.Bernoulli(logits=part[:, :bits]).to_event(1)
        code = torch.rand(4, 6, bits).round()
        torch.testing.assert_close(guide.members(part)["z"].log_prob(code), alone.log_prob(code))


def test_larger_families_contain_smaller_ones():
    """A tree is a joint table; a low rank is a covariance; two components are among three."""
    x, model = documents(6, 9), Text(9, bits=3)
    states = bit_states(3)[:, None]
    for name in ("tree", "mixture", "autoregressive"):
        guide, full = (find("guides", n).target(model, x) for n in (name, "full"))
        log_q = guide.members(torch.randn(6, guide.encoder(x).shape[1]))["z"].log_prob(states)
        joint = full.members(torch.cat([torch.zeros(6, 3), log_q.T], -1))["z"]
        torch.testing.assert_close(joint.log_prob(states), log_q)
    two, three = (find("guides", "mixture").target(model, x, components=k) for k in (2, 3))
    part = torch.randn(6, 7)
    more = torch.cat([part[:, :4], torch.full((6, 1), -torch.inf), part[:, 4:], torch.randn(6, 3)], -1)
    torch.testing.assert_close(three.members(more)["z"].log_prob(states), two.members(part)["z"].log_prob(states))
    x, model = torch.randn(6, 5), Bent(3)
    low, full = (find("guides", n).target(model, x) for n in ("low_rank", "full"))
    fn = low.members(torch.randn(6, 12))["z"]
    scale = torch.linalg.cholesky(fn.covariance_matrix)
    rows, columns = torch.tril_indices(3, 3, -1)
    whole = torch.cat([fn.loc, scale.diagonal(dim1=-2, dim2=-1).log(), scale[:, rows, columns]], -1)
    z = torch.randn(4, 6, 3)
    torch.testing.assert_close(full.members(whole)["z"].log_prob(z), fn.log_prob(z))


@pytest.mark.parametrize("layout", ["balanced", "chain"])
def test_a_tree_of_few_bits_is_drawn_along_its_edges(layout):
    x, model = documents(6, 9), Text(9, bits=6)
    guide = find("guides", "tree").target(model, x, layout=layout)
    assert guide.parents.tolist() == ([0, 0, 1, 1, 2] if layout == "balanced" else [0, 1, 2, 3, 4])
    fn = guide.members(2 * torch.randn(6, 11))["z"]
    states = bit_states(6)[:, None]
    chances = fn.log_prob(states).exp()
    drawn = fn.sample((4000,))
    assert_mean(drawn[..., :, None] * drawn[..., None, :], torch.einsum("sb,si,sj->bij", chances, *[states[:, 0]] * 2))


def test_frequencies_do_not_see_the_length_and_counts_do():
    x = documents(3, 9)
    twice = type(x)(x.offsets, x.words, 2 * x.counts, x.vocabulary)
    for read_as, same in (("frequencies", True), ("counts", False)):
        layer = CountsLinear(x, 4, read_as)
        assert torch.allclose(layer(x), layer(twice)) is same


@pytest.mark.parametrize("target", GUIDES, ids=named)
def test_data_that_a_guide_does_not_read_are_refused(target, monkeypatch):
    """Before the model is run, naming the guide, what it reads, and what the data are."""
    for reads, x, reason in (
        ("images", documents(4, 5), r"reads images .* the data are documents; choose another guide"),
        ("images", torch.randn(4, 5), r"reads images .* the data are tensors of shape \(5,\)"),
        ("documents", torch.randn(4, 5), r"reads documents .* the data are tensors of shape \(5,\)"),
        ("pictures", torch.randn(4, 5), "reads must be one of any, documents, images, got 'pictures'"),
    ):
        monkeypatch.setattr(target, "reads", reads)
        with pytest.raises(ValueError, match=f"{target.__name__}.{reason}"):
            target(None, x)


@pytest.mark.parametrize("target", GUIDES, ids=named)
def test_unsupported_latents_are_refused_by_name(target):
    def counts(x):
        with pyro.plate("data", len(x)):
            n = pyro.sample("n", dist.Poisson(1.0))
            shape = x.shape[1:]
            mean = n.reshape(*n.shape, *[1] * len(shape))
            pyro.sample("x", dist.Normal(mean, 1.0).expand([*n.shape, *shape]).to_event(len(shape)), obs=x)

    with pytest.raises(ValueError, match="does not support latent site 'n', which is Poisson"):
        target(counts, torch.randn(4, 5) if target.reads == "any" else torch.randn(4, 5, 5))


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
    with pytest.raises(ValueError, match="Tree supports one latent site"):
        find("guides", "tree").target(two, x)
    for name, option in (("mixture", "components"), ("autoregressive", "context")):
        with pytest.raises(ValueError, match=option):
            find("guides", name).target(Text(9), documents(2, 9), **{option: 0})
    for name, option in (("low_rank", "rank"), ("flow", "transforms")):
        with pytest.raises(ValueError, match=option):
            find("guides", name).target(Bent(3), x, **{option: 0})
    with pytest.raises(ValueError, match="layers must be at least 0, got -1"):
        find("guides", "deep_frequencies").target(Text(9), documents(2, 9), layers=-1)
