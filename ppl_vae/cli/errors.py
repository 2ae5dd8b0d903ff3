"""Errors at the command line: one line each, no traceback."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

import ppl_vae

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
    """Shows an error as one line; with ``PPL_VAE_DEBUG=1`` the traceback, too."""
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
        expected = isinstance(error, (ValueError, ArithmeticError))
        text = str(error) if expected else f"{type(error).__name__}: {error}{_origin(error)}"
        raise Refused(text or type(error).__name__) from error


def _origin(error: BaseException) -> str:
    """The line of the user's file in which an unexpected error arose, and how to see its traceback."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "site-packages" not in f.filename]
    user_frames = [f for f in frames if not f.filename.startswith(str(Path(ppl_vae.__file__).parent))]
    user_frames = [f for f in user_frames if Path(f.filename).suffix == ".py"]
    place = f" (at {user_frames[-1].filename}, line {user_frames[-1].lineno})" if user_frames else ""
    return f"{place}; PPL_VAE_DEBUG=1 shows the traceback"
