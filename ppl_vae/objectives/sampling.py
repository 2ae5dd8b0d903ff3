"""The discrete sites of a guide, drawn by an estimator."""

from __future__ import annotations

from math import prod

import torch
from pyro.distributions import TorchDistribution
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.autograd.function import once_differentiable

from ppl_vae.distributions import exponential_family, state_tables
from ppl_vae.distributions.bits import bit_states
from ppl_vae.estimators.base.estimator import Code, Estimator
from ppl_vae.estimators.base.integrand import Integrand
from ppl_vae.programs.densities import Site
from ppl_vae.programs.sites import GuideSite

__all__ = ["EstimatorDraws"]


class EstimatorDraws(Messenger):
    """Handler that draws the discrete sites of a guide by an estimator and keeps the codes.

    Arguments:
        estimator: Draws the bits or states, or lists the states.
        sites: Sites of the guide.
        draws: Number of independent draws per datum.
        shared: Whether all data get the same codes, where the estimator lists them all.

    Attributes:
        codes: By site, outside any graph but for bits whose slopes the estimator reads.
        logits: Natural parameters of the bits, or log-probabilities of the states, by site, with their gradient.
    """

    def __init__(self, estimator: Estimator, sites: list[GuideSite], draws: int, shared: bool) -> None:
        super().__init__()
        self.estimator, self.draws, self.shared = estimator, draws, shared
        self.sites = {site.name: site for site in sites if site.discrete}
        self.codes: dict[str, Code] = {}
        self.logits: dict[str, Tensor] = {}
        self.stride = prod(site.states for site in self.sites.values()) if estimator.exact else 0
        self.only_bits = all(site.kind == "bits" for site in self.sites.values())

    @property
    def draws_apart(self) -> bool:
        """Whether a program may draw each sample itself: nothing is discrete, or scores of any samples are weighed."""
        drawn = self.estimator
        return not self.sites or not (drawn.factorised or drawn.exact or drawn.without_replacement)

    def _pyro_sample(self, msg: Site) -> None:
        site = self.sites.get(msg["name"])
        if site is None or msg["is_observed"]:
            return
        fn = msg["fn"]
        if self.estimator.exact:
            msg["value"] = self._states(site, fn)
        elif self.estimator.without_replacement:
            msg["value"] = self._without_replacement(site, fn)
        elif self.estimator.categorical and not self.only_bits:
            logits = self._of_all_rows(state_tables.log_probabilities(fn), "states", site)
            code = self.estimator.draw_states(logits.detach(), self.draws)
            self.codes[site.name], self.logits[site.name] = code, logits.flatten(-2)
            states = code.bits.unflatten(-1, logits.shape[-2:]).argmax(-1)
            msg["value"] = state_tables.values_of_states(fn, states)
        elif site.kind == "bits" and site.independent:
            every = exponential_family.bit_logits(fn)
            assert every is not None
            logits = self._of_all_rows(every, "bits", site, exponential_family.bit_logits_of_a_draw(fn, every))
            code = self.estimator.draw(logits.detach(), self.draws)
            self.codes[site.name], self.logits[site.name] = code, logits
            bits = code.bits.detach()
            if code.bits.requires_grad and logits.requires_grad:
                bits = _DifferentiatedBits.apply(logits, code.detach(), self.estimator)
            msg["value"] = bits.reshape(fn.shape())

    def _of_all_rows(self, every: Tensor, what: str, site: GuideSite, first: Tensor | None = None) -> Tensor:
        """Parameters that all rows must share, of one row."""
        if len(every) > 1 and every.stride(0) and not torch.equal(every, every[:1].expand_as(every)):
            raise ValueError(
                f"the {what} of site {site.name!r} have come to depend on other draws, for which "
                f"{self.estimator.name} has no right gradient; use loo"
            )
        return every[0] if first is None else first

    def _without_replacement(self, site: GuideSite, fn: TorchDistribution) -> Tensor:
        """Different joint states of the only discrete site."""
        logits = self._of_all_rows(state_tables.log_probabilities(fn).detach(), "states", site)
        number, states = logits.shape[-2:]
        joint = torch.cartesian_prod(*[torch.arange(states, device=logits.device)] * number).reshape(-1, number)
        table = logits.log_softmax(-1).movedim((-2, -1), (0, 1))
        log_q = sum((table[part, joint[:, part]] for part in range(number)), torch.zeros_like(table[0, :1]))
        rows = self.estimator.draw_rows(log_q, self.draws)
        return state_tables.values_of_states(fn, joint[rows])

    def _states(self, site: GuideSite, fn: TorchDistribution) -> Tensor:
        """Row r holds state (r // stride) mod states of this site: together the rows run over all joint states."""
        if site.kind == "bits":
            support = bit_states(site.size, like=exponential_family.bit_logits(fn))
            support = support.reshape(-1, *[1] * (len(fn.batch_shape) - 1), *fn.event_shape)
        else:
            support = fn.enumerate_support(expand=False)[:, 0]
        self.stride //= site.states
        rows = fn.batch_shape[0]
        value = support[torch.arange(rows, device=support.device) // self.stride % site.states]
        return value if self.shared else value.expand(fn.shape())


class _DifferentiatedBits(torch.autograd.Function):
    """Bits whose slopes, as the backward pass finds them, go to the estimator and its gradient to the logits."""

    @staticmethod
    def forward(ctx, logits: Tensor, code: Code, estimator: Estimator) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.gradient = lambda slopes: estimator.gradient(code, _Slopes(slopes))
        return code.bits.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, slopes: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[no-untyped-def]
        # The bound is the mean over rows, the slope that of each row.
        return ctx.gradient(slopes * len(slopes)), None, None


class _Slopes(Integrand):
    """The slopes alone: a gradient is linear in what it reads, and all else has been read before."""

    def __init__(self, slopes: Tensor) -> None:
        self._slopes = slopes

    @property
    def values(self) -> Tensor:
        return torch.zeros_like(self._slopes[..., 0])

    @property
    def slopes(self) -> Tensor:
        return self._slopes

    @property
    def slope_at_mean(self) -> Tensor:
        return torch.zeros_like(self._slopes[0])

    def relaxed(self, bits: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(bits[..., 0]), torch.zeros_like(bits)

    @property
    def flip_differences(self) -> Tensor:
        return torch.zeros_like(self._slopes)

    @property
    def switched_values(self) -> Tensor:
        return torch.zeros_like(self._slopes)
