"""Errors at the command line: what is wrong and where, without a traceback."""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import click

from ppl_vae.plugins.nearest import NotFoundError
from ppl_vae.plugins.places import message_of

__all__ = ["errors_in_one_line", "receive_signals"]

_received: list[int] = []


def receive_signals() -> None:
    """Lets ctrl-C and SIGTERM end a command in one line."""
    with suppress(ValueError):  # only the main thread may
        signal.signal(signal.SIGTERM, _on_signal)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored, behind nohup say
            signal.signal(signal.SIGINT, _on_signal)


def _on_signal(number: int, frame: FrameType | None) -> None:
    """Ctrl-C; or SIGTERM, which schedulers send before they kill, and which ends a run as ctrl-C does."""
    _received.append(number)
    if _is_importing(frame):
        # Extension modules that are being imported swallow exceptions, or turn them into others; nothing is begun yet.
        os.write(2, b"stopped\n")
        os._exit(_status())
    raise KeyboardInterrupt


def _is_importing(frame: FrameType | None) -> bool:
    """Whether a module of the command line is importing what it needs."""
    importer = None
    while frame is not None:
        if "importlib" in frame.f_code.co_filename:
            importer = frame.f_back
        frame = frame.f_back
    return importer is not None and Path(importer.f_code.co_filename).parent == Path(__file__).parent


class Refused(click.ClickException):
    """An error in one line."""


class NotFound(Refused):
    """A name or path of something that is not there, which is a fault of usage."""

    exit_code = 2


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
        sys.exit(_status())
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
        raise (NotFound if isinstance(error, NotFoundError) else Refused)(_message(error)) from error


def _status() -> int:
    return 143 if signal.SIGTERM in _received else 130


def _message(error: Exception) -> str:
    """The message of a refusal; of an error in a user's program also its place and notes."""
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        path = str(error.filename)
        return f"the name {path[:40]}...{path[-20:]} ({len(path):,} characters) is too long for a file; shorten it"
    message = message_of(error)
    return message if message in (str(error), type(error).__name__) else f"{message}\n  --debug prints the traceback"
