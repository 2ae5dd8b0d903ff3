"""Every competitor is correct before it is timed: its gradient has the expectation of the enumerated one."""

import importlib.util

import pyro
import pytest
import torch

from benchmarks.peers import PEERS, load
from benchmarks.setting import Setting, layers_of
from ppl_vae.objectives.elbo import DiscreteELBO
from tests.support.small_pairs import documents
from tests.support.z_test import assert_mean

NEEDS = {"jax-arm": "jax", "numpyro-tracegraph": "numpyro"}


def enumerated(setting, x):
    model, guide = setting.pair(x)
    loss = DiscreteELBO("enumerate")(model, guide)(x) / len(x)
    loss.backward()
    for parameter in [*model.parameters(), *guide.parameters()]:
        parameter.data = parameter.grad
    return torch.cat([value.flatten() for layers in layers_of(model, guide) for pair in layers for value in pair])


@pytest.mark.parametrize("setting", [Setting(0, 0, 1, 3), Setting(1, 1, 3, 3, 4)], ids=str)
@pytest.mark.parametrize("name", [name for name in PEERS if not name.startswith(("reference", "floor"))])
def test_expected_gradient_is_the_enumerated_one(name, setting):
    if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
        pytest.skip(f"{NEEDS[name]} is not installed")
    if name.endswith("compiled"):
        pytest.skip("what is compiled is the function of torch-arm")
    x = documents(4)
    torch.manual_seed(1)
    expected = enumerated(setting, x)
    torch.manual_seed(1)
    pyro.clear_param_store()
    peer = load(name)(setting, x)
    assert_mean(torch.stack([peer.gradient(x) for _ in range(100)]).double(), expected.detach().double())


@pytest.mark.parametrize("name", ["torch-sparse-arm", "torch-sparse-disarm"])
@pytest.mark.parametrize("setting", [Setting(0, 0, 2, 3), Setting(1, 0, 2, 3, 4)], ids=str)
def test_blocks_of_the_sparse_peers_do_not_change_their_gradient(name, setting, monkeypatch):
    x, found = documents(4), []
    for logits in (2**20, x.vocabulary, 3 * x.vocabulary, 9 * x.vocabulary):
        monkeypatch.setattr("benchmarks.peers.sparse_torch.NARROW", logits)
        monkeypatch.setattr("benchmarks.peers.sparse_torch.WIDE", logits)
        torch.manual_seed(1)
        found.append(load(name)(setting, x).gradient(x))
    assert all(torch.allclose(other, found[0], atol=1e-6) for other in found[1:]) and found[0].norm() > 0
