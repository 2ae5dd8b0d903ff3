"""One training in several processes, each with a part of every batch: the gradient is that of one process."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ppl_vae.data.inputs import Batch
from ppl_vae.nn.observation_noise import has_analytic_noise
from ppl_vae.objectives.base import Objective
from ppl_vae.objectives.elbo import DiscreteELBO
from ppl_vae.objectives.rate_distortion import RateDistortionObjective
from ppl_vae.objectives.sleep_phase import SleepPhase
from ppl_vae.objectives.wake_sleep import WakeSleep
from ppl_vae.programs.layouts import layout_of
from ppl_vae.programs.shared import shared_latents
from ppl_vae.training.progress import collecting
from ppl_vae.training.same_draws import SameDraws
from ppl_vae.training.settings import Settings

__all__ = ["Group", "TrainedElsewhere", "check", "current", "processes"]


class TrainedElsewhere(BaseException):
    """Ends a process whose training is over: the first one of its group has the results."""


@dataclass(frozen=True)
class Group:
    """The processes of a training.

    Arguments:
        rank: Number of this process, from 0; the first one writes.
        size: Number of processes.
    """

    rank: int
    size: int

    def gradients(
        self,
        x: Batch,
        parameters: Mapping[str, nn.Parameter],
        objective: Objective,
        compute: Callable[[Batch], Tensor],
    ) -> Tensor:
        """Sums gradients, loss and metrics of the parts of a batch over the processes; returns the loss.

        Arguments:
            x: The whole batch.
            parameters: Parameters, whose gradients are summed.
            objective: Its metrics of the batch are summed.
            compute: Function that adds to the gradients by a part, and returns the loss of it.

        Raises:
            ValueError: In all processes, if one of them meets an error.
        """
        bounds = [len(x) * rank // self.size for rank in range(self.size + 1)]
        start, end = bounds[self.rank], bounds[self.rank + 1]
        if min(b - a for a, b in zip(bounds, bounds[1:], strict=False)) < 2:
            start, end = 0, len(x)  # too few to be divided: all processes compute all of them
        share = 1.0 if end - start < len(x) else 1 / self.size
        error: Exception | None = None
        try:
            with SameDraws(start, end - start, len(x)):
                loss = compute(x[start:end])
        except Exception as fault:
            error = fault
        self._agree(error)
        for parameter in parameters.values():
            if parameter.grad is not None and share != 1:
                parameter.grad.mul_(share)
        self._sum([parameter.grad for parameter in parameters.values() if parameter.grad is not None])
        names = list(objective.batch_metrics)
        values = torch.stack([loss, *(objective.batch_metrics[name].to(loss) for name in names)]) * share
        _reduce(values)
        objective.batch_metrics = dict(zip(names, values[1:], strict=True))
        return values[0]

    def _agree(self, error: Exception | None) -> None:
        """Ends all processes in words where one of them has met an error."""
        store = dist.distributed_c10d._get_default_store()
        if error is not None:
            store.set("error", f"process {self.rank + 1} of {self.size} ended: {error}")
        failed = torch.tensor([float(error is not None)], device=_device())
        _reduce(failed)
        if error is not None:
            raise error
        if failed.item():
            raise ValueError(store.get("error").decode())

    def _sum(self, gradients: list[Tensor]) -> None:
        """Sums gradients over the processes, all of one type at once."""
        for dtype in dict.fromkeys(gradient.dtype for gradient in gradients):
            same = [gradient for gradient in gradients if gradient.dtype == dtype]
            flat = torch.cat([gradient.flatten() for gradient in same])
            _reduce(flat)
            for gradient, part in zip(same, flat.split([gradient.numel() for gradient in same]), strict=True):
                gradient.copy_(part.reshape(gradient.shape))


def _reduce(values: Tensor) -> None:
    """Sums a tensor over the processes, in place."""
    try:
        dist.all_reduce(values)
    except RuntimeError as error:
        raise ValueError(
            "another process of this training is gone; what it printed says why, and --resume continues after the last "
            "epoch that was saved, with any number of processes"
        ) from error


_current: Group | None = None


def current() -> Group | None:
    """The processes of this training; None where it is one process."""
    return _current


def check(model: nn.Module, guide: nn.Module, objective: Objective, settings: Settings, x: Batch) -> None:
    """Refuses what several processes would not train as one does.

    Raises:
        ValueError: Naming it.
    """
    fault = None
    batch_norm = next(
        (
            f"{name or type(part).__name__} of the {who}"
            for who, program in (("model", model), ("guide", guide))
            for name, part in program.named_modules()
            if isinstance(part, nn.modules.batchnorm._BatchNorm)
        ),
        None,
    )
    if batch_norm is not None:
        fault = f"{batch_norm} normalises by the whole batch (batch normalisation)"
    elif has_analytic_noise(model):
        fault = "sigma is the best for the whole batch (--sigma analytic)"
    elif isinstance(objective, SleepPhase | WakeSleep):
        fault = f"the objective {type(objective).__name__} draws its own data"
    elif isinstance(objective, RateDistortionObjective) and not objective.cost.linear:
        fault = (
            "a cost of the rate that is no multiple of it (--free-bits, --rate) is set by the mean of the whole batch"
        )
    elif isinstance(objective, DiscreteELBO) and objective.estimator.without_control.state:
        fault = f"the estimator {objective.estimator.name} learns from the gradients of the whole batch"
    elif settings.dreams:
        fault = "--dreams draws its own data"
    elif shared := shared_latents(model, x[:5]):
        fault = f"all data share the latent {shared[0]!r}, which is scored once a batch"
    elif layout_of(model, (x[:5],), {}).vectorise == "fold" and max(draws for _, draws in settings.schedule) > 1:
        fault = "the model takes several draws as repeated data (--vectorise fold)"
    if fault is not None:
        raise ValueError(f"several processes cannot train this pair as one does: {fault}; train it in one process")


@contextmanager
def processes(folder: Path) -> Iterator[Path]:
    """The processes that ``torchrun`` has begun, as its environment says; without it there is one.

    Arguments:
        folder: The run folder, which the first process writes. Another one has a copy of its own, which is removed.

    Returns:
        The folder that this process writes.
    """
    global _current
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if "RANK" not in os.environ or size < 2:
        yield folder
        return
    on_cuda = torch.cuda.is_available()
    if on_cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    begun_here = not dist.is_initialized()
    if begun_here:
        dist.init_process_group("nccl" if on_cuda else "gloo")
    _current = Group(dist.get_rank(), dist.get_world_size())
    try:
        if _current.rank == 0:
            dist.barrier()  # the copies are made before it is changed
            yield folder
            return
        with tempfile.TemporaryDirectory(prefix="ppl-vae-") as place, collecting():
            copy = Path(place) / "run"
            if folder.exists():
                shutil.copytree(folder, copy, ignore=shutil.ignore_patterns(".*"))
            dist.barrier()
            try:
                yield copy
            except TrainedElsewhere:
                sys.exit(0)
    finally:
        _current = None
        if begun_here:
            dist.destroy_process_group()


def _device() -> str:
    return "cuda" if dist.get_backend() == "nccl" else "cpu"
