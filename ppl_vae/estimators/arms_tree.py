"""ARMS for categoricals: draws that exclude each other at the nodes of a binary tree."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ppl_vae.estimators.base.categorical import CategoricalEstimator
from ppl_vae.estimators.base.dirichlet_copula import dirichlet_copula
from ppl_vae.estimators.base.estimator import Code
from ppl_vae.estimators.base.integrand import Integrand
from ppl_vae.estimators.base.states import parts
from ppl_vae.estimators.base.tree import leaf_of, node_logits, path_of

__all__ = ["ArmsTree"]


class ArmsTree(CategoricalEstimator):
    r"""Antithetic REINFORCE for categoricals, whose states are the leaves of a binary tree of independent bits.

    With :math:`c_{si} = b_{si} - \sigma(\eta_i)` where the way to the state of draw s turns at node i, else 0, the
    gradient for the logit :math:`\eta_i` of the node is the mean over pairs of draws of

    .. math:: \tfrac12 \bigl(f(z_s) - f(z_t)\bigr) (c_{si} - c_{ti}) \cdot
        \begin{cases} 1 / (1 - \rho_i) & \text{if both pass node i} \\ 1 & \text{else} \end{cases}

    where :math:`\rho_i` is the correlation of the bits of two draws, and goes from there to the logits of the states by
    the chain rule. Two draws are DisARM-Tree (Dong, Mnih and Tucker 2021, section 3.3), in which the bits that a draw
    does not pass are averaged out; more exclude each other by the Dirichlet copula (Dimitriev and Zhou 2021, ARMS,
    section 3.2). Given one draw's bit the mean of the other's is :math:`\rho_i` times as far from its own, hence
    the 1. Unbiased; f is evaluated once per draw.

    ARSM (Yin, Yue and Zhou 2019) has more evaluations of f, up to one for each pair of states, and more noise in
    Dong's comparison. CARMS (Dimitriev and Zhou 2021) couples the states themselves and divides by the probability of
    each pair, which has to be positive: the tree has no such condition, and needs no order of the states.
    """

    name = "arms_tree"
    least_draws = 2

    def draw_states(self, logits: Tensor, draws: int) -> Code:
        bits, spread = dirichlet_copula(node_logits(logits), self.rows(draws))
        indicators = one_hot(leaf_of(bits), logits.shape[-1]).to(logits.dtype)
        groups = ((logits.shape[-2], logits.shape[-1]),)
        return Code(indicators.flatten(-2), spread.flatten(-2)[None], logits.flatten(-2), None, groups)

    def gradient_of_states(self, code: Code, f: Integrand) -> Tensor:
        rows, values = len(f.values), f.values - f.values.mean(0)
        spreads = code.noise[0].split([number * (states - 1) for number, states in code.groups], -1)
        gradients = []
        for drawn, logits, spread in zip(
            parts(code.bits, code.groups), parts(code.logits, code.groups), spreads, strict=True
        ):
            with torch.enable_grad():
                leaves = logits.detach().requires_grad_()
                nodes = node_logits(leaves)
            on, right = path_of(drawn.argmax(-1), logits.shape[-1])
            centred = on * (right.to(values.dtype) - nodes.detach().sigmoid())
            local = values[..., None, None]
            alone = rows * (local * centred).sum(0)
            both = on.sum(0) * (on * local * centred).sum(0) - (on * local).sum(0) * centred.sum(0)
            gradient = (alone + (spread.reshape(nodes.shape) - 1) * both) / (rows * (rows - 1))
            gradients.append(torch.autograd.grad(nodes, leaves, gradient)[0].flatten(-2))
        return torch.cat(gradients, -1)
