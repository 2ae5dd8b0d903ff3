"""Commands in hostile environments, each as a real process: ``python -m benchmarks.environment``.

Every case runs help, list, a tiny training, its gap as a table and as JSON. It holds if no traceback appears, each
command ends as the case says, and the numbers stored in the run folder are those of the ordinary environment, bit for
bit.
"""

from __future__ import annotations

import argparse
import json
import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.stored import commit, keep, read

COMMANDS = ("help", "list", "train", "gap", "gap --json")
"""The commands of every case, in order."""

NOWHERE = "/proc/nowhere"
"""A folder that nobody, not even root, can make."""

CLOCK = """
import itertools, time
ticks = itertools.count()
time.time = lambda: 2e9 - 3600 * next(ticks)
"""
"""A clock that goes back by an hour whenever it is read."""

NO_USER = """
import pwd
def unknown(uid): raise KeyError(f"getpwuid(): uid not found: {uid}")
pwd.getpwuid = unknown
"""
"""A user without an entry in the list of users, as in a container started under a bare number."""

BACKEND = """
import matplotlib.figure
def fails(*args, **kwargs): raise RuntimeError("the backend cannot draw")
matplotlib.figure.Figure.savefig = fails
"""
"""Figures that cannot be drawn."""


@dataclass(frozen=True)
class Case:
    """An environment, and what must come of it.

    Arguments:
        name: What is unusual.
        set: Environment variables.
        unset: Environment variables that are removed.
        streams: Where a descriptor leads: a path, ``"closed"`` or ``"terminal"``; the others are read by pipes.
        code: Python run at the start of the process.
        long: Length in bytes of the name of the run folder, or of its path where it is over 255.
        refused: By the exit status of the commands concerned, what their last message holds.
        silent: Whether the terminal gets no control codes.
    """

    name: str
    set: dict[str, str] = field(default_factory=dict)
    unset: tuple[str, ...] = ()
    streams: dict[int, str] = field(default_factory=dict)
    code: str = ""
    long: int = 0
    refused: dict[str, tuple[int, str]] = field(default_factory=dict)
    silent: bool = False


UNWRITABLE = {name: (1, "cannot be written") for name in COMMANDS}
NO_DOCSTRINGS = {name: (2, "options are read off docstrings") for name in COMMANDS if name != "help"}
TOO_LONG = {name: (1, "characters) is too long for a file") for name in ("train", "gap", "gap --json")}
ASCII = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
TERMINAL = {0: "terminal", 1: "terminal", 2: "terminal"}

CASES = (
    Case("ordinary"),
    Case("no HOME", unset=("HOME", "XDG_CACHE_HOME")),
    Case("a HOME that is not there", {"HOME": NOWHERE}, ("XDG_CACHE_HOME",)),
    Case("no HOME, a user without entry", unset=("HOME", "USER", "LOGNAME", "XDG_CACHE_HOME"), code=NO_USER),
    Case("no TMPDIR", unset=("TMPDIR",)),
    Case("a TMPDIR that is not there", {"TMPDIR": NOWHERE}),
    Case("caches that cannot be written", {"XDG_CACHE_HOME": NOWHERE, "MPLCONFIGDIR": NOWHERE}),
    Case("bytecode that cannot be written", {"PYTHONPYCACHEPREFIX": NOWHERE}),
    Case("LC_ALL=C, as most shells have it", {"LC_ALL": "C"}),
    Case("ASCII locale and streams", ASCII),
    Case("LC_ALL that is not installed", {"LC_ALL": "xx_YY.UTF-8"}),
    Case("Latin-1 streams", {"PYTHONIOENCODING": "latin-1"}),
    Case("standard input closed", streams={0: "closed"}),
    Case("standard output closed", streams={1: "closed"}),
    Case("standard error closed", streams={2: "closed"}),
    Case("all streams closed", streams={0: "closed", 1: "closed", 2: "closed"}),
    Case("output to /dev/full", streams={1: "/dev/full"}, refused=UNWRITABLE),
    Case("errors to /dev/full", streams={2: "/dev/full"}),
    Case("20 columns", {"COLUMNS": "20"}),
    Case("a terminal of 0 columns", {"COLUMNS": "0"}, streams=TERMINAL),
    Case("terminal with TERM=dumb", {"TERM": "dumb"}, streams=TERMINAL, silent=True),
    Case("terminal with NO_COLOR", {"NO_COLOR": "1", "TERM": "xterm"}, streams=TERMINAL),
    Case("terminal without TERM", unset=("TERM",), streams=TERMINAL),
    Case("a clock that goes back", code=CLOCK),
    Case("a run folder's name of 255 bytes", long=255),
    Case("a run folder's path of 4,096 bytes", long=4096, refused=TOO_LONG),
    Case("an unknown MPLBACKEND", {"MPLBACKEND": "nothing"}),
    Case("figures that cannot be drawn", code=BACKEND),
    Case("PYTHONWARNINGS=error", {"PYTHONWARNINGS": "error"}),
    Case("python -O", {"PYTHONOPTIMIZE": "1"}),
    Case("python -OO, without docstrings", {"PYTHONOPTIMIZE": "2"}, refused=NO_DOCSTRINGS),
)


@dataclass
class Process:
    """A finished process: its exit status and what it wrote."""

    status: int
    output: str
    errors: str


def environment(case: Case, folder: Path) -> dict[str, str]:
    """The environment variables of a case, whose code Python finds as ``sitecustomize``."""
    package = str(Path(__file__).parents[1])
    base = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COLUMNS", "LC_"))}
    found = base | {"COLUMNS": "120", "PYTHONPATH": package, "OMP_NUM_THREADS": "1"}
    if case.code:
        (folder / "sitecustomize.py").write_text(case.code)
        found["PYTHONPATH"] = f"{folder}{os.pathsep}{package}"
    found |= case.set
    return {name: value for name, value in found.items() if name not in case.unset}


def start(arguments: list[str], case: Case, folder: Path) -> Process:
    """Runs the command line in an environment."""
    closed = [number for number, where in case.streams.items() if where == "closed"]
    opened: dict[int, int] = {}
    master = None
    if "terminal" in case.streams.values():
        master, terminal = pty.openpty()
        opened = {number: terminal for number, where in case.streams.items() if where == "terminal"}
    for number, where in case.streams.items():
        if where.startswith("/"):
            opened[number] = os.open(where, os.O_WRONLY)
    process = subprocess.Popen(
        [sys.executable, "-m", "ppl_vae", *arguments],
        cwd=folder,
        env=environment(case, folder),
        stdin=opened.get(0, subprocess.DEVNULL),
        stdout=opened.get(1, subprocess.PIPE),
        stderr=opened.get(2, subprocess.PIPE),
        preexec_fn=lambda: [os.close(number) for number in closed],
        pass_fds=(),
    )
    for descriptor in set(opened.values()):
        os.close(descriptor)
    shown: list[bytes] = []
    if master is not None:
        reader = threading.Thread(target=_read_terminal, args=(master, shown))
        reader.start()
    output, errors = process.communicate(timeout=600)
    if master is not None:
        reader.join()
        os.close(master)
    texts = (part.decode(errors="replace") for part in (output or b"".join(shown), errors or b""))
    return Process(process.returncode, *texts)


def _read_terminal(master: int, shown: list[bytes]) -> None:
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # the other side is closed
            return
        if not part:
            return
        shown.append(part)


def run_folder(case: Case, folder: Path) -> str:
    """The name of the run folder, or its path where a name of this length is impossible."""
    if case.long <= 255:
        return "r" * (case.long or 3)
    return "/".join(["r" * 199] * (case.long // 200)) + "/" + "r" * (case.long % 200)


def lines_of(case: Case, folder: Path) -> dict[str, list[str]]:
    """The arguments of each command."""
    run = run_folder(case, folder)
    measured = ["gap", run, "--data", "20"]
    return {
        "help": ["--help"],
        "list": ["list", "guides"],
        "train": ["train", "gmm", "--guide", "full", "--epochs", "1", "--guide-width", "8", "--out", run],
        "gap": measured,
        "gap --json": [*measured, "--json"],
    }


def fault(command: str, case: Case, process: Process) -> str | None:
    """What is wrong with a process, or None."""
    both = process.output + process.errors
    if "Traceback" in both or "Exception ignored" in both:
        return "traceback: " + both.strip().splitlines()[-1][:100]
    status, words = case.refused.get(command, (0, ""))
    if process.status != status:
        return f"exit {process.status} instead of {status}: {(both.strip().splitlines() or [''])[-1][:100]}"
    if status and words not in " ".join(process.errors.split()):
        return f"the message lacks {words!r}: {process.errors.strip()[-100:]}"
    if case.silent and "\x1b" in both:
        return "control codes"
    if not status and 1 not in case.streams:
        expected: dict[str, Callable[[str], Any]] = {
            "gap --json": lambda text: json.loads(text)["elbo"],
            "help": lambda text: text.index("Train and measure"),
            "list": lambda text: text.index("linear_counts"),
            "train": lambda text: text.index("ELBO"),
            "gap": lambda text: text.index("ELBO"),
        }
        try:
            expected[command](process.output)
        except (ValueError, KeyError) as error:
            return f"output: {error}"
    return None


def stored(folder: Path, case: Case) -> dict[str, Any]:
    """The numbers that the run folder holds."""
    run = folder / run_folder(case, folder)
    try:
        summary = json.loads((run / "summary.json").read_text())
        return {"splits": summary["splits"], "gap": json.loads((run / "gap-test.json").read_text())["elbo"]}
    except OSError:
        return {}


def attempt(case: Case, ordinary: dict[str, Any]) -> tuple[dict[str, str], dict[str, Any]]:
    """Runs all commands of a case; returns the result of each, and the numbers stored."""
    folder = Path(tempfile.mkdtemp(prefix="environment-"))
    try:
        results = {}
        for command, arguments in lines_of(case, folder).items():
            wrong = fault(command, case, start(arguments, case, folder))
            refused = command in case.refused
            results[command] = wrong or ("refused" if refused else "works")
        numbers = stored(folder, case)
        if numbers != (ordinary or numbers) and not any(case.refused is each for each in (TOO_LONG, NO_DOCSTRINGS)):
            results["gap"] = "other numbers than in the ordinary environment"
        return results, numbers
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Prints the table of cases, and stores it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="run the cases whose names match this pattern alone")
    only = parser.parse_args().only
    ordinary: dict[str, Any] = {}
    rows = {row["case"]: row for row in read("environment").get("rows", ())} if only else {}
    for case in CASES:
        if only and case.name != "ordinary" and not re.search(only, case.name):
            continue
        results, numbers = attempt(case, ordinary)
        ordinary = ordinary or numbers
        rows[case.name] = {"case": case.name, **results, "commit": commit()}
        print(f"{case.name}: " + ", ".join(f"{name} {result}" for name, result in results.items()), flush=True)
    stored_rows = [rows[case.name] for case in CASES if case.name in rows]
    wrong = sum(row[name] not in ("works", "refused") for row in stored_rows for name in COMMANDS)
    print(f"{len(stored_rows)} cases, {wrong} commands at fault")
    keep("environment", stored_rows)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
