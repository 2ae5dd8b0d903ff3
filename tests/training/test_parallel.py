"""A training in several processes is that of one process: its gradients, random numbers, results and errors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from ppl_vae.models.ppca import Ppca
from torch import Tensor, nn

from ppl_vae.objectives.base import Objective
from ppl_vae.objectives.elbo import DiscreteELBO
from ppl_vae.objectives.rate_cost import RateCost
from ppl_vae.objectives.sleep_phase import SleepPhase
from ppl_vae.plugins.discovery import available
from ppl_vae.training.parallel import check
from ppl_vae.training.same_draws import SameDraws
from ppl_vae.training.settings import Settings
from tests.support.cli import ROOT, metrics, succeed
from tests.support.two_processes import TRAIN, Guide, Model


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """What two processes found, and their folder."""
    folder = tmp_path_factory.mktemp("two")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    if sys.platform == "linux":
        environment["GLOO_SOCKET_IFNAME"] = "lo"  # whatever the name of the host resolves to
    command = [sys.executable, "-m", "tests.support.two_processes"]
    workers = [
        subprocess.Popen([*command, str(rank), str(folder)], cwd=ROOT, env=environment, stderr=subprocess.PIPE)
        for rank in (0, 1)
    ]
    errors = [worker.communicate()[1].decode() for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], errors
    return folder, [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]


def test_every_estimator_has_the_gradient_of_one_process(two: tuple[Path, list[dict[str, Any]]]) -> None:
    for found in two[1]:
        assert [line for line in found["lines"] if not line.startswith("checked")] == []
        checked = {line.removeprefix("checked ").partition(" ")[2] for line in found["lines"]}
        assert checked == {*available("estimators", own=False), "reparameterised", "importance weights"}


def test_the_first_process_alone_writes_and_the_run_resumes_in_one_process(
    two: tuple[Path, list[dict[str, Any]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(two[0])
    assert [found["ended"] for found in two[1]] == [0, 10] and {found["left"] for found in two[1]} == {"None"}
    assert sorted(path.name for path in two[0].iterdir() if path.is_dir()) == ["two"]
    succeed(*TRAIN, "--epochs", "3", "--out", "one")
    succeed("train", "--resume", "two", "--epochs", "3")
    for one, other in zip(metrics("one"), metrics("two"), strict=True):
        for name, value in one.items():
            if "second" not in name:
                assert other[name] == pytest.approx(value, rel=1e-4), name


def test_an_error_of_one_process_ends_all_in_words(two: tuple[Path, list[dict[str, Any]]]) -> None:
    assert [found["fault"] for found in two[1]] == ["process 2 of 2 ended: the data are odd", "the data are odd"]


@pytest.mark.parametrize(
    "draw",
    [
        lambda n: torch.rand(3, n, 5),
        lambda n: torch.randn(n, 20),
        lambda n: torch.rand(3, n, 5).exponential_(),
        lambda n: torch.bernoulli(torch.full((3, n, 5), 0.3)),
        lambda n: torch.normal(torch.zeros(n, 6), torch.ones(6).expand(n, 6)),
        lambda n: dist.Normal(torch.zeros(n, 9), 1.0).sample(torch.Size([3])),
        lambda n: dist.Categorical(logits=torch.zeros(n, 2, 3)).sample(),
        lambda n: dist.OneHotCategorical(logits=torch.zeros(2, n, 3)).sample(torch.Size([5])),
        lambda n: torch.randint(100, (n, 3)),
        lambda n: torch.rand_like(torch.zeros(n, 3)),
    ],
)
def test_a_part_draws_what_it_has_in_the_whole(draw: Any) -> None:
    torch.manual_seed(0)
    whole, after = draw(11), torch.rand(4)
    for start, part in ((0, 4), (4, 7)):
        torch.manual_seed(0)
        with SameDraws(start, part, 11):
            found, global_numbers = draw(part), torch.rand(2, 3)
        place = list(whole.shape).index(11)
        assert torch.equal(found, whole.narrow(place, start, part))
        torch.manual_seed(0)
        draw(11)
        assert torch.equal(torch.rand(2, 3), global_numbers)
    assert after.shape == (4,)


def test_random_numbers_that_cannot_be_shared_are_refused() -> None:
    with SameDraws(0, 4, 8), pytest.raises(ValueError, match="have 2 dimensions as long as the part .* --batch-size"):
        torch.rand(4, 4)
    with SameDraws(0, 4, 8), pytest.raises(ValueError, match="as many random numbers as its parameters say"):
        torch.poisson(torch.ones(4))


class Normalised(Guide):
    """A guide with batch normalisation."""

    def __init__(self) -> None:
        super().__init__("bits")
        self.encoder = nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 5))  # type: ignore[assignment]


class Global(nn.Module):
    """A model with a latent that all data share."""

    def forward(self, x: Tensor) -> None:
        shift = pyro.sample("shift", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.5 * torch.ones(5)).to_event(1))
            pyro.sample("x", dist.Normal(z + shift, 1.0).to_event(1), obs=x)


@pytest.mark.parametrize(
    ("model", "guide", "objective", "settings", "fault"),
    [
        (Model("bits"), Normalised(), DiscreteELBO(), {}, r"encoder.0 of the guide normalises by the whole batch"),
        (
            Ppca(5, shape=(5,), sigma="analytic"),
            Guide("bits"),
            DiscreteELBO(),
            {},
            "sigma is the best for the whole batch",
        ),
        (Global(), Guide("bits"), DiscreteELBO(), {}, "all data share the latent 'shift'"),
        (Model("bits"), Guide("bits"), SleepPhase(), {}, "the objective SleepPhase draws its own data"),
        (Model("bits"), Guide("bits"), DiscreteELBO(beta=RateCost(free_bits=1.0)), {}, "--free-bits, --rate"),
        (Model("bits"), Guide("bits"), DiscreteELBO("relax"), {}, "the estimator relax learns from the gradients"),
        (Model("bits"), Guide("bits"), DiscreteELBO(), {"dreams": 0.5}, "--dreams draws its own data"),
    ],
)
def test_what_depends_on_the_whole_batch_is_refused_by_name(
    model: nn.Module, guide: nn.Module, objective: Objective, settings: dict[str, Any], fault: str
) -> None:
    with pytest.raises(ValueError, match=f"several processes cannot train this pair as one does: .*{fault}"):
        check(model, guide, objective, Settings(**settings), torch.randn(6, 5))
    check(Model("bits"), Guide("bits"), DiscreteELBO(), Settings(), torch.randn(6, 5))
