"""Binary images: their laws sum to one, their priors are what they are called, and nothing leaks."""

from itertools import product

import pyro
import pyro.distributions as dist
import pytest
import torch
from ppl_vae.guides.flow import Flow
from ppl_vae.guides.mean_field import MeanField
from ppl_vae.models.image_binary import ImageBinary
from pyro.contrib.zuko import ZukoToPyro
from zuko.distributions import DiagNormal

from ppl_vae.distributions.bits import bit_states
from ppl_vae.distributions.pixelcnn import AutoregressiveBernoulli, GatedPixelCNN
from ppl_vae.evidence.ais import AIS, Schedule
from ppl_vae.evidence.measure import measure
from ppl_vae.nn.modes import probing_shapes
from ppl_vae.nn.priors import FlowPrior, VampPrior, make_prior
from ppl_vae.objectives.elbo import DiscreteELBO
from ppl_vae.programs.log_weight import log_joint, log_weight
from tests.support.z_test import assert_mean

pytestmark = pytest.mark.usefixtures("float64")
FAMILIES = list(product(("deconvolution", "autoregressive"), ("normal", "flow", "vampprior"), (MeanField, Flow)))


def family(decoder, prior, guide, latents=3, shape=(6, 5)):
    x = torch.rand(7, *shape).round()
    model = ImageBinary(latents, decoder, prior, 2, 0, 2, 4, components=5, shape=shape)
    return model, guide(model, x[:2], width=16), x


def moved(module, size=0.3):
    """Away from where it starts, where much is zero."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += size * torch.randn_like(parameter)
    return module


def law(shape=(2, 3), batch=()):
    depth = shape[0] if len(shape) == 3 else 1
    return AutoregressiveBernoulli(
        moved(GatedPixelCNN(depth, 4, 2, size=3)), torch.randn(*batch, 4, *shape[-2:]), shape
    )


@pytest.mark.parametrize("shape", [(2, 3), (2, 2, 2)])
def test_images_drawn_pixel_by_pixel_have_a_law(shape):
    fn = law(shape)
    images = bit_states(fn.event_shape.numel()).reshape(-1, *shape).double()
    probability = fn.log_prob(images).exp()
    assert probability.sum().item() == pytest.approx(1)
    drawn = fn.sample((3000,)).flatten(1)
    places = (drawn * 2.0 ** torch.arange(drawn.shape[1])).sum(1).long()
    order = (images.flatten(1) * 2.0 ** torch.arange(drawn.shape[1])).sum(1).long()
    frequent = probability > 0.01
    assert_mean(torch.nn.functional.one_hot(places, len(images)).double()[:, order][:, frequent], probability[frequent])


def test_a_pixel_sees_those_before_it_and_no_other():
    fn = law((5, 4))
    x = torch.rand(1, 5, 4)
    seen = torch.autograd.functional.jacobian(lambda x: fn.pixels(x, fn.condition), x).reshape(20, 20) != 0
    assert not seen.triu().any()
    assert seen[19, [18, 15, 14]].all()


def test_laws_of_many_codes_and_data_meet_as_one_by_one():
    fn, x = law((3, 4), (2, 1)), torch.rand(5, 3, 4).round()
    together = fn.log_prob(x)
    assert together.shape == (2, 5)
    for i, j in product(range(2), range(5)):
        alone = AutoregressiveBernoulli(fn.pixels, fn.condition[i, 0], (3, 4)).log_prob(x[j])
        torch.testing.assert_close(together[i, j], alone)
    torch.testing.assert_close(fn.expand((2, 5)).log_prob(x), together)
    assert fn.expand((2, 5)).sample().shape == (2, 5, 3, 4)


def test_a_flow_is_a_density():
    prior = moved(FlowPrior(2, 2, 8), 0.1)()
    axis = torch.linspace(-20, 20, 801)
    grid = torch.cartesian_prod(axis, axis)
    assert (prior.log_prob(grid).exp().sum() * (axis[1] - axis[0]) ** 2).item() == pytest.approx(1, abs=1e-3)
    drawn, density = prior.sample((4000,)), prior.log_prob(grid).exp() * (axis[1] - axis[0]) ** 2
    assert_mean(drawn.tanh(), (density[:, None] * grid.tanh()).sum(0))


@pytest.mark.parametrize("guide", [MeanField, Flow])
def test_a_vampprior_mixes_posteriors_of_made_up_data(guide):
    model, q, _ = family("deconvolution", "vampprior", guide)
    moved(q)
    made_up = model.prior.pseudo.sigmoid().reshape(5, 6, 5)
    z = torch.randn(4, 3)
    each = [q.members(q.encoder(u[None]))["z"].log_prob(z[:, None])[:, 0] for u in made_up]
    torch.testing.assert_close(model.prior().log_prob(z), torch.stack(each).logsumexp(0) - torch.tensor(5.0).log())
    assert model.prior().sample((2, 7)).shape == (2, 7, 3)


def test_the_first_guide_stays_that_of_a_vampprior_until_another_is_named():
    model, q, x = family("deconvolution", "vampprior", MeanField)
    z = torch.zeros(3)
    before = model.prior().log_prob(z)
    other = moved(Flow(model, x[:2], width=16))
    assert torch.equal(before, model.prior().log_prob(z))
    moved(q)
    after = model.prior().log_prob(z)
    assert not torch.equal(before, after)
    assert any(g is not None and g.any() for g in torch.autograd.grad(after, list(q.parameters()), allow_unused=True))
    assert not {id(p) for p in q.parameters()} & {id(p) for p in model.parameters()}
    model.prior.set_guide(other)
    assert not torch.equal(after, model.prior().log_prob(z))


def test_a_vampprior_without_a_guide_is_no_other_prior():
    model, x = ImageBinary(2, prior="vampprior", channels=2, shape=(6, 5)), torch.zeros(3, 6, 5)
    for program in (model, model.eval()):
        with pytest.raises(ValueError, match="no guide was built for this model; build one"):
            program(x)
    with probing_shapes():
        law = model.prior()
    torch.testing.assert_close(law.log_prob(torch.zeros(2)), dist.Normal(0.0, 1.0).log_prob(torch.zeros(2)).sum())
    assert model.prior.guide is None and not isinstance(ImageBinary(2, channels=2, shape=(6, 5)).prior, VampPrior)


def test_priors_of_other_packages_are_read_as_far_as_they_say_where_they_lie():
    class Odd(pyro.nn.PyroModule):
        def __init__(self, prior):
            super().__init__()
            self.prior = prior

        def forward(self, x):
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", self.prior)
                pyro.sample("x", dist.Normal(z.sum(-1, keepdim=True), 1.0).to_event(1), obs=x)

    two = dist.Normal(torch.zeros(2, 3), 1.0).to_event(1)
    mixture = dist.MixtureSameFamily(dist.Categorical(logits=torch.zeros(2)), two)
    assert [latent.family for latent in MeanField(Odd(mixture), torch.zeros(2, 1)).latents] == ["normal"]
    bare = ZukoToPyro(DiagNormal(torch.zeros(3), torch.ones(3)))
    with pytest.raises(ValueError, match="does not support latent site 'z', which is ZukoToPyro"):
        MeanField(Odd(bare), torch.zeros(2, 1))


@pytest.mark.parametrize(("decoder", "prior", "guide"), FAMILIES)
def test_every_family_learns_all_its_parameters_and_keeps_data_apart(decoder, prior, guide):
    model, q, x = family(decoder, prior, guide)
    moved(model), moved(q)
    loss = DiscreteELBO("enumerate").differentiable_loss(model, q, x)
    loss.backward()
    for program in (model, q):
        untouched = [name for name, p in program.named_parameters() if p.grad is None or not p.grad.any()]
        assert not [name for name in untouched if ".hyper.0." not in name]
    z = {"z": torch.randn(4, 7, 3)}
    whole, order = log_joint(model, x, z), torch.randperm(7)
    torch.testing.assert_close(log_joint(model, x[order], {"z": z["z"][:, order]}), whole[:, order])
    torch.testing.assert_close(log_joint(model, x[:2], {"z": z["z"][:, :2]}), whole[:, :2])


@pytest.mark.parametrize("prior", ["normal", "flow", "vampprior"])
def test_weights_of_draws_and_of_annealed_chains_have_the_mean_that_quadrature_finds(prior):
    model, q, x = family("deconvolution", prior, MeanField, latents=1, shape=(3, 3))
    moved(model)
    exact = measure(model, q, x[:3], method="quadrature").evidence
    assert exact.bound == "exact"
    with torch.no_grad():
        drawn = log_weight(model, q, x[:3], 3000)
    chains = AIS(model, q, x[:3], Schedule(20, leapfrog_steps=2, start="guide")).forward(200)
    for weights in (drawn, chains):
        assert_mean((weights - exact.pointwise).exp(), torch.ones(3))


def test_a_learned_prior_is_read_by_guides_as_normals_are():
    model, q, _ = family("deconvolution", "flow", MeanField)
    assert [latent.family for latent in q.latents] == ["normal"]
    assert model.prior().support is not None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"latents": 0}, "latents must be at least 1, got 0"),
        ({"blocks": -1}, "blocks must be at least 0, got -1"),
        ({"decoder": "mlp"}, "unknown decoder 'mlp'; choose deconvolution or autoregressive"),
        ({"prior": "vamp"}, "unknown prior 'vamp'; choose from normal, flow, vampprior"),
        ({"components": 0}, "components must be at least 1, got 0"),
        ({"shape": (7,)}, "convolutions read images"),
    ],
)
def test_faults_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        ImageBinary(**options)


def test_priors_by_name():
    assert make_prior("normal", 3, (4,), 1)().log_prob(torch.zeros(3)).item() == pytest.approx(-2.7568, abs=1e-4)
