"""Trains variational autoencoders written in Pyro, and measures what their ELBO hides.

    >>> import ppl_vae as pv
    >>> run = pv.train("text", "linear_counts", bits=8, epochs=20)        # doctest: +SKIP
    >>> print(run.summary)                                                # doctest: +SKIP
    >>> print(run.gap(split="test"))                                      # doctest: +SKIP
    >>> print(pv.measure(model, guide, x))     # of any Pyro pair         # doctest: +SKIP

Every command of the command line is here, with the same options and defaults: those that take a run are methods of
Run (help(pv.Run)). dir(pv) lists the names, and help(pv.train) explains one with its arguments and an example. Names
are loaded when they are first used: importing the package does not import PyTorch.

Your own pair        new (files to begin with), check (all that is wrong with a pair, before training)
Train                train, resume, load_run, Run, train_generator; AmortisedGuide, the base of guides
Objectives           DiscreteELBO, ImportanceWeightedELBO, SleepPhase, WakeSleep, RateCost; gradients in estimators
Data                 load_corpus, Corpus, PackedCounts; pack, for data larger than memory
Measure a pair       measure (ELBO, evidence and gap), split_gap, ladder, tightness, calibrate,
                     information, rate_distortion_curve, sandwich; RefinedGuide, better for certain data;
                     beneath them log_weight and simulate
Runs and studies     report (one HTML page), show (curves in the terminal), list_runs, remove_runs, compare, experiment,
                     catalogue (what is chosen by name, and what goes together), doctor (what this installation has)
A model's form       set_layout, its plate over data and how it takes samples, where they are not found; regulariser,
                     around factors that belong to the training objective alone
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ppl_vae import estimators as estimators
    from ppl_vae.data.corpus import Corpus as Corpus
    from ppl_vae.data.counts import PackedCounts as PackedCounts
    from ppl_vae.data.load import load_corpus as load_corpus
    from ppl_vae.data.packed.pack import pack as pack
    from ppl_vae.diagnostics.calibration.calibrate import calibrate as calibrate
    from ppl_vae.diagnostics.gap.ladder import ladder as ladder
    from ppl_vae.diagnostics.gap.refined_guide import RefinedGuide as RefinedGuide
    from ppl_vae.diagnostics.gap.split import split_gap as split_gap
    from ppl_vae.diagnostics.information.information import information as information
    from ppl_vae.diagnostics.information.rate_distortion_curve import rate_distortion_curve as rate_distortion_curve
    from ppl_vae.diagnostics.tightness.tightness import tightness as tightness
    from ppl_vae.evidence.bdmc import sandwich as sandwich
    from ppl_vae.evidence.measure import measure as measure
    from ppl_vae.objectives.elbo import DiscreteELBO as DiscreteELBO
    from ppl_vae.objectives.importance_weighted import ImportanceWeightedELBO as ImportanceWeightedELBO
    from ppl_vae.objectives.rate_cost import RateCost as RateCost
    from ppl_vae.objectives.sleep_phase import SleepPhase as SleepPhase
    from ppl_vae.objectives.wake_sleep import WakeSleep as WakeSleep
    from ppl_vae.programs.amortised import AmortisedGuide as AmortisedGuide
    from ppl_vae.programs.densities import regulariser as regulariser
    from ppl_vae.programs.layouts import set_layout as set_layout
    from ppl_vae.programs.log_weight import log_weight as log_weight
    from ppl_vae.programs.simulate import simulate as simulate
    from ppl_vae.runs.catalogue import catalogue as catalogue
    from ppl_vae.runs.check.check import check as check
    from ppl_vae.runs.compare import compare as compare
    from ppl_vae.runs.doctor import doctor as doctor
    from ppl_vae.runs.listing import list_runs as list_runs
    from ppl_vae.runs.new.new import new as new
    from ppl_vae.runs.open import Run as Run
    from ppl_vae.runs.python import load_run as load_run
    from ppl_vae.runs.python import resume as resume
    from ppl_vae.runs.python import train as train
    from ppl_vae.runs.removal import remove_runs as remove_runs
    from ppl_vae.runs.report.report import report as report
    from ppl_vae.runs.show import show as show
    from ppl_vae.runs.train_gan import train_generator as train_generator
    from ppl_vae.studies.experiments import experiment as experiment

__version__ = "0.1.0"

_PLACES = {
    "AmortisedGuide": "programs.amortised",
    "Corpus": "data.corpus",
    "DiscreteELBO": "objectives.elbo",
    "ImportanceWeightedELBO": "objectives.importance_weighted",
    "PackedCounts": "data.counts",
    "RateCost": "objectives.rate_cost",
    "RefinedGuide": "diagnostics.gap.refined_guide",
    "Run": "runs.open",
    "SleepPhase": "objectives.sleep_phase",
    "WakeSleep": "objectives.wake_sleep",
    "calibrate": "diagnostics.calibration.calibrate",
    "catalogue": "runs.catalogue",
    "check": "runs.check.check",
    "compare": "runs.compare",
    "estimators": "estimators:",
    "doctor": "runs.doctor",
    "experiment": "studies.experiments",
    "information": "diagnostics.information.information",
    "ladder": "diagnostics.gap.ladder",
    "list_runs": "runs.listing",
    "load_corpus": "data.load",
    "load_run": "runs.python",
    "log_weight": "programs.log_weight",
    "measure": "evidence.measure",
    "new": "runs.new.new",
    "pack": "data.packed.pack",
    "rate_distortion_curve": "diagnostics.information.rate_distortion_curve",
    "regulariser": "programs.densities",
    "remove_runs": "runs.removal",
    "report": "runs.report.report",
    "resume": "runs.python",
    "sandwich": "evidence.bdmc",
    "set_layout": "programs.layouts",
    "show": "runs.show",
    "simulate": "programs.simulate",
    "split_gap": "diagnostics.gap.split",
    "tightness": "diagnostics.tightness.tightness",
    "train": "runs.python",
    "train_generator": "runs.train_gan",
}
"""Module of each public name, and its name there after a colon where it has another."""


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(_PLACES)}")
    place, colon, original = _PLACES[name].partition(":")
    module = importlib.import_module(f"{__name__}.{place}")
    value: object = module if colon and not original else getattr(module, original or name)
    if name in ("measure", "split_gap"):  # inside of other measurements, which show their own, they are silent
        from ppl_vae.runs.watched import WATCHED, watched

        value = watched(getattr(module, name), *WATCHED[name])
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    # Without an __all__, which would make help() print the whole text of every name.
    return sorted(["__version__", *_PLACES])


def _register_checkout_packages() -> None:
    """Makes ``ppl_vae.models``, ``guides`` and ``experiments`` of a checkout importable.

    A wheel holds them inside this package. In a checkout they lie beside it; ``__path__`` must not name the checkout
    itself, which holds this package again.
    """
    root = Path(__file__).parent.parent
    for name in ("models", "guides", "experiments"):
        init = root / name / "__init__.py"
        if (Path(__file__).parent / name).is_dir() or not init.is_file() or f"{__name__}.{name}" in sys.modules:
            continue
        spec = importlib.util.spec_from_file_location(
            f"{__name__}.{name}", init, submodule_search_locations=[str(init.parent)]
        )
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        globals()[name] = module


_register_checkout_packages()
