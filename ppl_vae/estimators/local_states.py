"""Local expectation gradients of categoricals."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ppl_vae.estimators.arms_tree import ArmsTree
from ppl_vae.estimators.base.categorical import CategoricalEstimator
from ppl_vae.estimators.base.estimator import Code
from ppl_vae.estimators.base.integrand import Integrand
from ppl_vae.estimators.base.states import parts

__all__ = ["LocalStates"]


class LocalStates(CategoricalEstimator):
    r"""Local expectation gradients: each categorical is summed over its states, the others are drawn.

    .. math:: \hat g_{jk} = q_{jk} \Bigl(f(z_{-j}, z_j = k) - \sum_l q_{jl} f(z_{-j}, z_j = l)\Bigr)

    averaged over draws, which exclude each other where there are several; unbiased (Titsias and Lazaro-Gredilla 2015,
    section 3). A single categorical has no noise left. It takes as many further evaluations of f per draw, without
    gradients, as the categoricals have states beside those drawn.
    """

    name = "local_states"
    independent_latents = True
    no_control = "works from f at every state"

    def draw_states(self, logits: Tensor, draws: int) -> Code:
        if self.rows(draws) > 1:
            return ArmsTree().draw_states(logits, draws)
        state = torch.distributions.Categorical(logits=logits, validate_args=False).sample((1,))
        indicators = one_hot(state, logits.shape[-1]).to(logits.dtype).flatten(-2)
        return Code(indicators, indicators, logits.flatten(-2), None, ((logits.shape[-2], logits.shape[-1]),))

    def gradient(self, code: Code, f: Integrand) -> Tensor:
        if code.groups:
            return self.gradient_of_states(code, f)
        mean = code.logits.sigmoid()
        return f.flip_differences.mean(0) * mean * (1 - mean)

    def gradient_of_states(self, code: Code, f: Integrand) -> Tensor:
        gradients = []
        for switched, logits in zip(
            parts(f.switched_values.mean(0), code.groups), parts(code.logits, code.groups), strict=True
        ):
            mean = logits.softmax(-1)
            reached = torch.where(mean > 0, switched, 0)
            gradients.append((mean * (reached - (mean * reached).sum(-1, keepdim=True))).flatten(-2))
        return torch.cat(gradients, -1)
