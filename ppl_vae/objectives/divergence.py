"""The rate in closed form: Kullback-Leibler divergences between the distributions of guide and model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pyro.distributions.util import scale_and_mask
from torch import Tensor
from torch.distributions import Distribution, Independent, LowRankMultivariateNormal, MultivariateNormal, Normal
from torch.distributions.kl import kl_divergence

from ppl_vae.distributions.shapes import broadcast_shapes
from ppl_vae.programs.handlers import latents

__all__ = ["Rate", "closed_rates", "divergence"]

Rate = Literal["closed_form", "sampled"]
"""How an objective takes the rate of reparameterised latents."""


def divergence(q: Distribution, p: Distribution) -> Tensor | None:
    r"""The divergence KL(q||p), of batch shape, in nats; None where it has no closed form.

    It is that of ``torch.distributions.kl_divergence``, and against independent normals
    :math:`p = \mathcal{N}(m, s^2)`, for a multivariate normal q,

    .. math:: \frac12 \sum_j \Bigl(\log 2 \pi s_j^2
        + \frac{(\mathbb{E}_q z_j - m_j)^2 + \mathrm{Var}_q z_j}{s_j^2}\Bigr) - H(q).

    Example:
        >>> divergence(Normal(1.0, 1.0), Normal(0.0, 1.0))
        tensor(0.5000)
    """
    if isinstance(q, MultivariateNormal | LowRankMultivariateNormal) and (normal := _normals(p)) is not None:
        squares = ((q.mean - normal.loc).square() + q.variance) / normal.scale.square()
        return (0.5 * squares + normal.entropy() - 0.5).sum(-1) - q.entropy()  # type: ignore[no-untyped-call, no-any-return]
    try:
        result: Tensor = kl_divergence(q, p)
    except NotImplementedError:
        return None
    return result


def _normals(p: Distribution) -> Normal | None:
    """The independent normals that are a distribution of vectors; None if it is another."""
    if isinstance(p, Independent) and isinstance(p.base_dist, Normal) and p.reinterpreted_batch_ndims == 1:
        return p.base_dist
    return None


def closed_rates(guide: Mapping[str, Any], model: Mapping[str, Any]) -> dict[str, Tensor]:
    r"""The rate of each latent that has one in closed form, ``(draws, *plates)``, scaled and masked, in nats.

    .. math:: \mathbb{E}_q[\log q(z_j \mid z_{<j}, x) - \log p(z_j \mid z_{<j})]
        = \mathbb{E}_{q(z_{<j} \mid x)} \mathrm{KL}\bigl(q(z_j \mid z_{<j}, x) \,\|\, p(z_j \mid z_{<j})\bigr)

    holds where the guide draws before :math:`z_j` all that the model does: what a prior may depend on is then given.
    Other latents, and those that model and guide scale or mask differently, are left out.

    Arguments:
        guide: Its sites, in the order in which they are drawn.
        model: Its sites, likewise.
    """
    given, before = {}, set[str]()
    for name in guide:
        given[name] = before.copy()
        before.add(name)
    rates, before = {}, set()
    for name, prior in latents(model).items():
        drawn = guide[name]
        alike = drawn["mask"] is prior["mask"] and _same(drawn["scale"], prior["scale"])
        if alike and before <= given[name]:
            value = divergence(drawn["fn"], prior["fn"])
            if value is not None:
                value = value.expand(broadcast_shapes(value.shape, drawn["fn"].batch_shape))
                rates[name] = scale_and_mask(value, drawn["scale"], drawn["mask"])
        before.add(name)
    return rates


def _same(a: float | Tensor, b: float | Tensor) -> bool:
    # Tensors are not compared: a device would have to be waited for.
    return a is b or (isinstance(a, int | float) and isinstance(b, int | float) and a == b)
