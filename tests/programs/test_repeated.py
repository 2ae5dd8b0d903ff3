"""A guide that is run once draws and scores as one that is run every time, bit for bit."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from ppl_vae.guides.mean_field import MeanField

from ppl_vae.evidence.measure import measure
from ppl_vae.nn.modes import evaluating
from ppl_vae.programs.handlers import run, scores
from ppl_vae.programs.log_weight import log_proposals
from ppl_vae.programs.repeated import RepeatedGuide
from tests.support.evidence_cases import one_bit_and_a_number
from tests.support.small_pairs import LinearGaussian, text_pair


def independent(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(0.5 * x, 1.0))
        pyro.sample("b", dist.Bernoulli(0.5 * torch.ones(len(x))))


def chained(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.5 * x, 1.0))
        pyro.sample("b", dist.Bernoulli(logits=z))


def chained_rarely(x):
    """Of which a run of some samples may not show that the bit depends on the number."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.5 * x, 1.0))
        pyro.sample("b", dist.Bernoulli(logits=(z - 30).clamp(min=0)))


CASES = {
    "independent": (independent, torch.randn(6), 2),
    "chained": (chained, torch.randn(6), None),
    "chained, rarely": (chained_rarely, torch.randn(6), None),
    "bits": (*text_pair(5, 1, MeanField)[1:], 2),
    "method": (LinearGaussian(3).guide, torch.randn(6, 4), 2),
}
"""Guide, data, and after how many calls it is not run again."""


@pytest.mark.parametrize("name", CASES)
def test_samples_and_densities_are_those_of_runs(name):
    guide, x, calls = CASES[name]
    with evaluating(guide):
        torch.manual_seed(5)
        expected = [run(guide, (x,), {}, draws=draws) for draws in (7, 7, 7, 3)]
        torch.manual_seed(5)
        repeated = RepeatedGuide(guide, x)
        found = [repeated.draw(draws) for draws in (7, 7, 7, 3)]
        assert repeated._drawing.calls == (4 if calls is None else calls)
        for one, other in zip(found, expected, strict=True):
            assert list(one) == list(other)
            for site, density in scores(other, "guide").items():
                torch.testing.assert_close(one[site]["value"], other[site]["value"], rtol=0, atol=0)
                torch.testing.assert_close(scores(one, "guide")[site], density, rtol=0, atol=0)
        for sites in expected:  # samples of others, as of the prior
            values = {site: value.flip(0) for site, value in sites.values_of_latents().items()}
            for site, density in log_proposals(guide, x, values).items():
                torch.testing.assert_close(scores(repeated.score(values), "guide")[site], density, rtol=0, atol=0)


def test_a_guide_that_changes_from_call_to_call_is_run_every_time():
    shift = [0.0]

    def guide(x):
        shift[0] += 1
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x + shift[0], 1.0))

    with evaluating(guide):
        repeated = RepeatedGuide(guide, torch.zeros(2))
        means = [repeated.draw(1000)["z"]["value"].mean() for _ in range(4)]
    assert (torch.stack(means).diff() > 0.5).all()


def test_a_measurement_in_small_blocks_is_that_of_runs(monkeypatch):
    x = torch.randn(6)
    found = []
    for fewest in (1, 10**9):
        monkeypatch.setattr("ppl_vae.programs.blocks.CACHED", 2**16)
        monkeypatch.setattr("ppl_vae.programs.repeated.COMPARED", fewest)
        torch.manual_seed(2)
        found.append(measure(one_bit_and_a_number, independent, x, method="importance", draws=200))
    for name in ("evidence", "elbo"):
        one, other = (getattr(each, name).pointwise for each in found)
        torch.testing.assert_close(one, other, rtol=0, atol=0)
