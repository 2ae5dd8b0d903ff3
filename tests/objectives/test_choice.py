"""Which estimators serve which sites, and what is refused by name."""

import pyro
import pyro.distributions as dist
import pytest
import torch

from ppl_vae.distributions.bits import AutoregressiveBits
from ppl_vae.estimators.disarm import DisARM
from ppl_vae.estimators.enumerate import Enumerate
from ppl_vae.objectives.choice import fit_estimator, make_estimator
from ppl_vae.objectives.elbo import DiscreteELBO
from ppl_vae.programs.sites import guide_sites
from tests.support.small_pairs import BitsOfPoints

pytestmark = pytest.mark.usefixtures("float64")


def chained(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Bernoulli(logits=x[:, :1] @ torch.ones(1, 1)).to_event(1))
        pyro.sample("y", dist.Bernoulli(logits=z @ torch.ones(1, 2)).to_event(1))


def counting(x):
    with pyro.plate("data", len(x)):
        pyro.sample("n", dist.Poisson(torch.ones(len(x))))


def autoregressive(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", AutoregressiveBits(lambda z: z @ torch.ones(20, 20).tril(-1), x.shape[:1], 20, x))


def test_couplings_whose_weights_are_still_zero_are_seen():
    weight = torch.nn.Parameter(torch.zeros(1, 2))

    def guide(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(logits=x[:, :1]).to_event(1))
            pyro.sample("y", dist.Bernoulli(logits=z @ weight).to_event(1))

    first, second = guide_sites(guide, (torch.randn(4, 3),))
    assert first.independent
    assert not second.independent


def test_parents_of_every_discrete_family_are_seen():
    def guide(x):
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Categorical(logits=torch.tensor([30.0, 0.0])))
            pyro.sample("z", dist.Bernoulli(logits=k[..., None].double() * torch.ones(2)).to_event(1))

    assert not guide_sites(guide, (torch.randn(4, 3),))[1].independent


def test_couplings_that_come_later_are_refused():
    weight = torch.zeros(1, 2)  # not a parameter: no graph shows it

    def guide(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(logits=x[:, :1]).to_event(1))
            pyro.sample("y", dist.Bernoulli(logits=(z @ weight).detach()).to_event(1))

    objective, x = DiscreteELBO(DisARM()), torch.randn(4, 3)
    objective.loss(guide, guide, x)
    weight += 1
    with pytest.raises(ValueError, match="bits of site 'y' have come to depend on other draws"):
        objective.loss(guide, guide, x)


@pytest.mark.parametrize(
    ("guide", "name", "message", "instead"),
    [
        (chained, "disarm", "those of site 'y' depend on other draws", "enumerate"),
        (counting, "disarm", "site 'n' is Poisson", "loo"),
        (counting, "enumerate", "cannot list the values of site 'n' .Poisson.", "loo"),
        (autoregressive, "arm", "site 'z' is AutoregressiveBits", "loo"),
    ],
)
def test_unfit_estimators_are_refused_by_site_and_replaced_with_a_line(guide, name, message, instead):
    x = torch.randn(4, 3)
    sites = guide_sites(guide, (x,))
    chosen, line = fit_estimator(make_estimator(name, control=False), sites)
    assert chosen.name == instead
    assert f"using {instead} instead" in line
    with pytest.raises(ValueError, match=message):
        DiscreteELBO(make_estimator(name, control=False)).loss(guide, guide, x)


def test_long_codes_are_not_enumerated():
    pair = BitsOfPoints(13)
    with pytest.raises(ValueError, match="at most 4096 states, but sites 'z' have 8192"):
        DiscreteELBO(Enumerate()).loss(pair.model, pair.guide, torch.randn(2, 3))
    message = r"at most 4096 states, but sites 'z' have 8192: using disarm\+first_order instead"
    with pytest.warns(UserWarning, match=message):
        DiscreteELBO("enumerate").loss(pair.model, pair.guide, torch.randn(2, 3))


def test_models_that_refuse_relaxed_bits_are_named():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(torch.full((1,), 0.5)).to_event(1))
            if not (z == z.round()).all():
                raise ValueError("half a bit")
            pyro.sample("x", dist.Normal(z.expand(*z.shape[:-1], 3), 1.0).to_event(1), obs=x)

    pair, x = BitsOfPoints(1), torch.randn(4, 3)
    with pytest.raises(
        ValueError, match=r"bits between 0 and 1 \(sites \['z'\]\), which it refuses: half a bit; .*--control none"
    ):
        DiscreteELBO("disarm").differentiable_loss(model, pair.guide, x)
    DiscreteELBO(DisARM()).differentiable_loss(model, pair.guide, x).backward()


def test_mismatched_pairs_and_names_are_refused():
    pair, x = BitsOfPoints(2), torch.randn(4, 3)
    with pytest.raises(ValueError, match=r"guide draws \['n'\] but the latents of the model are \['z'\]"):
        DiscreteELBO().loss(pair.model, counting, x)
    with pytest.raises(
        ValueError,
        match="there is no estimator 'amr'; choose from auto, arm, arms, arms_tree, bitflip, disarm, double_cv, "
        "enumerate, gumbel, local, local_states, loo, rebar, reinmax, relax, rodeo, straight_through, unordered_set",
    ):
        DiscreteELBO("amr")
