import json
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from matplotlib.figure import Figure
from ppl_vae.guides.linear_counts import LinearCounts
from ppl_vae.guides.mean_field import MeanField
from ppl_vae.models.text import Text

from ppl_vae.diagnostics.information.information import information, steps
from ppl_vae.distributions.bits import bit_states
from ppl_vae.evidence.measure import measure
from ppl_vae.programs.handlers import run
from ppl_vae.programs.log_weight import log_terms, log_weight
from tests.support.information import Lines, table_of
from tests.support.small_pairs import BitsOfPoints, documents
from tests.support.z_test import assert_mean

pytestmark = pytest.mark.usefixtures("float64")


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


def test_results_print_convert_and_draw():
    pair, x = BitsOfPoints(3), torch.randn(30, 3)
    for guide, most_bits in ((pair.guide, 16), (pair.guide, 1)):
        found = information(pair.model, guide, x, draws=5, most_bits=most_bits)
        content = json.loads(json.dumps(found.to_json(), allow_nan=False))
        assert content["elbo"]["mean"] == pytest.approx(-content["rate"]["mean"] - content["distortion"]["mean"])
        assert content["log_data"] == pytest.approx(math.log(30))
        assert [unit["name"] for unit in content["units"]] == ["z[0]", "z[1]", "z[2]"]
        assert content["chain"]["I <= R"] is True
        assert "H - D <= I <= R: in order" in " ".join(str(found).split())
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
    assert "NOT in order: I <= R" in " ".join(str(found).split())
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
