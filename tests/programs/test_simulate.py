import pyro
import pyro.distributions as dist
import pytest
import torch
from ppl_vae.models.text import Text

from ppl_vae.data.counts import PackedCounts
from ppl_vae.distributions.bits import bit_states
from ppl_vae.programs.simulate import simulate
from tests.support.small_pairs import BitsOfPoints, documents
from tests.support.z_test import assert_mean

pytestmark = pytest.mark.usefixtures("float64")


def test_means_of_latents_and_points_are_those_of_the_enumerated_model():
    pair = BitsOfPoints(3)
    latents, x = simulate(pair.model, torch.zeros(20_000, 3))
    states = bit_states(3)
    prior = (states * torch.tensor(0.3).log() + (1 - states) * torch.tensor(0.7).log()).sum(1).exp()
    means = torch.tanh(2 * states @ pair.map)
    assert_mean(latents["z"], torch.full((3,), 0.3))
    assert_mean(x, prior @ means)
    second = torch.einsum("s,si,sj->ij", prior, means, means) + torch.eye(3)
    assert_mean(x[:, :, None] * x[:, None, :], second)


def test_documents_keep_their_lengths_and_have_the_models_frequencies():
    x = documents(6, 9)[torch.arange(6).repeat(1500)]
    model = Text(9, bits=2)
    latents, drawn = simulate(model, x)
    assert isinstance(drawn, PackedCounts)
    assert drawn.shape == x.shape
    assert torch.equal(drawn.lengths, x.lengths)
    frequencies = model.words(bit_states(2)).softmax(-1).mean(0)
    rows = torch.from_numpy(drawn.to_csr().toarray()).double() / x.lengths[:, None]
    assert_mean(rows, frequencies.detach())
    assert set(latents["z"].flatten().tolist()) == {0.0, 1.0}


def test_given_latents_are_kept_and_the_others_drawn_from_them():
    def model(x):
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Normal(0.0, 1.0))
            b = pyro.sample("b", dist.Normal(a, 0.5))
            pyro.sample("x", dist.Normal(2 * b, 0.1), obs=x)

    a = torch.linspace(-3, 3, 5)
    latents, x = simulate(model, torch.zeros(10_000), {"a": a.repeat(2000)})
    assert torch.equal(latents["a"], a.repeat(2000))
    assert_mean(latents["b"].reshape(2000, 5), a)
    assert_mean(x.reshape(2000, 5), 2 * a)


@pytest.mark.parametrize("kind", ["documents", "points"])
def test_blocks_hold_the_data_of_their_latents(kind, monkeypatch):
    """Each datum must belong to its own latents, whichever block it was drawn in."""
    monkeypatch.setattr("ppl_vae.programs.simulate.CELLS", 30)
    z = torch.rand(50, 2).round()
    if kind == "documents":
        x = PackedCounts.from_dense(torch.randint(1, 4, (50, 9)))
        model = Text(9, bits=2)
        model.words.weight.data[:] = 0
        model.words.weight.data[:2] = 100 * torch.eye(2)
        model.words.bias.data[:] = torch.eye(9)[8] * 50
        words = simulate(model, x, {"z": z})[1].to_csr().toarray() > 0
        assert not words[:, 2:8].any()
        assert torch.equal(torch.from_numpy(words[:, 8]), z.sum(1) == 0)
        assert (torch.from_numpy(words[:, :2]) <= (z > 0)).all()
    else:
        pair = BitsOfPoints(2)
        pair.noise.data[:] = -20
        drawn = simulate(pair.model, torch.zeros(50, 3), {"z": z})[1]
        torch.testing.assert_close(drawn, torch.tanh(2 * z @ pair.map), atol=1e-6, rtol=0)


def test_batch_normalised_models_are_in_evaluation_mode():
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = torch.nn.BatchNorm1d(2)

        def forward(self, x):
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
                mean = self.norm(z.flatten(0, -2)).reshape(z.shape)
                pyro.sample("x", dist.Normal(mean, 1e-3).to_event(1), obs=x)

    model = Model().train()
    latents, x = simulate(model, torch.zeros(4, 2), {"z": 5 * torch.ones(4, 2)})
    assert (x - 5).abs().max() < 0.1
    assert model.training and model.norm.num_batches_tracked == 0


def test_the_random_state_decides():
    pair, x = BitsOfPoints(2), torch.zeros(4, 3)
    first, again = [torch.manual_seed(s) and simulate(pair.model, x)[1] for s in (1, 1)]
    assert torch.equal(first, again)
    assert not torch.equal(first, simulate(pair.model, x)[1])


def test_misuse_is_named():
    pair, x = BitsOfPoints(2), torch.zeros(4, 3)

    def twice(x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)
            pyro.sample("y", dist.Normal(0.0, 1.0), obs=x)

    with pytest.raises(ValueError, match="an empty batch has no shape"):
        simulate(pair.model, x[:0])
    with pytest.raises(ValueError, match="3 values of site 'z' were given for 4 data; give one per datum"):
        simulate(pair.model, x, {"z": torch.zeros(3, 2)})
    with pytest.raises(ValueError, match=r"values were given for \['y'\], but the latents of the model are \['z'\]"):
        simulate(pair.model, x, {"y": torch.zeros(4, 2)})
    with pytest.raises(ValueError, match=r"one observed site for each field, but the sites \['x', 'y'\]"):
        simulate(twice, x[:, 0])


def test_models_that_observe_something_else_than_their_data_are_refused():
    def halved(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x / 2)

    def beside_covariates(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x[..., 2], 1.0))
            pyro.sample("x", dist.Normal(z[..., None], 1.0).expand([*z.shape, 2]).to_event(1), obs=x[..., :2])

    with pytest.raises(ValueError, match="site 'x' does not observe the data x themselves"):
        simulate(halved, torch.ones(3))
    with pytest.raises(ValueError, match="site 'x' does not observe the data x themselves"):
        simulate(beside_covariates, torch.ones(3, 3))
