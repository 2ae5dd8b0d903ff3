"""What every guide must do; a new one is tested by being found in its folder."""

from dataclasses import replace

import pyro
import pyro.distributions as dist
import pytest
import torch
from ppl_vae.models.text import Text

from ppl_vae.distributions.bits import bit_states
from ppl_vae.objectives.elbo import DiscreteELBO
from ppl_vae.programs.handlers import SubstituteLatents, latents, run
from ppl_vae.programs.loading import available, find
from ppl_vae.programs.log_weight import log_proposal, log_weight
from tests.support.guide_models import Bent, Gaussians, text_pair
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


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("target", OF_BITS, ids=named)
def test_draws_the_latents_of_the_model_and_learns_all_its_parameters(target, bits):
    model, guide, x = text_pair(target, bits)
    assert log_weight(model, guide, x, 4).shape == (4, 6)
    drawn = latents(run(guide, (x,), {}, draws=4))["z"]["value"]
    assert drawn.shape == (4, 6, bits)
    assert ((drawn == 0) | (drawn == 1)).all()
    DiscreteELBO(draws=4)(model, guide)(x).backward()
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


def of_latent(prior, to_number):
    """A model whose only latent explains every number of a datum alike."""

    def model(x):
        with pyro.plate("data", len(x)):
            n = to_number(pyro.sample("n", prior()))
            shape = x.shape[1:]
            mean = n.reshape(*n.shape, *[1] * len(shape))
            pyro.sample("x", dist.Normal(mean, 1.0).expand([*n.shape, *shape]).to_event(len(shape)), obs=x)

    return model


@pytest.mark.parametrize("target", GUIDES, ids=named)
def test_unsupported_latents_are_refused_by_name(target):
    x = torch.randn(4, 5) if target.reads == "any" else torch.randn(4, 5, 5)
    if "Poisson" not in target.supports:
        with pytest.raises(ValueError, match="support latent site 'n', which is Poisson; .*; use mean_field"):
            target(of_latent(lambda: dist.Poisson(1.0), lambda n: n), x)
    on_sphere = of_latent(lambda: dist.ProjectedNormal(torch.ones(3)), lambda n: n[..., 0])
    with pytest.raises(ValueError, match=r"support latent site 'n', which is ProjectedNormal; it supports [^;]*$"):
        target(on_sphere, x)


@pytest.mark.parametrize("target", OF_NORMALS, ids=named)
def test_positive_latents_are_drawn_as_mapped_normals(target):
    """From the same numbers as those of a real latent, with the Jacobian of the exponential."""
    x = torch.randn(4, 5) if target.reads == "any" else torch.randn(4, 5, 5)
    guides = []
    for prior in (dist.Gamma(torch.ones(2), 1.0).to_event(1), dist.Normal(torch.zeros(2), 1.0).to_event(1)):
        torch.manual_seed(1)
        guides.append(target(of_latent(lambda prior=prior: prior, lambda n: n.sum(-1)), x))
        guides[-1].latents = [replace(guides[-1].latent, unit=None)]  # without the bound on deviations
    z = torch.randn(3, 4, 2)
    density = log_proposal(guides[0], x, {"n": z.exp()})
    torch.testing.assert_close(density, log_proposal(guides[1], x, {"n": z}) - z.sum(-1))


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
