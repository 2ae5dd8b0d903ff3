"""Every evidence method, found in its folder, against oracles in NumPy and SciPy, and a method added by one file."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from ppl_vae.guides.linear_counts import LinearCounts
from ppl_vae.models.text import Text
from scipy import stats
from scipy.special import logsumexp

from ppl_vae.evidence.measure import measure
from ppl_vae.evidence.methods.base import EvidenceMethod
from ppl_vae.evidence.plan import obstacle_of, plan
from ppl_vae.evidence.results import Evidence
from ppl_vae.nn.modes import evaluating
from ppl_vae.plugins.discovery import available
from ppl_vae.programs.sites import guide_sites
from tests.support.added_method import ADDED_METHOD
from tests.support.cli import flat, succeed
from tests.support.small_pairs import BitsOfPoints, LinearGaussian, documents

METHODS = list(available("evidence"))
DATA = 10


@dataclass
class Case:
    """A pair, its data, and log p(x) of each datum by other means."""

    model: Callable[..., Any]
    guide: Callable[..., Any]
    x: Any
    oracle: np.ndarray


def linear_gaussian(latents: int) -> Case:
    pair = LinearGaussian(latents)
    x = pair.simulate(DATA)[1]
    covariance = pair.map.T.numpy() @ pair.map.numpy() + pair.noise**2 * np.eye(4)
    precision = torch.eye(latents) + pair.map @ pair.map.T / pair.noise**2

    def guide(x):
        """The posterior, half again as wide in variance and a little aside."""
        mean = 0.05 + (x - pair.offset) @ pair.map.T / pair.noise**2 @ torch.linalg.inv(precision)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.MultivariateNormal(mean, precision_matrix=precision / 1.5))

    return Case(pair.model, guide, x, stats.multivariate_normal(pair.offset.numpy(), covariance).logpdf(x.numpy()))


def bits() -> Case:
    pair = BitsOfPoints(3)
    pair.weight.data *= 0.3
    x, noise = torch.randn(DATA, 3), np.exp(pair.noise.detach().numpy())
    terms = [
        sum(np.log(0.3 if bit else 0.7) for bit in code)
        + stats.norm(np.tanh(2 * np.array(code) @ pair.map.numpy()), noise).logpdf(x.numpy()).sum(-1)
        for code in product([0, 1], repeat=3)
    ]
    return Case(pair.model, pair.guide, x, logsumexp(terms, 0))


def mixture() -> Case:
    weights, means = np.array([0.5, 0.2, 0.3]), np.array([-1.0, 0.5, 2.0])

    def model(x):
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Categorical(torch.tensor(weights)))
            pyro.sample("x", dist.Normal(torch.tensor(means)[k], 0.7), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("k", dist.Categorical(logits=x[:, None] * torch.tensor([-0.5, 0.1, 0.8])))

    x = torch.randn(DATA)
    terms = np.log(weights) + stats.norm(means, 0.7).logpdf(x.numpy()[:, None])
    return Case(model, guide, x, logsumexp(terms, -1))


def text() -> Case:
    x = documents(DATA, 6)
    model = Text(6, bits=3)
    weight, bias = model.words.weight.detach().numpy(), model.words.bias.detach().numpy()
    dense = x.to_csr().toarray()
    terms = []
    for code in product([0, 1], repeat=3):
        logits = weight @ np.array(code) + bias
        frequencies = np.exp(logits - logsumexp(logits))
        terms.append(stats.multinomial.logpmf(dense, dense.sum(-1), frequencies) - 3 * np.log(2))
    return Case(model, LinearCounts(model, x), x, logsumexp(terms, 0))


def bit_and_number() -> Case:
    def model(x):
        with pyro.plate("data", len(x)):
            b = pyro.sample("b", dist.Bernoulli(0.3))
            z = pyro.sample("z", dist.Normal(2 * b, 1.0))
            pyro.sample("x", dist.Normal(z + b, 0.5), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("b", dist.Bernoulli(logits=x - 1.5))
            pyro.sample("z", dist.Normal(0.7 * x, 1.0))

    x = torch.randn(DATA) + 1
    terms = [np.log(share) + stats.norm(3 * b, 1.25**0.5).logpdf(x.numpy()) for b, share in ((0, 0.7), (1, 0.3))]
    return Case(model, guide, x, logsumexp(terms, 0))


def mixture_along_a_curve() -> Case:
    """A categorical latent, a number given it, and points."""
    weights, means = np.array([0.4, 0.6]), np.array([-2.0, 1.0])

    def model(x):
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Categorical(torch.tensor(weights)))
            w = pyro.sample("w", dist.Normal(torch.tensor(means)[k], 0.6))
            along = (1.5 * w).sin()
            pyro.sample("x", dist.Normal(torch.stack([along, -along / 2], -1), 0.5).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Categorical(logits=x[:, :1] * torch.tensor([-1.0, 1.0])))
            pyro.sample("w", dist.Normal(0.5 * x[:, 0] + 0.5 * torch.tensor(means)[k], 0.8))

    x = torch.randn(DATA, 2)
    w = np.linspace(-9, 9, 4001)
    along = np.sin(1.5 * w)
    prior = logsumexp(np.log(weights) + stats.norm(means, 0.6).logpdf(w[:, None]), -1)
    likelihood = [stats.norm([a, -a / 2], 0.5).logpdf(x.numpy()).sum(-1) for a in along]
    return Case(model, guide, x, logsumexp(np.array(likelihood) + prior[:, None], 0) + np.log(w[1] - w[0]))


def gamma_poisson() -> Case:
    def model(x):
        with pyro.plate("data", len(x)):
            rate = pyro.sample("rate", dist.Gamma(2.0, 0.5))
            pyro.sample("x", dist.Poisson(rate), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("rate", dist.Gamma(1.5 + x, 1.2))

    x = torch.poisson(torch.full((DATA,), 4.0))
    return Case(model, guide, x, stats.nbinom(2, 1 / 3).logpmf(x.numpy()))


def counts() -> Case:
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Poisson(2.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Poisson(1 + x.abs()))

    x, z = torch.randn(DATA) + 2, np.arange(60)
    terms = stats.poisson(2).logpmf(z) + stats.norm(z, 1).logpdf(x.numpy()[:, None])
    return Case(model, guide, x, logsumexp(terms, -1))


CASES = {
    "linear Gaussian, 2 latents": lambda: linear_gaussian(2),
    "linear Gaussian, 3 latents": lambda: linear_gaussian(3),
    "bits": bits,
    "mixture": mixture,
    "text": text,
    "bit and number": bit_and_number,
    "mixture along a curve": mixture_along_a_curve,
    "gamma-Poisson": gamma_poisson,
    "counts": counts,
}

each_method = pytest.mark.parametrize("name", METHODS)
each_case = pytest.mark.parametrize("case", CASES)


@pytest.fixture(autouse=True)
def precise(float64: None) -> None:
    """Oracles compute in float64."""


def method_class(name: str) -> type[EvidenceMethod]:
    return available("evidence")[name].load_class(EvidenceMethod)


def options(name: str) -> dict[str, Any]:
    """Few samples, so that all methods take some tenths of a second."""
    fast = {"draws": 60, "temperatures": 40}
    known = method_class(name)
    return {"method": name} | {key: value for key, value in fast.items() if hasattr(known, key)}


def possible(name: str, case: Case) -> str | None:
    """The obstacle of a method."""
    with evaluating(case.model):
        return obstacle_of(method_class(name)(), case.model, case.x, guide_sites(case.model, (case.x[:2],)))


def in_small_blocks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(method_class(name), "block", lambda self, x: 4)


@each_case
@each_method
def test_a_method_agrees_with_the_oracle_or_says_why_it_cannot(name, case):
    pair = CASES[case]()
    obstacle = possible(name, pair)
    if obstacle is not None:
        sites = [site.name for site in guide_sites(pair.model, (pair.x[:2],))]
        general = ("the latents have", "log p(x, z) is")
        assert any(f"site {site!r}" in obstacle for site in sites) or obstacle.startswith(general)
        with pytest.raises(ValueError, match="is not possible") as error:
            measure(pair.model, pair.guide, pair.x, **options(name))
        assert obstacle in str(error.value)
        assert "use the method '" in str(error.value)
        return
    counted: list[int] = []
    result = measure(pair.model, pair.guide, pair.x, progress=counted.append, **options(name))
    assert sum(counted) == plan(pair.model, pair.x, **options(name)).cells
    difference = result.evidence.pointwise.numpy() - pair.oracle
    evidence = result.evidence
    assert not evidence.notes
    if method_class(name).exact:
        assert evidence.bound == "exact"
        assert evidence.se == 0
        np.testing.assert_allclose(difference, 0, atol=1e-4)
    else:
        assert evidence.bound in ("lower", "approximate")
        assert evidence.se > 0
        assert difference.mean() > -0.1 - 6 * evidence.se
        if evidence.bound == "lower":
            assert difference.mean() < 6 * evidence.se
        else:
            assert difference.mean() < 0.1 + 6 * evidence.se
    # The ELBO is below the evidence, and the gap is their difference.
    assert result.elbo.mean < pair.oracle.mean() + 6 * result.elbo.se
    torch.testing.assert_close(result.gap.pointwise, evidence.pointwise - result.elbo.pointwise)


@each_method
def test_every_method_measures_some_case(name):
    assert any(possible(name, make()) is None for make in CASES.values())


@each_method
def test_blocks_joined_are_the_whole(name, monkeypatch):
    pair = next(pair for make in CASES.values() if possible(name, pair := make()) is None)
    torch.manual_seed(3)
    whole = measure(pair.model, pair.guide, pair.x, **options(name))
    in_small_blocks(name, monkeypatch)
    done: dict[int, Evidence] = {}
    torch.manual_seed(3)
    joined = measure(pair.model, pair.guide, pair.x, done=done, **options(name))
    assert [(start, len(part.evidence.pointwise)) for start, part in done.items()] == [(0, 4), (4, 4), (8, 2)]
    together = torch.cat([part.evidence.pointwise for part in done.values()])
    torch.testing.assert_close(joined.evidence.pointwise, together, rtol=0, atol=0)
    if method_class(name).exact:
        torch.testing.assert_close(joined.evidence.pointwise, whole.evidence.pointwise)


@each_method
def test_a_measurement_resumed_after_an_interruption_ends_with_the_same_numbers(name, monkeypatch):
    pair = next(pair for make in CASES.values() if possible(name, pair := make()) is None)
    in_small_blocks(name, monkeypatch)
    torch.manual_seed(7)
    whole = measure(pair.model, pair.guide, pair.x, **options(name))

    class Interrupted(dict[int, Evidence]):
        def __setitem__(self, start: int, evidence: Evidence) -> None:
            super().__setitem__(start, evidence)
            if start == 4:
                raise KeyboardInterrupt

    done = Interrupted()
    torch.manual_seed(7)
    with pytest.raises(KeyboardInterrupt):
        measure(pair.model, pair.guide, pair.x, done=done, **options(name))
    assert list(done) == [0, 4]
    torch.manual_seed(7)
    counted: list[int] = []
    again = measure(pair.model, pair.guide, pair.x, done=dict(done), progress=counted.append, **options(name))
    for key in ("elbo", "evidence", "gap"):
        torch.testing.assert_close(getattr(again, key).pointwise, getattr(whole, key).pointwise, rtol=0, atol=0)
    assert sum(counted) == plan(pair.model, pair.x, **options(name)).cells


@each_method
def test_unknown_options_are_refused_by_name(name):
    pair = next(pair for make in CASES.values() if possible(name, pair := make()) is None)
    with pytest.raises(ValueError, match=f"the evidence method {name} has no colour; it has draws"):
        measure(pair.model, pair.guide, pair.x, method=name, colour="red")
    with pytest.raises(ValueError, match="no evidence method has an option colour; there are draws"):
        measure(pair.model, pair.guide, pair.x, colour="red")


@each_method
def test_a_method_is_listed_with_its_summary(name):
    summary = available("evidence")[name].summary
    assert summary in (method_class(name).__doc__ or "").replace("\n    ", " ")
    assert flat(summary) in flat(succeed("evidence", "--help").output)


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder outside the package with one file: a method."""
    (tmp_path / "evidence").mkdir()
    file = tmp_path / "evidence/mine.py"
    file.write_text(ADDED_METHOD)
    # Neither run nor taken for a method, although it lies beside one.
    (tmp_path / "evidence/court_case.py").write_text("raise SystemExit('this is no plugin')\n")
    (tmp_path / "evidence/broken.py").write_text("# An EvidenceMethod that fails.\nraise SystemExit('broken')\n")
    (tmp_path / "evidence/latin.py").write_bytes("# Mörike's EvidenceMethod\nimport missing_module\n".encode("latin-1"))
    monkeypatch.chdir(tmp_path)
    return file


def test_a_file_in_the_working_folder_adds_a_method(mine):
    pair = bits()
    assert "mine" in available("evidence")
    named = measure(pair.model, pair.guide, pair.x, method="mine")
    automatic = measure(pair.model, pair.guide, pair.x)
    by_path = measure(pair.model, pair.guide, pair.x, method=str(mine))
    for result in (named, automatic, by_path):
        assert result.evidence.method == "mine"
        assert result.why == "mine is exact here"
        np.testing.assert_allclose(result.evidence.pointwise.numpy(), pair.oracle)
    assert measure(pair.model, pair.guide, pair.x, most=2).evidence.method == "enumeration of 8 states"
    with pytest.raises(ValueError, match="mine is not possible: site 'z' is not one of at most 2 bits; use the method"):
        measure(pair.model, pair.guide, pair.x, method="mine", most=2)
    other = counts()
    assert "mine: site 'z' is not one of at most 8 bits" in measure(other.model, other.guide, other.x, draws=20).why
