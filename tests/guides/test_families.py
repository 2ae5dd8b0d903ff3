"""Families of guides: which contains which, and what the draws of each are."""

import pyro.distributions as dist
import pytest
import torch
from ppl_vae.models.text import Text
from torch import nn

from ppl_vae.distributions.bits import bit_states
from ppl_vae.nn.dense import CountsLinear
from ppl_vae.objectives.elbo import DiscreteELBO
from ppl_vae.programs.handlers import latents, run
from ppl_vae.programs.loading import find
from ppl_vae.programs.log_weight import log_joint, log_proposal
from tests.support.guide_models import Bent, Gaussians, text_pair
from tests.support.small_pairs import documents
from tests.support.z_test import assert_mean

pytestmark = pytest.mark.usefixtures("float64")
BITS = [1, 3, 14]


def test_full_covariance_is_one():
    """Draws of two normals under the full guide are as correlated as their parameters say."""
    x, model = torch.randn(1, 5), Gaussians("normal")
    guide = find("guides", "full").target(model, x)
    guide.encoder.network.rest[-1].bias.data[8:] = 0.8
    z = latents(run(guide, (x,), {}, draws=20_000))["z"]["value"].reshape(-1, 4)
    loc, log_scale, below = guide.encoder(x).split([4, 4, 6], -1)
    torch.testing.assert_close(below, torch.full((1, 6), 0.8))
    scale = torch.diag(log_scale[0].exp()) @ (torch.eye(4) + 0.8 * torch.ones(4, 4).tril(-1))
    centred = z - loc
    assert_mean(centred[:, :, None] * centred[:, None, :], scale @ scale.T)


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
    whole = torch.cat(
        [fn.loc, scale.diagonal(dim1=-2, dim2=-1).log(), scale[:, rows, columns] / scale[:, rows, rows]], -1
    )
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
