"""What mends the gap of a run: its cause, guides fitted against it, and what each bought."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pyro
from torch import Tensor

from ppl_vae.data.inputs import Batch
from ppl_vae.diagnostics.gap.gap import NEGLIGIBLE, OVERFITTED, SHARE, Gap
from ppl_vae.diagnostics.gap.refinement import refine as refine_guide
from ppl_vae.diagnostics.gap.remedies import AS_TRAINED, Remedies
from ppl_vae.diagnostics.gap.split import UnknownFamilyError, split_gap
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.importance import sampled_rates
from ppl_vae.evidence.measure import measure
from ppl_vae.evidence.tables import noted
from ppl_vae.nn.priors import VampPrior
from ppl_vae.objectives.choice import make_estimator
from ppl_vae.programs.random_state import fork_random_state
from ppl_vae.programs.types import Program, Progress
from ppl_vae.runs.fit import GuideFit
from ppl_vae.runs.measure import measure_and_save
from ppl_vae.runs.open import Run
from ppl_vae.runs.resumable import BlockStore
from ppl_vae.training.progress import Reporter, log

__all__ = ["Cause", "Remedy", "RemedyResult", "causes_of", "find_remedy"]

PLACE = "remedies"
"""Folder in a run that holds the fits and what is measured of them."""

FEW_DRAWS = 20
"""Draws per datum by which guides are compared on all data of a split."""


@dataclass(frozen=True)
class Remedy:
    """A guide to be fitted to the fixed model.

    Arguments:
        name: Its name.
        guide: Name of the guide; empty is the run's own, from its trained state.
        settings: Settings in which the fit differs from the training of the run.
    """

    name: str
    guide: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Cause:
    """A cause of the gap, what it means, and what may mend it, the most promising first."""

    name: str
    words: str
    remedies: tuple[Remedy, ...] = ()


DECAY = {"decay": "cosine"}
MORE, HALF = Remedy("more training", "", DECAY), Remedy("half dreams", "", DECAY | {"dreams": 0.5})
OTHER = Remedy("other network, half dreams", "mean_field", DECAY | {"dreams": 0.5})

CAUSES = {
    "tight": Cause("tight", f"the gap is at most {NEGLIGIBLE} nats on validation data: there is nothing to mend"),
    "overfits": Cause(
        "the network overfits",
        f"its part of the gap is at most {OVERFITTED:.0%} as wide on training data as on validation data",
        (HALF, MORE, OTHER),
    ),
    "underfits": Cause(
        "the network falls short",
        "its part of the gap is wide on training data, too",
        (MORE, OTHER, HALF),
    ),
    "family": Cause(
        "the family is too small",
        "its best member, chosen for each datum, is far from the posterior",
        (Remedy("richer family", "full", DECAY), Remedy("mixture", "mixture", DECAY)),
    ),
}
"""Causes of a gap that a guide can mend; the last three have remedies."""


def causes_of(train: Gap, validation: Gap) -> list[Cause]:
    """The causes of a gap from its splits on training and validation data, that of the larger part first.

    Means are compared; the network overfits if its part differs between the two by more than twice the error, too.
    """
    network, family = validation.amortisation_gap, validation.family_gap
    # Evidence that is a lower bound makes the gap too narrow: then its upper limit has to be known.
    bracket = validation.brackets().get("gap")
    widest = validation.evidence.mean - validation.elbo.mean if bracket is None else bracket.upper
    if widest is not None and widest <= NEGLIGIBLE and (bracket is not None or validation.evidence.bound == "exact"):
        return [CAUSES["tight"]]
    seen = train.amortisation_gap
    apart = network.mean - seen.mean > 2 * math.hypot(network.data_se, seen.data_se)
    is_over = seen.mean <= OVERFITTED * network.mean and apart
    parts = sorted([(network.mean, "overfits" if is_over else "underfits"), (family.mean, "family")], reverse=True)
    wide = [CAUSES[name] for width, name in parts if width > NEGLIGIBLE and SHARE * width > parts[0][0]]
    return wide or [CAUSES[parts[0][1]]]


def _slug(name: str) -> str:
    return name.replace(",", "").replace(" ", "-")


@dataclass(frozen=True, repr=False)
class RemedyResult:
    """What mends the gap of a run.

    Arguments:
        run: Folder of the run.
        causes: Causes of the gap, that of the larger part first.
        train: The gap of training data, split.
        validation: The guides on validation data, on which one is chosen.
        chosen: Name of the guide chosen.
        test: The run's guide and the one chosen on test data; None if none is better than the run's.
        guide: The guide chosen, fitted.
        notes: What was left out, and why.
    """

    run: str
    causes: tuple[Cause, ...]
    train: Gap
    validation: Remedies
    chosen: str
    test: Remedies | None
    guide: Program
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """All numbers, the causes and the choice."""
        return {
            "run": self.run,
            "causes": [{"cause": cause.name, "because": cause.words} for cause in self.causes],
            "chosen": self.chosen,
            "train": self.train.to_json(),
            "validation": self.validation.to_json(),
            "test": None if self.test is None else self.test.to_json(),
            "notes": list(self.notes),
        }

    def _lines(self) -> Iterator[str]:
        network, family = self.train.amortisation_gap.mean, self.train.family_gap.mean
        yield "; ".join(f"{cause.name}: {cause.words}" for cause in self.causes)
        yield f"on {self.train.data} training data the network's part is {network:.3f} nats, the family's {family:.3f}"
        yield str(self.validation)
        if self.chosen == AS_TRAINED and self.validation.overall:
            yield "no guide fitted gains more than twice its error on validation data: the run's stays"
        if self.test is not None:
            yield f"the guide chosen on validation data, {self.chosen}, measured once on test data:"
            yield str(self.test)

    def __str__(self) -> str:
        return "\n".join([*self._lines(), *map(noted, self.notes)])

    def __repr__(self) -> str:
        return str(self)


def find_remedy(
    opened: Run, *, data: int, epochs: str | None, budget: int, refine: int, draws: int, steps: int, restarts: int
) -> RemedyResult:
    """Names the cause of a run's gap, fits guides against it and measures them; see ``Run.remedy``."""
    if any(isinstance(part, VampPrior) for part in opened.model.modules()):
        raise ValueError(
            "a remedy fits guides to the fixed model, but the prior of this model depends on its guide; train with "
            "--dreams or --guide-steps instead"
        )
    if opened.config.is_of_objects:
        raise ValueError(
            "a remedy builds guides anew from their files, and this run is of objects: train it from a file, or fit "
            "guides by pv.ladder"
        )
    for split in ("validation", "test"):
        opened.split(split, data)  # refused, if it must be, before hours of fitting
    measured = _Measured(opened, data, {"steps": steps, "draws": draws, "restarts": restarts})
    train = measured.gap("train", AS_TRAINED, opened.guide, opened.state.key)
    gaps = {AS_TRAINED: measured.gap("validation", AS_TRAINED, opened.guide, opened.state.key)}
    causes = tuple(causes_of(train, gaps[AS_TRAINED]))
    log("; ".join(f"{cause.name}: {cause.words}" for cause in causes))
    guides: dict[str, tuple[Program, str]] = {AS_TRAINED: (opened.guide, opened.state.key)}
    seconds, fits, notes = dict[str, float](), list[str](), list[str]()
    remedies = {remedy.name: remedy for cause in causes for remedy in cause.remedies}
    own = opened.config.guide.name
    for name, remedy in remedies.items():
        if budget and sum(seconds.values()) >= budget:
            notes.append(f"{name} was not tried: the budget of {budget} seconds was spent (--budget, budget=)")
            continue
        try:
            fit = GuideFit(opened, remedy.guide or own, epochs, _slug(name), PLACE, **remedy.settings)
        except ValueError as error:
            notes.append(f"{name} was not tried: {error}")
            continue
        if remark := fit.fit():
            fits.append(remark)
        seconds[name] = fit.seconds
        guides[name] = fit.guide, fit.state
        best = None if remedy.guide else gaps[AS_TRAINED]
        gaps[name] = measured.gap("validation", name, *guides[name], best)
    overall = measured.overall("validation", guides)
    name = Remedies.of(gaps, overall=overall).chosen()
    is_own = name == AS_TRAINED or not remedies[name].guide
    refined = f"{name}, refined" if refine and causes != (CAUSES["tight"],) else ""
    if refined:
        gaps[refined], seconds[refined] = measured.refined("validation", name, *guides[name], gaps[name], refine)
    described: dict[str, Any] = {"seconds": dict(seconds), "split": "validation", "overall": overall}
    validation = measured.save("validation", Remedies.of(gaps, fits=tuple(fits), **described))
    test = None
    if name != AS_TRAINED or refined:
        tested = {AS_TRAINED: measured.gap("test", AS_TRAINED, *guides[AS_TRAINED])}
        if name != AS_TRAINED:
            tested[name] = measured.gap("test", name, *guides[name], tested[AS_TRAINED] if is_own else None)
        if refined:
            tested[refined], seconds[refined] = measured.refined("test", name, *guides[name], tested[name], refine)
        overall = measured.overall("test", {each: guides[each] for each in (AS_TRAINED, name)})
        cost = {each: seconds[each] for each in tested if each in seconds}
        test = measured.save("test", Remedies.of(tested, seconds=cost, split="test", overall=overall))
    found = RemedyResult(str(opened.folder), causes, train, validation, name, test, guides[name][0], tuple(notes))
    opened.run.write_json(f"{opened.state.named('remedy')}.json", found.to_json())
    return found


class _Measured:
    """Splits of gaps, stored in the folder of the run one by one."""

    def __init__(self, opened: Run, data: int, how: dict[str, Any]) -> None:
        self.opened, self.data, self.how = opened, data, how
        self.estimator = make_estimator(opened.config.estimator, opened.config.use_control)

    def gap(self, split: str, name: str, guide: Program, state: str, known: Gap | None = None) -> Gap:
        """The gap of a guide; of one of the run's family that of the run is known, and with it the best members."""

        def compute(x: Batch, progress: Progress) -> Gap:
            model = self.opened.model
            if known is not None:
                elbo = measure(model, guide, x, draws=self.how["draws"]).elbo
                return Gap(known.evidence, known.best, elbo, known.family)
            return split_gap(model, guide, x, estimator=self.estimator, check=0, progress=progress, **self.how)

        return self._stored(f"{name}-{split}", split, {"state": state} | self.how, compute)

    def refined(self, split: str, name: str, guide: Program, state: str, known: Gap, steps: int) -> tuple[Gap, float]:
        """The gap of a guide refined for each datum, and the seconds that this took."""

        def compute(x: Batch, progress: Progress) -> Gap:
            begun, draws = time.monotonic(), self.how["draws"]
            elbo, _ = refine_guide(self.opened.model, guide, x, steps, draws=draws, estimator=self.estimator)
            cost = Estimate(elbo.pointwise.new_tensor([time.monotonic() - begun]), "clock", "exact")
            return Gap(known.evidence, known.best, elbo, known.family, {"seconds": cost})

        found = self._stored(f"{name}-refined-{split}", split, {"state": state, "refine": steps} | self.how, compute)
        seconds = found.optimisation["seconds"].mean
        return replace(found, optimisation={}), seconds

    def _stored(
        self, name: str, split: str, identity: dict[str, Any], compute: Callable[[Batch, Progress], Gap]
    ) -> Gap:
        opened, x = self.opened, self.opened.split(split, self.data)
        folder = opened.run.folder / PLACE / opened.state.named("measured") / _slug(name)
        identity |= {"count": self.data, "split": split, "model": opened.state.key}
        store = BlockStore(folder, identity, Gap, opened.run.check_present)
        if 0 not in store:
            with (
                Reporter(name, len(x)) as reporter,
                fork_random_state(opened.config.settings.seed),
                pyro.validation_enabled(False),
            ):
                try:
                    store[0] = compute(x, reporter.advance)
                except UnknownFamilyError as error:
                    raise ValueError(f"the cause of the gap cannot be found: {error}") from error
        return store[0]

    def overall(self, split: str, guides: Mapping[str, tuple[Program, str]]) -> dict[str, Estimate]:
        """What each guide gains over that of the run on all data of a split, by the same random numbers."""
        opened, elbos = self.opened, dict[str, Tensor]()
        for name, (guide, _) in guides.items():
            with fork_random_state(opened.config.settings.seed), pyro.validation_enabled(False):
                elbos[name] = sampled_rates(opened.model, guide, opened.data[split], FEW_DRAWS)[0].double()
        how = f"difference of {FEW_DRAWS} draws each"
        others = {name: each - elbos[AS_TRAINED] for name, each in elbos.items() if name != AS_TRAINED}
        return {name: Estimate(gain, how, "unbiased", FEW_DRAWS) for name, gain in others.items()}

    def save(self, split: str, result: Remedies) -> Remedies:
        """Stores a table with its figure and values per datum in the run."""
        return measure_and_save(
            self.opened, f"remedies-{split}", split, self.data, lambda pair, x, progress: result, lambda pair, x: 1
        )
