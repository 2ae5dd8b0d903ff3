"""Signal and noise of a gradient estimator, by groups of parameters, beside a training that they do not disturb."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ppl_vae.data.inputs import Batch
from ppl_vae.evidence.figures import OKABE_ITO, marker, whole
from ppl_vae.objectives.base import Objective
from ppl_vae.programs.random_state import fork_random_state

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PREFIX", "REPEATS", "draw_signal_to_noise", "group_of", "signal_to_noise"]

REPEATS = 10
"""Number of gradients of one batch by independent draws."""

PREFIX = "gradient_snr_"
"""What the metrics of a training have before the name of a group."""


def group_of(parameter: str) -> str:
    """The group of a parameter: the top-level module of model or guide that holds it.

    Example:
        >>> group_of("guide.encoder.0.weight"), group_of("model.noise")
        ('guide.encoder', 'model.noise')
    """
    return ".".join(parameter.split(".")[:2])


def signal_to_noise(
    loss: torch.nn.Module,
    objective: Objective,
    modules: tuple[torch.nn.Module, ...],
    parameters: Mapping[str, Tensor],
    x: Batch,
    seed: int,
    repeats: int = REPEATS,
) -> dict[str, float | None]:
    r"""Signal-to-noise ratio of the gradient of one batch, by group of parameters; no unit.

    .. math:: \mathrm{SNR} = \frac{\|\mathbb{E}\, g\|}{\sqrt{\mathbb{E} \|g - \mathbb{E}\, g\|^2}}

    over the draws of the latents, g being the gradient of the batch's mean for the parameters of a group (Rainforth et
    al. 2018, eq. 6, which has it for single parameters). From R gradients with mean m and summed variances s² it is
    :math:`\sqrt{\max(0, \|m\|^2 - s^2 / R) / s^2}`: the square of the mean is without bias, and 0 says that the
    signal is lost in the noise of R gradients. Random state, gradients, running statistics and the state of the
    objective are as before.

    Arguments:
        loss: The objective of the pair as a module.
        objective: The objective.
        modules: Model and guide.
        parameters: Those that are trained, by name.
        x: The batch.
        seed: Seed of the draws.
        repeats: Number of gradients, R.

    Returns:
        The ratios by group; None where the gradient has no noise, as by enumeration.
    """
    buffers = {b: b.clone() for b in chain.from_iterable(module.buffers() for module in modules)}
    state, metrics, beta = objective.state, objective.batch_metrics, objective.beta
    names, values = list(parameters), list(parameters.values())
    sums: dict[str, list[Tensor]] = {}
    with fork_random_state(seed):
        for _ in range(repeats):
            found = torch.autograd.grad(loss(x) / len(x), values, allow_unused=True)
            for name, gradient in zip(names, found, strict=True):
                if gradient is not None:
                    sums.setdefault(name, []).append(gradient.detach().double().flatten())
    with torch.no_grad():
        for buffer, before in buffers.items():
            buffer.copy_(before)
    objective.state, objective.batch_metrics, objective.beta = state, metrics, beta
    groups: dict[str, list[Tensor]] = {}
    for name, gradients in sums.items():
        stacked = torch.stack(gradients)
        square, variance = stacked.mean(0).square().sum(), stacked.var(0).sum()
        groups.setdefault(group_of(name), []).append(torch.stack([square, variance]))
    ratios: dict[str, float | None] = {}
    for group, parts in groups.items():
        square_sum, variance_sum = torch.stack(parts).sum(0).tolist()
        # Repeated sums of one number differ by rounding alone.
        silent = variance_sum <= 1e-10 * square_sum or variance_sum == 0
        signal = max(0.0, square_sum - variance_sum / repeats)
        ratios[group] = None if silent else (signal / variance_sum) ** 0.5
    return ratios


def draw_signal_to_noise(figure: Figure, rows: list[dict[str, Any]], title: str) -> None:
    """Draws the ratio of each group over the epochs.

    Arguments:
        figure: The figure.
        rows: Metrics by epoch.
        title: Its title.
    """
    axes = figure.subplots()
    groups = dict.fromkeys(name for row in rows for name in row if name.startswith(PREFIX))
    epochs = [row["epoch"] for row in rows]
    for index, name in enumerate(groups):
        ratios = [row.get(name) for row in rows]
        values = [float("nan") if ratio is None else max(ratio, 1e-3) for ratio in ratios]
        style = "-" if name.startswith(f"{PREFIX}guide") else "--"
        colour = OKABE_ITO[index % len(OKABE_ITO)]
        label = name.removeprefix(PREFIX) + ("" if any(r is not None for r in ratios) else ": no noise")
        axes.plot(epochs, values, style, color=colour, marker=marker(epochs), label=label)
    axes.axhline(1, color="0.6", lw=0.8)
    whole(axes.xaxis)
    axes.set(yscale="log", xlabel="epoch", ylabel="signal-to-noise ratio of a batch's gradient")
    figure.suptitle(title)
    axes.legend(frameon=False, fontsize="small")
