"""Whether a guide draws a latent where the model has it: values of the same kind, inside the support."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import inf

import pyro.distributions as dist
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import AffineTransform, TransformedDistribution, VonMises, constraints

from ppl_vae.programs.densities import Site, element_support, innermost

__all__ = ["check_densities", "check_proposal", "density_faults", "fault_of_names", "is_discrete", "support_of"]


def is_discrete(site: Site) -> bool:
    """Whether a site is known to take whole numbers or the like, of which probabilities are at most one."""
    support = support_of(innermost(site["fn"]))
    return support is not None and support.is_discrete


def check_proposal(prior: Site, proposal: Site) -> None:
    """Checks that the guide's values of a site are values that the model's distribution can take.

    A density beside a probability, or of a value outside the support, is a number but makes no bound.

    Raises:
        ValueError: If not, naming the site, both distributions and the remedy.
    """
    ours, theirs = innermost(proposal["fn"]), innermost(prior["fn"])
    wanted, offered = support_of(theirs), support_of(ours)
    if wanted is None or _is_point(ours):
        return
    value = proposal["value"]
    if offered is None:
        if isinstance(value, Tensor) and not bool(wanted.check(value).all()):
            raise _misfit(prior, theirs, ours, "the guide's draws lie outside the support of the model")
        return
    if wanted.is_discrete != offered.is_discrete:
        kinds = ("a density", "probabilities") if offered.is_discrete else ("probabilities", "a density")
        raise _misfit(prior, theirs, ours, f"the model has {kinds[0]} there, the guide {kinds[1]}")
    if wanted.is_discrete:
        if _largest(offered) > _largest(wanted):
            raise _misfit(prior, theirs, ours, "the guide draws values that the model does not have")
        return
    if _is_real(offered):
        if not _is_real(wanted) or (isinstance(theirs, VonMises) and not isinstance(ours, VonMises)):
            where = "only angles from -pi to pi" if isinstance(theirs, VonMises) else "not all real numbers"
            raise _misfit(prior, theirs, ours, f"the model takes {where}")
        return
    if _differs(wanted, offered) and isinstance(value, Tensor) and not bool(wanted.check(value).all()):
        raise _misfit(prior, theirs, ours, "the guide's draws lie outside the support of the model")


def fault_of_names(model: Mapping[str, Site], guide: Mapping[str, Site]) -> str | None:
    """What is wrong with the names of the latents of a model and the sites of its guide, in words; None if nothing is.

    Arguments:
        model: The latents of the model.
        guide: The sites of the guide.
    """
    if factors := sorted(name for name, site in guide.items() if isinstance(site["fn"], dist.Unit)):
        return (
            f"site {factors[0]!r} of the guide is a pyro.factor: its term is no density, so that ELBO and evidence of "
            "this pair are not defined; put it inside `with pv.regulariser():` of the model, and measurements leave it "
            "out"
        )
    if auxiliary := [name for name, site in guide.items() if site["infer"].get("is_auxiliary")]:
        return (
            f"the guide draws auxiliary sites {auxiliary}, over which its density would have to be summed; draw the "
            "model's latents directly"
        )
    if not model and not guide:
        return (
            "the model has no latents: all its sites are observed, so that its ELBO is its log-likelihood, without a "
            "gap; observe less, or score its sites by pyro.poutine.trace(model).get_trace(x).log_prob_sum()"
        )
    missing = sorted(model.keys() - guide.keys())
    points = [name for name in missing if isinstance(innermost(model[name]["fn"]), dist.Delta)]
    summed = [name for name in missing if model[name]["infer"].get("enumerate")]
    if points:
        return (
            f"site {points[0]!r} of the model is a Delta, which the guide does not draw: what follows from other sites "
            f"is `pyro.deterministic({points[0]!r}, value)`, which is no latent"
        )
    if summed:
        kind = type(innermost(model[summed[0]]["fn"])).__name__
        return (
            f"the guide does not draw {summed}, which the model marks for enumeration (infer={{'enumerate': ...}}): "
            "TraceEnum_ELBO sums them out by itself, but here the guide draws all latents, and the evidence sums over "
            f"their states; draw them in the guide, too, as dist.{kind}(logits=network(x)) for {summed[0]!r}"
        )
    if missing or guide.keys() - model.keys():
        return (
            f"the guide draws {sorted(guide)} but the latents of the model are {sorted(model)}; name the guide's sites "
            "after the model's"
        )
    return None


def check_densities(sites: Mapping[str, Site], model: Mapping[str, Site]) -> None:
    """Checks that a guide has a density where the model has one, so that there is a bound to be measured.

    Raises:
        ValueError: If one of them has a point mass (``Delta``, as for maximum a posteriori estimates), naming the site.
    """
    for fault in density_faults(sites, model):
        raise fault


def density_faults(sites: Mapping[str, Site], model: Mapping[str, Site]) -> Iterator[ValueError]:
    """A fault for each latent by :func:`check_densities`."""
    for name, site in sites.items():
        if _is_point(innermost(model[name]["fn"])):
            yield ValueError(
                f"latent site {name!r} of the model is a Delta, a value that has no density; write "
                f"pyro.deterministic({name!r}, value) instead, and leave the site out of the guide"
            )
        elif _is_point(innermost(site["fn"])) and not is_discrete(model[name]):
            yield ValueError(
                f"latent site {name!r} of the guide is a Delta, a point that has no density: its ELBO is no bound on "
                "the evidence; take a guide of densities (mean_field), or make the site a parameter of the "
                "model (pyro.param) if it is to be a point estimate"
            )


def _misfit(prior: Site, theirs: TorchDistribution, ours: TorchDistribution, why: str) -> ValueError:
    return ValueError(
        f"latent site {prior['name']!r} is {type(theirs).__name__} in the model and {type(ours).__name__} in the "
        f"guide: {why}, so that the ELBO is no bound; draw it from a distribution of the same support (mean_field does)"
    )


def _largest(support: constraints.Constraint) -> float:
    """The largest whole number of a support; infinite where there is none, or the values are no numbers."""
    support = element_support(support)
    if support is constraints.boolean:
        return 1.0
    upper = getattr(support, "upper_bound", inf)
    return float(upper.max()) if isinstance(upper, Tensor) else float(upper)


def _is_point(fn: TorchDistribution) -> bool:
    return type(fn).__name__ == "Delta"


def support_of(fn: TorchDistribution) -> constraints.Constraint | None:
    """The support of a distribution, of a mixture that of its components; None where it is not known."""
    while hasattr(fn, "component_distribution"):
        fn = innermost(fn.component_distribution)
    try:
        support: constraints.Constraint | None = fn.support
    except (NotImplementedError, AttributeError):
        return None
    if isinstance(fn, TransformedDistribution) and isinstance(fn.transforms[-1], AffineTransform):
        # PyTorch calls it real whatever is moved and stretched, as a beta distribution over another interval.
        inner = support_of(innermost(fn.base_dist))
        return support if inner is not None and _is_real(inner) and len(fn.transforms) == 1 else None
    return support


def _is_real(support: constraints.Constraint) -> bool:
    return element_support(support) in (constraints.real, constraints.real_vector)


def _differs(wanted: constraints.Constraint, offered: constraints.Constraint) -> bool:
    """Whether the supports are not known to be the same."""
    if type(wanted) is not type(offered):
        return True
    ends = [name for name in ("lower_bound", "upper_bound", "base_constraint") if hasattr(wanted, name)]
    return any(getattr(wanted, name) is not getattr(offered, name) for name in ends) and repr(wanted) != repr(offered)
