"""The best Gaussian member of a guide's family where the posterior is Gaussian."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal

from ppl_vae.data.inputs import Batch
from ppl_vae.diagnostics.gap.family_members import members_of, structured
from ppl_vae.distributions import exponential_family
from ppl_vae.evidence.coordinates import Coordinates
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.methods.base import NotApplicableError
from ppl_vae.evidence.methods.closed_form import gaussian_posterior
from ppl_vae.programs.handlers import latents, run
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.sites import discrete_obstacle, guide_sites, model_sites
from ppl_vae.programs.types import Program

__all__ = ["best_gaussian"]


def best_gaussian(model: Program, guide: Program, x: Batch) -> Estimate | None:
    r"""The ELBO of the best member of each datum in closed form, for independent Gaussian sites; None where not known.

    Under a Gaussian posterior of precision :math:`\Lambda` the best independent Gaussians have its mean, and the
    inverses of the blocks :math:`\Lambda_{bb}` as covariances (Bishop 2006, section 10.1.2), so that

    .. math:: \log p(x) - \max_q \mathrm{ELBO} = \tfrac12 \Bigl(\sum_b \log \det \Lambda_{bb} - \log \det \Lambda\Bigr)

    where a block is one number of a site of normals, or all of a multivariate normal. Latents that are masked for a
    datum are integrated out of its posterior.

    Arguments:
        model: The model.
        guide: Its guide.
        x: The data.
    """
    sites, independent = model_sites(model, x), guide_sites(guide, (x[:2],))
    if discrete_obstacle(sites) or structured(guide) or not all(site.independent for site in independent):
        return None
    with fork_random_state():
        drawn, prior = latents(run(guide, (x[:2],), {}, draws=1)), run(model, (x,), {}, draws=1)
    inner = {name: exponential_family.base(each["fn"]) for name, each in drawn.items()}
    if not all(isinstance(fn, (Normal, MultivariateNormal)) for fn in inner.values()):
        return None
    try:
        _, precision, _, evidence = gaussian_posterior(model, x)
    except NotApplicableError:
        return None
    parts = Coordinates(model, x).real
    masked = torch.zeros_like(precision[..., 0], dtype=torch.bool)
    for part in parts:
        masked[:, part.place] = torch.as_tensor(prior[part.name].get("free", False)).reshape(-1, 1)
    if bool(masked.any()):
        precision = _without(precision, masked)
    gap = -torch.linalg.slogdet(precision).logabsdet / 2
    for part in parts:
        block = precision[:, part.place, part.place]
        if isinstance(inner[part.name], Normal):
            gap = gap + block.diagonal(dim1=-2, dim2=-1).log().sum(-1) / 2
        else:
            gap = gap + torch.linalg.slogdet(block).logabsdet / 2
    return Estimate(evidence - gap, f"closed form: {members_of(guide, x).name}", "exact")


def _without(precision: Tensor, masked: Tensor) -> Tensor:
    """The precision of the latents that are not masked, ``(data, m, m)``; of each that is, 1 and independent."""
    apart = masked[:, :, None] | masked[:, None, :]
    covariance = torch.linalg.inv(precision).masked_fill(apart, 0) + masked.to(precision).diag_embed()
    result: Tensor = torch.linalg.inv(covariance)
    return result
