"""The standard deviation of a Gaussian decoder: fixed, learned, best for each batch, an output, or on a schedule."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, TypedDict

import pyro.distributions as dist
import torch
from pyro.nn import PyroModule
from torch import Tensor, nn

from ppl_vae.data.json_file import json_of
from ppl_vae.data.text_file import shown
from ppl_vae.distributions.scales import bounded_log_scale
from ppl_vae.nn.spread import is_near_unit

__all__ = ["GaussianDecoder", "NoiseOptions", "ObservationNoise", "ScaleOptions", "has_analytic_noise", "read_trace"]


SHARE = 0.1
"""Weight of a batch in the moving average of an analytic sigma; the first batch has weight 1."""


class ObservationNoise(nn.Module):
    r"""The standard deviation sigma of :math:`x \mid z \sim \mathcal{N}(\mu(z), \sigma^2)`.

    A learned scalar reconciles squared error and likelihood (Rybkin, Daniilidis and Levine 2021). An analytic scalar,
    of the same paper, is in training the sigma that maximises the ELBO of each batch,

    .. math:: \hat\sigma^2 = \text{mean of } (x - \mu(z))^2 \text{ over data, draws and numbers,}

    and in evaluation the square root of an exponential moving average of :math:`\hat\sigma^2` (:meth:`fitted`). As a
    decoder output every number of x has its own sigma (Kingma and Welling 2014, appendix C.2). For none of them does
    the likelihood have a maximum where a number of x is constant, or the mean can fit every datum exactly: it then
    grows without bound as sigma falls, unless a floor stops it.

    Arguments:
        sigma: A positive number, as text, which is fixed, even if a state of other noise is loaded; ``"learned"``, a
            scalar; ``"analytic"``, the best scalar for each batch (:meth:`fitted`); ``"vector"``, an output of the
            decoder; or ``"schedule:FILE"``, the trace of a run that learned a scalar: its folder, or its metrics file.
        shape: Shape of a datum.
        inputs: Width of the decoder's hidden layer; ``vector`` needs it.
        start: Initial value of a learned sigma; if it is not above the floor, the initial difference from the floor.
        floor: Lower bound of sigma: added to a learned scale and to an output of the decoder; an analytic sigma is no
            smaller.

    Shapes:
        Hidden units ``(..., inputs)`` to sigma, ``(..., *shape)`` for ``vector`` and ``()`` otherwise.

    Raises:
        ValueError: If sigma is none of these, a number is out of range, or the trace cannot be read.

    Example:
        >>> ObservationNoise("0.1", (2,))()
        tensor(0.1000)
        >>> ObservationNoise("vector", (2,), inputs=3, start=0.5)(torch.randn(4, 3)).shape
        torch.Size([4, 2])
    """

    log_scale: Tensor

    def __init__(
        self,
        sigma: str,
        shape: Sequence[int],
        inputs: int | None = None,
        start: float = 1.0,
        floor: float = 0.0,
    ) -> None:
        super().__init__()
        if not start > 0 or not floor >= 0 or not math.isfinite(start + floor):
            raise ValueError(f"scale must be positive and floor at least 0, got scale={start:g} and floor={floor:g}")
        self.kind, colon, source = str(sigma).partition(":")
        self.shape, self.floor, self.trace = tuple(shape), floor, list[float]()
        self._last: Tensor | None = None
        first = torch.tensor(float(start - floor if start > floor else start)).log()
        if self.kind == "learned" and not colon:
            self.log_scale = nn.Parameter(first)
        elif self.kind == "vector" and not colon and inputs is not None:
            self.layer = nn.Linear(inputs, math.prod(self.shape))
            nn.init.zeros_(self.layer.weight)
            nn.init.constant_(self.layer.bias, first.item())
            self._start = first.exp().item()
        elif self.kind == "schedule" and source:
            self.trace = [math.log(value) for value in read_trace(Path(source))]
            self.register_buffer("log_scale", torch.tensor(self.trace[0]))
        elif self.kind == "analytic" and not colon:
            self.register_buffer("log_scale", torch.tensor(float(start)).log())
            self._first = self.log_scale.item()
        else:
            self.register_buffer("log_scale", torch.tensor(_positive(sigma)).log())
            self.kind = "fixed"

    def forward(self, hidden: Tensor | None = None) -> Tensor:
        if self.kind != "vector":
            scale = self.log_scale.exp()
            if self.kind == "analytic":
                return scale.clamp(min=self.floor)
            return scale + self.floor if self.kind == "learned" else scale
        assert hidden is not None
        # Far from its start, as after the first steps on wide data, a density under it would overflow.
        log_scale = bounded_log_scale(self.layer(hidden), self._start)
        sigma: Tensor = log_scale.exp().unflatten(-1, self.shape) + self.floor
        if self.training:
            self._last = sigma.detach()
        return sigma

    def fitted(self, x: Tensor, mean: Tensor, sigma: Tensor) -> Tensor:
        r"""An analytic sigma in training, :math:`\hat\sigma`, ``()``; else sigma as it is. Updates the moving average.

        The ELBO has no slope in sigma at :math:`\hat\sigma`, so that no gradient is passed on. Of a batch of few data,
        such as a short last one, :math:`\hat\sigma` may be much smaller than of the others.

        Arguments:
            x: Data, ``(data, *shape)``.
            mean: Their means, ``(..., *shape)``.
            sigma: What :meth:`forward` gave.
        """
        if self.kind != "analytic" or not self.training:
            return sigma
        with torch.no_grad():
            square = (x - mean).square().mean().clamp(min=max(self.floor, torch.finfo(mean.dtype).tiny ** 0.5) ** 2)
            before = (2 * self.log_scale).exp()
            share = torch.where(self.log_scale == self._first, 1.0, SHARE).to(before)
            self.log_scale.copy_(torch.lerp(before, square.to(before), share).log() / 2)
            return square.sqrt()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: object) -> None:
        name = f"{prefix}log_scale"
        if self.kind == "fixed" and name in state_dict:
            state_dict = state_dict | {name: self.log_scale}
        super()._load_from_state_dict(state_dict, prefix, *args)  # type: ignore[no-untyped-call]

    @property
    def is_tensor(self) -> bool:
        """Whether its state is a tensor that changes in place, so that steps may be replayed without running it."""
        return self.kind != "vector"

    def set_epoch(self, epoch: float) -> None:
        """Sets sigma on a schedule to its value at an epoch, whole or not; in between its logarithm is linear."""
        if self.trace:
            epoch = min(max(epoch, 0.0), len(self.trace) - 1.0)
            before = min(int(epoch), len(self.trace) - 2)
            low, high = self.trace[before : before + 2]
            self.log_scale.fill_(low + (epoch - before) * (high - low))

    def check_compatible(self, names: Collection[str], source: str) -> None:
        """Refuses a state with another kind of sigma.

        Arguments:
            names: Names of the state's tensors.
            source: Origin of the state, for the error message.

        Raises:
            ValueError: Naming both kinds.
        """
        theirs, ours = (_KINDS["layer.weight" in tensors] for tensors in (names, self.state_dict()))
        if names and theirs != ours:
            raise ValueError(
                f"sigma of {source} is {theirs}, but here it is {ours}: one cannot start from the other; take a "
                "sigma of the same kind (--sigma), or another start"
            )

    @torch.no_grad()
    def metrics(self) -> dict[str, float]:
        """Returns sigma for the metrics of a run; for a vector the geometric mean over the last batch."""
        if self.kind != "vector":
            return {"sigma": self().item()}
        # Before the first batch the weights are zero.
        last = self.layer.bias.exp() + self.floor if self._last is None else self._last
        return {"sigma": last.log().mean().exp().item()}


def has_analytic_noise(model: object) -> bool:
    """Whether a model has a sigma that is fitted to each batch."""
    parts = model.modules() if isinstance(model, nn.Module) else ()
    return any(isinstance(part, ObservationNoise) and part.kind == "analytic" for part in parts)


class ScaleOptions(TypedDict, total=False):
    """The options of a :class:`GaussianDecoder` that says itself what sigma is."""

    scale: float
    floor: float


class NoiseOptions(ScaleOptions, total=False):
    """The options of a :class:`GaussianDecoder`."""

    sigma: str


class GaussianDecoder(PyroModule):
    r"""A model with :math:`x \mid z \sim \mathcal{N}(\mu(z), \sigma^2)`.

    A subclass whose constructor ends in ``**noise: Unpack[NoiseOptions]`` has these options too, sets ``shape``, the
    shape of a datum, and calls :meth:`set_noise`. One that takes ``data_mean`` and ``data_spread`` of the data calls
    :meth:`set_units` before, and its means begin where the data are.

    Arguments:
        sigma: ``"learned"``, a scalar; ``"analytic"``, the best scalar for each batch; ``"vector"``, one per
            dimension of x, by the network; a number, which is fixed; or ``"schedule:RUN"``, its values over the epochs
            of a run.
        scale: Start of a learned or analytic sigma, in units of the data's spread where that is far from 1.
        floor: Lower bound of a learned, analytic or vector sigma.
    """

    shape: tuple[int, ...]
    noise: ObservationNoise
    data_mean: Tensor | None
    data_spread: Tensor | None

    def __init__(self, sigma: str = "learned", scale: float = 1.0, floor: float = 0.0) -> None:
        super().__init__()
        self._sigma = (sigma, scale, floor)
        self.set_units(None, None)

    def set_units(self, mean: Tensor | None, spread: Tensor | None) -> None:
        """Makes :meth:`in_units` write numbers of the data from numbers near 0 and 1, if the data are far from these.

        Both belong to the state then: a step of an optimiser moves a mean by its share of the spread, whatever the
        scale of the data.

        Arguments:
            mean: Mean of each number of a datum, of its shape; None where it is not known.
            spread: Its spread, likewise.
        """
        if mean is None or spread is None or is_near_unit(mean, spread):
            mean = spread = None
        self.register_buffer("data_mean", mean)
        self.register_buffer("data_spread", spread)

    def in_units(self, numbers: Tensor) -> Tensor:
        """The mean of the data plus these numbers, ``(..., *shape)``, times the spread."""
        if self.data_mean is None or self.data_spread is None:
            return numbers
        return self.data_mean + self.data_spread * numbers

    def likelihood(self, x: Tensor, mean: Tensor, sigma: Tensor) -> dist.Independent:
        """The distribution of x given z by its mean, ``(..., *shape)``, and sigma."""
        return dist.Normal(mean, self.noise.fitted(x, mean, sigma)).to_event(len(self.shape))

    def set_noise(self, inputs: int) -> None:
        """Makes the noise, which takes hidden units of this number where sigma is an output of the decoder."""
        sigma, scale, floor = self._sigma
        if self.data_spread is not None:
            scale *= self.data_spread.square().mean().sqrt().item()
        self.noise = ObservationNoise(sigma, self.shape, inputs, scale, floor)


_KINDS = {True: "an output of the decoder (vector)", False: "one number for all data"}


def _positive(sigma: str) -> float:
    try:
        value = float(sigma)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ValueError(f"sigma must be a positive number, learned, analytic, vector or schedule:RUN, got {sigma!r}")
    return value


def read_trace(path: Path) -> list[float]:
    """Returns sigma before the first epoch of a run and after each epoch.

    Arguments:
        path: A run folder, or its metrics (JSON lines).

    Raises:
        ValueError: If there is no such file, or no sigma in it.
    """
    file = path / "train-metrics.jsonl" if path.is_dir() else path
    remedy = "give the folder of a run with --sigma learned"
    try:
        lines = [line for line in file.read_bytes().splitlines() if line.strip()]
    except OSError as error:
        raise ValueError(f"{file} cannot be read ({error.strerror}); {remedy}") from error
    try:
        rows = [json_of(str(file), line, remedy, infinite=True) for line in lines]
    except ValueError as error:
        raise ValueError(f"{file} records no sigma: {error}") from error
    if not rows or not all(isinstance(row, dict) and "sigma" in row for row in rows) or "sigma_start" not in rows[0]:
        raise ValueError(f"{file} records no sigma; {remedy}")
    values = [rows[0]["sigma_start"], *(row["sigma"] for row in rows)]
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"{file} records no sigma but {shown(value)}; {remedy}")
        if not 0 < value < math.inf:
            raise ValueError(f"{file}: sigma must be a positive number, got {shown(value)}; {remedy}")
    return [float(value) for value in values]
