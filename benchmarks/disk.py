"""A disk that fails at every write of a command in turn: ``python -m benchmarks.disk``.

The calls that a command writes with (open, write, fsync, replace, link, mkdir) are counted, and each fails in turn as
on a full disk, once alone and once with all that follow. The command must end without a traceback: well, with all its
results (a figure may be missing, with a note), or with a message that names a file and the reason. On a disk with room
it must then end as one that never failed.
"""

from __future__ import annotations

import argparse
import errno
import mmap
import os
import struct
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.faults import (
    SCENARIOS,
    differences,
    ended,
    fresh,
    make_data,
    make_run,
    preload,
    prepare,
    run,
    start,
    tree,
)
from benchmarks.stored import keep, read

__all__ = ["Failed", "disk"]

COMMANDS = ("train", "evidence", "gap --ladder", "experiment", "generator")

REASON = "No space left on device"


@dataclass
class Failed:
    """What became of the failures of a command's writes.

    Arguments:
        command: The command.
        writes: How many calls it writes with.
        failures: How many commands were made to fail: two for each write chosen, alone and with all that follow.
        ended_well: How many of these commands ended with all their results.
        said: How many ended with a message instead.
        equal: How many were equal to a command that never failed, once there was room.
        problems: Descriptions of what went wrong.
    """

    command: str
    writes: int = 0
    failures: int = 0
    ended_well: int = 0
    said: int = 0
    equal: int = 0
    problems: list[str] = field(default_factory=list)


def disk(most: int, commands: Sequence[str] = COMMANDS, trained: Path | None = None) -> Iterator[Failed]:
    """Lets the writes of commands fail.

    Arguments:
        most: Maximum number of writes that fail of each command, spread evenly; 0 for all.
        commands: Names of the commands.
        trained: A run to measure; by default one is trained.
    """
    prepare()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "data").mkdir()
        make_data(root / "data")
        make_run(root, trained)
        for name in commands:
            yield _fail(name, most, root)


def _fail(name: str, most: int, root: Path) -> Failed:
    scenario, data, found = SCENARIOS[name], root / "data", Failed(name)
    counted = mmap.mmap(-1, 8)
    cwd = fresh(scenario, root / "base", root / "place")
    if ended(start(cwd, scenario.command(data, cwd), _failing(cwd, counted))) != 0:
        raise ValueError(f"{name} fails on a disk with room: {(root / 'whole' / 'stderr').read_text()}")
    preload(root / "place")
    whole = tree(cwd)
    (found.writes,) = struct.unpack("q", counted[:8])
    size = min(most or found.writes, found.writes)
    for place in sorted({1 + i * found.writes // size for i in range(size)}):
        for lasting in (False, True):
            found.failures += 1
            cwd = fresh(scenario, root / "base", root / "place")
            code = ended(start(cwd, scenario.command(data, cwd), _failing(cwd, counted, place, lasting)))
            told = (root / "place" / "stderr").read_text()
            where = f"write {place}{' and all that follow' if lasting else ''}"
            if code not in (0, 1) or "Traceback" in told:
                found.problems.append(f"{where}: exit code {code}: {told[-500:].strip()}")
            elif code == 1 and REASON not in told:
                found.problems.append(f"{where}: no reason is given: {told[-500:].strip()}")
            elif code == 0 and (lost := [each for each in differences(whole, tree(cwd)) if not _is_noted(each, told)]):
                found.problems.append(f"{where}: exit code 0, but these differ: {', '.join(lost)}")
            else:
                found.ended_well += code == 0
                found.said += code == 1
            code = run(scenario, data, cwd, resumed=True)
            changed = [each for each in differences(whole, tree(cwd)) if not _is_noted(each, told)]
            if code == 0 and not changed:
                found.equal += 1
            else:
                left = (root / "place" / "stderr").read_text()[-500:] if code else ", ".join(changed)
                found.problems.append(f"{where}: continued, exit code {code}: {left}")
    return found


def _is_noted(name: str, told: str) -> bool:
    """Whether a note says that a figure is missing, or that the page that shows the figures lacks one."""
    words = " ".join(told.split())
    return (Path(name).parent.name == "figures" and f"the figure {Path(name).stem} is missing" in words) or (
        Path(name).name == "report.md" and "the figure" in words
    )


def _failing(cwd: Path, counted: mmap.mmap, place: int = 0, lasting: bool = False) -> Callable[[], None]:
    """A function that lets a write of its process in a folder fail, and counts them all."""

    def is_below(path: object) -> bool:
        return isinstance(path, (str, os.PathLike)) and os.path.abspath(path).startswith(str(cwd.resolve()))

    def of_handle(args: tuple[Any, ...]) -> bool:
        return is_below(os.readlink(f"/proc/self/fd/{args[0]}"))

    calls: dict[str, Callable[[tuple[Any, ...]], bool]] = {
        "open": lambda args: len(args) > 1 and bool(args[1] & os.O_CREAT) and is_below(args[0]),
        "write": of_handle,
        "fsync": of_handle,
        "replace": lambda args: is_below(args[1]),
        "link": lambda args: is_below(args[1]),
        "mkdir": lambda args: is_below(args[0]) and not os.path.exists(args[0]),
    }

    def patch() -> None:
        count = 0

        def patched(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **options: Any) -> Any:
                nonlocal count
                if calls[name](args):
                    count += 1
                    counted[:8] = struct.pack("q", count)
                    if place and (count == place or (lasting and count > place)):
                        raise OSError(errno.ENOSPC, REASON)
                return real(*args, **options)

            return call

        for name in calls:
            setattr(os, name, patched(name, getattr(os, name)))

    return patch


def main() -> None:
    """Lets writes fail, prints what became of the commands, and stores it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--most", type=int, default=40, help="writes of each command; 0 for all")
    parser.add_argument("--only", nargs="*", choices=COMMANDS, default=list(COMMANDS), help="commands")
    options = parser.parse_args()
    rows = []
    for row in disk(options.most, options.only):
        print(
            f"{row.command}: {row.writes} writes, {row.failures} failures: {row.ended_well} ended well, {row.said} "
            f"said what failed; {row.equal} equal once there was room",
            flush=True,
        )
        for problem in row.problems:
            print(f"  {problem}", flush=True)
        rows.append(asdict(row))
    known = {row["command"]: row for row in [*read("disk").get("rows", []), *rows]}
    keep("disk", [known[name] for name in COMMANDS if name in known])


if __name__ == "__main__":
    main()
