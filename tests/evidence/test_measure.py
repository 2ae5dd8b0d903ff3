"""The choice of a method, and what all measurements share: contract, modes, progress, interruptions."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from ppl_vae.diagnostics.gap.split import split_gap
from ppl_vae.evidence.measure import measure
from ppl_vae.evidence.plan import plan
from ppl_vae.evidence.results import Evidence
from ppl_vae.programs.log_weight import log_weight
from tests.support.small_pairs import BitsOfPoints, LinearGaussian, text_pair, uninformative_bits

pytestmark = pytest.mark.usefixtures("float64")


def test_auto_says_why():
    model, guide, x = text_pair(4, 1, scale=5.0)
    assert measure(model, guide, x).why == "the discrete latents have 16 joint states"
    found = measure(model, guide, x, most_bits=3, draws=30)
    assert found.why == (
        "no exact method applies: enumeration: the latents have 16 joint states, more than 2^3; "
        "closed form: site 'z' is Bernoulli; quadrature: site 'z' is Bernoulli"
    )
    assert measure(model, guide, x, method="psis").why == "psis, as requested"
    with pytest.raises(
        ValueError, match="there is no evidence method 'exact'; choose from auto, annealing, best_member, closed_form"
    ):
        measure(model, guide, x, method="exact")


def test_options_of_a_method_that_auto_does_not_take_are_refused():
    model, guide, x = text_pair(4, 1, scale=5.0)
    for most_bits, taken in {16: "enumeration", 3: "importance"}.items():
        options = {"most_bits": most_bits, "draws": 30}
        message = (
            rf"auto took {taken}, which has no option leapfrog_steps \(--leapfrog-steps, leapfrog_steps=\).* take the "
            "method annealing .--method, method="
        )
        with pytest.raises(ValueError, match=message):
            measure(model, guide, x, leapfrog_steps=2, **options)
        with pytest.raises(ValueError, match=message):
            split_gap(model, guide, x, method="ascent", leapfrog_steps=2, **options)
    own = measure(model, guide, x, most_bits=3, draws=30, prior_share=0.0)
    assert own.evidence.method == "importance, 30 draws"
    with pytest.raises(ValueError, match="auto took enumeration, which has no option prior_share"):
        measure(model, guide, x, prior_share=0.0)


def test_few_draws_are_refused_and_impossible_enumeration_named():
    model, guide, x = text_pair(3)
    with pytest.raises(ValueError, match="at least 2 draws per datum, got 1"):
        measure(model, guide, x, method="importance", draws=1)
    model, guide, x = text_pair(17)
    with pytest.raises(
        ValueError, match="131072 joint states, more than 2.16; use the method 'importance' or 'psis' or 'annealing'"
    ):
        measure(model, guide, x, method="enumeration")
    assert measure(model, guide, x, draws=20).evidence.method == "importance, 20 draws and 2 of the prior"


def test_auxiliary_sites_are_refused_by_name():
    model, _ = uninformative_bits(torch.zeros(2))

    def guide(x):
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Bernoulli(0.5), infer={"is_auxiliary": True})
            pyro.sample("z", dist.Bernoulli(logits=a[..., None] * torch.ones(2)).to_event(1))

    for method in ("auto", "importance"):
        with pytest.raises(ValueError, match=r"auxiliary sites \['a'\]"):
            measure(model, guide, torch.randn(3), method=method)


def test_sites_outside_the_plate_are_named():
    def model(x):
        scale = pyro.sample("scale", dist.LogNormal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(0.0, scale), obs=x)

    def guide(x):
        pyro.sample("scale", dist.LogNormal(0.0, 1.0))

    with pytest.raises(ValueError, match=r"site 'scale' of the model lies outside the plate over data"):
        log_weight(model, guide, torch.randn(3), 2)


class Batchnormed(pyro.nn.PyroModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))

    def forward(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(torch.full((2,), 0.5)).to_event(1))
            mean = self.net(z.reshape(-1, 2)).reshape(*z.shape[:-1], 3)
            pyro.sample("x", dist.Normal(mean, 1.0).to_event(1), obs=x)


def test_batch_norm_in_evaluation_scores_a_datum_alone_as_in_company():
    model, pair, x = Batchnormed(), BitsOfPoints(2), torch.randn(6, 3)
    model.train()
    model(x)  # moves the running statistics off their start
    whole = measure(model, pair.guide, x).evidence.pointwise
    torch.testing.assert_close(measure(model, pair.guide, x[3:4]).evidence.pointwise, whole[3:4])
    assert model.training


def test_methods_of_modules_are_measured_in_evaluation_mode():
    class Vae(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = torch.nn.Sequential(torch.nn.Linear(1, 3), torch.nn.Dropout(0.5))

        def model(self, x):
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
                pyro.sample("x", dist.Normal(self.net(z), 1.0).to_event(1), obs=x)

        def guide(self, x):
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(torch.zeros(len(x), 1), 1.0).to_event(1))

    vae, x = Vae(), torch.randn(3, 3)
    assert measure(vae.model, vae.guide, x).evidence.method == "closed form: the posterior is Gaussian"
    assert vae.net[1].training


def test_an_interrupted_measurement_goes_on_where_it_was():
    pair = LinearGaussian(4)
    x = pair.simulate(20)[1]
    options = {"method": "annealing", "draws": 64, "temperatures": 4, "start": "guide"}
    torch.manual_seed(7)
    whole = measure(pair.model, pair.guide, x, **options)

    class Stops(dict):
        def __setitem__(self, start: int, found: Evidence) -> None:
            super().__setitem__(start, found)
            if start == 8:
                raise KeyboardInterrupt

    done = Stops()
    torch.manual_seed(7)
    with pytest.raises(KeyboardInterrupt):
        measure(pair.model, pair.guide, x, done=done, **options)
    assert list(done) == [0, 8]
    torch.manual_seed(7)
    counted = []
    again = measure(pair.model, pair.guide, x, done=dict(done), progress=counted.append, **options)
    torch.testing.assert_close(again.evidence.pointwise, whole.evidence.pointwise, rtol=0, atol=0)
    assert sum(counted) == plan(pair.model, x, **options).cells


@pytest.mark.parametrize("method", ["enumeration", "importance", "psis", "annealing"])
def test_progress_counts_what_the_plan_promised(method):
    model, guide, x = text_pair(4, 1, scale=5.0)
    counted = []
    options = {"method": method, "draws": 24} | ({"temperatures": 5} if method == "annealing" else {})
    measure(model, guide, x, progress=counted.append, **options)
    assert sum(counted) == plan(model, x, **options).cells


def test_log_weight_is_differentiable_and_shaped_by_draws_and_data():
    model, guide, x = text_pair(4)
    weights = log_weight(model, guide, x, 7)
    assert weights.shape == (7, 9)
    weights.mean().backward()
    assert model.words.weight.grad is not None
