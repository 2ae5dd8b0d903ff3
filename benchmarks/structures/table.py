"""Each structure trained for some steps and measured: does it run, and is its evidence right?"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyro
import torch

import benchmarks.structures as package
from benchmarks.structures.structure import Structure

__all__ = ["Row", "builders", "evaluate", "markdown"]

STEPS = 5
TOLERANCE = 1e-3
"""Largest error of an exact evidence, in nats per datum."""


@dataclass(frozen=True)
class Row:
    """What became of a structure.

    Arguments:
        structure: The structure.
        loss: The last loss per datum; None if training was refused.
        method: The method of the evidence; None if it was refused.
        exact: Whether the evidence is called exact.
        excess: Mean of evidence minus truth, in nats per datum; None without truth.
        error: Standard error of the mean; 0 of exact evidence.
        worst: The largest deviation of a datum, in nats.
        message: The error by which it was refused, or the notes of the evidence.
    """

    structure: Structure
    loss: float | None = None
    method: str | None = None
    exact: bool = False
    excess: float | None = None
    error: float = 0.0
    worst: float | None = None
    message: str = ""

    @property
    def runs(self) -> bool:
        return self.method is not None

    @property
    def agrees(self) -> bool:
        """Whether the evidence is right: the truth within the tolerance, or a lower bound that is not above it."""
        if self.excess is None or self.worst is None:
            return self.runs
        return self.worst < TOLERANCE if self.exact else self.excess < 4 * self.error + TOLERANCE


def builders() -> Iterator[Callable[[], Structure]]:
    """The functions that make the structures, in the order of the table."""
    for module in sorted(m.name for m in pkgutil.iter_modules(package.__path__)):
        yield from getattr(importlib.import_module(f"{package.__name__}.{module}"), "STRUCTURES", ())


def evaluate(build: Callable[[], Structure], steps: int = STEPS) -> Row:
    """Trains a structure and measures it on its data."""
    import ppl_vae as pv

    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    structure = build()
    args = structure.train or structure.args
    try:
        svi = pyro.infer.SVI(structure.model, structure.guide, pyro.optim.Adam({"lr": 1e-3}), loss=pv.DiscreteELBO())
        loss = [svi.step(*args) for _ in range(steps)][-1] / len(args[0])
        measured = pv.measure(structure.model, structure.guide, *structure.args, draws=500, **structure.options)
    except Exception as error:  # noqa: BLE001 -- an error of another kind is a fault too, and is shown
        kind = "ValueError" if isinstance(error, ValueError) else type(error).__name__
        return Row(structure, message=f"{kind}: {error}")
    evidence = measured.evidence
    notes = "; ".join(evidence.notes)
    if structure.truth is None:
        return Row(structure, loss, evidence.method, evidence.bound == "exact", message=notes)
    truth = torch.as_tensor(structure.truth())
    excess = evidence.pointwise.double() - truth
    return Row(
        structure,
        loss,
        evidence.method,
        evidence.bound == "exact",
        excess.mean().item(),
        evidence.se,
        excess.abs().max().item(),
        notes,
    )


def markdown(rows: list[Row]) -> str:
    """The table of the documentation."""
    lines = ["| program | as written | | evidence against the truth, nats per datum |", "|---|---|---|---|"]
    for row in rows:
        if not row.runs:
            result = row.message.splitlines()[0].removeprefix("ValueError: ").replace("|", r"\|")
        elif row.excess is None:
            result = "given draws of what all data share, beside a joint bound"
        elif row.exact:
            result = f"exact ({row.method}): largest error {row.worst:.0e}"
        else:
            result = f"lower bound ({row.method}): {row.excess:+.3f} ± {row.error:.3f}"
        runs = "runs" if row.runs else "refused"
        lines.append(f"| {row.structure.title} | {row.structure.form} | {runs} | {result} |")
    return "\n".join(lines)
