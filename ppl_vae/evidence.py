"""How probable the data are under a model, how far the bound is below, and how sure one may be of both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from typing import Any, Literal

import torch
from torch import Tensor

from ppl_vae.batches import PackedCounts
from ppl_vae.distributions import bit_states
from ppl_vae.log_weight import latents, log_joint, log_proposal, log_weight, run, shares_codes
from ppl_vae.pareto import k_hat, k_hat_limit
from ppl_vae.randomness import kept_random_state
from ppl_vae.sites import GuideSite, guide_sites

__all__ = ["Estimate", "Measurement", "evaluating", "measure", "sampled_elbo"]

Program = Callable[..., Any]
Progress = Callable[[int], None]

CELLS = 2**22
"""Largest number of (code, datum) or observed cells held at once: 16 MB, which the allocator still recycles."""


@dataclass(frozen=True)
class Estimate:
    """A number in nats per datum, with where it comes from.

    Arguments:
        pointwise: One value a datum, ``(data,)``, in nats.
        method: How it was computed, in words.
        bound: Whether each value is exact, or in expectation a lower or an upper bound, or unbiased.
        draws: Draws a datum; 0 for exact methods.
        pointwise_se: Monte Carlo standard error of each value, ``(data,)``; None is zero.
        k_hat: Pareto shape of the largest weights of each datum, ``(data,)``, where weights were used.
        warnings: What a reader must know before believing the number.
    """

    pointwise: Tensor
    method: str
    bound: Literal["exact", "unbiased", "lower", "upper"]
    draws: int = 0
    pointwise_se: Tensor | None = None
    k_hat: Tensor | None = None
    warnings: tuple[str, ...] = field(default=())

    @property
    def mean(self) -> float:
        """Mean over the data."""
        return self.pointwise.mean().item()

    @property
    def se(self) -> float:
        """Monte Carlo standard error of the mean over these very data; zero for exact methods."""
        if self.pointwise_se is None:
            return 0.0
        return (self.pointwise_se.square().sum().sqrt() / len(self.pointwise)).item()

    @property
    def data_se(self) -> float:
        """Standard error of the mean as a figure of the population the data were drawn from."""
        return (self.pointwise.std() / len(self.pointwise) ** 0.5).item() if len(self.pointwise) > 1 else float("nan")

    def __str__(self) -> str:
        sign = {"lower": ">= ", "upper": "<= "}.get(self.bound, "")
        return f"{sign}{self.mean:.3f} +- {self.se:.3f} ({self.method})"


@dataclass(frozen=True)
class Measurement:
    """Bound, evidence and gap of one set of data.

    Arguments:
        elbo: The evidence lower bound of each datum.
        evidence: log p(x) of each datum.
        gap: Evidence minus bound.
    """

    elbo: Estimate
    evidence: Estimate
    gap: Estimate


@contextmanager
def evaluating(*programs: Any) -> Iterator[None]:
    """No gradients, and networks in evaluation mode (running statistics, no dropout); undone afterwards."""
    modules = [m for p in programs if isinstance(p, torch.nn.Module) for m in p.modules()]
    modes = [m.training for m in modules]
    for module in modules:
        module.training = False
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode


def measure(
    model: Program,
    guide: Program,
    x: Any,
    *,
    draws: int = 100,
    method: Literal["auto", "enumeration", "importance"] = "auto",
    most_bits: int = 16,
    progress: Progress | None = None,
) -> Measurement:
    r"""ELBO, evidence and gap of each datum, all from the log-weights of the pair.

    Where all latents together have at most :math:`2^{\mathrm{most\_bits}}` states everything is exact: with
    :math:`w(z) = \log p(x, z) - \log q(z \mid x)`,

    .. math:: \log p(x) = \log \sum_z p(x, z), \qquad
        \mathcal{L} = \sum_z q(z \mid x)\, w(z).

    Otherwise the mean of w over draws estimates the ELBO, and the log of the mean weight bounds the evidence
    from below in expectation (Burda, Grosse and Salakhutdinov 2016).

    Arguments:
        model: The generative model.
        guide: Its guide.
        x: The data; worked through in blocks.
        draws: Draws a datum, for importance weights.
        method: ``"auto"`` takes enumeration where it is affordable.
        most_bits: Longest code to enumerate.
        progress: Called with the number of (datum, code or draw) cells done since the last call.

    Returns:
        A :class:`Measurement`, in nats per datum.

    Raises:
        ValueError: If enumeration is asked for and impossible, naming the site.
    """
    with evaluating(model, guide):
        sites = guide_sites(model, (x[:2],))
        states = prod(site.states for site in sites)
        wrong = [f"site {s.name!r} is {s.family}" for s in sites if s.kind not in ("bits", "states")]
        if states > 2**most_bits:
            wrong.append(f"the latents have {states} joint states, more than 2^{most_bits}")
        if method == "enumeration" and wrong:
            raise ValueError(f"enumeration is not possible: {wrong[0]}; use method='importance'")
        exact = method == "enumeration" or (method == "auto" and not wrong)
        parts = []
        for start in range(0, len(x), block := _data_block(x)):
            part = x[start : start + block]
            if exact:
                parts.append(_enumerate(model, guide, part, sites, progress))
            else:
                parts.append(_importance(model, guide, part, draws, progress))
    return _join(parts)


def cells(model: Program, x: Any, draws: int, most_bits: int = 16) -> int:
    """How many cells :func:`measure` will report to its progress for these data."""
    with evaluating(model):
        sites = guide_sites(model, (x[:2],))
    states = prod(site.states for site in sites)
    exact = all(site.kind in ("bits", "states") for site in sites) and states <= 2**most_bits
    return len(x) * (states if exact else draws)


def _data_block(x: Any) -> int:
    """Documents cost their distinct words, so one block takes thousands; tensors cost all their numbers."""
    return 2**14 if isinstance(x, PackedCounts) else max(1, min(2**10, CELLS // (16 * x[0].numel())))


def _join(parts: list[Measurement]) -> Measurement:
    def join(estimates: list[Estimate]) -> Estimate:
        first = estimates[0]
        together = {
            name: None if getattr(first, name) is None else torch.cat([getattr(e, name) for e in estimates])
            for name in ("pointwise", "pointwise_se", "k_hat")
        }
        bounds = {e.bound for e in estimates}
        bound = first.bound if len(bounds) == 1 else "lower"
        joined = Estimate(method=first.method, bound=bound, draws=first.draws, **together)  # type: ignore[arg-type]
        return Estimate(**{**joined.__dict__, "warnings": _warnings(joined)})

    return Measurement(*(join([getattr(p, name) for p in parts]) for name in ("elbo", "evidence", "gap")))


def _warnings(estimate: Estimate) -> tuple[str, ...]:
    lines = []
    impossible = int((estimate.pointwise == -torch.inf).sum())
    if impossible:
        lines.append(f"{impossible} data have probability zero under the model; the mean is minus infinity")
    if estimate.k_hat is not None and estimate.draws:
        limit = k_hat_limit(estimate.draws)
        bad = int((estimate.k_hat > limit).sum())
        if bad:
            lines.append(
                f"{bad} of {len(estimate.k_hat)} data have a Pareto k-hat over {limit:.2f}: few draws carry the "
                "estimate, so the evidence is probably higher and its error larger; raise the draws"
            )
    return tuple(lines)


def states_of(sites: list[GuideSite], model: Program, x: Any) -> tuple[int, Callable[[Tensor], dict[str, Tensor]]]:
    """The number of joint states of a model's discrete latents, and a map from their indices to values."""
    with kept_random_state():
        priors = {name: site["fn"] for name, site in latents(run(model, (x,), {}, draws=1)).items()}

    def values(index: Tensor) -> dict[str, Tensor]:
        found, stride = {}, prod(site.states for site in sites)
        for site in sites:
            fn, stride = priors[site.name], stride // site.states
            which = index // stride % site.states
            if site.kind == "bits":
                found[site.name] = bit_states(site.size, like=fn.sample())[which].reshape(
                    len(index), 1, *fn.event_shape
                )
            else:
                found[site.name] = fn.enumerate_support(expand=False)[:, 0][which]
        return found

    return prod(site.states for site in sites), values


def _enumerate(
    model: Program, guide: Program, x: Any, sites: list[GuideSite], progress: Progress | None
) -> Measurement:
    count, values = states_of(sites, model, x[:1])
    device = next(iter(values(torch.zeros(1, dtype=torch.long)).values())).device
    some = x[:3]
    priors = {name: site["fn"] for name, site in latents(run(model, (some,), {}, draws=1)).items()}
    shared = len(some) > 1 and all(
        shares_codes(lambda v, score=score, who=who: score(who, some, v), {n: _row(fn) for n, fn in priors.items()})  # type: ignore[misc]
        for score, who in ((log_joint, model), (log_proposal, guide))
    )
    width = 1 if isinstance(x, PackedCounts) else x[0].numel()
    block = max(1, min(2**11, CELLS // (len(x) * width)))
    precise = torch.float32 if device.type == "mps" else torch.float64
    evidence = torch.full((len(x),), -torch.inf, dtype=precise, device=device)
    bound, mass = torch.zeros_like(evidence), torch.zeros_like(evidence)
    reference: Tensor | None = None
    for start in range(0, count, block):
        codes = values(torch.arange(start, min(start + block, count), device=device))
        if not shared:
            codes = {n: v.expand(len(v), len(x), *v.shape[2:]).clone() for n, v in codes.items()}
        joint = log_joint(model, x, codes)
        proposal = log_proposal(guide, x, codes)
        # Relative to some code's, log-densities are small numbers, and float32 enough for their sums.
        reference = joint[0].clamp(min=torch.finfo(joint.dtype).min) if reference is None else reference
        joint.sub_(reference)
        evidence = torch.logaddexp(evidence, joint.logsumexp(0).to(evidence))
        probability = proposal.exp()
        mass += probability.sum(0)
        # A code the guide never draws adds nothing, however improbable the model finds it.
        bound += joint.sub_(proposal).mul_(probability).nan_to_num_(0.0, torch.inf, -torch.inf).sum(0)
        if progress:
            progress(joint.numel())
    # Probabilities add up to one but for rounding, which the size of the log-densities would magnify.
    assert reference is not None
    bound = reference + bound / mass
    evidence = reference + evidence
    method = f"enumeration of {count} states"
    return Measurement(
        Estimate(bound, method, "exact"),
        Estimate(evidence, method, "exact"),
        Estimate(evidence - bound, method, "exact"),
    )


def _row(fn: Any) -> Any:
    """A prior of shape (1, batch) seen as one of shape (batch,)."""
    return fn.expand(fn.batch_shape[1:]) if len(fn.batch_shape) < 2 else _First(fn)


class _First:
    """The batch of a distribution whose leading dimension has size 1."""

    def __init__(self, fn: Any) -> None:
        self.fn = fn

    def sample(self, shape: tuple[int, ...]) -> Tensor:
        drawn: Tensor = self.fn.sample(shape)[:, 0]
        return drawn

    def shape(self) -> torch.Size:
        return torch.Size(self.fn.shape()[1:])


def _importance(model: Program, guide: Program, x: Any, draws: int, progress: Progress | None) -> Measurement:
    if draws < 2:
        raise ValueError(f"importance weights need at least 2 draws a datum, got {draws}; raise the draws")
    return _join([from_log_weights(weights) for weights in _log_weights(model, guide, x, draws, progress)])


def sampled_elbo(model: Program, guide: Program, x: Any, draws: int = 1) -> Tensor:
    """The ELBO of each datum from so many draws, ``(data,)``, in nats: quick, for watching a training."""
    with evaluating(model, guide):
        return torch.cat([weights.mean(0) for weights in _log_weights(model, guide, x, draws, None)])


def _log_weights(model: Program, guide: Program, x: Any, draws: int, progress: Progress | None) -> Iterator[Tensor]:
    """Log-weights of all draws for one block of data after the other, ``(draws, block)``, in float64."""
    width = x.vocabulary if isinstance(x, PackedCounts) else x[0].numel()
    rows = max(1, 4 * CELLS // width)
    batch = max(1, min(len(x), rows // min(draws, 8)))
    for start in range(0, len(x), batch):
        part = x[start : start + batch]
        step = max(1, rows // len(part))
        weights = []
        for done in range(0, draws, step):
            weights.append(log_weight(model, guide, part, min(step, draws - done)))
            if progress:
                progress(weights[-1].numel())
        together = torch.cat(weights)
        yield together if together.device.type == "mps" else together.double()


def from_log_weights(weights: Tensor) -> Measurement:
    """ELBO, importance-weighted evidence and gap from log-weights, ``(draws, data)``.

    Constant weights are those of a perfect guide: the evidence is then exact. Standard errors are those of the
    mean over draws, for the evidence by the delta method.
    """
    draws = len(weights)
    elbo = weights.mean(0)
    elbo_se = weights.std(0) / draws**0.5
    high = weights.max(0).values
    ratio = (weights - high.clamp(min=torch.finfo(weights.dtype).min)).exp()
    mean = ratio.mean(0)
    evidence = high + mean.log()
    # The same draws give both, so the error of the gap is that of the difference draw by draw.
    relative = ratio / mean
    evidence_se = relative.std(0) / draws**0.5
    gap_se = (relative - weights).std(0) / draws**0.5
    method = f"importance, {draws} draws"
    spread = high - weights.min(0).values
    if (spread <= 1e-9 * high.abs().clamp(min=1)).all():
        constant = "constant importance weights"
        zero = Estimate(torch.zeros_like(elbo), constant, "exact")
        return Measurement(Estimate(elbo, constant, "exact"), Estimate(elbo, constant, "exact"), zero)
    shape = k_hat(weights)
    return Measurement(
        Estimate(elbo, f"{draws} draws", "unbiased", draws, elbo_se),
        Estimate(evidence, method, "lower", draws, evidence_se, shape),
        Estimate(evidence - elbo, method, "lower", draws, gap_se),
    )
