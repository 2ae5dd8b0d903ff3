"""Evidence in closed form where log p(x, z) is a quadratic function of the latents."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from math import log, pi
from typing import ClassVar

import pyro
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal

from ppl_vae.data.inputs import Batch, Field, Inputs, documents, main_field
from ppl_vae.distributions import exponential_family
from ppl_vae.evidence.coordinates import Coordinates
from ppl_vae.evidence.degree import degree
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.importance import with_sampled_bound
from ppl_vae.evidence.methods.base import EvidenceMethod, NotApplicableError
from ppl_vae.evidence.results import Evidence
from ppl_vae.nn.modes import frozen
from ppl_vae.programs.given import Given
from ppl_vae.programs.handlers import check_cover, latents, run
from ppl_vae.programs.layouts import inherit_layout
from ppl_vae.programs.log_weight import log_joint
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.sites import GuideSite, discrete_obstacle, guide_sites
from ppl_vae.programs.types import Program, Progress
from ppl_vae.programs.unobserved import has_partial_latents

__all__ = ["ClosedForm", "gaussian_posterior", "is_gaussian"]

PROBES = 32
"""Samples of each kind at which the density is compared with the quadratic."""

UNSEEN = 0.01
"""Nats by which a density may differ from a quadratic where rounding hides more; beyond, nothing is called exact."""

UNPROVED = "log p(x, z) is not known to be quadratic in z (by sums and products with constants)"
"""Why a density that looks quadratic at samples may not be it."""

METHOD = "closed form: the posterior is Gaussian"


@dataclass(frozen=True)
class ClosedForm(EvidenceMethod):
    r"""Exact for linear Gaussian models, where log p(x, z) is a quadratic function of the latents.

    With the mode :math:`z^*` of the posterior and its precision :math:`\Lambda = -\nabla^2 \log p(x, z)`,

    .. math:: \log p(x) = \log p(x, z^*) + \tfrac m2 \log 2\pi - \tfrac12 \log \det \Lambda,

    and for a Gaussian guide :math:`\mathcal{N}(\mu, \Sigma)` the gap is the divergence between two Gaussians. Linear
    Gaussian models (probabilistic PCA, factor analysis; Tipping and Bishop 1999) are of this kind, whatever their
    covariances.

    Arguments:
        draws: Samples per datum of the ELBO, where the guide is not Gaussian.
    """

    exact: ClassVar[bool] = True
    priority: ClassVar[int] = 20

    def obstacle(self, model: Program, x: Batch, sites: list[GuideSite]) -> str | None:
        return discrete_obstacle(sites) or is_gaussian(model, x)

    def reason(self, sites: list[GuideSite]) -> str:
        return "log p(x, z) is quadratic in the latents"

    def cost(self, x: Batch, sites: list[GuideSite]) -> int:
        return len(x)

    def measure(self, model: Program, guide: Program, x: Batch, sites: list[GuideSite], progress: Progress) -> Evidence:
        result = gaussian(model, guide, x)
        if isinstance(result, Tensor):
            result = with_sampled_bound(Estimate(result, "closed form", "exact"), model, guide, x, self.draws)
        progress(len(x))
        return result


def gaussian(model: Program, guide: Program, x: Batch) -> Evidence | Tensor:
    """Exact evidence of each datum of a model whose joint density is Gaussian in the latents.

    Arguments:
        model: The model; :func:`is_gaussian` holds of it.
        guide: Its guide.
        x: The data.

    Returns:
        ELBO, evidence and gap where the guide is Gaussian; else the evidence alone, ``(data,)``, in nats.

    Raises:
        NotApplicableError: If the density of some of these data is not quadratic after all.
    """
    mode, precision, factor, evidence = gaussian_posterior(model, x)
    moments = _moments(model, guide, x, precision.dtype)
    if moments is None:
        return evidence
    mean, covariance = moments
    away = (factor.mT @ (mean - mode)[..., None])[..., 0].square().sum(-1)
    spread = (precision * covariance).sum((-2, -1)) - mode.shape[-1]
    determinant = 2 * _half_log_det(factor) + torch.linalg.slogdet(covariance).logabsdet
    gap = 0.5 * (away + spread - determinant)
    return Evidence(
        Estimate(evidence - gap, METHOD, "exact"),
        Estimate(evidence, METHOD, "exact"),
        Estimate(gap, METHOD, "exact"),
    )


def gaussian_posterior(model: Program, x: Batch, probes: int = PROBES // 2) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean ``(data, m)``, precision ``(data, m, m)``, its Cholesky factor, and the evidence, ``(data,)``, in nats.

    The density is quadratic where the operations that compute it prove it (:func:`~ppl_vae.evidence.degree.degree`).
    Samples near the mode and far out test it besides: the quadratic through the mode must predict the density at
    samples from prior and posterior, also far out, where a network that is linear only around the mode deviates.

    Arguments:
        model: The model, with real latents alone.
        x: The data.
        probes: Number of samples of each kind.

    Raises:
        NotApplicableError: If the density of some of these data is not quadratic in the latents.
    """
    with _doubled(model, x) as (exact, data):
        try:
            coordinates = Coordinates(exact, data)
            mode, precision, factor, high = _posterior(coordinates, exact, data)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # not differentiable twice, or not concave
            raise NotApplicableError("log p(x, z) is not a concave quadratic in z") from error
        if _deviates(coordinates, exact, data, mode, factor, high, probes):
            raise NotApplicableError("log p(x, z) is not quadratic in z")
        if not _is_proved(coordinates, exact, data, mode):
            raise NotApplicableError(UNPROVED)
    return mode, precision, factor, high + mode.shape[-1] / 2 * log(2 * pi) - _half_log_det(factor)


def _half_log_det(factor: Tensor) -> Tensor:
    return factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def is_gaussian(model: Program, x: Batch) -> str | None:
    """Why a joint log-density is not quadratic in the latents, by a few of the data; None if it is."""
    if bits := Coordinates(model, x).bits:
        return f"site {bits[0].name!r} is Bernoulli"
    try:
        gaussian_posterior(model, x[:4], PROBES)
    except NotApplicableError as reason:
        return str(reason)
    return None


@contextmanager
def _doubled(model: Program, x: Batch) -> Iterator[tuple[Program, Batch]]:
    """Model and data in double precision, where they and the device allow it.

    The density of an image may be 1e5 nats, where single precision hides that a network is not quite linear.
    """
    dtype, doubled = torch.get_default_dtype(), (model, x)
    try:
        if documents(x) is None and x.device.type != "mps":
            torch.set_default_dtype(torch.float64)
            twice = _twice(model)
            data = x.map(_double, constants=True) if isinstance(x, Inputs) else _double(main_field(x))
            try:
                with fork_random_state():
                    run(twice, (data[:1],), {}, draws=1)
                doubled = twice, data
            except RuntimeError:  # the model holds tensors in single precision
                torch.set_default_dtype(dtype)
        yield doubled
    finally:
        torch.set_default_dtype(dtype)


def _twice(model: Program) -> Program:
    """A copy of a module in double precision."""
    if isinstance(model, Given):
        return model.double(_twice(model.func))
    if not isinstance(model, torch.nn.Module):
        return model
    twice = copy.deepcopy(model).double()
    inherit_layout(twice, model)
    return twice


def _double(field: Field) -> Field:
    return field.double() if isinstance(field, Tensor) and field.is_floating_point() else field


def _deviates(
    coordinates: Coordinates, model: Program, x: Batch, mode: Tensor, factor: Tensor, high: Tensor, draws: int
) -> bool:
    """Whether the quadratic through the mode mispredicts the density at samples from prior and posterior."""
    with fork_random_state(0), torch.no_grad():
        prior = coordinates.prior_draws(model, x, draws)[:, None].expand(-1, len(x), -1)
        near = torch.linalg.solve_triangular(
            factor.mT, torch.randn_like(mode[None].expand(draws, -1, -1))[..., None], upper=True
        )
        points = torch.cat([prior.to(mode), 3 * prior.to(mode), mode + near[..., 0], mode + 3 * near[..., 0]])
        scores = _score(coordinates, model, x, points.to(prior.dtype)).to(mode)
    change = ((factor.mT @ (points - mode)[..., None])[..., 0]).square().sum(-1) / 2
    scale = (torch.finfo(prior.dtype).eps * 1e3 * (1 + high.abs() + change)).clamp(1e-6, UNSEEN)
    wrong = (scores - (high - change)).abs() > scale
    return bool(wrong.any()) or not bool(scores.isfinite().all())


def _is_proved(coordinates: Coordinates, model: Program, x: Batch, mode: Tensor) -> bool:
    """Whether the operations that compute the density prove it quadratic in the latents, wherever these are."""
    at = mode[None].to(coordinates.real[0].dtype)
    with fork_random_state(0):
        return degree(partial(_score, coordinates, model, x), at) <= 2


def _score(coordinates: Coordinates, model: Program, x: Batch, real: Tensor) -> Tensor:
    values = coordinates.values(real, real[..., :0])
    with pyro.validation_enabled(False):  # far out, parameters may under- or overflow
        return log_joint(model, x, values) + coordinates.log_jacobian(real)


def _posterior(coordinates: Coordinates, model: Program, x: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mode ``(data, m)``, precision ``(data, m, m)``, its Cholesky factor and log p(x, mode), by two Newton steps.

    Raises:
        torch.linalg.LinAlgError: If some precision is not positive definite, before any step is taken.
    """
    with fork_random_state(0):
        start = coordinates.prior_draws(model, x, 2)[:1]
    precise = torch.float32 if start.device.type == "mps" else torch.float64
    point = torch.zeros_like(start)[:, None].expand(1, len(x), -1).contiguous()
    precision = factor = step = high = mode = torch.empty(0)
    for newton in range(3):
        with torch.enable_grad(), frozen(model):
            at = point.detach().requires_grad_()
            value = _score(coordinates, model, x, at)
            (slope,) = torch.autograd.grad(value.sum(), at, create_graph=newton == 0)
            if newton == 0:
                rows = [
                    torch.autograd.grad(slope[..., j].sum(), at, retain_graph=True)[0][0] for j in range(at.shape[-1])
                ]
                hessian = torch.stack(rows, -2).to(precise)
                precision = -(hessian + hessian.mT) / 2
                factor = torch.linalg.cholesky(precision)
        step = torch.linalg.solve(precision, slope[0].detach().to(precise)[..., None])[..., 0]
        high, mode = value[0].detach().to(precise), point[0].to(precise)
        point = (mode + step).to(point)[None]
    # The density at the last point, and what the last step, tiny, would still add.
    return mode + step, precision, factor, high + (step * (precision @ step[..., None])[..., 0]).sum(-1) / 2


def _moments(model: Program, guide: Program, x: Batch, dtype: torch.dtype) -> tuple[Tensor, Tensor] | None:
    """Mean ``(data, m)`` and covariance ``(data, m, m)`` of a Gaussian guide, sites as in the model; else None."""
    if not all(site.independent for site in guide_sites(guide, (x[:2],))):
        return None
    with fork_random_state(), torch.no_grad():
        drawn = latents(run(guide, (x,), {}, draws=1))
        known = run(model, (x[:1],), {}, draws=1)
        check_cover(known, drawn)
    if has_partial_latents(known):
        return None
    means, blocks = [], []
    for part in Coordinates(model, x).real:
        fn = drawn[part.name]["fn"]
        inner = exponential_family.base(fn)
        if isinstance(inner, Normal):
            means.append(inner.mean.expand(fn.shape())[0].reshape(len(x), -1))
            blocks.append(inner.variance.expand(fn.shape())[0].reshape(len(x), -1).diag_embed())
        elif isinstance(inner, MultivariateNormal) and len(fn.event_shape) == 1:
            means.append(inner.mean.expand(fn.shape())[0])
            blocks.append(inner.covariance_matrix.expand(*fn.shape(), -1)[0])
        else:
            return None
    sizes = [mean.shape[-1] for mean in means]
    covariance = torch.zeros(len(x), sum(sizes), sum(sizes), dtype=dtype, device=means[0].device)
    start = 0
    for size, block in zip(sizes, blocks, strict=True):
        covariance[:, start : start + size, start : start + size] = block
        start += size
    return torch.cat(means, -1).to(dtype), covariance
