"""What a command prints: its result as a table or as JSON, alone on the output stream."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Mapping
from functools import wraps
from typing import ParamSpec, Protocol

import click

from ppl_vae.plugins.streams import abandon, say

__all__ = ["Printed", "with_json"]

P = ParamSpec("P")


class Printed(Protocol):
    """A result that prints as a table and converts to JSON."""

    def to_json(self) -> Mapping[str, object]:
        """The result as JSON holds it."""
        ...


def with_json(function: Callable[P, Printed]) -> Callable[P, None]:
    """Adds ``--json``, which prints the result as one JSON document instead of a table."""

    @click.option(
        "--json", "as_json", is_flag=True, help="Print the result as one JSON document, and nothing else, on stdout."
    )
    @wraps(function)
    def command(*args: P.args, **kwargs: P.kwargs) -> None:
        from ppl_vae.training.process import prepare

        prepare()
        as_json = kwargs.pop("as_json")
        with contextlib.redirect_stdout(sys.stderr):  # what users' own files print must not mix with the result
            result = function(*args, **kwargs)
        text = json.dumps(result.to_json(), indent=2, allow_nan=False) if as_json else ""
        try:
            click.echo(text or str(result))  # a table reads the width and the characters of the stream
        except BrokenPipeError:
            raise
        except OSError as error:
            abandon(sys.stdout)
            raise ValueError(
                f"the result cannot be written to standard output ({error.strerror}); what is measured of a run also "
                "lies in its folder"
            ) from error
        if not as_json and (after := getattr(result, "next_step", None)):
            say(f"next: {after}")  # beside the result, which may be read by a program
        if code := getattr(result, "exit_code", 0):
            sys.exit(code)

    return command
