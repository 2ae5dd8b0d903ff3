"""Codes of any guide over bits, packed."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from ppl_vae.guides.full import Full
from ppl_vae.guides.mean_field import MeanField
from ppl_vae.models.text import Text

from ppl_vae.diagnostics.retrieval import codes
from ppl_vae.diagnostics.retrieval.codes import Codes, draw_codes, log_odds
from ppl_vae.distributions.bits import bit_states
from ppl_vae.programs.log_weight import log_proposal
from tests.support.small_pairs import BitsOfPoints, LinearGaussian, documents
from tests.support.z_test import assert_mean

pytestmark = pytest.mark.usefixtures("float64")


def marginals(guide, x, bits):
    """Probability of every bit, by enumeration."""
    states = bit_states(bits)
    with torch.no_grad():
        weights = log_proposal(guide, x, {"z": states[:, None].expand(-1, len(x), -1)}).exp()
    return torch.einsum("sn,sb->nb", weights, states)


@pytest.mark.parametrize("kind", [MeanField, Full])
def test_odds_are_those_of_the_marginals(kind):
    x = documents(9)
    model = Text(vocabulary=7, bits=4, width=8)
    guide = kind(model, x[:2], width=8)
    for parameter in guide.parameters():
        torch.nn.init.normal_(parameter)
    assert torch.allclose(log_odds(model, guide, x).sigmoid(), marginals(guide, x, 4))


def test_autoregressive_codes_are_averaged_over_draws():
    x = documents(3)
    model = Text(vocabulary=7, bits=13, width=8)
    guide = Full(model, x[:2], width=8)
    for parameter in guide.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    means = torch.stack([log_odds(model, guide, x, draws=50).sigmoid() for _ in range(40)])
    assert_mean(means, marginals(guide, x, 13))


def test_bits_that_depend_on_other_draws_are_averaged_over_them():
    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("a", dist.Bernoulli(0.5 * torch.ones(2)).to_event(1))
            pyro.sample("scale", dist.LogNormal(0.0, 1.0))
            pyro.sample("b", dist.Bernoulli(0.5))
            pyro.sample("x", dist.Normal(torch.zeros(1), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Bernoulli(x.sigmoid().expand(-1, 2)).to_event(1))
            pyro.sample("scale", dist.LogNormal(0.0, 1.0))
            pyro.sample("b", dist.Bernoulli(0.2 + 0.6 * a[..., 0]))

    x = torch.tensor([[0.5], [-1.0]])
    means = torch.stack([log_odds(model, guide, x, draws=50).sigmoid()[:, 2] for _ in range(40)])
    assert_mean(means, 0.2 + 0.6 * x[:, 0].sigmoid())
    assert draw_codes(model, guide, x).bits == 3


def test_blocks_change_nothing_and_every_datum_is_counted(monkeypatch):
    pair = BitsOfPoints(5)
    x = torch.randn(23, 3)
    whole = log_odds(pair.model, pair.guide, x)
    monkeypatch.setattr(codes, "ROWS", 4)
    seen = []
    assert torch.allclose(log_odds(pair.model, pair.guide, x, progress=seen.append), whole)
    assert sum(seen) == 23 and len(seen) == 6
    assert torch.allclose(whole, x @ pair.weight)


def test_drawn_codes_are_the_guides():
    pair = BitsOfPoints(3)
    x = torch.randn(1, 3).expand(4000, 3)
    drawn = torch.from_numpy(draw_codes(pair.model, pair.guide, x).unpack()).double()
    assert_mean(drawn, (x[0] @ pair.weight).sigmoid().detach())


def test_packing_and_unpacking():
    bits = torch.rand(6, 13) > 0.5
    packed = Codes.pack(bits)
    assert packed.packed.shape == (6, 2) and packed.packed.dtype == np.uint8
    assert (packed.unpack() == bits.numpy()).all()
    assert (packed.packed == np.packbits(bits.numpy(), axis=1)).all()
    assert packed[2:4].bits == 13 and len(packed[2:4]) == 2
    assert Codes.pack([[0, 1], [1, 1], [0, 1]]).distinct == 2


def test_models_without_bits_and_empty_data_are_refused():
    pair = LinearGaussian(2)
    with pytest.raises(ValueError, match=r"binary codes need latent bits, but the model has 'z' \(normal\)"):
        log_odds(pair.model, pair.guide, torch.randn(3, 4))
    bits = BitsOfPoints(2)
    with pytest.raises(ValueError, match="no data to encode"):
        draw_codes(bits.model, bits.guide, torch.randn(0, 3))
