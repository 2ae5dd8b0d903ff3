import json
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from matplotlib.figure import Figure
from ppl_vae.guides.full import Full
from ppl_vae.guides.linear_counts import LinearCounts
from ppl_vae.guides.mean_field import MeanField
from ppl_vae.models.text import Text

from ppl_vae.diagnostics.information.information import information, steps
from ppl_vae.distributions.bits import bit_states
from ppl_vae.evidence.measure import measure
from ppl_vae.programs.handlers import run
from ppl_vae.programs.log_weight import log_proposal, log_terms, log_weight
from tests.support.small_pairs import BitsOfPoints, documents
from tests.support.z_test import assert_mean

pytestmark = pytest.mark.usefixtures("float64")


def table_of(guide, x, bits):
    """Log q(z | x) of all codes, ``(states, data)``."""
    return log_proposal(guide, x, {"z": bit_states(bits)[:, None]}).detach()


def by_force(table):
    """Information of each datum, by forming the aggregate, with and without the datum itself."""
    q = table.exp()
    among = (q * (table - q.mean(1, keepdim=True).log())).sum(0)
    without = (q.sum(1, keepdim=True) - q) / (q.shape[1] - 1)
    return among, (q * (table - without.log())).sum(0)


class Lines:
    """Normal latents, with a linear guide of constant noise: its aggregate is a mixture of Gaussians."""

    def __init__(self, size: int = 1, noise: float = 0.5, gain: float = 1.0) -> None:
        self.size, self.noise, self.gain = size, noise, gain

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(self.size), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.gain * x, self.noise).to_event(1))

    def full_guide(self, x):
        """The same density from a family that has no independent units."""
        with pyro.plate("data", len(x)):
            covariance = self.noise**2 * torch.eye(self.size)
            pyro.sample("z", dist.MultivariateNormal(self.gain * x, covariance))


@pytest.mark.parametrize("data", [2, 5, 300])
def test_enumerated_information_is_that_by_force(data):
    pair, x = BitsOfPoints(3), torch.randn(data, 3)
    found = information(pair.model, pair.guide, x)
    among, upper = by_force(table_of(pair.guide, x, 3))
    torch.testing.assert_close(found.mutual.among.pointwise, among)
    torch.testing.assert_close(found.mutual.upper.pointwise, upper)
    assert found.mutual.lower.mean <= found.mutual.among.mean + 1e-12
    assert all(found.chain.values())


def test_rate_and_distortion_are_the_two_parts_of_the_bound():
    pair, x = BitsOfPoints(3), torch.randn(20, 3)
    found = information(pair.model, pair.guide, x)
    torch.testing.assert_close(
        -found.rates.rate.pointwise - found.rates.distortion.pointwise,
        measure(pair.model, pair.guide, x).elbo.pointwise,
    )
    torch.testing.assert_close(
        found.rates.elbo.pointwise, -found.rates.rate.pointwise - found.rates.distortion.pointwise
    )
    q = table_of(pair.guide, x, 3)
    states = bit_states(3)
    prior = (states * math.log(0.3) + (1 - states) * math.log(0.7)).sum(1)
    torch.testing.assert_close(found.rates.rate.pointwise, (q.exp() * (q - prior[:, None])).sum(0))
    assert found.mismatch.mean == pytest.approx(found.rates.rate.mean - found.mutual.among.mean)
    aggregate = q.exp().mean(1)
    assert found.mismatch.mean == pytest.approx((aggregate * (aggregate.log() - prior)).sum().item())


def test_sampled_numbers_agree_with_enumerated_ones():
    pair, x = BitsOfPoints(3), torch.randn(40, 3)
    exact = information(pair.model, pair.guide, x)
    many = [information(pair.model, pair.guide, x, draws=8, codes=80, most_bits=1) for _ in range(60)]
    for name in ("among", "upper"):
        figures = torch.tensor([getattr(m.mutual, name).mean for m in many])[:, None]
        assert_mean(figures, torch.tensor([getattr(exact.mutual, name).mean]))
        assert figures.std() == pytest.approx(getattr(many[0].mutual, name).se, rel=0.5)
    assert_mean(torch.stack([m.rates.distortion.pointwise for m in many]), exact.rates.distortion.pointwise)
    torch.testing.assert_close(many[0].rates.rate.pointwise, exact.rates.rate.pointwise)
    assert many[0].rates.rate.bound == "exact"
    assert many[0].mutual.among.draws == 2


def test_a_random_part_of_the_data_stands_for_all_of_them():
    """Fewer codes than data: always the whole aggregate."""
    pair, x = BitsOfPoints(3), torch.randn(60, 3)
    among, _ = by_force(table_of(pair.guide, x, 3))
    many = [information(pair.model, pair.guide, x, draws=2, codes=20, most_bits=1).mutual for _ in range(80)]
    assert len(many[0].among.pointwise) == len(many[0].rows) == 20
    assert_mean(torch.tensor([m.among.mean for m in many])[:, None], among.mean()[None])
    assert "20 of 60 data" in many[0].among.method


def test_bits_that_depend_on_each_other():
    x, model = documents(12, 9), Text(9, bits=3)
    guide = Full(model, x)
    torch.nn.init.normal_(guide.encoder.network.rest[-1].weight, std=3)
    found = information(model, guide, x, batch=5)
    among, upper = by_force(table_of(guide, x, 3))
    torch.testing.assert_close(found.mutual.among.pointwise, among)
    torch.testing.assert_close(found.mutual.upper.pointwise, upper)
    assert found.units.kl is None
    assert found.units.sites["z"] == pytest.approx(found.rates.rate.mean)
    means = table_of(guide, x, 3).exp().T @ bit_states(3)
    torch.testing.assert_close(found.units.variance, means.var(0))
    torch.testing.assert_close(found.rates.elbo.pointwise, measure(model, guide, x).elbo.pointwise)


@pytest.mark.parametrize("form", ["guide", "full_guide"])
def test_a_linear_gaussian_guide_against_its_mixture(form):
    """The mixture of Gaussians is integrated on a grid."""
    pair, x = Lines(), torch.randn(30, 1)
    grid = torch.linspace(-8, 8, 4001)[:, None]
    log_q = dist.Normal(x[:, 0], 0.5).log_prob(grid)
    weights = log_q.exp() * (grid[1] - grid[0])
    among = (weights * (log_q - (log_q.logsumexp(1, keepdim=True) - math.log(30)))).sum(0)
    rate = 0.5 * (0.25 + x[:, 0] ** 2 - 1 - math.log(0.25))
    many = [information(pair.model, getattr(pair, form), x, draws=20, codes=600) for _ in range(25)]
    assert_mean(torch.stack([m.mutual.among.pointwise for m in many]), among)
    distortion = 0.5 * (0.25 + math.log(2 * math.pi)) * torch.ones(30)
    assert_mean(torch.stack([m.rates.distortion.pointwise for m in many]), distortion)
    if form == "guide":
        torch.testing.assert_close(many[0].rates.rate.pointwise, rate)
        assert many[0].units.kl.item() == pytest.approx(rate.mean().item())
        torch.testing.assert_close(many[0].units.variance, x.var(0))
    else:
        assert_mean(torch.stack([m.rates.rate.pointwise for m in many]), rate)
        assert_mean(torch.stack([m.units.variance for m in many]), x.var(0))
        assert_mean(torch.tensor([[m.units.sites["z"]] for m in many]), rate.mean()[None])


def test_information_of_a_population_lies_between_the_bounds():
    """Many data sets of a linear Gaussian channel, whose information is log(1 + gain) / 2."""
    pair = Lines(noise=0.3)
    truth = 0.5 * math.log(1 + 1 / 0.3**2)
    found = [information(pair.model, pair.guide, torch.randn(100, 1), draws=2, codes=200).mutual for _ in range(40)]
    for name, sign in (("lower", -1), ("among", -1), ("upper", 1)):
        figures = sign * torch.tensor([getattr(m, name).mean for m in found])
        assert figures.mean() + 4 * figures.std() / 40**0.5 > sign * truth


@pytest.mark.parametrize("most_bits", [16, 1])
def test_a_guide_that_ignores_the_data_knows_nothing(most_bits):
    pair, x = BitsOfPoints(3), torch.randn(50, 3)
    pair.weight.data[:] = 0
    found = information(pair.model, pair.guide, x, draws=4, most_bits=most_bits)
    for estimate in (found.mutual.among, found.mutual.lower, found.mutual.upper):
        assert estimate.mean == pytest.approx(0, abs=1e-9)
    assert not found.units.active.any()
    assert found.units.collapsed == ["z[0]", "z[1]", "z[2]"]
    assert "active units: 0 of 3; collapsed: z[0], z[1], z[2]" in str(found)
    assert found.rates.rate.mean > 0
    assert not found.warnings


@pytest.mark.parametrize("most_bits", [16, 1])
def test_a_guide_that_tells_all_data_apart_reaches_log_n(most_bits):
    """The bound of leaving one out stays finite: without the datum the aggregate has next to nothing left."""
    x = bit_states(4)
    table = 200 * (2 * x - 1)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.5 * torch.ones(4)).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(logits=400 * x - 200).to_event(1))

    found = information(model, guide, x, draws=2, most_bits=most_bits)
    assert found.mutual.among.mean == pytest.approx(math.log(16))
    # The nearest others differ in one bit: four of fifteen.
    assert found.mutual.upper.mean == pytest.approx(table.max().item() + math.log(15 / 4))
    assert found.rates.rate.mean == pytest.approx(4 * math.log(2))
    assert found.mismatch.mean == pytest.approx(0, abs=1e-9)
    assert found.entropy.mean == pytest.approx(found.rates.distortion.mean + found.rates.rate.mean)
    assert "near the largest that 16 data can have, log N = 2.77" in found.warnings[0]


def test_units_of_every_family():
    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("a", dist.Normal(torch.zeros(2, 2), 1.0).to_event(2))
            pyro.sample("b", dist.OneHotCategorical(torch.ones(2, 3) / 3).to_event(1))
            pyro.sample("c", dist.Categorical(torch.ones(4) / 4))
            pyro.sample("d", dist.Bernoulli(0.5 * torch.ones(1)).to_event(1))
            pyro.sample("x", dist.Normal(0.0, 1.0).expand([3]).to_event(1), obs=x)

    x = torch.randn(30, 3)
    guide = MeanField(model, x, layers=1, width=8)
    found = information(model, guide, x, draws=3000, codes=60)
    assert found.units.names == ["a[0,0]", "a[0,1]", "a[1,0]", "a[1,1]", "b[0]", "b[1]", "c", "d[0]"]
    assert found.units.kl.sum().item() == pytest.approx(found.rates.rate.mean)
    with torch.no_grad():
        terms = log_terms(model, guide, x, 3000)
    rates = sum(terms.proposal[n] - terms.prior[n] for n in "abcd")
    assert_mean(rates, found.rates.rate.pointwise)
    one_hot = run(guide, (x,), {}, draws=1)["b"]["fn"].base_dist.probs[0].detach()
    torch.testing.assert_close(found.units.variance[4:6], one_hot.var(0).amax(-1))


def test_terms_are_the_parts_of_the_log_weight():
    pair, x = BitsOfPoints(2), torch.randn(6, 3)
    torch.manual_seed(3)
    terms = log_terms(pair.model, pair.guide, x, 5)
    torch.manual_seed(3)
    assert torch.equal(terms.weight, log_weight(pair.model, pair.guide, x, 5))


@pytest.mark.parametrize("most_bits", [16, 1])
@pytest.mark.parametrize("kind", ["documents", "points"])
def test_blocks_do_not_matter(monkeypatch, kind, most_bits):
    if kind == "documents":
        x = documents(40, 9)
        model = Text(9, bits=3)
        guide = LinearCounts(model, x)
    else:
        pair, x = BitsOfPoints(3), torch.randn(40, 3)
        model, guide = pair.model, pair.guide
    found = []
    for cells in (2**22, 600):
        monkeypatch.setattr("ppl_vae.diagnostics.information.mutual_information.CELLS", cells)
        monkeypatch.setattr("ppl_vae.diagnostics.information.rates.CELLS", cells)
        torch.manual_seed(0)
        done = []
        found.append(
            information(model, guide, x, draws=3, codes=90, batch=16, most_bits=most_bits, progress=done.append)
        )
        assert sum(done) == steps(model, guide, x, draws=3, codes=90, most_bits=most_bits)
    assert found[0].mutual.batch == 14
    for name, value in found[0].pointwise().items():
        torch.testing.assert_close(value, found[1].pointwise()[name], msg=name)


def test_guides_that_build_on_the_batch_size():
    """Codes that are not shared are repeated for each datum."""
    pair, x = BitsOfPoints(2), torch.randn(9, 3)

    def stiff(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(logits=x @ pair.weight).to_event(1))
            if z.shape[-2] != len(x):
                raise RuntimeError("a code for each datum, please")

    torch.manual_seed(1)
    one = information(pair.model, pair.guide, x, most_bits=1, codes=18)
    torch.manual_seed(1)
    other = information(pair.model, stiff, x, most_bits=1, codes=18)
    torch.testing.assert_close(one.mutual.among.pointwise, other.mutual.among.pointwise)
    exact = information(pair.model, stiff, x)
    torch.testing.assert_close(exact.mutual.among.pointwise, by_force(table_of(pair.guide, x, 2))[0])


def test_results_print_convert_and_draw():
    pair, x = BitsOfPoints(3), torch.randn(30, 3)
    for guide, most_bits in ((pair.guide, 16), (pair.guide, 1)):
        found = information(pair.model, guide, x, draws=5, most_bits=most_bits)
        content = json.loads(json.dumps(found.to_json(), allow_nan=False))
        assert content["elbo"]["mean"] == pytest.approx(-content["rate"]["mean"] - content["distortion"]["mean"])
        assert content["log_data"] == pytest.approx(math.log(30))
        assert [unit["name"] for unit in content["units"]] == ["z[0]", "z[1]", "z[2]"]
        assert content["chain"]["I <= R"] is True
        assert "H - D <= I <= R: in order" in str(found)
        figure = Figure()
        found.draw(figure, "title")
        assert "KL from the prior" in figure.axes[0].get_ylabel()


def test_a_prior_that_moves_with_the_data_breaks_the_chain():
    """Then the rate may be smaller than the information, and the result says so."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x, 0.1).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    pair = Lines(noise=0.1)
    found = information(model, pair.guide, torch.randn(50, 1))
    assert found.rates.rate.mean == pytest.approx(0, abs=1e-9)
    assert not found.chain["I <= R"]
    assert "I <= R does not hold within its error: is p(z) the same for all data?" in found.warnings
    assert "NOT in order: I <= R" in str(found)
    assert any("p(z) differs between the data" in line for line in found.warnings)
    assert "marginal mismatch" not in found.rows()


def test_data_of_probability_zero_are_null_in_json_and_drawn():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.5 * torch.ones(2)).to_event(1))
            pyro.sample("x", dist.Categorical(logits=torch.tensor([0.0, 0.0, -torch.inf])).mask(z[..., 0] > -1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(logits=x[:, None].expand(-1, 2) * 1.0).to_event(1))

    found = information(model, guide, torch.tensor([0, 1, 2]))
    assert found.rates.distortion.pointwise[2] == torch.inf
    assert found.to_json()["distortion"]["mean"] is None
    assert found.rates.rate.mean > 0
    found.draw(Figure(), "title")


def test_misuse_is_named():
    pair, x = BitsOfPoints(2), torch.randn(4, 3)
    with pytest.raises(ValueError, match="at least 2 data, got 1; take more"):
        information(pair.model, pair.guide, x[:1])
    with pytest.raises(ValueError, match="at least 2 data per batch, got 1"):
        information(pair.model, pair.guide, x, batch=1)
    with pytest.raises(ValueError, match="at least 2 draws per datum, got 1; raise the draws"):
        information(pair.model, pair.guide, x, draws=1, most_bits=1)
    with pytest.raises(ValueError, match="name the guide's sites after the model's"):
        information(pair.model, lambda x: pair_of_another_name(x), x)


def pair_of_another_name(x):
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.Bernoulli(0.5 * torch.ones(2)).to_event(1))
