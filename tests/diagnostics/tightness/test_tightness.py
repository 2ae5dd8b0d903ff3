import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from matplotlib.figure import Figure
from ppl_vae.guides.full import Full
from ppl_vae.guides.linear_counts import LinearCounts
from ppl_vae.models.text import Text
from torch.nn import functional

from ppl_vae.data.counts import PackedCounts
from ppl_vae.diagnostics.gap.split import split_gap
from ppl_vae.diagnostics.tightness.least_squares import regress
from ppl_vae.diagnostics.tightness.tightness import tightness
from ppl_vae.distributions.bits import AutoregressiveBits, JointBits, bit_states
from ppl_vae.distributions.multinomial import PackedMultinomial
from ppl_vae.distributions.softmax import log_normaliser
from tests.support.small_pairs import Term, documents
from tests.support.z_test import assert_mean

pytestmark = pytest.mark.usefixtures("float64")

TIGHT = "the posterior is in the family and a linear guide reaches it"


def pair(prior, likelihood, posterior, factor=None):
    """A model and a guide of one latent site, from functions of z and of x."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", prior)
            pyro.sample("x", likelihood(z, x), obs=x)
            if factor is not None:
                pyro.sample("more", Term(factor(z)), obs=x.new_zeros(len(x)))

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", posterior(x))

    return model, guide


def bits(count, logits=None):
    """A guide of independent bits that looks at x or not."""
    return lambda x: dist.Bernoulli(logits=torch.zeros(len(x), count) if logits is None else logits(x)).to_event(1)


def linear_gaussian(weight, posterior, factor=None):
    prior = dist.Normal(torch.zeros(weight.shape[1]), 1.0).to_event(1)
    return pair(prior, lambda z, x: dist.Normal(z @ weight.T + 0.3, 0.7).to_event(1), posterior, factor)


def diagonal(x):
    return dist.Normal(0.3 * x[:, :2], 0.6).to_event(1)


def full_covariance(x):
    return dist.MultivariateNormal(0.3 * x[:, :2], 0.4 * torch.eye(2))


def rbm(weight, u, v):
    """p(z) and p(x | z) of the joint density exp(x'Wz + u'x + v'z) (Schlesinger et al. 2021, eq. 19)."""
    codes = bit_states(weight.shape[1])
    prior = JointBits(codes @ v + functional.softplus(codes @ weight.T + u).sum(1))
    return prior, lambda z, x: dist.Bernoulli(logits=z @ weight.T + u).to_event(1)


def square(order):
    corners = {"gray": [[-1, -1], [1, -1], [-1, 1], [1, 1]], "around": [[-1, -1], [1, -1], [1, 1], [-1, 1]]}[order]
    centres = torch.tensor(corners, dtype=torch.float64)
    prior = dist.Bernoulli(0.5 * torch.ones(2)).to_event(1)
    return centres, pair(
        prior, lambda z, x: dist.Normal(centres[(2 * z[..., 0] + z[..., 1]).long()], 1.0).to_event(1), bits(2)
    )


def tight_text(lengths, vocabulary=30, size=4):
    """The joint density exp(x'Wz + a'x + b'z) of documents of 20 words, seen at documents of any length."""
    weight, a, b = torch.randn(vocabulary, size), torch.randn(vocabulary), torch.randn(size)
    codes = bit_states(size)
    prior = JointBits(codes @ b + 20 * log_normaliser(codes, weight, a))
    words = [torch.multinomial(torch.ones(vocabulary), int(n), replacement=True) for n in lengths]
    x = PackedCounts.from_dense(torch.stack([torch.bincount(w, minlength=vocabulary) for w in words]))
    return x, pair(
        prior,
        lambda z, x: PackedMultinomial(x.lengths, hidden=z, weight=weight, bias=a),
        bits(size, lambda x: x @ torch.ones(vocabulary, size)),
    )


def orthogonal():
    return 1.5 * torch.linalg.qr(torch.randn(5, 2))[0]


TIGHT_PAIRS = {
    "linear Gaussian, full covariance": lambda: (
        torch.randn(20, 5),
        linear_gaussian(torch.randn(5, 2), full_covariance),
    ),
    "orthogonal Gaussian, diagonal": lambda: (torch.randn(20, 5), linear_gaussian(orthogonal(), diagonal)),
    "restricted Boltzmann machine": lambda: (
        torch.rand(20, 6).round(),
        pair(*rbm(torch.randn(6, 3), torch.randn(6), torch.randn(3)), bits(3)),
    ),
    "square in Gray order": lambda: (torch.randn(20, 2), square("gray")[1]),
    "square, any distribution": lambda: (
        torch.randn(20, 2),
        (square("around")[1][0], pair(None, None, lambda x: JointBits(x @ torch.ones(2, 4)))[1]),
    ),
    "documents of one length": lambda: tight_text([20] * 15),
    "Poisson with a gamma rate": lambda: (
        torch.poisson(3 * torch.ones(20)),
        pair(dist.Gamma(2.0, 1.0), lambda z, x: dist.Poisson(z), lambda x: dist.Gamma(x + 2, 2.0)),
    ),
    "categorical": lambda: (
        torch.randn(20),
        pair(
            dist.Categorical(torch.tensor([0.2, 0.3, 0.5])),
            lambda z, x: dist.Normal(torch.tensor([0.0, 1.0, 3.0])[z], torch.tensor([1.0, 0.5, 2.0])[z]),
            lambda x: dist.Categorical(logits=torch.zeros(len(x), 3)),
        ),
    ),
}


@pytest.mark.parametrize("make", TIGHT_PAIRS.values(), ids=TIGHT_PAIRS)
def test_tight_pairs_are_tight(make):
    x, (model, guide) = make()
    found = tightness(model, guide, x)
    assert found.verdict == TIGHT
    assert found.status == "tight"
    assert not found.warnings
    assert max(left.deviation for left in found.affine.values()) < 1e-10
    assert all(values.isfinite().all() for values in found.pointwise().values())


OUTSIDE = {
    "diagonal for a turned Gaussian": lambda: (torch.randn(20, 5), linear_gaussian(torch.randn(5, 2), diagonal)),
    "square in natural order": lambda: (torch.randn(20, 2), square("around")[1]),
    "documents of other lengths": lambda: tight_text([5] * 8 + [40] * 8),
    "text with a deep decoder": lambda: (lambda x, m: (x, (m, LinearCounts(m, x))))(
        documents(12, 9), Text(9, bits=4, hidden=1, width=8)
    ),
}


@pytest.mark.parametrize("make", OUTSIDE.values(), ids=OUTSIDE)
def test_their_perturbations_are_not(make):
    x, (model, guide) = make()
    found = tightness(model, guide, x)
    assert found.status == "outside"
    assert "outside the family" in found.verdict
    for law, left in found.affine.items():
        assert 0 < left.share < 1
        assert found.linear[law].residual.mean() > 0.9 * left.residual.mean()


def test_a_square_in_natural_order_loses_what_is_known():
    """The family gap of side 2, sigma 1 is 0.117 nats on data of the model (by quadrature)."""
    centres, (model, guide) = square("around")
    x = centres[torch.randint(4, (4000,))] + torch.randn(4000, 2)
    gap = tightness(model, guide, x).gap.family_gap.pointwise
    line = torch.linspace(-6, 6, 120) + 0.003  # on an axis of symmetry coordinate ascent would stay on a saddle
    grid = torch.cartesian_prod(line, line)
    density = torch.distributions.MultivariateNormal(centres, torch.eye(2)).log_prob(grid[:, None]).exp().mean(1)
    truth = (split_gap(model, guide, grid).family_gap.pointwise * density).sum() / density.sum()
    assert truth.item() == pytest.approx(0.117, abs=5e-4)
    assert_mean(gap, truth)


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


def test_the_fitted_weights_are_those_of_the_machine():
    weight, u, v = torch.randn(6, 3), torch.randn(6), torch.randn(3)
    model, guide = pair(*rbm(weight, u, v), bits(3))
    for most_bits in (16, 1):
        found = tightness(model, guide, torch.rand(20, 6).round(), most_bits=most_bits)
        for law in ("guide", "prior"):
            torch.testing.assert_close(found.guides[law].weights["x"], weight)
            torch.testing.assert_close(found.guides[law].bias, v)


def test_several_latents_and_observations():
    """Two latent sites and two observed ones lie side by side; one interaction puts the pair outside."""

    def make(together):
        def model(x):
            with pyro.plate("data", len(x)):
                a = pyro.sample("a", dist.Normal(0.0, 1.0))
                b = pyro.sample("b", dist.Bernoulli(0.5 * torch.ones(2)).to_event(1))
                pyro.sample("u", dist.Normal(a, 1.0), obs=x[:, 0])
                pyro.sample("v", dist.Normal(b.sum(-1) * 2 + together * a, 1.0), obs=x[:, 1])

        return model

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("b", dist.Bernoulli(logits=x[:, :2]).to_event(1))
            pyro.sample("a", dist.Normal(x[:, 0] / 2, 0.7))

    x = torch.randn(20, 2)
    apart = tightness(make(0.0), guide, x)
    # (b1 + b2)^2 has the product of two bits.
    assert apart.status == "outside"
    assert apart.count == 4
    assert set(apart.guides["guide"].weights) == {"u", "v"}

    def only_sum(x):
        with pyro.plate("data", len(x)):
            pyro.sample("a", dist.Normal(x[:, 0] / 2, 0.7))
            pyro.sample("b", dist.Bernoulli(logits=x[:, :1]).to_event(1))

    def one_bit(together):
        def model(x):
            with pyro.plate("data", len(x)):
                a = pyro.sample("a", dist.Normal(0.0, 1.0))
                b = pyro.sample("b", dist.Bernoulli(0.5 * torch.ones(1)).to_event(1))
                pyro.sample("u", dist.Normal(a, 1.0), obs=x[:, 0])
                pyro.sample("v", dist.Normal(2 * b[..., 0] + together * a, 1.0), obs=x[:, 1])

        return model

    assert tightness(one_bit(0.0), only_sum, x).verdict == TIGHT
    assert tightness(one_bit(0.5), only_sum, x).status == "outside"


def test_in_the_family_but_beyond_linear_guides():
    """One bit has only one family, but with heavy tails the log-odds are not linear in x."""
    prior = dist.Bernoulli(torch.tensor(0.5))
    student = lambda z, x: dist.StudentT(2.0, 3 * z, 1.0)  # noqa: E731
    model, guide = pair(prior, student, lambda x: dist.Bernoulli(logits=x))
    found = tightness(model, guide, 2 * torch.randn(200))
    assert found.status == "not linear"
    assert "in the family, but no linear guide reaches it" in found.verdict
    assert "the statistics of the observed site 'x', StudentT, are not known" in found.why
    few = tightness(model, guide, torch.randn(5))
    assert few.status == "in the family"
    assert "5 data are too few to fit 2 numbers per coefficient" in few.verdict


def test_a_linear_guide_is_found_by_regression_where_the_observation_is_hidden():
    """A normal observation under a mask is none this package knows, but log-odds stay linear in x."""
    model, guide = pair(
        dist.Bernoulli(torch.tensor(0.4)),
        lambda z, x: dist.Normal(3 * z, 1.0).mask(torch.tensor(True)),
        lambda x: dist.Bernoulli(logits=x),
    )
    found = tightness(model, guide, torch.randn(40))
    assert found.verdict == TIGHT
    torch.testing.assert_close(found.guides["guide"].weights["x"], torch.tensor([[3.0]]))
    torch.testing.assert_close(found.guides["guide"].bias, torch.tensor([math.log(0.4 / 0.6) - 4.5]))


def test_decoders_that_read_x_are_noticed():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(torch.tensor(0.5)))
            pyro.sample(
                "x", dist.Normal(z[..., None] + torch.stack([0 * x[:, 0], x[:, 0]], -1), 1.0).to_event(1), obs=x
            )

    found = tightness(model, pair(None, None, lambda x: dist.Bernoulli(logits=x[:, 0]))[1], torch.randn(50, 2))
    assert "the parameters of the observation depend on x itself" in found.why
    assert found.verdict == TIGHT  # by regression: the log-odds are linear


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


def test_families_of_every_distribution_need_no_regression():
    x = documents(12, 9)
    for count in (4, 9):
        model = Text(9, bits=count, hidden=1, width=8)
        found = tightness(model, Full(model, x), x)
        assert found.verdict == TIGHT
        assert found.affine["prior"].variance.min() > 0
    # Longer codes from an autoregressive guide, by draws.
    model = Text(9, bits=14, hidden=1, width=8)
    guide = Full(model, x)
    with torch.no_grad():
        assert isinstance(pyro.poutine.trace(guide).get_trace(x).nodes["z"]["fn"], AutoregressiveBits)
    assert tightness(model, guide, x, most_bits=2).verdict == TIGHT


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

    def chained(x):
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Bernoulli(0.5 * torch.ones(2)).to_event(1))
            pyro.sample("b", dist.Bernoulli(logits=a).to_event(1))

    with pytest.raises(ValueError, match="sites 'a', 'b' depend on each other"):
        tightness(chained, chained, x)
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
