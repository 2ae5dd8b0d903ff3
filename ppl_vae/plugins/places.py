"""Lines of a user's files in which errors arise."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType

__all__ = ["Place", "frames_of", "is_ours", "message_of", "place_of"]


@dataclass(frozen=True)
class Place:
    """A line of a user's file.

    Arguments:
        file: The path of the file.
        line: The number of the line.
        source: The line itself.
        frame: The run of the function it belongs to.
    """

    file: str
    line: int
    source: str
    frame: FrameType

    def __str__(self) -> str:
        path = Path(self.file)
        inside = path.is_relative_to(Path.cwd())
        shown = path.relative_to(Path.cwd()) if inside else path
        return f"{shown}, line {self.line}" + (f": {self.source}" if self.source else "")


def frames_of(trace: TracebackType | None) -> Iterator[tuple[FrameType, int]]:
    """The frames of a traceback with the number of the line in each, outermost first."""
    return traceback.walk_tb(trace)


def is_ours(frame: FrameType) -> bool:
    """Whether a frame runs code of this package."""
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] == "ppl_vae"


def place_of(error: BaseException) -> Place | None:
    """The innermost line of a user's file in the traceback of an error; None if there is none."""
    found = [(frame, line) for frame, line in frames_of(error.__traceback__) if _is_users(frame)]
    if not found:
        return None
    frame, line = found[-1]
    file = frame.f_code.co_filename
    source = traceback.FrameSummary(file, line, "", lookup_line=True).line or ""
    return Place(file, line, source, frame)


def message_of(error: BaseException) -> str:
    """The message of a refusal; of an error in a user's program also its kind, its place and its notes, a line each."""
    name, notes = type(error).__name__, getattr(error, "__notes__", [])
    if isinstance(error, (ValueError, ArithmeticError)) and not notes:
        return str(error) or name
    place = place_of(error)
    if not notes and place is not None:
        notes = [f"at {place}"]
    return "\n  ".join([f"{name}: {str(error).strip()}", *"\n".join(notes).splitlines()])


_LIBRARY = Path(sysconfig.get_path("stdlib"))


def _is_users(frame: FrameType) -> bool:
    file = frame.f_code.co_filename
    path = Path(file)
    installed = {"site-packages", "dist-packages"} & set(path.parts) or path.is_relative_to(_LIBRARY)
    return not installed and not is_ours(frame) and not file.startswith("<frozen")
