"""Programs that change their data, draw noise outside their statements, or have other sites now and then."""

import pyro
import pyro.distributions as dist
import pytest
import torch
import torch.nn.functional as F

from ppl_vae.data.inputs import as_batch
from ppl_vae.evidence.measure import measure
from ppl_vae.programs.layouts import layout_of

WEIGHT = torch.linspace(-1, 1, 6).reshape(2, 3)


def pair(before=lambda x: None, encode=lambda x: 0.1 * x[:, :2]):
    """A linear Gaussian model that runs something first, and a guide of a mean."""

    def model(x):
        seen = ~x.isnan()
        before(x)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ WEIGHT, 1.0).mask(seen).to_event(1), obs=x)

    def guide(x):
        mean = encode(x.nan_to_num())
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(mean, 1.0).to_event(1))

    return model, guide


def fill(x):
    x[x.isnan()] = 0.0


@pytest.mark.parametrize("change", [fill, lambda x: x.sub_(1.0), lambda x: x.clamp_(0.0, 1.0)])
@pytest.mark.parametrize("count", [2, 6], ids=["few", "many"])
def test_a_program_that_changes_its_data_is_refused_and_the_data_stay_as_they_were(change, count):
    x = torch.linspace(-2, 2, 3 * count).reshape(count, 3)
    x[0, 1] = torch.nan
    before = x.clone()
    with pytest.raises(ValueError, match=r"changes its data in place.*x = x.clone\(\)"):
        measure(*pair(change), x)
    torch.testing.assert_close(x, before, equal_nan=True)
    with pytest.raises(ValueError, match="changes its data in place"):
        layout_of(pair(change)[0], (x,), {})


def test_fields_in_a_container_are_watched_too():
    def model(batch):
        fill(batch["x"])
        with pyro.plate("data", len(batch["x"])):
            pyro.sample("x", dist.Normal(0.0, 1.0).expand([3]).to_event(1), obs=batch["x"])

    with pytest.raises(ValueError, match="changes its data in place"):
        layout_of(model, (as_batch({"x": torch.zeros(4, 3), "y": torch.zeros(4)}),), {})


def test_a_guide_with_noise_outside_its_statements_is_refused():
    x = torch.linspace(-2, 2, 18).reshape(6, 3)
    message = "density of site 'z' changes from call to call.*the guide draws random numbers outside"
    with pytest.raises(ValueError, match=message):
        measure(*pair(encode=lambda x: F.dropout(x[:, :2], 0.5, training=True)), x)
    dropout = torch.nn.Dropout(0.5)  # a module, which evaluation switches off
    first, second = (measure(*pair(encode=lambda x: dropout(x[:, :2])), x).elbo for _ in range(2))
    assert first.bound == "exact"
    torch.testing.assert_close(first.pointwise, second.pointwise, rtol=0, atol=0)


def test_sites_that_depend_on_the_batch_are_named():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.5))
            if (x > 1).any():
                z = z + pyro.sample("outlier", dist.Bernoulli(0.3))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            for name in ("z", "outlier")[: 1 + bool((x > 1).any())]:
                pyro.sample(name, dist.Bernoulli(torch.full((len(x),), 0.5)))

    with pytest.raises(ValueError, match="the model has the site 'outlier' for some batches only"):
        measure(model, guide, torch.tensor([0.1, 0.2, -0.3, 0.5, 2.0, -3.0]))
