"""The commands that measure evidence: ``ppl-vae evidence`` and ``sandwich``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from ppl_vae.cli.measure import measuring
from ppl_vae.cli.options import with_options
from ppl_vae.cli.output import Printed
from ppl_vae.evidence.ais import Schedule
from ppl_vae.plugins.discovery import available, find
from ppl_vae.plugins.options import options_of

__all__ = ["evidence", "sandwich"]

ANNEALING = options_of(Schedule, {"pilot", "through"})
"""Options of annealing."""


class EvidenceMethodName(click.ParamType[str]):
    """``auto``, an evidence method by name, or the path of its file."""

    name = "method"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return f"[auto|{'|'.join(available('evidence'))}|FILE.py]"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return (
                value
                if value == "auto"
                else str(find("evidence", value, besides=["auto"]).file if "." in value else value)
            )
        except ValueError as error:
            self.fail(str(error), param, ctx)


class EvidenceCommand(click.Command):
    """A command whose help ends with the evidence methods, each with its summary."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Methods"):
            formatter.write_dl([(name, method.summary) for name, method in available("evidence").items()])
        super().format_epilog(ctx, formatter)


@partial(measuring, cls=EvidenceCommand)
@click.option(
    "--method",
    default="auto",
    show_default=True,
    type=EvidenceMethodName(),
    help="auto takes the first exact method that applies, else importance, and says why.",
)
@click.option(
    "--draws",
    type=click.IntRange(min=2),
    help="Samples per datum where needed, or annealing chains.  [default: 1000; annealing 16]",
)
@click.option(
    "--check/--no-check",
    default=None,
    help="Measure what the method misses of the evidence of 20 data simulated from the model.  [default: where cheap]",
)
@with_options(ANNEALING)
def evidence(
    folder: Path, split: str, count: int, method: str, draws: int | None, check: bool | None, **options: Any
) -> Printed:
    """Measure the evidence by another method or with more samples.

    A file evidence/NAME.py of the working folder adds a method of your own. Writes evidence-SPLIT-METHOD.json and the
    values per datum into the run. After an interruption the same command resumes the measurement.
    """
    from ppl_vae.runs.measure import measure_evidence

    source = click.get_current_context().get_parameter_source
    given = {name: value for name, value in options.items() if source(name) is not ParameterSource.DEFAULT}
    return measure_evidence(folder, split, method, draws, count, check, **given)


@measuring
@click.option(
    "--draws", default=16, show_default=True, type=click.IntRange(min=2), help="Chains per datum and direction."
)
@with_options(ANNEALING)
def sandwich(folder: Path, split: str, count: int, draws: int, **schedule: Any) -> Printed:
    """Bound the evidence of simulated data from below and above.

    Simulated data come with an exact draw from their posterior, from which annealing can also run backwards: the
    evidence lies between the two bounds. Their distance shows how accurate annealing with these options is on real
    data. Simulated data have the shapes (documents: the lengths) of those of the split.
    """
    from ppl_vae.runs.measure import measure_sandwich

    return measure_sandwich(folder, split, draws, count, Schedule(**schedule))
