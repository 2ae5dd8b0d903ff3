"""Annealed importance sampling: lower bounds on the evidence of any data, upper bounds for simulated data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import reduce
from math import inf
from typing import Literal, get_args

import pyro
import torch
from torch import Tensor

from ppl_vae.data.inputs import Batch
from ppl_vae.evidence.coordinates import Coordinates
from ppl_vae.evidence.mcmc import ChainState, TemperedDensity, discrete_langevin_step, hmc_step, local_scale
from ppl_vae.nn.modes import evaluation_mode, frozen
from ppl_vae.programs.handlers import Site, SubstituteLatents, check_cover, latents, log_prob, run
from ppl_vae.programs.log_weight import log_joint, log_parts
from ppl_vae.programs.sites import guide_sites
from ppl_vae.programs.types import Program, Progress

__all__ = ["AIS", "CHAINS", "Schedule", "Start"]

Start = Literal["both", "guide", "prior"]
"""Where chains start: at samples of the guide, of the prior, or half of them at each."""

CHAINS = 2**9
"""Largest number of annealing chains that move together."""

WARM_UP = 30
"""Most moves at the starting distribution that tune step sizes to the right order of magnitude."""

PILOTS = 50
"""Fewest temperatures that tune step sizes, where there are so many."""

PILOT_CHAINS = 4
"""Number of chains per datum that tune the step sizes."""

ACCEPTED = {"real": 0.7, "bits": 0.57}
"""Target acceptance probability (Beskos et al. 2013; Zhang, Liu and Liu 2022, section 4.2)."""


@dataclass(frozen=True)
class Schedule:
    """Options of annealing.

    Arguments:
        temperatures: Number of steps from the starting distribution to the posterior.
        leapfrog_steps: Number of leapfrog steps per Hamiltonian move.
        start: Distribution that the chains start from; by default half of them from the guide, half from the prior.
        pilot: Share of the temperatures at which step sizes are tuned beforehand.
        through: Further inverse temperatures on the path; the largest, which may be above 1, is its end.
    """

    temperatures: int = 500
    leapfrog_steps: int = 5
    start: Start = "both"
    pilot: float = 0.25
    through: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.start not in get_args(Start) or not 0 < self.pilot <= 1:
            raise ValueError(
                f"annealing starts from 'guide', 'prior' or 'both' and tunes at a share of the temperatures, "
                f"got {self.start!r} and {self.pilot}"
            )
        if self.temperatures < 1 or self.leapfrog_steps < 1:
            raise ValueError(
                f"annealing needs at least one temperature and one leapfrog step, got {self.temperatures} and "
                f"{self.leapfrog_steps}"
            )
        if not all(0 < beta < inf for beta in self.through):
            raise ValueError(f"inverse temperatures are positive numbers, got {list(self.through)}")

    @property
    def pilots(self) -> int:
        """Number of temperatures of the pilot run: at least ``PILOTS``, but no more than there are."""
        return max(min(PILOTS, self.temperatures), round(self.pilot * self.temperatures)) if len(self.path) > 2 else 0

    def shares(self, chains: int) -> list[tuple[Schedule, int]]:
        """The schedule of each start, and its number of chains."""
        if self.start != "both":
            return [(self, chains)]
        half = chains - chains // 2
        return [(replace(self, start="guide"), half), (replace(self, start="prior"), chains - half)]

    def block(self, chains: int) -> int:
        """Number of data that move together."""
        return max(1, CHAINS // self.shares(chains)[0][1])

    def cells(self, chains: int, walks: int = 1) -> int:
        """Number of moves of all chains per datum, which the progress counts."""
        pilots = (self.pilots + min(WARM_UP, self.pilots)) * PILOT_CHAINS * len(self.shares(chains))
        return (len(self.path) - 2) * chains * walks + pilots

    def betas(self, count: int) -> Tensor:
        """Inverse temperatures from 0 to the end, ``(count + 1,)``, closer together at both ends (a logistic curve)."""
        curve = torch.linspace(-4, 4, count + 1, dtype=torch.float64).sigmoid()
        return max(self.through, default=1.0) * (curve - curve[0]) / (curve[-1] - curve[0])

    @property
    def path(self) -> list[float]:
        """All inverse temperatures of the path, from 0 to its end."""
        return sorted({*self.betas(self.temperatures).tolist(), *self.through})


class AIS:
    r"""Annealed importance sampling (Neal 2001) between a starting distribution and the posterior of a few data.

    Chains move along :math:`f_\beta(z) = q_0(z)^{1 - \beta}\, p(x, z)^{\beta}` while their log-weights accumulate
    :math:`(\beta_t - \beta_{t-1}) (\log p(x, z) - \log q_0(z))`. The mean weight is an unbiased estimate of p(x), so
    that its logarithm is a lower bound in expectation. The same path walked backwards from an exact posterior draw,
    known for simulated data, gives an unbiased estimate of 1 / p(x) and so an upper bound (Grosse, Ghahramani and
    Adams 2015). Real numbers move by Hamiltonian dynamics, bits by flips that follow the gradient; step sizes are tuned
    for each datum and temperature in a pilot run and then fixed, since weights of adaptive moves give no bound.

    Arguments:
        model: The model; its latents continuous, or bits.
        guide: Its guide.
        x: A block of data.
        schedule: Temperatures and moves, from one start.

    Raises:
        ValueError: If a latent is neither continuous nor a bit, or there are two starts.
    """

    def __init__(self, model: Program, guide: Program, x: Batch, schedule: Schedule) -> None:
        if schedule.start == "both":
            raise ValueError("these chains have one start; set start='guide' or start='prior'")
        self.model, self.guide, self.x, self.schedule = model, guide, x, schedule
        self.coordinates = Coordinates(model, x)
        self.fixed: dict[str, Site] | None = None
        with torch.no_grad():
            drawn = run(guide, (x,), {}, draws=32)
            check_cover(run(model, (x,), {}, draws=1), drawn)
        if schedule.start == "guide" and all(site.independent for site in guide_sites(guide, (x[:2],))):
            # The guide's parameters do not depend on the latents: it runs once.
            with torch.no_grad():
                self.fixed = dict(run(guide, (x,), {}, draws=1))
        spread, _ = self.coordinates.flat({name: site["value"] for name, site in latents(drawn).items()})
        if schedule.start == "prior":
            spread = self.coordinates.prior_draws(model, x, 256)[:, None]
        width = local_scale if schedule.start == "prior" else torch.std
        self.scale = (width(spread, 0).clamp(min=1e-6) if self.coordinates.dimensions else spread[0]).expand(len(x), -1)
        self.accepted: dict[str, float] = {}

    def forward(self, chains: int, progress: Progress | None = None) -> Tensor:
        """Returns the log-weights of independent chains from the start to the posterior, ``(chains, data)``, in nats.

        Arguments:
            chains: Number of chains per datum.
            progress: Called with the number of (chain, datum) cells moved at each temperature.
        """
        with evaluation_mode(self.model, self.guide), frozen(self.model, self.guide):
            steps = self._pilot(progress)
            return self._walk(self._begin(chains), steps, progress)

    def both(
        self, posterior: Mapping[str, Tensor], chains: int, progress: Progress | None = None
    ) -> tuple[Tensor, Tensor]:
        """Returns the log-weights of the forward and of the backward walk, ``(chains, data)`` each.

        Arguments:
            posterior: An exact sample from the posterior by site, ``(data, *event)``.
            chains: Number of chains per datum; all backward walks start at the same sample.
            progress: As in :meth:`forward`.
        """
        with evaluation_mode(self.model, self.guide), frozen(self.model, self.guide):
            steps = self._pilot(progress)
            forward = self._walk(self._begin(chains), steps, progress)
            values = {n: v.expand(chains, *v.shape).contiguous() for n, v in posterior.items()}
            real, bits = self.coordinates.flat(values)
            backward = self._walk(ChainState(real, bits, self._ends(real, bits)), steps, progress, backwards=True)
            return forward, backward

    def along(self, chains: int, progress: Progress | None = None) -> dict[float, tuple[Tensor, Tensor]]:
        r"""Returns chains at each inverse temperature t of the schedule's ``through``, properly weighted for
        :math:`p(z)\, p(x \mid z)^t`: their log-weights and :math:`\log p(x \mid z)`, ``(chains, data)`` each, in nats.

        Raises:
            ValueError: If annealing does not start from the prior.
        """
        if self.schedule.start != "prior":
            raise ValueError("powers of the likelihood lie on the path from the prior only; set start='prior'")
        path: dict[float, tuple[Tensor, Tensor]] = {}
        with evaluation_mode(self.model, self.guide), frozen(self.model, self.guide):
            steps = self._pilot(progress)
            self._walk(self._begin(chains), steps, progress, recorded=path)
        return path

    def _ends(self, real: Tensor, bits: Tensor) -> TemperedDensity:
        """Both densities and their gradients at flat latents; minus infinity where one is undefined (NaN or infinite).

        Coordinates far out reach the end of a support in floating point, where a density may be infinite or undefined:
        a move there is rejected, as is one outside the support.
        """
        with torch.enable_grad(), pyro.validation_enabled(False):
            at = torch.cat([real, bits.to(real.dtype) if real.shape[-1] else bits], -1).detach().requires_grad_()
            size = real.shape[-1]
            values = self.coordinates.values(at[..., :size], at[..., size:])
            change = self.coordinates.log_jacobian(at[..., :size])
            if self.schedule.start == "prior":
                likelihood, prior = log_parts(self.model, self.x, values)
                start = reduce(torch.add, prior.values()) + change
                joint = start + likelihood
            else:
                start = self._proposal(values, len(at)) + change
                joint = log_joint(self.model, self.x, values) + change
            slopes = [
                torch.autograd.grad(end.sum(), at, retain_graph=end is start, allow_unused=True)[0]
                if end.requires_grad
                else None
                for end in (start, joint)
            ]
        start_slope, joint_slope = (torch.zeros_like(at) if slope is None else slope.nan_to_num(0) for slope in slopes)
        start, joint = (
            end.detach().expand(at.shape[:2]).nan_to_num(nan=-inf, posinf=-inf, neginf=-inf) for end in (start, joint)
        )
        return TemperedDensity(start, joint, start_slope, joint_slope)

    def _proposal(self, values: Mapping[str, Tensor], draws: int) -> Tensor:
        if self.fixed is None:
            return reduce(
                torch.add,
                map(log_prob, run(self.guide, (self.x,), {}, draws=draws, handler=SubstituteLatents(values)).values()),
            )
        return reduce(torch.add, (log_prob(site | {"value": values[name]}) for name, site in self.fixed.items()))

    def _begin(self, chains: int) -> ChainState:
        program = self.guide if self.schedule.start == "guide" else self.model
        with torch.no_grad():
            sites = latents(run(program, (self.x,), {}, draws=chains))
        real, bits = self.coordinates.flat({name: site["value"] for name, site in sites.items()})
        return ChainState(real, bits, self._ends(real, bits))

    def _move(
        self, point: ChainState, beta: float, steps: Mapping[str, Tensor]
    ) -> tuple[ChainState, dict[str, Tensor]]:
        chances = {}
        if self.coordinates.width:
            point, chances["bits"] = discrete_langevin_step(point, beta, steps["bits"], self._ends)
        if self.coordinates.dimensions:
            point, chances["real"] = hmc_step(
                point, beta, steps["real"], self.scale, self._ends, self.schedule.leapfrog_steps
            )
        return point, chances

    def _pilot(self, progress: Progress | None) -> list[dict[str, Tensor]]:
        """Step sizes of each datum for every temperature of the schedule."""
        if not (count := self.schedule.pilots):
            return []
        warm_up = min(WARM_UP, count)
        point = self._begin(PILOT_CHAINS)
        sizes = {"bits": 0.5, "real": 0.5 * max(1, self.coordinates.dimensions) ** -0.25}
        steps = {kind: point.real.new_full((len(self.x),), size) for kind, size in sizes.items()}
        tuned = []
        betas = torch.cat([torch.zeros(warm_up), self.schedule.betas(count)[1:]])
        for index, beta in enumerate(betas.tolist()):
            point, chances = self._move(point, beta, steps)
            for kind, chance in chances.items():
                steps[kind] = (steps[kind] * (0.8 * (chance.mean(0) - ACCEPTED[kind])).exp()).clamp(1e-4, 1e4)
            if index >= warm_up:
                tuned.append(dict(steps))
            if progress:
                progress(chances[next(iter(chances))].numel())
        places = torch.linspace(0, count - 1, len(self.schedule.path) - 1).round().long().tolist()
        return [tuned[place] for place in places]

    def _walk(
        self,
        point: ChainState,
        steps: list[dict[str, Tensor]],
        progress: Progress | None,
        backwards: bool = False,
        recorded: dict[float, tuple[Tensor, Tensor]] | None = None,
    ) -> Tensor:
        """Log-weights summed along the path, without moves at its two ends, where moves change no weight."""
        betas = self.schedule.path
        count = len(betas) - 1
        precise = torch.float32 if point.real.device.type == "mps" else torch.float64
        weight = torch.zeros(point.ends.joint.shape, dtype=precise, device=point.ends.joint.device)
        chances: dict[str, list[Tensor]] = {}
        # A chain that begins where the density it is drawn from is undefined (NaN or infinite) has no weight: without
        # it a lower bound is lower and an upper bound higher.
        undefined = ~(point.ends.joint if backwards else point.ends.start).isfinite()
        for t in range(count, 0, -1) if backwards else range(1, count + 1):
            weight += (betas[t] - betas[t - 1]) * (point.ends.joint - point.ends.start).to(precise)
            if recorded is not None and betas[t] in self.schedule.through:
                recorded[betas[t]] = (weight.clone(), (point.ends.joint - point.ends.start).to(precise))
            at = t - 1 if backwards else t
            if 0 < at < count:
                point, accepted = self._move(point, betas[at], steps[at - 1])
                for kind, chance in accepted.items():
                    chances.setdefault(kind, []).append(chance.mean())
                if progress:
                    progress(weight.numel())
        self.accepted = {kind: torch.stack(values).mean().item() for kind, values in chances.items()}
        return weight.masked_fill(undefined | weight.isnan(), inf if backwards else -inf)
