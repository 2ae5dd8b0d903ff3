"""Errors at the command line: what is wrong and where, without a traceback."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import click

from ppl_vae.plugins.places import place_of

__all__ = ["on_termination", "errors_in_one_line"]

_terminated: list[int] = []


def on_termination(number: int, frame: object) -> None:
    """Schedulers send SIGTERM before they kill: it ends a run as ctrl-C does."""
    _terminated.append(number)
    raise KeyboardInterrupt


class Refused(click.ClickException):
    """An error in one line."""


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Shows an error without its traceback, unless ``--debug`` or ``PPL_VAE_DEBUG=1`` asks for it."""
    try:
        yield
    except (click.exceptions.Exit, click.ClickException, click.Abort):
        raise
    except KeyboardInterrupt as error:
        resume = str(error)  # of an interrupted run, the command that continues it
        saved = (
            f": what is finished is saved, a training up to its last whole epoch; continue with {resume}"
            if resume
            else ""
        )
        click.echo(f"stopped{saved}", err=True)
        sys.exit(143 if _terminated else 130)
    except BrokenPipeError:
        sys.exit(141)
    except Exception as error:
        if type(error).__name__ == "OutOfMemoryError":  # torch's, which may not be imported
            reason = str(error).partition(". ")[0]
            raise Refused(
                f"the device's memory is full ({reason}); take a smaller --batch-size, or --device cpu"
            ) from error
        if os.environ.get("PPL_VAE_DEBUG"):
            traceback.print_exc()
        raise Refused(_message(error)) from error


def _message(error: Exception) -> str:
    """The message of a refusal; of an error in a user's program also its place and notes."""
    name, notes = type(error).__name__, getattr(error, "__notes__", [])
    if isinstance(error, (ValueError, ArithmeticError)) and not notes:
        return str(error) or name
    place = place_of(error)
    if not notes and place is not None:
        notes = [f"at {place}"]
    lines = [
        f"{name}: {str(error).strip()}",
        *"\n".join(notes).splitlines(),
        "--debug prints the traceback",
    ]
    return "\n  ".join(lines)
