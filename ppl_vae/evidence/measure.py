"""ELBO, evidence and gap of a pair by the best method that applies."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import replace
from functools import partial
from math import hypot, inf, log
from typing import cast

import torch
from torch import Tensor

from ppl_vae.data.inputs import Batch, as_batch
from ppl_vae.distributions.exponential_family import base
from ppl_vae.evidence.as_written import noted
from ppl_vae.evidence.calibration import calibrated
from ppl_vae.evidence.clamping import without_clamping
from ppl_vae.evidence.importance import log_weights
from ppl_vae.evidence.methods.base import EvidenceMethod, NotApplicableError
from ppl_vae.evidence.methods.enumeration import enumerate_states
from ppl_vae.evidence.plan import OptionValue, Plan, obstacle_of, plan
from ppl_vae.evidence.results import Evidence
from ppl_vae.evidence.rounding import rounded
from ppl_vae.evidence.shared_latents import given_shared_latents
from ppl_vae.nn.modes import evaluating
from ppl_vae.programs.blocks import data_block
from ppl_vae.programs.densities import Site
from ppl_vae.programs.handlers import latents, run
from ppl_vae.programs.prepared import prepared
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.shared import shared_latents
from ppl_vae.programs.sites import model_sites
from ppl_vae.programs.states import obstacle
from ppl_vae.programs.types import Program, Progress

__all__ = ["measure", "normaliser_error", "quick_evidence"]


def measure(
    model: Program,
    guide: Program,
    *data: object,
    draws: int | None = None,
    method: str = "auto",
    done: MutableMapping[int, Evidence] | None = None,
    progress: Progress | None = None,
    check: bool | None = None,
    **options: OptionValue,
) -> Evidence:
    """ELBO, evidence and gap of each datum, all from the log-weights log p(x, z) - log q(z | x) of the pair.

    The methods, each described by its class in :mod:`ppl_vae.evidence.methods`, are enumeration, closed forms and
    quadrature, which are exact; importance sampling, plain or Pareto-smoothed; and annealing. A file
    ``evidence/NAME.py`` of the working folder adds another.

    Arguments:
        model: The generative model.
        guide: Its guide.
        data: The data, as the arguments that model and guide take: one batch, or several fields, each by itself or
            together in a tuple, dict, named tuple or dataclass (:func:`~ppl_vae.data.inputs.as_batch`). Worked through
            in blocks.
        draws: Samples, or annealing chains, per datum, where they are needed; by default 1000, of annealing 16.
        method: Name of a method, or path of its file; ``"auto"`` takes the first exact one that applies, else
            importance sampling, and says why.
        done: Blocks measured already, by the position of their first datum. Each finished block is put in at once: pass
            the same mapping again after an interruption, with everything else the same, and the rest is measured.
        progress: Called with the number of cells done since the last call; :func:`~ppl_vae.evidence.plan.plan` knows
            their total. By default ``pv.measure`` shows a bar on a terminal and in a notebook.
        check: Whether to measure what the method misses of the evidence of data simulated from the model; None where
            that is cheap.
        options: Options of the methods by name, such as ``most_bits`` of enumeration and ``temperatures`` of annealing.

    Returns:
        A :class:`Evidence`, in nats per datum. Where data share latents (outside the plate over data) it is that of a
        datum given what they share, on average over the guide's draws, which is no bound on log p(x); ``joint`` is a
        bound for all data together (:func:`~ppl_vae.evidence.shared_latents.given_shared_latents`).

    Raises:
        ValueError: If the method or the check is impossible, naming the site; if an option is unknown; or if there are
            no data.
    """
    x = as_batch(*data)
    with evaluating(model, guide):
        shared = shared_latents(model, x) if len(x) else []
        if shared:
            if check:
                raise ValueError(
                    f"all data share the latent site {shared[0]!r}, so that no datum has an evidence of its own, which "
                    "simulated data could check; leave the check out"
                )

            def again(given: Program, proposal: Program) -> Evidence:
                return measure(given, proposal, x, draws=draws, method=method, check=False, **options)  # type: ignore[arg-type]

            return given_shared_latents(model, guide, x, shared, again)
    done = {} if done is None else done
    tick = progress or (lambda cells: None)
    with prepared(model, guide, x):
        how = plan(model, x, draws=draws, method=method, **options)
        seed = int(torch.randint(2**31, ()))
        parts = []
        for start in range(0, len(x), how.block):
            part = x[start : start + how.block]
            if start in done:
                tick(how.cells * len(part) // len(x))
            else:
                # The samples of a block do not depend on whether earlier blocks were measured in this call.
                with fork_random_state(seed + start):
                    cells = how.cells * len(part) // len(x)
                    block = partial(_measure_block, how, model, guide, part, cells=cells)
                    done[start] = without_clamping(block, tick, start)
            parts.append(done[start])
        joined = replace(Evidence.join(parts), why=_why(how, parts))
        with fork_random_state():
            sites = run(model, (x[:1],), {}, draws=1)
        both = noted({"evidence": joined.evidence, "ELBO": joined.elbo}, sites)
        joined = replace(joined, evidence=both["evidence"], elbo=both["ELBO"])
        took = _measured_by(how, model, x, joined)
        concluded = rounded(took.conclude(model, guide, x, joined), model, guide, sites, x)
        return calibrated(took, model, guide, x, concluded.normalised(normaliser_error(sites)), check)


def _measure_block(how: Plan, model: Program, guide: Program, x: Batch, progress: Progress, cells: int) -> Evidence:
    """The evidence of a block by the method of the plan, or by the next one if it turns out to be impossible here."""
    done = 0

    def counted(cells: int) -> None:
        nonlocal done
        done += cells
        progress(cells)

    try:
        return how.method.measure(model, guide, x, how.sites, counted)
    except NotApplicableError as error:
        why = f"{how.method.title}: {str(error).split(';')[0]}"
        for method in how.fallbacks:
            if obstacle_of(method, model, x, how.sites) is None:
                evidence = method.measure(model, guide, x, how.sites, lambda cells: None)
                progress(cells - done)
                return replace(evidence, why=why)
        raise


def _why(how: Plan, parts: Sequence[Evidence]) -> str:
    """Why the blocks are measured as they are: by the method of the plan, or by another one in its place."""
    others = [part.why for part in parts if part.why]
    if len(others) == len(parts):
        return f"no exact method applies: {others[0]}"
    return f"{how.why}; not for all data: {others[0]}" if others else how.why


def _measured_by(how: Plan, model: Program, x: Batch, evidence: Evidence) -> EvidenceMethod:
    """The method of the plan, or the one that took its place for some blocks and bounds them from below."""
    if not how.method.exact or evidence.evidence.bound != "lower":
        return how.method
    possible = (method for method in how.fallbacks if obstacle_of(method, model, x, how.sites) is None)
    return next((method for method in possible if not method.exact), how.method)


def normaliser_error(sites: Mapping[str, Site]) -> float:
    """Standard error of log p(z), common to all data, of a model's prior whose normaliser is an estimate."""
    return hypot(*(getattr(base(site["fn"]), "log_prob_se", 0.0) for site in latents(sites).values()))


def quick_evidence(model: Program, guide: Program, x: Batch, draws: int, most_bits: int = 10) -> Tensor:
    r"""log p(x) of each datum, ``(data,)``, in nats: a quick estimate during training.

    Exact where the latents have at most :math:`2^{\mathrm{most\_bits}}` joint states, else the importance-weighted
    bound (Burda, Grosse and Salakhutdinov 2016, eq. 8).
    """
    with evaluating(model, guide):
        sites = model_sites(model, x)
        if obstacle(sites, most_bits):
            weights = (b.weights.masked_fill(b.weights.isnan(), -inf) for b in log_weights(model, guide, x, draws))
            return torch.cat([w.logsumexp(0) - log(draws) for w in weights])
        step = data_block(x)
        blocks = (x[start : start + step] for start in range(0, len(x), step))
        return torch.cat([cast(Tensor, enumerate_states(model, None, part, sites)) for part in blocks])
