"""The best member of a family for each datum, with bounds summed exactly over enumerated states."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["optimal_mean_field", "best_structured", "marginals"]

CELLS = 2**21
"""Largest number of (start, state) cells that ascend together: 16 MB in float64."""

IMPOSSIBLE = -1e30
"""Log-probability of a state of probability zero."""

MODES = 8
"""Largest number of the posterior's modes to start from."""

CERTAIN = 1 - 1e-6
"""Probability of a mode at first: any doubt leads away from it where the states around it are all but impossible."""

FAR = 10.0
"""Nats below the best, by which a mode, or what a factor moved elsewhere allows, is left alone."""

ROUGH = 1e-5
"""Gain of a sweep, in nats, below which an ascent ends until the best one is known."""

RETURN = 1
"""The sweep after which an ascent from a moved factor ends if it has come back to where it left."""


def optimal_mean_field(
    table: Tensor,
    sizes: Sequence[int],
    starts: Sequence[Sequence[Tensor]] = (),
    *,
    sweeps: int = 500,
    tolerance: float = 1e-9,
) -> tuple[Tensor, list[Tensor]]:
    r"""Maximises the ELBO of each datum over distributions that factorise over its latents.

    .. math:: \max_{q_1, \dots, q_n}\ \sum_z \prod_j q_j(z_j) \Bigl(\log p(x, z) - \sum_j \log q_j(z_j)\Bigr)

    Each update, :math:`\log q_j = \mathbb{E}_{q_{-j}} \log p(x, z) + c`, is the exact maximum over one factor (Blei,
    Kucukelbir and McAuliffe 2017, eq. 17), so no sweep lowers the bound. One sweep reads the table twice: factors
    already updated are summed out as it goes.

    Where an ascent ends depends on its start, so there are several: those given, the marginals of the posterior, the
    uniform distribution, and modes, the states more probable than all that differ in one factor, of the posterior and
    of the posterior blurred. From the best end each factor in turn is moved to another state and held there while the
    others adapt once; if an ascent from there ends higher it is taken, until no single move helps.

    Arguments:
        table: log p(x, z) of all joint states, the last factor varying fastest, ``(data, states)``.
        sizes: Number of states of each factor; their product is ``states``.
        starts: Further starting points: for each the log-probabilities of every factor, ``(data, size)``.
        sweeps: Maximum number of sweeps per ascent.
        tolerance: Gain of a sweep, in nats, below which the last ascent of a datum ends.

    Returns:
        The best bound of each datum in nats, ``(data,)``, and the log-probabilities of its factors.

    Example:
        >>> table = torch.tensor([[0.5, 0.125, 0.25, 0.125]]).log()  # two bits
        >>> bound, _ = optimal_mean_field(table, [2, 2])
        >>> bool(-0.04 < bound < 0)  # below log 1, the evidence
        True
    """
    high = table.amax(1, keepdim=True)
    ascents = _Ascents((table - high).clamp(min=IMPOSSIBLE), sizes, sweeps)  # no 0 * -inf
    data = torch.arange(len(table), device=table.device)
    # On symmetric data the marginals and the uniform distribution are saddle points; the modes break the symmetry.
    uniform = [table.new_zeros(len(table), size).log_softmax(1) for size in sizes]
    pairs = [(data, start) for start in [*starts, marginals(table.log_softmax(1), sizes), uniform]]
    for joint, sure in ((ascents.table, CERTAIN), (_blurred(ascents.table, sizes), 0.6)):
        pairs += [(rows, _around(states, sizes, joint.dtype, sure)) for rows, states in _modes(joint, sizes)]
    together = zip(*(start for _, start in pairs), strict=True)
    ascents.take(torch.cat([rows for rows, _ in pairs]), [torch.cat(f).to(table.dtype) for f in together], ROUGH)
    ascents.move(data)
    ascents.take(data, ascents.factors, tolerance)
    return ascents.bound + high[:, 0], ascents.factors


class _Ascents:
    """Ascents from many starts, of which the best of each datum is kept.

    Arguments:
        table: Joint log-probabilities ``(data, states)``, the largest of each datum zero.
        sizes: Number of states of each factor.
        sweeps: Maximum number of sweeps per ascent.
    """

    def __init__(self, table: Tensor, sizes: Sequence[int], sweeps: int) -> None:
        self.table, self.sizes, self.sweeps = table, sizes, sweeps
        self.bound = torch.full_like(table[:, 0], -torch.inf)
        self.factors = [table.new_zeros(len(table), size).log_softmax(1) for size in sizes]

    def take(self, rows: Tensor, factors: list[Tensor], tolerance: float, held: Tensor | None = None) -> None:
        """Ascends from starts of the data ``rows``, and keeps the end of an ascent where it is the best so far.

        Arguments:
            rows: Positions of data, which may occur more than once, ``(starts,)``.
            factors: Log-probabilities of each factor, ``(starts, size)``.
            tolerance: Gain of a sweep, in nats, below which an ascent ends.
            held: The factor that stays as it is in the first sweep, of each start; None for none.
        """
        block = max(1, CELLS // self.table.shape[1])
        for at in range(0, len(rows), block):
            part = slice(at, at + block)
            self._take(rows[part], [f[part] for f in factors], tolerance, None if held is None else held[part])

    def _take(self, rows: Tensor, factors: list[Tensor], tolerance: float, held: Tensor | None) -> None:
        table, last = self.table[rows], torch.full_like(self.bound[rows], -torch.inf)
        for sweep in range(self.sweeps):
            bound = _sweep(table, self.sizes, factors, None if sweep else held)
            active = bound - last > tolerance
            if held is not None and sweep == 0:
                active &= bound > self.bound[rows] - FAR
            if held is not None and sweep == RETURN:
                # It has come back to where it left.
                pairs = zip(factors, self.factors, strict=True)
                active &= torch.stack([(f.exp() - best[rows].exp()).abs().amax(1) for f, best in pairs]).amax(0) > 0.1
            last, more = bound, int(active.sum())
            if more <= len(rows) // 2 or sweep == self.sweeps - 1:
                self._keep(rows, bound, factors)
                if not more:
                    return
                rows, last, table = rows[active], last[active], table[active]
                factors = [factor[active] for factor in factors]

    def _keep(self, rows: Tensor, bound: Tensor, factors: list[Tensor]) -> None:
        best = self.bound.scatter_reduce(0, rows, bound, "amax")
        winner = (bound == best[rows]) & (bound > self.bound[rows])
        self.bound = best
        for mine, new in zip(self.factors, factors, strict=True):
            mine[rows[winner]] = new[winner]

    def move(self, rows: Tensor) -> None:
        """Moves each factor to each other state, one at a time, and ascends from there, until no move helps."""
        moves = [(j, state) for j, size in enumerate(self.sizes) for state in range(1, size)]
        for _ in self.sizes if len(self.sizes) > 1 else ():
            before, pairs = self.bound[rows], rows.repeat(len(moves))
            factors = [factor[pairs].view(len(moves), len(rows), -1) for factor in self.factors]
            for number, (j, state) in enumerate(moves):
                factors[j][number] = factors[j][number].roll(state, -1)
            held = torch.tensor([j for j, _ in moves], device=rows.device).repeat_interleave(len(rows))
            self.take(pairs, [factor.flatten(0, 1) for factor in factors], ROUGH, held)
            rows = rows[self.bound[rows] > before + ROUGH]
            if not len(rows):
                return


def _sweep(table: Tensor, sizes: Sequence[int], factors: list[Tensor], held: Tensor | None) -> Tensor:
    """Updates each factor in place, but the one that is held; returns the bound, ``(data,)``."""
    # Joint probabilities of all factors after each one, before this sweep.
    after = [torch.ones_like(table[:, :1])]
    for factor in factors[:0:-1]:
        after.append((factor.exp()[:, :, None] * after[-1][:, None, :]).flatten(1))
    rest, entropy = table, torch.zeros_like(table[:, 0])
    for j, size in enumerate(sizes):
        rest = rest.reshape(len(table), size, -1)
        updated = torch.einsum("bkr,br->bk", rest, after[len(sizes) - 1 - j]).log_softmax(1)
        factors[j] = updated if held is None else torch.where((held == j)[:, None], factors[j], updated)
        probability = factors[j].exp()
        entropy = entropy - torch.where(probability > 0, probability * factors[j], 0).sum(1)
        rest = torch.einsum("bkr,bk->br", rest, probability)
    return rest[:, 0] + entropy


def best_structured(
    table: Tensor,
    log_q: Callable[[Tensor], Tensor],
    starts: Tensor,
    *,
    steps: int = 600,
    rate: float = 0.1,
    finer: float = 0.2,
) -> tuple[Tensor, Tensor]:
    r"""Maximises the ELBO of each datum over the parameters of a distribution of its codes.

    .. math:: \max_\lambda\ \sum_z q_\lambda(z) \bigl(\log p(x, z) - \log q_\lambda(z)\bigr)

    Adam ascends along exact gradients, in two rounds of half the steps, the second finer. Each bound on the
    path is that of a member of the family, so the highest is returned.

    Arguments:
        table: log p(x, z) of all joint states, ``(data, states)``.
        log_q: Function from parameters ``(starts, data, numbers)`` to log-probabilities ``(states, starts, data)``.
        starts: Starting points, ``(starts, data, numbers)``.
        steps: Number of steps of each ascent.
        rate: Learning rate of Adam in the first round.
        finer: Ratio of the learning rate in the second round to that in the first.

    Returns:
        The highest bound of each start in nats, ``(starts, data)``, after the first round and after both.

    Example:
        >>> table = torch.tensor([[0.5, 0.125, 0.25, 0.125]]).log()
        >>> _, best = best_structured(table, lambda free: free.log_softmax(-1).permute(2, 0, 1), torch.zeros(1, 1, 4))
        >>> abs(best.item()) < 1e-4  # log 1, the evidence: the family has every distribution
        True
    """
    high = table.amax(1, keepdim=True)
    centred = (table - high).clamp(min=IMPOSSIBLE).T[:, None]
    free = starts.detach().clone().requires_grad_()
    optimizer = torch.optim.Adam([free], lr=rate)
    best = torch.full(starts.shape[:2], -torch.inf, dtype=table.dtype, device=table.device)
    before = best
    for step in range(steps):
        if step == steps // 2:
            before = best
            optimizer.param_groups[0]["lr"] = finer * rate
        with torch.enable_grad():
            logs = log_q(free)
            bound = (logs.exp() * (centred - logs)).sum(0)
            (slope,) = torch.autograd.grad(bound.sum(), [free])
        best = torch.maximum(best, bound.detach())
        free.grad = -slope
        optimizer.step()
    return before + high[:, 0], best + high[:, 0]


def marginals(posterior: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """Returns the log-marginals of each factor under joint log-probabilities ``(data, states)``."""
    probability, result, before = posterior.exp(), [], 1
    for size in sizes:
        result.append(probability.reshape(len(posterior), before, size, -1).sum((1, 3)).clamp(min=1e-30).log())
        before *= size
    return result


def _modes(table: Tensor, sizes: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields positions of data and one mode of each, a state no less probable than those that differ in one factor.

    First the most probable mode of all data, then the second of those that have one, and so on.
    """
    highest, stride = torch.ones_like(table, dtype=torch.bool), table.shape[1]
    for size in sizes:
        stride //= size
        apart = table.view(len(table), -1, size, stride)
        highest &= (apart == apart.amax(2, keepdim=True)).view_as(table)
    values, states = torch.where(highest, table, -torch.inf).topk(min(MODES, table.shape[1]), 1)
    for value, state in zip(values.T, states.T, strict=True):
        rows = (value > -FAR).nonzero()[:, 0]
        if len(rows):
            yield rows, state[rows]


def _blurred(table: Tensor, sizes: Sequence[int]) -> Tensor:
    """Log-probabilities ``(data, states)`` after each factor changes its state at random with probability 0.4.

    Their modes are where the posterior has most of its mass, though no single state there may be likely.
    """
    probability = table.exp()
    for j, size in enumerate(sizes):
        apart = probability.view(len(table), prod(sizes[:j]), size, -1)
        probability = torch.lerp(apart, apart.mean(2, keepdim=True), 0.4).reshape(table.shape)
    return (probability / probability.amax(1, keepdim=True)).log().clamp(min=IMPOSSIBLE)


def _around(states: Tensor, sizes: Sequence[int], dtype: torch.dtype, sure: float) -> list[Tensor]:
    """Log-probabilities of factors that put at least ``sure`` on these states, ``(starts,)``."""
    result, stride = [], prod(sizes)
    for size in sizes:
        stride //= size
        mode = functional.one_hot(states // stride % size, size).to(dtype)
        result.append((mode * sure + (1 - sure) / size).log())
    return result
