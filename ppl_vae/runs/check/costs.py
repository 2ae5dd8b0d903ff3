"""What a training of a pair would take: its estimator, steps, gradients and evidence, tried on a few data."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from math import prod
from typing import Any

import pyro

from ppl_vae.data.inputs import Batch
from ppl_vae.diagnostics.baseline import baseline
from ppl_vae.diagnostics.information.rates import rate_and_distortion
from ppl_vae.evidence.importance import ImpossibleError
from ppl_vae.evidence.measure import measure
from ppl_vae.evidence.plan import plan
from ppl_vae.evidence.results import Evidence
from ppl_vae.evidence.tables import in_short
from ppl_vae.objectives.base import Objective
from ppl_vae.objectives.elbo import DiscreteELBO
from ppl_vae.plugins.discovery import available
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.sites import guide_sites
from ppl_vae.runs.check.ledger import Ledger
from ppl_vae.runs.check.trial import PARTS, Trial
from ppl_vae.runs.config import RunConfig
from ppl_vae.runs.pair import Pair, make_objective
from ppl_vae.training.progress import collecting
from ppl_vae.training.settings import Settings

__all__ = ["check_evidence", "check_objective", "check_steps"]

FEW, MORE = 8, 64
"""Data whose evidence is measured, and further ones by which its time is told."""

LONG, PATIENCE = 8.0, 600.0
"""Seconds of the evidence of a few data after which more are not measured, and of all data that are worth a note."""

BOUNDS = {"exact": "exact", "lower": "a lower bound"}
"""What the evidence is."""

FAR = 10.0
"""Multiples of a baseline's log-likelihood by which an ELBO below it says that the data are on another scale."""


def check_objective(ledger: Ledger, config: RunConfig, pair: Pair, x: Batch) -> tuple[Objective, Settings] | None:
    """Adds the row of the objective and its gradient estimator."""
    with collecting() as lines:
        made = ledger.attempt("objective", lambda: make_objective(config, pair, config.settings, x))
    if made is None:
        return None
    objective, method, settings = made
    told = "; ".join(line.removeprefix("note: ") for line in lines)
    reason = _reason(config, pair, objective, settings, x)
    text = f"{config.objective_description}, gradient by {method}" + (f": {reason}" if reason else "")
    ledger.add("objective", text, told, "note" if told else "ok", estimator=method)
    return objective, settings


def _reason(config: RunConfig, pair: Pair, objective: Objective, settings: Settings, x: Batch) -> str:
    """Why this estimator, and what it costs."""
    if not isinstance(objective, DiscreteELBO):
        return ""
    discrete = [site for site in guide_sites(pair.guide, (x[:2],)) if site.discrete]
    if not discrete:
        return "no latent is discrete"
    estimator, plain = objective.estimator, objective.estimator.without_control
    rows, names = estimator.rows(settings.draws(1)), ", ".join(site.name for site in discrete)
    if plain.exact:
        states = prod(site.states for site in discrete)
        return f"all {states} states of {names} are listed, without noise, for little more than draws would cost"
    plugin = available("estimators").get(plain.name)
    summary = f" ({plugin.summary.rstrip('.')})" if plugin is not None else ""
    chosen = "chosen by auto" if config.estimator == "auto" else "as asked for"
    return f"{chosen}{summary}; the model is scored for {rows} codes per datum and step"


def check_steps(ledger: Ledger, pair: Pair, objective: Objective, settings: Settings, x: Batch) -> None:
    """Adds the rows of a few training steps: gradients, seconds by part, memory."""
    trial = ledger.attempt("training steps", lambda: Trial.of(pair, objective, settings, x), doubtful=ledger.has_fault)
    if trial is None:
        return
    values: dict[str, Any] = {
        "unused": list(trial.unused),
        "unreached": list(trial.unreached),
        "zero": list(trial.still),
    }
    if trial.unreached:
        ledger.add(
            "gradients",
            f"no gradient reaches {in_short(trial.unreached, 6)}",
            "let the program use them without .detach(), .item() or torch.no_grad(), or freeze or remove them",
            "fault",
            **values,
        )
    elif trial.unused:
        ledger.add(
            "gradients",
            f"these data do not use {in_short(trial.unused, 6)}, which stay as they are",
            "remove them, if no other data use them",
            "note",
            **values,
        )
    elif trial.still:
        ledger.add(
            "gradients",
            f"the gradient of {in_short(trial.still, 6)} is exactly zero in each of the first steps",
            "look whether a unit is dead, or a factor in front of it zero",
            "note",
            **values,
        )
    else:
        ledger.add("gradients", f"finite, and reach all {trial.parameters:,} parameters", **values)
    whole = trial.seconds["step"]
    parts = ", ".join(f"{part} {trial.seconds[part] / max(whole, 1e-9):.0%}" for part in PARTS)
    epoch = whole * math.ceil(len(x) / settings.batch_size)
    ledger.add(
        "time",
        f"{in_words(whole)} per step of {trial.data} data: {parts}; an epoch takes about {in_words(epoch)}, the "
        f"schedule of {settings.epochs} about {in_words(epoch * settings.epochs)}",
        seconds=trial.seconds,
    )
    ledger.add(
        "memory",
        f"{_size(trial.kept / trial.data)} per datum of a batch for the gradient, {_size(trial.kept)} per step; "
        f"{_size(trial.state)} for parameters, gradients and optimiser",
        bytes_per_datum=trial.kept / trial.data,
    )


def check_evidence(ledger: Ledger, config: RunConfig, pair: Pair, splits: Mapping[str, Batch]) -> None:
    """Adds the rows of the evidence, its methods and their cost; and of the ELBO of the parameters as they are."""
    parts = {name: x for name, x in splits.items() if len(x)}
    plans = ledger.attempt(
        "evidence",
        lambda: {name: plan(pair.model, x, draws=config.evidence_draws) for name, x in parts.items()},
        doubtful=ledger.has_fault,
    )
    by_method = dict[str, list[str]]()
    for name, chosen in (plans or {}).items():
        by_method.setdefault(chosen.method.name, []).append(name)
    for method, names in by_method.items():
        x, chosen = parts[names[0]], (plans or {})[names[0]]
        measured = partial(_measured, config, pair, x, method)
        try:
            first = ledger.attempt("evidence", partial(measured, FEW), doubtful=ledger.has_fault)
        except ImpossibleError as error:
            ledger.add("evidence", f"not measured before training: {error}", status="note")
            continue
        if first is None:
            continue
        found, seconds, bounded = (
            first[0],
            *_extrapolated(first[1], measured, [len(parts[n]) for n in names], chosen.block),
        )
        slow = seconds > PATIENCE
        data = "" if len(names) == len(parts) else f" of {' and '.join(names)}"
        total = sum(len(parts[name]) for name in names)
        ledger.add(
            f"evidence{data}",
            f"{found.evidence.method}, {BOUNDS.get(found.evidence.bound, found.evidence.bound)}: {chosen.why}; the "
            f"final table of {total:,} data takes {'at most ' if bounded else ''}about {in_words(seconds)}",
            "measure a sample (--evidence-data 1000)" if slow else "",
            "note" if slow else "ok",
            method=found.evidence.method,
            bound=found.evidence.bound,
            seconds=seconds,
        )
        if names[0] == "train":
            _check_start(ledger, pair, x, x[:FEW], found)


def _measured(config: RunConfig, pair: Pair, x: Batch, method: str, count: int) -> tuple[Evidence, float]:
    """What the final table holds of the first data, by parameters as they are, and the seconds it takes."""
    few, draws, begun = x[:count], config.evidence_draws, time.perf_counter()
    with fork_random_state(config.settings.seed), pyro.validation_enabled(False):
        found = measure(pair.model, pair.guide, few, draws=draws, method=method, check=False)
        rate_and_distortion(pair.model, pair.guide, few, found.elbo, draws)
    return found, time.perf_counter() - begun


def _extrapolated(
    first: float, measured: Callable[[int], tuple[Evidence, float]], sizes: list[int], block: int
) -> tuple[float, bool]:
    """Seconds of the evidence of splits of these sizes, from those of a few data; and whether it may be far less."""
    few = measured(FEW)[1] if first < LONG else first  # the first time with all that is done once
    if few * MORE / FEW > LONG:
        return few * sum(sizes) / min(FEW, sizes[0]), True
    # Of the time some is the same for any number of data of a block.
    each = max(0.0, measured(MORE)[1] - few) / max(1, min(MORE, sizes[0]) - min(FEW, sizes[0]))
    blocks = sum(math.ceil(size / block) for size in sizes)
    return each * sum(sizes) + max(0.0, few - each * FEW) * blocks, False


def _check_start(ledger: Ledger, pair: Pair, x: Batch, few: Batch, found: Evidence) -> None:
    elbo = found.elbo.mean
    text = f"{elbo:.4g} nats per datum, {found.gap.mean:.3g} below the evidence, with the parameters as they are"
    known = baseline(pair.model, x, few)
    if known is None:
        ledger.add("ELBO at the start", text, elbo=elbo)
        return
    name, level = known[0], known[1].mean().item()
    text += f"; {name}, without latents, {'has' if name.startswith('a ') else 'have'} {level:.4g}"
    far = level - elbo > FAR * max(1.0, abs(level))
    remedy = (
        "divide the data by their spread, or let the model begin near them (data_mean and data_spread, "
        "docs/training.md)"
    )
    ledger.add("ELBO at the start", text, remedy if far else "", "note" if far else "ok", elbo=elbo, baseline=level)


def in_words(seconds: float) -> str:
    units = ((3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms"))
    size, unit = next((each for each in units if seconds >= each[0]), units[-1])
    return f"{seconds / size:.2g} {unit}" if seconds < 10 * size else f"{seconds / size:.0f} {unit}"


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
