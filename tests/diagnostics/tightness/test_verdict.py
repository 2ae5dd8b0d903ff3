"""What is said of a pair, and what is not: rounding, collapsed guides, and results as shown."""

from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from matplotlib.figure import Figure
from ppl_vae.models.text import Text

from ppl_vae.diagnostics.tightness.tightness import tightness
from ppl_vae.distributions.bits import JointBits
from tests.support.exponential_pairs import TIGHT, bits, diagonal, linear_gaussian, pair, tight_text
from tests.support.small_pairs import documents

pytestmark = pytest.mark.usefixtures("float64")


def test_float32_rounds_and_is_not_blamed():
    torch.set_default_dtype(torch.float32)
    weight = 3 * torch.linalg.qr(torch.randn(200, 6))[0]
    prior = dist.Normal(torch.zeros(6), 1.0).to_event(1)
    for noise in (1.0, 0.1):
        model, guide = pair(
            prior,
            lambda z, x, noise=noise: dist.Normal(z @ weight.T, noise).to_event(1),
            lambda x, noise=noise: dist.Normal(x @ weight / (9 + noise**2), (1 + 9 / noise**2) ** -0.5).to_event(1),
        )
        x = torch.randn(50, 6) @ weight.T + noise * torch.randn(50, 200)
        found = tightness(model, guide, x)
        assert found.verdict == TIGHT
        assert found.affine["guide"].tolerance < 0.02
    x, (model, guide) = tight_text([20] * 30)
    assert tightness(model, guide, x).verdict == TIGHT


def test_collapsed_guides_leave_nothing_and_say_so():
    """A guide that always draws the same code has nothing to regress on; enumeration still sees the prior."""
    x = documents(10, 9)
    model = Text(9, bits=3, hidden=1, width=8)
    sure = pair(None, None, bits(3, lambda x: 100 * torch.ones(len(x), 3)))[1]
    found = tightness(model, sure, x, draws=20, most_bits=1)
    assert found.affine["guide"].data == 0
    assert any("too few different codes" in note for note in found.warnings)
    assert "not known" in str(found)
    assert found.to_json()["guide"]["affine"]["share"] is None
    assert found.status == "outside"  # by z of the prior
    assert all(values.isfinite().all() for values in found.pointwise().values())
    exact = tightness(model, sure, x)
    assert not exact.affine["guide"].varies
    assert any("does not vary over z of the guide" in note for note in exact.warnings)
    assert exact.affine["guide"].share == 0
    assert exact.affine["prior"].share > 0


def test_a_model_that_ignores_its_latents():
    model, guide = pair(dist.Bernoulli(0.5 * torch.ones(3)).to_event(1), lambda z, x: dist.Normal(0.0, 1.0), bits(3))
    found = tightness(model, guide, torch.randn(5))
    assert found.verdict == TIGHT
    assert len(found.warnings) == 2


def test_results_print_and_draw():
    x, (model, guide) = tight_text([5] * 8 + [40] * 8)
    found = tightness(model, guide, x)
    text = str(found)
    for word in ("per datum", "linear in x", "unexplained share", "nats per datum"):
        assert word in text
    assert found.worst(2)[0] == int(found.affine["guide"].residual.argmax())
    assert {example.name for example in found.examples} == {"typical", "worst"}
    figure = Figure()
    found.draw(figure, "title")
    assert [axes.get_ylabel() for axes in figure.axes] == ["data", "log p(x, z) - log h'(z), nats"]


def test_what_cannot_be_tested_is_named():
    x = torch.randn(4, 2)

    def chained(x, observed=True):
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Bernoulli(0.5 * torch.ones(2)).to_event(1))
            pyro.sample("b", dist.Bernoulli(logits=a).to_event(1))
            if observed:
                pyro.sample("x", dist.Normal(0.0, 1.0).expand([2]).to_event(1), obs=x)

    with pytest.raises(ValueError, match="sites 'a', 'b' depend on each other"):
        tightness(chained, partial(chained, observed=False), x)
    model, guide = linear_gaussian(torch.randn(2, 2), lambda x: dist.Laplace(x, 1.0).to_event(1))
    with pytest.raises(ValueError, match="site 'z' of the guide: Laplace is no exponential family"):
        tightness(model, guide, x)
    model, guide = linear_gaussian(torch.randn(2, 2), diagonal)
    with pytest.raises(ValueError, match="4 statistics need at least 7 draws per datum, got 5; raise the draws"):
        tightness(model, guide, x, draws=5)
    with pytest.raises(ValueError, match="there are no data"):
        tightness(model, guide, x[:0])
    half = pair(JointBits(torch.tensor([0.0, -torch.inf])), lambda z, x: dist.Normal(z, 1.0).to_event(1), bits(1))
    with pytest.raises(ValueError, match="not finite for 4 data at z from the guide"):
        tightness(*half, torch.randn(4, 1))


def test_one_huge_datum_does_not_hide_the_others():
    """Float32 rounds its density ten thousand times as coarsely, but not theirs."""
    torch.set_default_dtype(torch.float32)
    corners = torch.tensor([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])

    def likelihood(z, x):
        place = corners[(2 * z[..., 0] + z[..., 1]).long()]
        return dist.Normal(torch.cat([place, 0 * place[..., :1]], -1), 1.0).to_event(1)

    model, guide = pair(dist.Bernoulli(0.5 * torch.ones(2)).to_event(1), likelihood, bits(2))
    x = torch.cat([corners[torch.randint(4, (100,))] + torch.randn(100, 2), torch.zeros(100, 1)], 1)
    x[0, 2] = 1e4
    assert tightness(model, guide, x).status == "outside"


def test_where_nothing_can_be_judged_nothing_is_claimed():
    """Twenty bits that are always zero under prior and guide tell nothing of log p(x, z)."""
    off = torch.full((20,), -30.0)
    weight = torch.randn(20, 3)
    model, guide = pair(
        dist.Bernoulli(logits=off).to_event(1),
        lambda z, x: dist.Normal(torch.tanh(z @ weight), 1.0).to_event(1),
        bits(20, lambda x: off.expand(len(x), -1)),
    )
    found = tightness(model, guide, torch.randn(5, 3))
    assert found.status == "not known"
    assert "not known: the draws hold too few different codes" in str(found)
