"""Options of every command that opens a run: which code, which data, and whether code that someone sent may run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import click

from ppl_vae.cli.options import GroupedOption

__all__ = ["asked", "code_option", "opens_runs", "trust_option"]

P = ParamSpec("P")
R = TypeVar("R")

GROUP = "Opening the run"

code_option = click.option(
    "--code",
    cls=GroupedOption,
    group=GROUP,
    type=click.Choice(["run", "current"]),
    default="run",
    show_default=True,
    help="Where a model or guide file has changed: the run's own copy, or the file as it is now.",
)
corpus_option = click.option(
    "--corpus", cls=GroupedOption, group=GROUP, metavar="PATH", help="Where the data lie now, if they have moved."
)
trust_option = click.option(
    "--trust", cls=GroupedOption, group=GROUP, is_flag=True, help="Run the code of a run that someone sent; remembered."
)


def asked(question: str) -> bool:
    """Asks the user at a terminal; False where nobody can answer."""
    if not (sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    return click.confirm(f"{question}. Run it", err=True)


def opens_runs(function: Callable[P, R]) -> Callable[P, R]:
    """Adds the options to a command, for all runs it opens."""

    @code_option
    @corpus_option
    @trust_option
    @wraps(function)
    def command(*args: P.args, **kwargs: P.kwargs) -> R:
        from ppl_vae.runs.code import Opening, opening

        given = {name: kwargs.pop(name) for name in ("code", "corpus", "trust")}
        with opening(Opening(**given, ask=asked)):  # type: ignore[arg-type]
            return function(*args, **kwargs)

    return command
