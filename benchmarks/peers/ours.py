"""This library, by the step that ``ppl-vae train`` takes."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import Module

from benchmarks.peers import Peer
from benchmarks.setting import Setting, layers_of
from ppl_vae.data.counts import PackedCounts
from ppl_vae.estimators.arm import ARM
from ppl_vae.nn.kept_memory import keeping_memory
from ppl_vae.objectives.elbo import DiscreteELBO
from ppl_vae.training.run_folder import RunFolder
from ppl_vae.training.trainer import Settings, Trainer

KEPT = ExitStack()
"""Memory is kept to the end of the process, as in training."""


def trainer_of(
    model: Module, guide: Module, batch: int, objective: DiscreteELBO | None = None, replay: bool = False
) -> Trainer:
    """What ``ppl-vae train`` takes its steps by."""
    objective = objective or DiscreteELBO()
    KEPT.enter_context(keeping_memory())
    # The run's folder is first written to at the end of an epoch.
    run = RunFolder(Path(tempfile.gettempdir()))
    return Trainer(model, guide, objective, run, Settings([(1, objective.draws)], batch_size=batch, replay=replay))


class Ours(Peer):
    """The default estimator."""

    def __init__(self, setting: Setting, x: PackedCounts) -> None:
        super().__init__(setting, x)
        model, guide = setting.pair(x)
        self.trainer = trainer_of(model, guide, setting.batch, self.objective(setting.draws))
        decoder, encoder = layers_of(model, guide)
        self.layers = decoder + encoder

    def objective(self, draws: int) -> DiscreteELBO:
        return DiscreteELBO(draws=draws)

    def step(self, x: PackedCounts) -> None:
        self.trainer.step(x)

    def gradient(self, x: PackedCounts) -> Tensor:
        # As in layers_of, the encoder's first weight is the transpose of a parameter.
        parameters = list(self.trainer.parameters.values())
        grads = list(torch.autograd.grad(self.trainer.loss(x) / len(x), parameters))
        first = 2 * self.setting.hidden + 2
        grads[first] = grads[first].T
        return torch.cat([g.flatten() for g in grads])


class OursARM(Ours):
    """The estimator that the hand-written peers use."""

    def objective(self, draws: int) -> DiscreteELBO:
        return DiscreteELBO(ARM(), draws=draws)
