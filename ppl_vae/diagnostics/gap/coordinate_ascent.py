"""The best member of a family for each datum, with bounds summed exactly over enumerated states."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["optimal_mean_field", "best_structured", "marginals"]


def optimal_mean_field(
    table: Tensor,
    sizes: Sequence[int],
    starts: Sequence[Sequence[Tensor]] = (),
    *,
    sweeps: int = 500,
    tolerance: float = 1e-7,
) -> tuple[Tensor, list[Tensor]]:
    r"""Maximises the ELBO of each datum over distributions that factorise over its latents.

    .. math:: \max_{q_1, \dots, q_n}\ \sum_z \prod_j q_j(z_j) \Bigl(\log p(x, z) - \sum_j \log q_j(z_j)\Bigr)

    Each update, :math:`\log q_j = \mathbb{E}_{q_{-j}} \log p(x, z) + c`, is the exact maximum over one factor (Blei,
    Kucukelbir and McAuliffe 2017, eq. 17), so no sweep lowers the bound. One sweep reads the table twice: factors
    already updated are summed out as it goes.

    Arguments:
        table: log p(x, z) of all joint states, the last factor varying fastest, ``(data, states)``.
        sizes: Number of states of each factor; their product is ``states``.
        starts: Starting points in addition to the marginals of the posterior, its mode, and the uniform distribution:
            for each the log-probabilities of every factor, ``(data, size)``.
        sweeps: Maximum number of sweeps per start.
        tolerance: Gain of a sweep, in nats, below which an ascent ends if it holds for all data.

    Returns:
        The best bound of each datum over the starts in nats, ``(data,)``, and the log-probabilities of its factors.

    Example:
        >>> table = torch.tensor([[0.5, 0.125, 0.25, 0.125]]).log()  # two bits
        >>> bound, _ = optimal_mean_field(table, [2, 2])
        >>> bool(-0.04 < bound < 0)  # below log 1, the evidence
        True
    """
    high = table.amax(1, keepdim=True)
    centred = (table - high).clamp(min=-1e30)  # a state of probability zero must not make 0 * -inf
    # On symmetric data the marginals and the uniform distribution are saddle points; the mode breaks the symmetry.
    uniform = [high.new_zeros(len(table), size).log_softmax(1) for size in sizes]
    always = [marginals(table.log_softmax(1), sizes), _mode(table, sizes), uniform]
    best, factors = torch.full_like(high[:, 0], -torch.inf), uniform
    for start in [*starts, *always]:
        bound, result = _ascend(centred, sizes, [factor.to(table.dtype) for factor in start], sweeps, tolerance)
        better = bound > best
        best = torch.where(better, bound, best)
        factors = [torch.where(better[:, None], new, old) for new, old in zip(result, factors, strict=True)]
    return best + high[:, 0], factors


def _ascend(
    table: Tensor, sizes: Sequence[int], factors: list[Tensor], sweeps: int, tolerance: float
) -> tuple[Tensor, list[Tensor]]:
    last = torch.full_like(table[:, 0], -torch.inf)
    for _ in range(sweeps):
        # Joint probabilities of all factors after each one, before this sweep.
        after = [torch.ones_like(table[:, :1])]
        for factor in factors[:0:-1]:
            after.append((factor.exp()[:, :, None] * after[-1][:, None, :]).flatten(1))
        rest, entropy = table, torch.zeros_like(last)
        for j, size in enumerate(sizes):
            rest = rest.reshape(len(table), size, -1)
            factors[j] = torch.einsum("bkr,br->bk", rest, after[len(sizes) - 1 - j]).log_softmax(1)
            probability = factors[j].exp()
            entropy = entropy - torch.where(probability > 0, probability * factors[j], 0).sum(1)
            rest = torch.einsum("bkr,bk->br", rest, probability)
        bound = rest[:, 0] + entropy
        if (bound - last).max() <= tolerance:
            break
        last = bound
    return bound, factors


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
    centred = (table - high).clamp(min=-1e30).T[:, None]  # a state of probability zero must not make 0 * -inf
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


def _mode(joint: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """Log-probabilities of factors that put at least 0.9 on the most probable state of each datum."""
    result, index, stride = [], joint.argmax(1), joint.shape[1]
    for size in sizes:
        stride //= size
        mode = functional.one_hot(index // stride % size, size).to(joint)
        result.append((mode * 0.9 + 0.1 / size).log())
    return result
