"""Mutual information of data and code, by the aggregate posterior of all the data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from math import prod

import torch
from torch import Tensor

from ppl_vae.data.inputs import Batch
from ppl_vae.distributions import exponential_family
from ppl_vae.evidence.estimate import Bound, Estimate
from ppl_vae.programs.handlers import FirstRow, broadcasts_codes, latents, run
from ppl_vae.programs.log_weight import log_proposal
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.states import States
from ppl_vae.programs.types import Program, Progress

__all__ = ["Mutual", "by_codes", "by_enumeration", "by_enumeration_steps"]

CELLS = 2**22
"""Largest number of (code, datum, latent number) cells held at once."""


@dataclass(frozen=True)
class Mutual:
    r"""Mutual information of data and code, and bounds on it.

    ``among`` is the information of the data themselves, each with probability 1 / N, which cannot exceed log N. Of the
    information of the population that they were drawn from it is, in expectation, a lower bound, and ``upper`` an upper
    bound.

    Arguments:
        among: :math:`\mathbb{E} \log q(z \mid x) - \log \bar q(z)`, with :math:`\bar q` the mean of the guide's
            densities over all N data.
        lower: The same with the mean over batches of ``batch`` data, at most log ``batch``: the InfoNCE bound (Poole et
            al. 2019, with the conditional known).
        upper: The same with the mean over all data but the code's own (the leave-one-out bound of Poole et al. 2019).
        batch: Number of data per batch.
        rows: Positions of the data whose codes were used; None for all.
    """

    among: Estimate
    lower: Estimate
    upper: Estimate
    batch: int
    rows: Tensor | None = None


def groups(count: int, batch: int, device: torch.device) -> tuple[Tensor, ...]:
    """Returns a random partition of ``count`` positions into batches of at most ``batch``, of nearly equal size."""
    return torch.randperm(count, device=device).tensor_split(math.ceil(count / batch))


def by_enumeration(
    guide: Program, x: Batch, states: States, batch: int = 128, progress: Progress | None = None
) -> Mutual:
    """Returns the mutual information by sums over all states of the code, exact except for the choice of batches.

    Two passes over the data, in batches: the first gathers the aggregate of each state, the second compares.

    Arguments:
        guide: The guide, in evaluation mode.
        x: At least two data.
        states: Joint states of the code.
        batch: Number of data per batch.
        progress: Called with the number of (state, datum) cells completed since the last call.
    """
    count, shared = len(x), states.shared(partial(log_proposal, guide))
    parts = groups(count, batch, states.device)
    # The aggregate without a datum would cancel if taken as a difference where that datum is nearly all of it. So the
    # largest density of each state is stored apart from the sum of the others.
    highest = torch.full((states.count,), -torch.inf, device=states.device)
    owner, others = torch.zeros_like(highest, dtype=torch.long), highest
    for part in parts:
        table = _table(guide, x[part], states, shared)
        high, largest = table.max(1)
        rest = table.scatter(1, largest[:, None], -torch.inf).logsumexp(1)
        others = torch.logaddexp(torch.logaddexp(others, rest), torch.minimum(highest.to(high), high))
        owner = torch.where(high > highest, part[largest], owner)
        highest = torch.maximum(highest.to(high), high)
        if progress:
            progress(table.numel())
    whole = torch.logaddexp(highest, others)
    result = torch.zeros(3, count, dtype=torch.float32 if whole.device.type == "mps" else torch.float64).to(
        whole.device
    )
    for part in parts:
        table = _table(guide, x[part], states, shared)
        probability = table.exp()
        batch_mean = table.logsumexp(1) - math.log(len(part))
        without = torch.where(
            owner[:, None] == part,
            others[:, None],
            whole[:, None] + torch.log1p(-(table - whole[:, None]).exp().clamp(max=0.5)),
        )
        references = (whole[:, None] - math.log(count), batch_mean[:, None], without - math.log(count - 1))
        for row, reference in zip(result, references, strict=True):
            # A code that is never drawn adds nothing, however improbable.
            row[part] = torch.where(probability > 0, probability * (table - reference), 0).sum(0).to(row.dtype)
        if progress:
            progress(table.numel())
    method = f"enumeration of {states.count} states"
    among, lower, upper = result
    return Mutual(
        Estimate(among, method, "exact"),
        Estimate(lower, method, "lower"),
        Estimate(upper, method, "upper"),
        max(map(len, parts)),
    )


def _table(guide: Program, x: Batch, states: States, shared: bool) -> Tensor:
    """Normalised log q(z given x) of all states, ``(states, data)``."""
    step = max(1, CELLS // len(x))
    rows = [
        log_proposal(guide, x, states.codes(start, start + step, len(x), shared))
        for start in range(0, states.count, step)
    ]
    return torch.cat(rows).log_softmax(0)


def by_enumeration_steps(count: int, states: int) -> int:
    """Returns the number of cells that :func:`by_enumeration` reports."""
    return 2 * count * states


def by_codes(
    guide: Program, x: Batch, codes: int = 10_000, batch: int = 128, progress: Progress | None = None
) -> Mutual:
    """Returns the mutual information from codes drawn from the guide, each compared with the densities of all data.

    Arguments:
        guide: The guide, in evaluation mode.
        x: At least two data.
        codes: Maximum number of codes: equally many per datum, or one each for a random part of the data.
        batch: Number of data per batch of the lower bound.
        progress: Called with the number of (code, datum) cells completed since the last call.
    """
    count = len(x)
    with fork_random_state():
        few = {name: FirstRow(site["fn"]) for name, site in latents(run(guide, (x[:3],), {}, draws=1)).items()}
        device = next(iter(few.values())).sample((1,)).device
    shared = broadcasts_codes(lambda values: log_proposal(guide, x[:3], values), few)
    cells = CELLS // max(1, sum(_width(fn, shared) for fn in few.values()))
    draws, chosen = max(1, codes // count), min(count, codes)
    rows = torch.randperm(count, device=device)[:chosen]
    parts = rows.tensor_split(math.ceil(chosen / batch))
    values: dict[str, list[Tensor]] = {name: [] for name in few}
    own_density, lower = [], []
    for part in parts:
        drawn = latents(run(guide, (x[part],), {}, draws=draws))
        # From draws of each datum to one list of codes, the draws of a datum side by side.
        flat = {name: site["value"].transpose(0, 1).flatten(0, 1) for name, site in drawn.items()}
        block = max(1, cells // len(part) // draws) * draws
        for start in range(0, draws * len(part), block):
            some = {name: value[start : start + block] for name, value in flat.items()}
            table = _against(guide, x[part], some, shared)
            mine = torch.arange(start, start + len(table), device=device) // draws
            own_density.append(table.gather(1, mine[:, None])[:, 0])
            lower.append(own_density[-1] - table.logsumexp(1) + math.log(len(part)))
        for name, value in flat.items():
            values[name].append(value)
    together = {name: torch.cat(value) for name, value in values.items()}
    others = _of_others(guide, x, together, rows.repeat_interleave(draws), shared, cells, progress)
    q = torch.cat(own_density)
    among = q - torch.logaddexp(others, q) + math.log(count)
    upper = q - others + math.log(count - 1)
    sampled_rows = None if chosen == count else rows
    order = rows.argsort() if sampled_rows is None else torch.arange(chosen, device=device)
    sample = "all" if sampled_rows is None else f"{chosen} of {count}"
    method = f"{draws} draw{'s' * (draws > 1)} of {sample} data"

    def estimate(values: Tensor, bound: Bound) -> Estimate:
        each = values.reshape(chosen, draws)[order]
        # One draw per datum cannot tell its own noise from the spread over the data: that of both is an upper bound.
        spread = each.std(1) / draws**0.5 if draws > 1 else each.std().expand(chosen)
        return Estimate(each.mean(1), method, bound, draws, spread)

    return Mutual(
        estimate(among, "unbiased"),
        estimate(torch.cat(lower), "lower"),
        estimate(upper, "upper"),
        max(map(len, parts)),
        sampled_rows,
    )


def _of_others(
    guide: Program,
    x: Batch,
    values: dict[str, Tensor],
    owners: Tensor,
    shared: bool,
    cells: int,
    progress: Progress | None,
) -> Tensor:
    """Log of the summed densities of each code under all data except its own, ``(codes,)``."""
    # Few data and many codes at once: the guide's network reads a datum once for each block of codes.
    columns = max(1, min(math.isqrt(cells) // 4, len(x)))
    step = max(1, cells // columns)
    others = torch.full((len(owners),), -torch.inf, device=owners.device)
    for first in range(0, len(x), columns):
        part = x[first : first + columns]
        for start in range(0, len(owners), step):
            table = _against(guide, part, {n: v[start : start + step] for n, v in values.items()}, shared)
            column = owners[start : start + step] - first
            mine = ((column >= 0) & (column < table.shape[1])).nonzero()[:, 0]
            table[mine, column[mine]] = -torch.inf
            others = others.to(table)
            others[start : start + step] = torch.logaddexp(others[start : start + step], table.logsumexp(1))
            if progress:
                progress(table.numel())
    return others


def _against(guide: Program, x: Batch, values: dict[str, Tensor], shared: bool) -> Tensor:
    """Log-density of each code under the guide at each datum, ``(codes, data)``, in float64 where available."""
    codes = {name: value[:, None] for name, value in values.items()}
    if not shared:
        codes = {name: c.expand(len(c), len(x), *c.shape[2:]).clone() for name, c in codes.items()}
    table = log_proposal(guide, x, codes)
    return table if table.device.type == "mps" else table.double()


def _width(fn: FirstRow, shared: bool) -> int:
    """Numbers held per code and datum; shared independent bits are scored by one matrix product."""
    return 1 if shared and exponential_family.bit_logits(fn.fn) is not None else prod(fn.shape()[1:])
