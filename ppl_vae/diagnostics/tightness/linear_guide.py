"""Guides whose natural parameters are affine in the observation: the only ones a tight pair can have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.inputs import Batch, Inputs, data_width, documents
from ppl_vae.diagnostics.tightness.latent_samples import Pool
from ppl_vae.diagnostics.tightness.least_squares import regress, whiten
from ppl_vae.diagnostics.tightness.sufficient_statistics import SufficientStatistics, decoded, log_prior, precise
from ppl_vae.distributions import exponential_family
from ppl_vae.nn.numbers import Numbers
from ppl_vae.programs.blocks import data_block
from ppl_vae.programs.handlers import Sites, SubstituteLatents, log_prob, observations, run
from ppl_vae.programs.types import Program

__all__ = ["PRIOR_OF_DATA", "LinearGuide", "from_data", "from_decoder", "from_lengths", "obstacle"]

CELLS = 2**22
"""Largest number of (code, observed number) cells held at once."""

ROUNDED = 64
"""Rounding errors of a prior's log-density, in units of its last place."""

ROUNDING = 2
"""Rounding errors of a sum of products, in units of the last place of the sum of their sizes."""

COMPARED = 64
"""Data whose priors are compared."""

PRIOR_OF_DATA = "the prior of the latents depends on x itself"
"""Why the decoder alone does not give the linear guide."""

WHOLE = "x"
"""Name of the weights of x as it is, where its family is not known."""


@dataclass(frozen=True)
class LinearGuide:
    r"""Natural parameters :math:`g(x) = W^\top \nu(x) + v` (Schlesinger, Shekhovtsov and Flach 2021, eq. 17).

    Arguments:
        model: Model whose observation is read.
        weights: W of each observed site, ``(statistics of x, statistics of z)``.
        bias: v, ``(statistics of z,)``.
        whole: How x is read as it is; None where it is read through the statistics of its family.
        origin: How the guide was obtained.
    """

    model: Program
    weights: dict[str, Tensor]
    bias: Tensor
    whole: Numbers | None
    origin: str

    def residuals(
        self, x: Batch, statistics: Tensor, centred: Tensor, weights: Tensor, eps: float
    ) -> tuple[Tensor, Tensor]:
        """Residuals of a function at each z under this guide's coefficients, and how much of them may be rounding.

        Arguments:
            x: The data.
            statistics: Sufficient statistics of each z, ``(data or 1, z, statistics)``.
            centred: The function minus its mean, ``(data, z)``, in nats.
            weights: Weight of each z, ``(data or 1, z)``.
            eps: Relative rounding error of the model.

        Returns:
            ``(data, z)``, of mean zero, and ``(data,)``, in nats.
        """
        observed = (
            {WHOLE: _precise_numbers(self.whole, x)} if self.whole else _statistics(run(self.model, (x,), {}, draws=1))
        )
        natural, size = self.bias.expand(len(x), -1), self.bias.abs().expand(len(x), -1)
        for name, weight in self.weights.items():
            nu = observed[name]
            natural = natural + nu @ weight
            size = size + (nu if isinstance(nu, PackedCounts) else nu.abs()) @ weight.abs()
        shifted = statistics - statistics.mean(1, keepdim=True)
        explained = natural @ shifted[0].T if len(shifted) == 1 else (shifted @ natural[..., None])[..., 0]
        residuals = centred - explained
        spread = (weights[:, None] @ shifted.square())[:, 0].sqrt()
        return residuals - (weights * residuals).sum(1, keepdim=True), ROUNDING * eps * (size * spread).sum(1)


def obstacle(model: Program, x: Batch, codes: dict[str, Tensor], eps: float) -> str | None:
    r"""Returns why the observation is no known exponential family given z alone; None if it is.

    Arguments:
        model: The model.
        x: The data.
        codes: Values of a few latent codes by site, ``(codes, 1, *event)``.
        eps: Relative rounding error of the model.
    """
    # Where the observation depends on an input, too, it may be one that few data have.
    step = data_block(x) if isinstance(x, Inputs) else 3
    blocks = (x[start : start + step] for start in range(0, len(x) if isinstance(x, Inputs) else 1, step))
    wrong = next(filter(None, (_obstacle(model, x, few, codes, eps) for few in blocks)), None)
    return wrong or (PRIOR_OF_DATA if _prior_varies(model, x[:COMPARED], codes, eps) else None)


def _prior_varies(model: Program, few: Batch, codes: dict[str, Tensor], eps: float) -> bool:
    """Whether log p(z) differs between data by more than a constant and rounding."""
    prior = log_prior(_of_each(model, few, codes)).expand(-1, len(few))
    centred = prior - prior.mean(0)
    eps = max(eps, torch.finfo(torch.get_default_dtype()).eps)
    return bool(((centred - centred[:, :1]).abs() > ROUNDED * eps * (1 + prior.abs())).any())


def _obstacle(model: Program, x: Batch, few: Batch, codes: dict[str, Tensor], eps: float) -> str | None:
    sites = observations(run(model, (few,), {}, draws=1))
    for name, site in sites.items():
        if site["mask"] is not None or not bool((torch.as_tensor(site["scale"]) == 1).all()):
            return f"the observed site {name!r} is scaled or masked"
        if not exponential_family.is_known(site["fn"]):
            return (
                f"the statistics of the observed site {name!r}, {exponential_family.family(site['fn'])}, are not known"
            )
    given, observed = decoded(model, x, codes), _statistics(Sites(sites))
    scored = _of_each(model, few, codes)
    total = log_prior(scored).expand(-1, len(few)).T
    size = total.abs()
    for name, nu in observed.items():
        if len(nu) != len(few):
            return f"the observed site {name!r} has not one value per datum"
        eta = _natural(given[name]["fn"])
        base = precise(exponential_family.log_base(sites[name]["fn"], sites[name]["value"]))
        total = total + base[:, None] + nu @ eta.T - _normaliser(given[name]["fn"])
        size = size + base.abs()[:, None] + (nu if isinstance(nu, PackedCounts) else nu.abs()) @ eta.abs().T
    joint = reduce(torch.add, map(log_prob, scored.values()))
    off = (precise(joint).T - total).abs() > max(eps, torch.finfo(joint.dtype).eps) ** 0.5 * size
    itself = "the other fields of the data" if isinstance(x, Inputs) else "x itself"
    return f"the parameters of the observation depend on {itself}" if off.any() else None


def _of_each(model: Program, few: Batch, codes: dict[str, Tensor]) -> Sites:
    """The sites of a model with each of some codes for all of these data."""
    count = len(next(iter(codes.values())))
    repeated = {name: v.expand(count, len(few), *v.shape[2:]).clone() for name, v in codes.items()}
    return run(model, (few,), {}, draws=count, handler=SubstituteLatents(repeated))


def from_decoder(model: Program, x: Batch, family: SufficientStatistics, pool: Pool) -> LinearGuide:
    r"""The guide of the joint density nearest to the model's that is bilinear in :math:`\nu(x)` and :math:`\psi(z)`.

    Natural parameters :math:`\eta(z)` of the observation, and :math:`a(z) = \log p(z) - A(\eta(z)) - \log h'(z)`, are
    fitted by affine functions of :math:`\psi(z)`, as theorem 1 asks of a tight pair (Schlesinger, Shekhovtsov and
    Flach 2021, eq. 7 and 10). The data are not used.
    """
    white = whiten(pool.statistics, pool.weights)
    basis = white.basis[0] * pool.weights[0, :, None]
    step = max(1, CELLS // data_width(x))
    sums: dict[str, Tensor] = {}
    constant = torch.zeros_like(white.centre[0])
    for start in range(0, len(basis), step):
        codes = pool.values(start, min(start + step, len(basis)))
        given, rows = decoded(model, x, codes), basis[start : start + step].T
        rest = log_prior(given)[:, 0] - precise(family.log_base(codes))[:, 0]
        for name, site in given.items():
            if site["is_observed"]:
                product = rows @ _natural(site["fn"])
                sums[name] = sums[name] + product if name in sums else product
                rest = rest - _normaliser(site["fn"])
        constant = constant + rows @ rest
    turn = white.turn[0]
    return LinearGuide(model, {n: (turn @ s).T for n, s in sums.items()}, turn @ constant, None, "from the decoder")


def from_lengths(base: LinearGuide, x: Batch, coefficients: Tensor) -> LinearGuide:
    r"""The guide of documents whose prior depends on their length l, by regression on it.

    What the best coefficients of each document have beside those of its words is fitted by :math:`v + l u`, and
    :math:`l = \sum_k x_k` is a function of the counts, so that the guide is linear in them.

    Arguments:
        base: The guide by the decoder with the prior of one document (:func:`from_decoder`).
        x: The documents.
        coefficients: The best coefficients of each, ``(data, statistics of z)``.

    Raises:
        ValueError: If no observed site holds the counts.
    """
    observed = _statistics(run(base.model, (x,), {}, draws=1))
    name = next((name for name, nu in observed.items() if isinstance(nu, PackedCounts)), None)
    if name is None:
        raise ValueError(f"{PRIOR_OF_DATA}, and no observed site holds the counts of the documents")
    rest = coefficients - base.bias
    for site, weight in base.weights.items():
        rest = rest - observed[site] @ weight
    lengths = precise(observed[name].lengths)
    design = torch.stack([torch.ones_like(lengths), lengths], 1)
    bias, slope = torch.linalg.lstsq(design, rest).solution
    weights = base.weights | {name: base.weights[name] + slope}
    return replace(
        base, weights=weights, bias=base.bias + bias, origin=f"{base.origin}, and by length, as {PRIOR_OF_DATA}"
    )


def from_data(model: Program, x: Batch, coefficients: Callable[[], Tensor], why: str) -> LinearGuide:
    """Returns the guide by regression of the best coefficients of each datum on x.

    Arguments:
        model: The model.
        x: The data.
        coefficients: Returns the coefficients, ``(data, statistics of z)``; called only if a regression is possible.
        why: Why the statistics of the observation cannot be used.

    Raises:
        ValueError: If the data are documents, or fewer than twice the coefficients, saying so.
    """
    if (packed := documents(x)) is not None:
        raise ValueError(f"{why}, and documents of {packed.vocabulary} words have no dense coordinates to use instead")
    numbers = Numbers(x, raw=True)
    observed = _precise_numbers(numbers, x)
    if len(x) < 2 * (observed.shape[1] + 2):
        raise ValueError(f"{why}, and {len(x)} data are too few to fit {observed.shape[1] + 1} numbers per coefficient")
    result = coefficients()
    uniform = observed.new_full((1, len(x)), 1 / len(x))
    _, weights, _ = regress(observed[None], result.T, uniform, observed.new_zeros(1), drawn=False)
    bias = result.mean(0) - weights @ observed.mean(0)
    return LinearGuide(model, {WHOLE: weights.T}, bias, numbers, f"regressed on x over these {len(x)} data, as {why}")


def _precise_numbers(numbers: Numbers, x: Batch) -> Tensor:
    result: Tensor = numbers(x, torch.float32 if x.device.type == "mps" else torch.float64)  # mps has no float64
    return result


def _statistics(sites: Sites) -> dict[str, Any]:
    """Statistics of the observed sites of a run over data, ``(data, statistics of x)`` each."""
    values = {}
    for name, site in sites.items():
        if site["is_observed"]:
            nu = exponential_family.statistics(site["fn"], site["value"])
            values[name] = nu if isinstance(nu, PackedCounts) else precise(nu)
    return values


def _natural(fn: Distribution) -> Tensor:
    """Natural parameters of a site given codes alone, ``(codes, statistics of x)``."""
    return precise(exponential_family.natural(fn)[:, 0])


def _normaliser(fn: Distribution) -> Tensor:
    return precise(exponential_family.log_normaliser(fn)[:, 0])
