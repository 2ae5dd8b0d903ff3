"""RELAX: a control variate of relaxed bits that is learned along with the training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ppl_vae.estimators.base.estimator import Code
from ppl_vae.estimators.base.integrand import Integrand
from ppl_vae.estimators.rebar import REBAR

__all__ = ["RELAX"]

MEMORY = 0.99
"""Share of the moments that a step keeps."""


class RELAX(REBAR):
    r"""Leave-one-out, with relaxed bits as a control variate that is learned (Grathwohl et al. 2018).

    .. math:: \hat g = g_0 - \sum_k c_k\, g_k, \qquad
        g_k = \frac1S \sum_s \bigl(f(y_{ks}) - \bar f_{-s}\bigr) (b_s - \mu)
        - \nabla f(y_{ks}) \odot \frac{y_{ks} (1 - y_{ks})}{\tau_k} \odot \frac{q(1 - b_s)}{p_s}

    with the gradient :math:`g_0` of ``loo``, the mean :math:`\bar f_{-s}` of f at the other draws, and the rest as in
    ``rebar``. The means of all :math:`g_k` are zero, so it is unbiased whatever the coefficients, which follow from the
    steps before: they minimise the mean square of :math:`\hat g`, and with it the variance, by running moments of the
    gradients. The paper learns a network and the temperature by the gradient of the same square; here the control
    variate is what is linear in its coefficients, a mixture of temperatures, whose minimum has a closed form. Where
    relaxed bits tell nothing the coefficients go to zero, to ``loo``. S (1 + K) evaluations of f for S draws.

    Arguments:
        temperatures: :math:`\tau_k`, K positive numbers. More of them leave less noise; further draws leave still less
            in the same time.
    """

    least_draws = 2

    def __init__(self, temperatures: Sequence[float] = (0.2,)) -> None:
        if not temperatures or not all(temperature > 0 for temperature in temperatures):
            raise ValueError(f"the temperatures are {tuple(temperatures)}; give positive numbers")
        self.temperatures = tuple(temperatures)
        count = len(self.temperatures)
        self._moments = np.zeros((count, count + 1))
        self._seen: Tensor | None = None

    def gradient(self, code: Code, f: Integrand) -> Tensor:
        values, centred = f.values, code.bits - code.logits.sigmoid()
        others = (values.sum(0) - values) / (len(values) - 1)
        plain = ((values - others)[..., None] * centred).mean(0)
        controls = []
        for temperature in self.temperatures:
            relaxed, pathwise = self.relaxed(code, f, temperature)
            controls.append(((relaxed - others)[..., None] * centred - pathwise).mean(0))
        every = torch.stack([*controls, plain]).flatten(1)
        self._seen = every[:-1] @ every.T / max(1, plain[..., 0].numel())
        return plain - sum(c * control for c, control in zip(self.coefficients, controls, strict=True))

    @property
    def coefficients(self) -> list[float]:
        """Of the temperatures, by the moments so far; equal ones before the first step."""
        gram, target = self._moments[:, :-1], self._moments[:, -1]
        count = len(gram)
        ridge = 1e-3 * gram.trace() / count or 1.0
        found: list[float] = np.linalg.solve(gram + ridge * np.eye(count), target + ridge / count).tolist()
        return found

    def after_step(self) -> None:
        if self._seen is not None:
            seen = self._seen.double().cpu().numpy()
            if np.isfinite(seen).all():
                self._moments = MEMORY * self._moments + (1 - MEMORY) * seen
            self._seen = None

    @property
    def state(self) -> dict[str, float]:
        return {f"relax.{row}.{column}": float(value) for (row, column), value in np.ndenumerate(self._moments)}

    @state.setter
    def state(self, values: dict[str, float]) -> None:
        for row, column in np.ndindex(*self._moments.shape):
            self._moments[row, column] = values.get(f"relax.{row}.{column}", 0.0)
