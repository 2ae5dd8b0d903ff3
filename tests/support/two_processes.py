"""What each of two processes of a training computes, beside what one process computes; run by the tests."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppl_vae.cli.main import main
from ppl_vae.objectives.base import Objective
from ppl_vae.objectives.choice import refusal, shipped
from ppl_vae.objectives.elbo import DiscreteELBO
from ppl_vae.objectives.importance_weighted import ImportanceWeightedELBO
from ppl_vae.plugins.discovery import available
from ppl_vae.programs.sites import guide_sites
from ppl_vae.training import parallel
from ppl_vae.training.parallel import Group
from ppl_vae.training.settings import Settings
from ppl_vae.training.steps import Steps

TRAIN = ("train", "gmm", "--guide", "mean_field", "--guide-width", "4", "--estimator", "disarm", "--evidence-data", "9")
TRAIN = (*TRAIN, "--batch-size", "1500", "--device", "cpu")


class Model(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.decoder = kind, nn.Linear({"bits": 5, "states": 12, "normal": 6}[kind], 5)

    def forward(self, x: Tensor) -> None:
        like = x.new_zeros(())
        priors = {
            "bits": lambda: dist.Bernoulli(like.expand(5) + 0.5).to_event(1),
            "states": lambda: dist.OneHotCategorical(logits=like.expand(2, 6)).to_event(1),
            "normal": lambda: dist.Normal(like.expand(6), 1.0).to_event(1),
        }
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", priors[self.kind]())
            z = z.flatten(-2) if self.kind == "states" else z
            pyro.sample("x", dist.Normal(self.decoder(z).tanh(), 1.0).to_event(1), obs=x)


class Guide(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.encoder = kind, nn.Linear(5, 12 if kind == "states" else 5 + (kind == "normal"))

    def forward(self, x: Tensor) -> None:
        code = self.encoder(x)
        posteriors = {
            "bits": lambda: dist.Bernoulli(logits=code).to_event(1),
            "states": lambda: dist.OneHotCategorical(logits=code.unflatten(-1, (2, 6))).to_event(1),
            "normal": lambda: dist.Normal(code, 0.7).to_event(1),
        }
        with pyro.plate("data", len(x)):
            pyro.sample("z", posteriors[self.kind]())


def objectives(kind: str, guide: Guide, x: Tensor) -> Iterator[tuple[str, Objective]]:
    """The objectives that serve a kind of latents: every estimator of discrete ones."""
    if kind == "normal":
        yield "reparameterised", DiscreteELBO("loo", draws=2)
    else:
        for name, plugin in available("estimators", own=False).items():
            estimator = shipped(name) if plugin.shipped else None
            if estimator is not None and refusal(estimator, guide_sites(guide, (x[:2],))) is None:
                yield name, DiscreteELBO(estimator, draws=max(1, estimator.least_draws))
    yield "importance weights", ImportanceWeightedELBO(draws=2)


def gradients(steps: Steps, x: Tensor, group: Group | None) -> dict[str, Tensor]:
    """Loss, metrics, gradients and the random state after a step from one seed."""
    parallel._current = group
    torch.manual_seed(5)
    values = steps.set_gradients(x)
    grads = {f"grad of {name}": p.grad.clone() for name, p in steps.parameters.items()}
    return values | grads | {"random state": torch.get_rng_state().double()}


def differences(rank: int) -> Iterator[str]:
    """Where the gradients of two processes are not those of one."""
    for kind in ("bits", "states", "normal"):
        torch.manual_seed(0)
        model, guide, x = Model(kind).double(), Guide(kind).double(), torch.randn(15, 5).double()
        for name, objective in objectives(kind, guide, x):
            # Fifteen data are divided, the first three are too few and are computed by both.
            for part in (x, x[:3]):
                steps = Steps(model, guide, objective, Settings(optimizer="SGD", clip=0))
                one, two = (gradients(steps, part, group) for group in (None, Group(rank, 2)))
                yield f"checked {kind} {name}"
                if one.keys() != two.keys():
                    yield f"{kind} {name}: {sorted(one.keys() ^ two.keys())}"
                for key, value in one.items():
                    if not torch.allclose(value.double(), two[key].double(), rtol=1e-9, atol=1e-12):
                        yield f"{kind} {name}, {len(part)} data: {key} is {two[key]} for {value}"


def fault(rank: int) -> str:
    """What a process says where the second one meets an error in a step."""

    def compute(x: Tensor) -> Tensor:
        if rank:
            raise ValueError("the data are odd")
        return x.sum()

    try:
        Group(rank, 2).gradients(torch.ones(8, 2), {}, DiscreteELBO("loo"), compute)
    except ValueError as error:
        return str(error)
    return ""


def run(rank: int, folder: Path) -> None:
    """Writes what was found into a file of the folder."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2"}
    os.chdir(folder)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=2)
    lines = list(differences(rank))
    parallel._current = None
    ended = 0
    try:
        main([*TRAIN, "--epochs", "2", "--out", "two"], standalone_mode=False)
    except SystemExit as error:
        ended = 10 + int(error.code or 0)
    found = {"lines": lines, "ended": ended, "left": str(parallel.current()), "fault": fault(rank)}
    (folder / f"{rank}.json").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    run(int(sys.argv[1]), Path(sys.argv[2]))
