"""What the best affine function of the statistics leaves unexplained, against known variances."""

import pyro.distributions as dist
import pytest
import torch
from ppl_vae.guides.linear_counts import LinearCounts
from ppl_vae.models.text import Text

from ppl_vae.diagnostics.tightness.least_squares import regress
from ppl_vae.diagnostics.tightness.tightness import tightness
from ppl_vae.distributions.bits import bit_states
from tests.support.exponential_pairs import bits, pair, tight_text
from tests.support.small_pairs import documents
from tests.support.z_test import assert_mean

pytestmark = pytest.mark.usefixtures("float64")


def test_a_term_of_known_variance_is_what_is_left_exactly():
    """The parity of three bits is orthogonal to every affine function of them where all codes are equally probable."""
    prior, weight, codes = dist.Bernoulli(0.5 * torch.ones(3)).to_event(1), torch.randn(3), bit_states(3)
    parity = lambda z: 0.7 * (1 - 2 * z).prod(-1)  # noqa: E731
    model, guide = pair(prior, lambda z, x: dist.Normal(z * weight, 1.0).to_event(1), bits(3), parity)
    x = torch.randn(30, 3)
    found = tightness(model, guide, x)
    values = dist.Normal(codes * weight, 1.0).log_prob(x[:, None]).sum(-1) + parity(codes)
    for law in ("guide", "prior"):
        torch.testing.assert_close(found.affine[law].residual, torch.full((30,), 0.49))
        torch.testing.assert_close(found.affine[law].variance, values.var(1, correction=0))
        assert found.affine[law].share_se == 0


def test_a_term_of_known_variance_is_what_is_left_of_draws_within_their_error():
    """The third Hermite polynomial has variance 6, and no part that is affine in z and its square."""
    model, guide = pair(
        dist.Normal(0.0, 1.0),
        lambda z, x: dist.Normal(2 * z, 1.0),
        lambda x: dist.Normal(torch.zeros(len(x)), 1.0),
        lambda z: 0.1 * (z**3 - 3 * z),
    )
    found = tightness(model, guide, torch.randn(2000), draws=200)
    for left in found.affine.values():
        assert_mean(left.residual, torch.tensor(0.06))


def test_enumeration_and_draws_agree_within_the_errors_stated():
    x = documents(10, 9)
    model = Text(9, bits=4, hidden=1, width=8)
    guide = LinearCounts(model, x)
    exact = tightness(model, guide, x)
    parts = [tightness(model, guide, x, draws=200, most_bits=1) for _ in range(40)]
    assert exact.method == "enumeration of 16 states"
    assert (parts[0].method, parts[0].gap) == ("200 draws per datum", None)
    assert "its best affine function leaves" in parts[0].verdict
    for law in ("guide", "prior"):
        truth = exact.affine[law]
        assert_mean(torch.stack([part.affine[law].residual for part in parts]), truth.residual)
        assert_mean(torch.stack([part.affine[law].variance for part in parts]), truth.variance)
        for name in ("share", "deviation"):
            pulls = [
                (getattr(part.affine[law], name) - getattr(truth, name)) / getattr(part.affine[law], f"{name}_se")
                for part in parts
            ]
            assert_mean(torch.tensor(pulls).square(), torch.tensor(1.0))


@pytest.mark.parametrize("drawn", [False, True])
def test_regression_is_least_squares(drawn):
    statistics, values = torch.randn(5, 60, 3), torch.randn(5, 60)
    weights = torch.full((1, 60), 1 / 60) if drawn else torch.rand(5, 60).softmax(1)
    left, coefficients, residual = regress(statistics, values, weights, torch.zeros(5), drawn=drawn)
    root = weights.sqrt().expand(5, 60)
    design = torch.cat([statistics, torch.ones(5, 60, 1)], -1) * root[..., None]
    expected = torch.linalg.lstsq(design, (values * root)[..., None]).solution
    torch.testing.assert_close(coefficients, expected[:, :3, 0])
    fitted = (design @ expected)[..., 0] / root
    torch.testing.assert_close(residual, values - fitted)
    square = (values - fitted).square()
    if drawn:
        hat = design @ torch.linalg.pinv(design)
        square = square / (1 - hat.diagonal(dim1=1, dim2=2))
    torch.testing.assert_close(left.residual, (weights * square).sum(1))
    # A constant and a repeated statistic change nothing.
    more = torch.cat([statistics, statistics[..., :1] * 2 + 1, torch.ones(5, 60, 1)], -1)
    again, _, _ = regress(more, values, weights, torch.zeros(5), drawn=drawn)
    torch.testing.assert_close(again.residual, left.residual)


def test_narrow_posteriors_do_not_lose_the_square():
    """z and its square are nearly collinear far from zero."""
    z = 5 + 1e-4 * torch.randn(1, 500)
    values = -((z - 5.0001) ** 2) / (2 * 1e-8)
    left, _, _ = regress(torch.stack([z, z**2], -1), values, torch.full((1, 500), 1 / 500), torch.ones(1), drawn=True)
    assert left.deviation < 1e-5
    assert left.variance.item() > 0.5


def test_blocks_change_nothing(monkeypatch):
    x, (model, guide) = tight_text([5] * 8 + [40] * 8)
    whole = tightness(model, guide, x)
    done = []
    for name in ("latent_samples.CELLS", "latent_samples.FITTED", "linear_guide.CELLS"):
        monkeypatch.setattr(f"ppl_vae.diagnostics.tightness.{name}", 200)
    found = tightness(model, guide, x, progress=done.append)
    assert sum(done) == 16
    assert len(done) > 1
    for name, values in found.pointwise().items():
        torch.testing.assert_close(values, whole.pointwise()[name])
