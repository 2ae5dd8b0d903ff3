"""What every estimator must do, as functions of one, and an integrand of given numbers."""

from collections.abc import Callable

import torch
from torch import Tensor

from ppl_vae.distributions.bits import bit_states
from ppl_vae.estimators import Estimator, Integrand, estimate
from ppl_vae.estimators.base.integrand import FunctionIntegrand
from tests.support.z_test import assert_mean

Function = Callable[[Tensor], Tensor]


def curved(bits: int) -> Function:
    """A function of codes, ``(rows, *batch, bits)`` to ``(rows, *batch)``, smooth and not linear in any bit."""
    generator = torch.Generator().manual_seed(bits)
    first, second = (torch.randn(bits, 5, generator=generator) for _ in range(2))
    return lambda z: (torch.tanh(z @ first) * (z @ second).exp().clamp(max=5)).sum(-1)


def expectation_gradient(f: Function, logits: Tensor) -> Tensor:
    """By automatic differentiation of the sum over all codes."""
    logits = logits.clone().requires_grad_()
    states = bit_states(logits.shape[-1])
    states = states.reshape(-1, *[1] * (logits.ndim - 1), logits.shape[-1]).expand(-1, *logits.shape)
    probabilities = torch.distributions.Bernoulli(logits=logits).log_prob(states).sum(-1).exp()
    return torch.autograd.grad((probabilities * f(states)).sum(), logits)[0]


def check_mean(estimator: Estimator, f: Function, logits: Tensor, draws: int, samples: int = 4000) -> None:
    """The mean gradient is the enumerated one; an exact estimator gives it every time."""
    expected = expectation_gradient(f, logits)
    if estimator.exact:
        torch.testing.assert_close(estimate(estimator, f, logits, draws), expected)
    else:
        assert_mean(estimate(estimator, f, logits.expand(samples, *logits.shape), draws), expected)


def check_curved_function(estimator: Estimator, bits: int, draws: int) -> None:
    check_mean(estimator, curved(bits), 2 * torch.randn(3, bits), draws)


def check_linear_function(estimator: Estimator, bits: int, draws: int) -> None:
    slope = torch.randn(bits)
    check_mean(estimator, lambda z: z @ slope, 2 * torch.randn(3, bits), draws, 1200)


def check_constant_function(estimator: Estimator, bits: int, draws: int) -> None:
    """No gradient at all, in every estimate."""
    result = estimate(estimator, lambda z: 3 + 0 * z.sum(-1), torch.randn(2, bits), draws)
    torch.testing.assert_close(result, torch.zeros(2, bits))


def check_batch_dimensions(estimator: Estimator, bits: int, draws: int) -> None:
    """Any number of them, each datum with draws of its own; without one the gradient is that of a batch of one."""
    for shape in ((2, 3), (2, 1, 2)):
        check_mean(estimator, curved(bits), torch.randn(*shape, bits), draws, 1000)
    logits = torch.randn(bits)
    for seed in range(20):
        torch.manual_seed(seed)
        alone = estimate(estimator, curved(bits), logits, draws)
        torch.manual_seed(seed)
        torch.testing.assert_close(alone, estimate(estimator, curved(bits), logits[None], draws)[0])


def check_draws(estimator: Estimator, bits: int, draws: int) -> None:
    """Zeros and ones, as many as declared, with the probabilities of the logits."""
    logits = torch.randn(2, bits)
    code = estimator.draw(logits, draws)
    if not estimator.exact:
        rows = estimator.rows(draws)
        assert code.bits.shape == (min(rows, 2**bits) if estimator.without_replacement else rows, 2, bits)
    assert ((code.bits == 0) | (code.bits == 1)).all()
    assert torch.equal(code.logits, logits)
    assert code.differentiated is None or 0 < code.differentiated <= len(code.bits)
    samples = estimator.draw(logits.expand(300, *logits.shape), draws).bits.detach()
    weights = estimator.weights(torch.distributions.Bernoulli(logits=logits).log_prob(samples).sum(-1))
    torch.testing.assert_close(weights.sum(0), torch.ones(300, 2))
    assert_mean((weights[..., None] * samples).sum(0), logits.sigmoid())


def check_linear_in_f(estimator: Estimator, bits: int, draws: int) -> None:
    """The gradient of a sum of functions at the same draws is the sum of theirs."""
    logits, slope = torch.randn(2, bits), torch.randn(bits)
    code = estimator.draw(logits, draws)
    functions = (curved(bits), lambda z: (z @ slope) ** 2, lambda z: 2 * curved(bits)(z) + (z @ slope) ** 2)
    first, second, both = (estimator.gradient(code.detach(), FunctionIntegrand(f, code)) for f in functions)
    torch.testing.assert_close(2 * first + second, both)


CHECKS = (
    check_curved_function,
    check_linear_function,
    check_constant_function,
    check_batch_dimensions,
    check_draws,
    check_linear_in_f,
)


OF_ALL = (check_draws, check_linear_in_f)
"""Those of biased estimators, too."""


class Given(Integrand):
    """An integrand of given numbers: to read any other is an error."""

    def __init__(self, **properties: Tensor) -> None:
        self.properties = properties

    @property
    def values(self) -> Tensor:
        return self.properties["values"]

    @property
    def slopes(self) -> Tensor:
        return self.properties["slopes"]

    @property
    def slope_at_mean(self) -> Tensor:
        return self.properties["slope_at_mean"]

    def relaxed(self, bits: Tensor) -> tuple[Tensor, Tensor]:
        return self.properties["relaxed_values"], self.properties["relaxed_slopes"]

    @property
    def flip_differences(self) -> Tensor:
        return self.properties["flip_differences"]

    @property
    def switched_values(self) -> Tensor:
        return self.properties["switched_values"]
