"""A test of theorem 1 on any pair: is log p(x, z), for each x, affine in the statistics of the guide's family?"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from math import prod

import torch
from torch import Tensor

from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.inputs import Batch, as_batch, documents
from ppl_vae.diagnostics.gap.split import split_gap
from ppl_vae.diagnostics.tightness.latent_samples import PROPOSALS, AllStates, Proposal, Samples, Source, Table
from ppl_vae.diagnostics.tightness.least_squares import Unexplained, regress, unexplained_variance
from ppl_vae.diagnostics.tightness.linear_guide import (
    PRIOR_OF_DATA,
    LinearGuide,
    from_data,
    from_decoder,
    from_lengths,
    obstacle,
)
from ppl_vae.diagnostics.tightness.sufficient_statistics import SufficientStatistics
from ppl_vae.diagnostics.tightness.unread import lost_to_length
from ppl_vae.diagnostics.tightness.verdict import Example, Tightness
from ppl_vae.evidence.as_written import as_written
from ppl_vae.programs.flat_prior import FlatPrior
from ppl_vae.programs.handlers import latents, run
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.sites import model_sites
from ppl_vae.programs.types import Program, Progress

__all__ = ["tightness"]

CODES = 8
"""Latents at which is seen whether the observation is of an exponential family."""

FEW = 63
"""Largest number of statistics of a saturated family that are fitted one by one."""

POINTS = 2000
"""Largest number of points of an example."""


def tightness(
    model: Program,
    guide: Program,
    *data: object,
    draws: int | None = None,
    most_bits: int = 16,
    progress: Progress | None = None,
) -> Tightness:
    r"""Tests, without training, whether the posterior is in the guide's family, and whether a linear guide reaches it.

    A posterior in an exponential family with base measure :math:`h'` and minimal statistics :math:`\psi` means

    .. math:: \log p(x, z) - \log h'(z) = \langle \psi(z), g(x) \rangle + b(x),

    affine in :math:`\psi(z)` for every x; and if the observation is of an exponential family with statistics
    :math:`\nu`, tightness for all x forces :math:`g(x) = W^\top \nu(x) + v`: no guide but a linear one is needed, and
    no network can mend what it misses (Schlesinger, Shekhovtsov and Flach 2021, theorem 1 and corollary 1).

    The left side is regressed on :math:`\psi(z)` for each datum, over z of the guide and of the prior. The
    residual of an affine function is rounding, whatever the z, so the verdict compares the residual with the rounding
    of the model's numbers; the Monte Carlo errors say how accurately a residual is known.

    Arguments:
        model: The generative model.
        guide: A guide whose latents are independent members of known exponential families, or one site that can be
            any distribution of the codes. Its parameters only say at which z the densities are compared.
        data: Data as of :func:`~ppl_vae.evidence.measure.measure`.
        draws: Number of draws per datum, from guide and prior each, where the states are too many; None takes four per
            statistic, at least 100.
        most_bits: Length of the longest code to enumerate; then everything is exact.
        progress: Called with the number of data completed since the last call.

    Returns:
        A :class:`Tightness`, in nats.

    Raises:
        ValueError: If there are no data, the guide's family is not known (naming the site), the draws are fewer than
            its statistics, or log p(x, z) is not finite.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(2 * z, 1.0), obs=x)
        >>> def guide(x):
        ...     with pyro.plate("data", len(x)):
        ...         pyro.sample("z", dist.Normal(x, 1.0))
        >>> tightness(model, guide, torch.randn(20, dtype=torch.float64)).verdict
        'the posterior is in the family and a linear guide reaches it'
    """
    x = as_batch(*data)
    if len(x) == 0:
        raise ValueError("there are no data to measure")
    return as_written("tightness", model, guide, x, partial(_tightness, model, guide, x, draws, most_bits), progress)


def _tightness(
    model: Program, guide: Program, x: Batch, draws: int | None, most_bits: int, progress: Progress
) -> Tightness:
    family = SufficientStatistics(guide, model, x[:2])
    sites = model_sites(model, x)
    enumerable = all(s.kind in ("bits", "states") for s in sites) and prod(s.states for s in sites) <= 2**most_bits
    source: Source
    if enumerable:
        source = AllStates(model, guide, x, family, sites, FEW)
    else:
        source = Samples(model, guide, family, _enough(draws, family))
    guides, why, spanned = _linear_guides(model, x, family, source)
    affine: dict[Proposal, Unexplained] = {}
    linear: dict[Proposal, Unexplained] = {}
    for proposal, parts in _measure(source, x, guides, spanned, progress).items():
        affine[proposal] = Unexplained.join([per_datum for per_datum, _ in parts])
        if spanned or guides:
            linear[proposal] = Unexplained.join([shared for _, shared in parts if shared is not None])
    result = Tightness(
        affine,
        linear,
        guides,
        why,
        source.saturated,
        family.description,
        family.count,
        source.description,
        None,
        (),
    )
    if isinstance(source, AllStates) and isinstance(x, PackedCounts):
        result = replace(result, unread=lost_to_length(model, guide, x, source.states))
    if result.status == "outside" and enumerable:
        result = replace(result, gap=split_gap(model, guide, x, most_bits=most_bits))
    return replace(result, examples=_examples(source, x, affine["guide"]))


def _enough(draws: int | None, family: SufficientStatistics) -> int:
    if draws is None:
        return 100 if family.universal else max(100, 4 * (family.count + 1))
    least = 2 if family.universal else family.count + 3
    if draws < least:
        raise ValueError(
            f"{family.count} statistics need at least {least} draws per datum, got {draws}; raise the draws "
            "(--draws, draws=)"
        )
    return draws


def _linear_guides(
    model: Program, x: Batch, family: SufficientStatistics, source: Source
) -> tuple[dict[Proposal, LinearGuide], str, bool]:
    """The best linear guide for z of each proposal, its origin or why there is none, and whether all are linear."""
    with fork_random_state():
        # All states are as likely, so that these differ, whatever the prior.
        drawn = latents(run(FlatPrior(model, 1.0), (x[:1],), {}, draws=CODES))
    codes = {name: site["value"] for name, site in drawn.items()}
    wrong = obstacle(model, x, codes, family.eps)
    if not source.fitted:
        return {}, wrong or "every function of the codes is affine in indicators of them", wrong is None
    if wrong is None:
        values = {proposal: from_decoder(model, x, family, source.pool(proposal, x)) for proposal in PROPOSALS}
        return values, values["guide"].origin, False

    def coefficients(proposal: Proposal = "prior") -> Tensor:
        pieces = (piece for _, tables in source.tables(x) for _, piece in tables[proposal].split())
        return torch.cat([_fit(piece, source.drawn)[1] for piece in pieces])

    if wrong == PRIOR_OF_DATA and documents(x) is not None:
        values = {
            proposal: from_lengths(from_decoder(model, x, family, source.pool(proposal, x)), x, coefficients(proposal))
            for proposal in PROPOSALS
        }
        return values, values["guide"].origin, False
    try:
        shared = from_data(model, x, coefficients, wrong)
    except ValueError as error:
        return {}, str(error), False
    return dict.fromkeys(PROPOSALS, shared), shared.origin, False


def _fit(table: Table, drawn: bool) -> tuple[Unexplained, Tensor, Tensor]:
    """The variance unexplained by the best affine function of each datum, its coefficients, and the residuals."""
    if table.statistics is not None:
        return regress(table.statistics, table.values, table.weights, table.precision, drawn=drawn)
    unexplained = unexplained_variance(
        table.centred, torch.zeros_like(table.values), table.weights, table.precision, _mean_leverage(table, drawn)
    )
    return unexplained, table.values[:, :0], torch.zeros_like(table.values)


def _mean_leverage(table: Table, drawn: bool) -> Tensor | None:
    """Leverage of draws of which only the mean is taken."""
    return table.weights if drawn else None


def _measure(
    source: Source, x: Batch, guides: dict[Proposal, LinearGuide], spanned: bool, progress: Progress | None
) -> dict[Proposal, list[tuple[Unexplained, Unexplained | None]]]:
    """The variance unexplained by coefficients per datum and by shared ones, block by block."""
    values: dict[Proposal, list[tuple[Unexplained, Unexplained | None]]] = {proposal: [] for proposal in PROPOSALS}
    for part, tables in source.tables(x):
        for proposal, table in tables.items():
            for rows, piece in table.split():
                per_datum, _, _ = _fit(piece, source.drawn)
                shared = per_datum if spanned else None
                if proposal in guides:
                    assert piece.statistics is not None
                    function = (piece.statistics, piece.centred, piece.weights, piece.eps)
                    residuals, rounding = guides[proposal].residuals(part[rows], *function)
                    precision = piece.precision + rounding
                    shared = unexplained_variance(
                        piece.centred, residuals, piece.weights, precision, _mean_leverage(piece, source.drawn)
                    )
                    shared = replace(shared, known=per_datum.known)
                values[proposal].append((per_datum, shared))
        if progress:
            progress(len(part))
    return values


def _examples(source: Source, x: Batch, unexplained: Unexplained) -> tuple[Example, ...]:
    """The datum of median residual at z of the guide, and that of the largest."""
    rows = unexplained.known.nonzero()[:, 0]
    if not len(rows) or not source.fitted:
        return ()
    order = rows[unexplained.residual[rows].argsort()]
    parts = []
    for name, row in (("typical", int(order[len(order) // 2])), ("worst", int(order[-1]))):
        (_, tables), *_ = source.tables(x[row : row + 1])
        table = tables["guide"]
        residual = _fit(table, source.drawn)[2][0]
        shown = table.weights[0].topk(min(POINTS, len(residual))).indices
        values = table.centred[0]
        parts.append(Example(row, name, values[shown], (values - residual)[shown], table.weights[0][shown]))
    return tuple(parts)
