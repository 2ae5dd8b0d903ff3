"""The ELBO as the loss of Pyro's SVI, and modules under it."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI
from pyro.nn import PyroModule

from ppl_vae.objectives.elbo import DiscreteELBO

pytestmark = pytest.mark.usefixtures("float64")


class Net(PyroModule):
    def __init__(self, *widths):
        super().__init__()
        self.net = torch.nn.Linear(*widths)


class Decoder(Net):
    def forward(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(torch.full((4,), 0.5)).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=self.net(z)).to_event(1), obs=x)


class MLP(Net):
    def forward(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(logits=self.net(x)).to_event(1))


def test_two_pairs_in_one_process_do_not_disturb_each_other():
    """Through Pyro's SVI, whose parameter store knows parameters of the same names for both."""
    x = torch.rand(20, 6).round()

    def train(seed, steps, other=None):
        torch.manual_seed(seed)
        pair = Decoder(4, 6), MLP(6, 4)
        svi = SVI(*pair, pyro.optim.Adam({"lr": 0.05}), loss=DiscreteELBO())
        if other:
            svi_other = SVI(*other, pyro.optim.Adam({"lr": 0.05}), loss=DiscreteELBO())
        losses = []
        for step in range(steps):
            torch.manual_seed(step)
            losses.append(svi.step(x))
            if other:
                svi_other.step(x)
        return losses

    alone = train(1, 10)
    pyro.clear_param_store()
    torch.manual_seed(2)
    other = Decoder(4, 6), MLP(6, 4)
    before = other[1].net.weight.clone()
    assert train(1, 10, other) == alone
    assert not torch.equal(other[1].net.weight, before)


def test_svi_still_saves_its_optimiser_and_its_parameters():
    x, pair = torch.rand(20, 6).round(), (Decoder(4, 6), MLP(6, 4))
    optimiser = pyro.optim.Adam({"lr": 0.05})
    SVI(*pair, optimiser, loss=DiscreteELBO()).step(x)
    assert "net$$$weight" in optimiser.get_state()
    kept = pyro.get_param_store()["net$$$weight"]
    assert any(kept is module.net.weight for module in pair)


def test_probing_and_relaxing_leave_running_statistics_alone():
    class Normed(PyroModule):
        def __init__(self):
            super().__init__()
            self.net = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.BatchNorm1d(4))

        def forward(self, x):
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Bernoulli(logits=self.net(x)).to_event(1))

    guide, x = Normed(), torch.rand(20, 6).round()
    DiscreteELBO()(Decoder(4, 6), guide)(x)
    assert guide.net[1].num_batches_tracked == 1


@pytest.mark.parametrize("local", [False, True])
def test_svi_trains_a_stock_pair(local):
    pyro.settings.set(module_local_params=local)
    x = (torch.rand(200, 1) < 0.5).double().expand(200, 6).clone()
    svi = SVI(Decoder(4, 6), MLP(6, 4), pyro.optim.Adam({"lr": 0.05}), loss=DiscreteELBO())
    losses = [svi.step(x) / 200 for _ in range(300)]
    # Six equal pixels hold one bit: log 2 is the best there is, 6 log 2 what independence reaches.
    assert sum(losses[-20:]) / 20 < 3 * math.log(2) < losses[0]
