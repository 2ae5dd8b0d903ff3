"""The rate in closed form, against numerical integrals and draws."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy import integrate, stats
from torch.distributions import Distribution

from ppl_vae.objectives.divergence import divergence
from ppl_vae.objectives.elbo import DiscreteELBO

pytestmark = pytest.mark.usefixtures("float64")


def integral(q: Any, p: Any, low: float, high: float) -> float:
    """KL of two one-dimensional densities of SciPy, in nats."""
    return float(integrate.quad(lambda z: q.pdf(z) * (q.logpdf(z) - p.logpdf(z)), low, high, epsabs=1e-11)[0])


PAIRS = {
    "normal": (dist.Normal, (0.7, 0.4), (-1.0, 2.0), stats.norm(0.7, 0.4), stats.norm(-1, 2), -4, 5),
    "gamma": (dist.Gamma, (3.0, 2.0), (2.0, 0.5), stats.gamma(3, 0, 1 / 2), stats.gamma(2, 0, 2), 0, 40),
    "beta": (dist.Beta, (2.0, 3.0), (1.5, 1.2), stats.beta(2, 3), stats.beta(1.5, 1.2), 0, 1),
    "laplace": (dist.Laplace, (0.0, 1.0), (0.5, 2.0), stats.laplace(0, 1), stats.laplace(0.5, 2), -40, 40),
    "log-normal": (
        dist.LogNormal,
        (0.2, 0.5),
        (0.0, 1.0),
        stats.lognorm(0.5, 0, math.exp(0.2)),
        stats.lognorm(1.0),
        0,
        40,
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_divergences_of_one_number_are_integrals(name: str) -> None:
    family, q, p, scipy_q, scipy_p, low, high = PAIRS[name]
    value = divergence(family(*q), family(*p))
    assert value is not None
    assert value.item() == pytest.approx(integral(scipy_q, scipy_p, low, high), abs=1e-7)


def correlated(kind: str) -> Distribution:
    if kind == "full":
        return dist.MultivariateNormal(torch.tensor([0.3, -1.0]), torch.tensor([[0.5, 0.2], [0.2, 0.3]]))
    factor = torch.tensor([[0.4], [0.3]])
    return dist.LowRankMultivariateNormal(torch.tensor([0.3, -1.0]), factor, torch.tensor([0.1, 0.2]))


@pytest.mark.parametrize("kind", ["full", "low rank"])
def test_divergences_of_correlated_normals_from_independent_ones(kind: str) -> None:
    mean, scale = np.array([0.5, 0.0]), np.array([2.0, 0.7])
    q = correlated(kind)
    cov, away = q.covariance_matrix.numpy(), q.mean.numpy() - mean  # type: ignore[attr-defined]
    precision = np.diag(scale**-2.0)
    log_dets = 2 * np.log(scale).sum() - np.linalg.slogdet(cov)[1]
    expected = 0.5 * (np.trace(precision @ cov) + away @ precision @ away - 2 + log_dets)
    value = divergence(q, dist.Normal(torch.tensor(mean), torch.tensor(scale)).to_event(1))
    assert value is not None
    assert value.item() == pytest.approx(expected, abs=1e-10)


def test_families_without_a_closed_form_have_none() -> None:
    assert divergence(dist.Normal(0.0, 1.0), dist.StudentT(3.0, 0.0, 1.0)) is None


def chain(first: str, second: str, loc: float) -> Callable[[torch.Tensor], None]:
    """Two normals of which the second depends on the first."""

    def program(x: torch.Tensor) -> None:
        with pyro.plate("data", len(x)):
            a = pyro.sample(first, dist.Normal(loc * x, 0.8))
            pyro.sample(second, dist.Normal(0.5 * a, 0.6))

    return program


def model_of(scale: float = 1.0) -> Callable[[torch.Tensor], None]:
    def model(x: torch.Tensor) -> None:
        with pyro.plate("data", len(x)):
            with pyro.poutine.scale(scale=scale):
                a = pyro.sample("a", dist.Normal(0.0, 1.0))
                b = pyro.sample("b", dist.Normal(a, 1.0))
            pyro.sample("x", dist.Normal(a + b, 1.0), obs=x)

    return model


def losses(model: Any, guide: Any, kl: Any) -> torch.Tensor:
    """The loss at each of many independent sets of draws."""
    x = torch.full((2000,), 1.3)
    objective = DiscreteELBO(kl=kl)
    return torch.tensor([objective.loss(model, guide, x) / len(x) for _ in range(20)])


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")], ids=["as the model", "backwards"])
def test_the_loss_is_that_of_draws_whatever_the_order_of_the_guide(order: tuple[str, str]) -> None:
    # A guide that draws b before its parent a has no rate of b given a in closed form.
    guide = chain(*order, loc=0.4)
    closed, sampled = (losses(model_of(), guide, kl) for kl in ("closed_form", "sampled"))
    error = ((closed.var() + sampled.var()) / 20).sqrt()
    assert (closed.mean() - sampled.mean()).abs() < 4.5 * error


def test_the_chain_is_that_of_the_analytic_bound() -> None:
    # E log p(x | a, b) and both rates under q, all normal, by hand.
    x, loc = 1.3, 0.4
    m, v = loc * x, 0.64
    rate_a = 0.5 * (v + m**2 - 1 - math.log(v))
    rate_b = 0.5 * (0.36 + 0.25 * (m**2 + v) - 1 - math.log(0.36))
    mean, variance = 1.5 * m, 2.25 * v + 0.36
    fit = -0.5 * (math.log(2 * math.pi) + (x - mean) ** 2 + variance)
    found = losses(model_of(), chain("a", "b", loc), "closed_form")
    assert abs(found.mean().item() - (rate_a + rate_b - fit)) < 4.5 * (found.std() / 20**0.5).item()


def test_a_scale_of_the_model_alone_is_left_to_draws() -> None:
    torch.manual_seed(3)
    closed = losses(model_of(0.5), chain("a", "b", 0.4), "closed_form")
    torch.manual_seed(3)
    assert torch.equal(closed, losses(model_of(0.5), chain("a", "b", 0.4), "sampled"))


def test_an_unknown_way_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown kl 'exact'; choose from closed_form, sampled"):
        DiscreteELBO(kl="exact")  # type: ignore[arg-type]
