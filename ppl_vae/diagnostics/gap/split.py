"""The gap split: by enumeration where that is affordable, by gradient ascent elsewhere."""

from __future__ import annotations

from dataclasses import replace
from math import log, prod
from typing import Any, Literal, get_args

import torch

from ppl_vae.data.inputs import as_batch
from ppl_vae.diagnostics.gap.closed_form import best_gaussian
from ppl_vae.diagnostics.gap.enumeration import SEARCHED, by_enumeration, missed_by, rows_of_tables
from ppl_vae.diagnostics.gap.family_members import members_of, structured, unknown_family
from ppl_vae.diagnostics.gap.gap import ANY, Gap
from ppl_vae.diagnostics.gap.gradient_ascent import optimal_member
from ppl_vae.distributions.bits import UNIVERSAL, JointBits
from ppl_vae.estimators import Estimator
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.measure import measure, normaliser_error
from ppl_vae.evidence.plan import OptionValue
from ppl_vae.evidence.results import Evidence
from ppl_vae.nn.modes import evaluating
from ppl_vae.programs.handlers import check_cover, run
from ppl_vae.programs.prepared import prepared
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.sites import guide_sites, model_sites
from ppl_vae.programs.states import obstacle
from ppl_vae.programs.types import Program, Progress

__all__ = ["SPLITS", "SplitMethod", "UnknownFamilyError", "split_gap"]

SplitMethod = Literal["auto", "enumeration", "ascent"]

SPLITS: tuple[SplitMethod, ...] = get_args(SplitMethod)


class UnknownFamilyError(ValueError):
    """The guide's family is not known, so that its best member cannot be searched for."""


def split_gap(
    model: Program,
    guide: Program,
    *data: object,
    method: SplitMethod = "auto",
    most_bits: int = 16,
    steps: int = 600,
    draws: int = 200,
    restarts: int = 4,
    check: int = 20,
    estimator: Estimator | str = "auto",
    evidence: str = "auto",
    evidence_draws: int | None = None,
    check_evidence: bool | None = None,
    measurement: Evidence | None = None,
    progress: Progress | None = None,
    **options: OptionValue,
) -> Gap:
    r"""Splits the gap of each datum into family gap and amortisation gap.

    - ``"enumeration"``: exact sums over all states of discrete latents; of independent latents the best member by exact
      coordinate ascent from several starts, of trees and mixtures up to 4,096 states by ascent along exact gradients;
    - ``"ascent"``: the best member by gradient ascent
      (:func:`~ppl_vae.diagnostics.gap.gradient_ascent.optimal_member`), for amortised guides of a structured family and
      for all whose sites have known parameters. Where sites depend on each other the members are those of the guide's
      own structure, with parameters corrected for each datum. Evidence and ELBO are by
      :func:`~ppl_vae.evidence.measure.measure`. Where that only bounds the evidence from below,
      importance weights of the best members replace it if they raise its mean over all data, as they do where the
      guide is a poor proposal.

    The ELBO of the member found is a lower bound on that of the best, so the family gap is an upper bound; with a lower
    bound on the evidence it is a lower bound, and where both hold it is neither.

    Arguments:
        model: The generative model.
        guide: Its guide: sites with known parameters, a family of this package's guides, or one site that can be any
            distribution of the codes.
        data: Data as of :func:`~ppl_vae.evidence.measure.measure`.
        method: ``"auto"`` enumerates where it can, and takes the closed form of independent Gaussian sites where
            log p(x, z) is quadratic.
        most_bits: Length of the longest code to enumerate.
        steps: Number of steps of a gradient ascent.
        draws: Number of draws per datum, for evidence, ELBO and best member, where they are sampled.
        restarts: Number of starts of the gradient ascent that go on to the end.
        check: Number of data, evenly spaced, for which it is checked how far the member found is from the best one,
            where latents are independent and can be enumerated: by branch and bound, a proof, of at most 12 bits; else
            by more starts.
        estimator: Gradient estimator of the ascent for discrete sites.
        evidence: The evidence method of the gradient ascent, by name or file.
        evidence_draws: Its samples, or chains, per datum; None for ``draws`` if the method is ``"auto"``, else for as
            many as the method usually takes.
        check_evidence: Whether to measure what the evidence method misses of data simulated from the model; None where
            that is cheap.
        measurement: Evidence and ELBO of these data, for the gradient ascent; by default they are measured.
        progress: Called with the number of data completed since the last call. By default ``pv.split_gap`` shows a bar
            on a terminal and in a notebook.
        options: Options of the evidence method by name, such as ``temperatures`` of annealing.

    Returns:
        A :class:`Gap`.

    Raises:
        ValueError: If the latents cannot be enumerated, naming the site; or (:class:`UnknownFamilyError`) if the
            guide's family is not known.
    """
    x = as_batch(*data)
    if method not in SPLITS:
        raise ValueError(f"unknown method {method!r}; choose from {', '.join(SPLITS)}")
    with prepared(model, guide, x):
        with evaluating(model, guide):
            sites = model_sites(model, x)
            with fork_random_state():
                few = run(guide, (x[:2],), {}, draws=1)
                known = run(model, (x[:2],), {}, draws=1)
                check_cover(known, few)
            error, wrong = normaliser_error(known), obstacle(sites, most_bits)
            if method == "enumeration" and wrong:
                raise ValueError(f"the gap cannot be split by enumeration: {wrong}; use the method 'ascent'")
            only = next(iter(few.values()))["fn"] if len(few) == 1 else None
            coupled = structured(guide)
            many = coupled is not None and wrong is None and prod(site.states for site in sites) > SEARCHED
            if many and method == "enumeration":
                raise ValueError(
                    "the best member of a family that does not factorise is searched for over at most "
                    f"{SEARCHED} states, but the latents have {prod(site.states for site in sites)}; use "
                    "method='ascent'"
                )
            drawn = guide_sites(guide, (x[:2],))
            factorised = all(site.independent and site.kind in ("bits", "states") for site in drawn)
            factorised &= coupled is None and not isinstance(only, UNIVERSAL)
            if method != "ascent" and wrong is None and not many:
                universal = isinstance(only, UNIVERSAL)
                if factorised or universal or coupled is not None:
                    if evidence != "auto" or options:
                        what = f"evidence={evidence!r}" if evidence != "auto" else ", ".join(options)
                        raise ValueError(
                            f"the states are enumerated, so that their evidence is exact, but {what} was given: leave "
                            "it out, or set method='ascent'"
                        )
                    gap = by_enumeration(model, guide, x, sites, universal, coupled, steps, check, progress)
                    return gap.normalised(error)
                if method == "enumeration":
                    raise ValueError(
                        "the best member is searched for over all states where the guide's sites are independent, but "
                        f"{', '.join(repr(site.name) for site in drawn)} are not; use method='ascent'"
                    )
        universal = isinstance(only, JointBits)
        reason = None if universal else unknown_family(guide, x)
        if reason is not None:
            raise UnknownFamilyError(f"{reason}; use evidence")
        if evidence == "auto":
            evidence_draws, options = evidence_draws or draws, {"most_bits": most_bits, **options}
        how: dict[str, Any] = {"method": evidence, "draws": evidence_draws, "check": check_evidence, **options}
        measured = measurement or measure(model, guide, x, **how)
        if universal:
            return Gap(measured.evidence, measured.evidence, measured.elbo, ANY)
        name = members_of(guide, x).name
        if method == "auto" and (best := best_gaussian(model, guide, x)):
            if progress:
                progress(len(x))
            return Gap(measured.evidence, best, measured.elbo, name).normalised(error)
        ascent = optimal_member(
            model,
            guide,
            x,
            steps=steps,
            draws=draws,
            restarts=restarts,
            estimator=estimator,
            progress=_in_data(progress, steps),
        )
        value = measured.evidence
        if value.bound == "lower":
            among = value.selection + log(2)  # of two bounds, at most
            if ascent.evidence.mean > value.mean:
                value = replace(ascent.evidence, method=f"{ascent.evidence.method} from the best members")
            value = replace(value, selection=among)
        missed: dict[str, list[Estimate]] = {}
        rows = torch.linspace(0, len(x) - 1, min(check, len(x))).round().long()
        for some in rows.split(rows_of_tables(sites)) if wrong is None and factorised and len(rows) else ():
            members = members_of(guide, x).program(ascent.free[some])
            with evaluating(model):
                for what, estimate in missed_by(model, members, x[some], sites).items():
                    missed.setdefault(what, []).append(estimate)
        joined = {what: Estimate.join(parts) for what, parts in missed.items()}
        gap = Gap(value, ascent.best, measured.elbo, name, ascent.optimisation, missed=joined)
        return gap.normalised(error)


def _in_data(progress: Progress | None, steps: int) -> Progress | None:
    """Counts (datum, step) cells as data."""
    if progress is None:
        return None
    cells = 0

    def report(more: int) -> None:
        nonlocal cells
        before, cells = cells // steps, cells + more
        progress(cells // steps - before)

    return report
