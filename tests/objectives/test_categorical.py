"""Gradients of the ELBO through categoricals, counts, and normals that follow them, against sums in plain tensors."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import scipy.stats
import torch

from ppl_vae.objectives.choice import make_estimator
from ppl_vae.objectives.elbo import DiscreteELBO
from tests.estimators.test_battery import ESTIMATORS
from tests.support.small_pairs import copies_of
from tests.support.z_test import assert_mean

pytestmark = pytest.mark.usefixtures("float64")

CATEGORICAL = [estimator for estimator in ESTIMATORS if estimator.categorical]
RELAXED = [e for e in CATEGORICAL if e.without_control is not e]
SKEWED = torch.tensor([[1, 2, 3], [5, 2, 1]])
NODES, WEIGHTS = (torch.from_numpy(v) for v in np.polynomial.hermite_e.hermegauss(40))


def sampled(pair, estimator, x, count, draws=2, **options):
    """Independent estimates ``(count, parameters)``, each of a copy of the pair with parameters of its own."""
    copies, pair.values = copies_of(pair.parameters, count, len(x))
    objective = DiscreteELBO(estimator, draws=draws, **options)
    objective.loss_and_grads(pair.model, pair.guide, x.repeat(count, *[1] * (x.ndim - 1)))
    pair.objective = objective
    return torch.cat([p.grad.reshape(count, -1) for p in copies], -1)


class Several:
    """Categoricals as numbers and as indicators, a bit and a normal, under priors that are not uniform."""

    def __init__(self, numbered: bool, scale: float = 1.0) -> None:
        self.numbered, self.scale = numbered, scale
        self.parameters = [torch.randn(3), torch.randn(2, 3), torch.randn(1), torch.randn(())]
        self.first, self.last = torch.randn(3 + 6 + 1 + 1, 4), torch.randn(4)

    def mean(self, a, h, b, y):
        return torch.tanh(torch.cat([a, h.flatten(-2), b, y[..., None]], -1) @ self.first) @ self.last

    def a(self, **options):
        return (dist.Categorical if self.numbered else dist.OneHotCategorical)(**options)

    def model(self, x):
        with pyro.plate("data", len(x)), pyro.poutine.scale(scale=self.scale):
            a = pyro.sample("a", self.a(probs=torch.tensor([0.2, 0.3, 0.5])))
            h = pyro.sample("h", dist.OneHotCategorical(SKEWED.double()).to_event(1))
            b = pyro.sample("b", dist.Bernoulli(torch.tensor([0.3])).to_event(1))
            y = pyro.sample("y", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(self.mean(torch.eye(3)[a] if self.numbered else a, h, b, y), 0.5), obs=x)

    def guide(self, x):
        a, h, b, y = self.values
        with pyro.plate("data", len(x)), pyro.poutine.scale(scale=self.scale):
            pyro.sample("h", dist.OneHotCategorical(logits=h).to_event(1))
            pyro.sample("y", dist.Normal(y, 0.5))
            pyro.sample("b", dist.Bernoulli(logits=b).to_event(1))
            pyro.sample("a", self.a(logits=a))

    def expected(self, x):
        """By a sum over the 54 joint states and quadrature over the normal."""
        a, h, b, y = values = [p.clone().requires_grad_() for p in self.parameters]
        log_a, log_h = a.log_softmax(-1), h.log_softmax(-1)
        prior_a, prior_h = torch.tensor([0.2, 0.3, 0.5]).log(), (SKEWED / SKEWED.sum(-1, keepdim=True)).log()
        at = y + 0.5 * NODES
        normal = dist.Normal(0.0, 1.0).log_prob(at) - dist.Normal(0.0, 0.5).log_prob(0.5 * NODES)
        eye, elbo = torch.eye(3), 0.0
        for i, j, k, bit in np.ndindex(3, 3, 3, 2):
            bits = torch.tensor([float(bit)])
            log_q = log_a[i] + log_h[0, j] + log_h[1, k] + dist.Bernoulli(logits=b).log_prob(bits).sum()
            log_p = prior_a[i] + prior_h[0, j] + prior_h[1, k] + dist.Bernoulli(0.3).log_prob(bits).sum()
            rows = (v.expand(len(NODES), *v.shape) for v in (eye[i], torch.stack([eye[j], eye[k]]), bits))
            fits = dist.Normal(self.mean(*rows, at)[:, None], 0.5).log_prob(x).sum(-1)
            average = (WEIGHTS * (fits + len(x) * normal)).sum() / WEIGHTS.sum()
            elbo = elbo + self.scale * log_q.exp() * (len(x) * (log_p - log_q) + average)
        return torch.cat([g.flatten() for g in torch.autograd.grad(-elbo, values)])


@pytest.mark.parametrize(
    ("estimator", "numbered"),
    [(e, True) for e in CATEGORICAL if e not in RELAXED] + [(e, False) for e in RELAXED] + [("loo", True)],
    ids=lambda v: getattr(v, "name", str(v)),
)
def test_several_sites_of_every_kind(estimator, numbered):
    pair, x = Several(numbered, scale=2.5), torch.randn(2)
    assert_mean(sampled(pair, estimator, x, 3000), pair.expected(x))


def test_numbered_states_cannot_be_relaxed():
    pair, x = Several(numbered=True), torch.randn(2)
    with pytest.raises(ValueError, match="evaluates the model between states, but those of site 'a' are numbered"):
        sampled(pair, make_estimator("arms_tree", control=True), x, 1)
    sampled(pair, "arms_tree", x, 1)
    assert pair.objective.estimator.name == "arms_tree"
    pair = Several(numbered=False)
    sampled(pair, "arms_tree", x, 1)
    assert pair.objective.estimator.name == "arms_tree+first_order"


class MixedChain:
    """A mixture: q(z | x) is categorical, q(w | z, x) normal with a reparameterised draw."""

    def __init__(self, numbered: bool = True) -> None:
        self.parameters = [torch.randn(3), torch.randn(3), torch.randn(3)]
        self.centres = torch.tensor([-1.5, 0.0, 2.0])

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Categorical(torch.tensor([0.5, 0.2, 0.3])))
            w = pyro.sample("w", dist.Normal(self.centres[z], 0.8))
            pyro.sample("x", dist.Normal(torch.sin(2 * w) + w, 0.6), obs=x)

    def guide(self, x):
        logits, means, slopes = self.values
        rows = torch.arange(len(x))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Categorical(logits=logits))
            loc = means[rows, z] + slopes[rows, z] * x
            pyro.sample("w", dist.Normal(loc, 0.4))

    def expected(self, x):
        logits, means, slopes = values = [p.clone().requires_grad_() for p in self.parameters]
        log_q, log_z = logits.log_softmax(-1), torch.tensor([0.5, 0.2, 0.3]).log()
        w = (means + slopes * x[:, None])[..., None] + 0.4 * NODES  # (data, states, nodes)
        log_p = dist.Normal(self.centres[:, None], 0.8).log_prob(w)
        log_p = log_p + dist.Normal(torch.sin(2 * w) + w, 0.6).log_prob(x[:, None, None])
        inner = log_p - dist.Normal(0.0, 0.4).log_prob(0.4 * NODES)
        average = (WEIGHTS * inner).sum(-1) / WEIGHTS.sum()
        elbo = (log_q.exp() * (log_z - log_q + average)).sum()
        return torch.cat([g.flatten() for g in torch.autograd.grad(-elbo, values)])


@pytest.mark.parametrize("estimator", ["auto", "arms_tree", "loo", "unordered_set"])
def test_normals_that_follow_categoricals(estimator):
    """Listing all states, which ``auto`` does here, draws one normal for each of them."""
    pair, x = MixedChain(), torch.tensor([0.7, -1.2])
    assert_mean(sampled(pair, estimator, x, 3000), pair.expected(x))
    assert pair.objective.estimator.name == ("enumerate" if estimator == "auto" else estimator)


class Single:
    """One site of independent categoricals, whose joint states an estimator may list."""

    def __init__(self) -> None:
        self.parameters = [torch.randn(2, 3)]
        self.table = torch.randn(3, 3)

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Categorical(SKEWED.double()).to_event(1))
            pyro.sample("x", dist.Normal(self.table[z[..., 0], z[..., 1]], 0.7), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Categorical(logits=self.values[0]).to_event(1))

    def expected(self, x):
        logits = self.parameters[0].clone().requires_grad_()
        log_q = logits.log_softmax(-1)
        joint = log_q[0][:, None] + log_q[1]
        first, second = (SKEWED / SKEWED.sum(-1, keepdim=True)).log()
        log_z = first[:, None] + second
        fits = dist.Normal(self.table, 0.7).log_prob(x[:, None, None])
        return torch.autograd.grad(-(joint.exp() * (fits + log_z - joint)).sum(), logits)[0].flatten()


@pytest.mark.parametrize("draws", [2, 4])
def test_states_without_replacement(draws):
    pair, x = Single(), torch.randn(2)
    assert_mean(sampled(pair, "unordered_set", x, 3000, draws), pair.expected(x))
    several = Several(numbered=True)
    with pytest.warns(UserWarning, match="unordered_set draws the states of a single site .* using loo instead"):
        sampled(several, "unordered_set", x, 1)


COUNTS = {
    # For the parameter t: the family, and SciPy's log-probabilities and scores d log q(k) / d t.
    "poisson": (
        lambda t: dist.Poisson(t.exp()),
        lambda k, t: (scipy.stats.poisson.logpmf(k, np.exp(t)), k - np.exp(t)),
    ),
    "geometric": (
        lambda t: dist.Geometric(logits=t),
        lambda k, t: (scipy.stats.geom.logpmf(k + 1, 1 / (1 + np.exp(-t))), (1 - (k + 1) / (1 + np.exp(-t)))),
    ),
    "negative_binomial": (
        lambda t: dist.NegativeBinomial(torch.tensor(2.5), logits=t),
        lambda k, t: (
            scipy.stats.nbinom.logpmf(k, 2.5, 1 / (1 + np.exp(t))),
            k / (1 + np.exp(t)) - 2.5 / (1 + np.exp(-t)),
        ),
    ),
}


@pytest.mark.parametrize("family", COUNTS)
@pytest.mark.parametrize("draws", [1, 4])
def test_counts_without_bound(family, draws):
    """``auto`` takes leave-one-out, with two draws at least; the oracle sums 400 states in NumPy."""
    make, scipys = COUNTS[family]

    class Pair:
        parameters = (torch.tensor(-0.4),)

        def model(self, x):
            with pyro.plate("data", len(x)):
                n = pyro.sample("n", dist.Poisson(2.0))
                pyro.sample("x", dist.Normal(torch.sqrt(n), 0.8), obs=x)

        def guide(self, x):
            with pyro.plate("data", len(x)):
                pyro.sample("n", make(self.values[0]))

    pair, x, k = Pair(), torch.tensor([1.3, 0.4]), np.arange(400)
    log_q, score = scipys(k, -0.4)
    fits = scipy.stats.norm.logpdf(x.numpy()[:, None], np.sqrt(k), 0.8)
    f = scipy.stats.poisson.logpmf(k, 2.0) + fits - log_q
    reached = log_q > -700
    expected = -(np.exp(log_q) * score * f)[:, reached].sum()
    assert_mean(sampled(pair, "auto", x, 6000, draws), torch.tensor([expected]))
    assert pair.objective.estimator.name == "loo"
