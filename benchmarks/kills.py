"""Commands killed at random moments and begun again: ``python -m benchmarks.kills --kills 200 --seed 0``.

A command is killed by SIGKILL at a moment drawn uniformly from its duration, in half of the cases once more while it
continues, and then runs to its end. All it leaves must be bit for bit what a command that was never killed leaves
(metrics without their times, PDFs by name), with no file more, and no process may be left.
"""

from __future__ import annotations

import argparse
import os
import random
import secrets
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

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
from benchmarks.stored import commit, keep, read

__all__ = ["Killed", "kills"]

MARK = "PPL_VAE_BENCHMARK"
"""Variable of the environment by which worker processes are known."""

SHARES = {
    "train": 30,
    "train --retrain": 20,
    "train --anneal": 15,
    "evidence": 15,
    "gap": 15,
    "gap --ladder": 15,
    "report": 15,
    "experiment": 15,
    "generator": 15,
    "data pack": 15,
    "sweep, parent": 20,
    "sweep, worker": 10,
}
"""Kills of each command, in parts of all."""

ORPHAN_SECONDS = 30.0
"""Time in which workers must have ended after their parent; one that is starting ends once it has imported."""


@dataclass
class Killed:
    """What became of the kills of a command.

    Arguments:
        command: The command.
        kills: How often it was killed.
        resumed: How many of these fell on a command that continued a killed one.
        recovered: How many of the kills were followed by an end that left exactly what a command never killed leaves.
        ends: How many times it ran to its end afterwards; fewer than kills, as half of the commands are killed twice.
        equal: How many of these ends left the same.
        orphans: How many processes were left.
        problems: Descriptions of what went wrong.
    """

    command: str
    kills: int = 0
    resumed: int = 0
    recovered: int = 0
    ends: int = 0
    equal: int = 0
    orphans: int = 0
    problems: list[str] = field(default_factory=list)


def kills(
    count: int, seed: int, commands: Sequence[str] = tuple(SHARES), trained: Path | None = None
) -> Iterator[Killed]:
    """Kills commands.

    Arguments:
        count: Number of kills, shared among the commands.
        seed: Seed of the moments.
        commands: Names of the commands.
        trained: A run to measure; by default one is trained.
    """
    prepare()
    token = os.environ[MARK] = secrets.token_hex(8)
    rng = random.Random(seed)  # noqa: S311  (moments are no secrets)
    total = sum(SHARES[name] for name in commands)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "data").mkdir()
        make_data(root / "data")
        make_run(root, trained)
        for name in commands:
            yield _kill(name, max(1, round(count * SHARES[name] / total)), root, rng, token)


def _kill(name: str, count: int, root: Path, rng: random.Random, token: str) -> Killed:
    title, _, target = name.partition(", ")
    scenario, data, found = SCENARIOS[title], root / "data", Killed(name)
    jobs: tuple[str, ...] = ("--jobs", "2") if target else ()
    run(scenario, data, fresh(scenario, root / "base", root / "place"))
    preload(root / "place")
    cwd = fresh(scenario, root / "base", root / "place")
    begun = time.monotonic()
    code = ended(start(cwd, [*scenario.command(data, cwd), *jobs]))
    seconds = time.monotonic() - begun
    if code != 0:
        raise ValueError(f"{name} fails without being killed:\n{_last_words(root / 'place')}")
    whole = tree(cwd)
    while found.kills < count:
        cwd, before = fresh(scenario, root / "base", root / "place"), found.kills
        for resumed in range(1 if target else rng.randint(1, min(2, count - before))):
            process = start(cwd, [*scenario.command(data, cwd, resumed > 0), *jobs])
            time.sleep(rng.random() * seconds)
            done = _kill_worker(process, token, rng) if target == "worker" else _kill_process(process)
            found.kills += done
            found.resumed += done and resumed > 0
            left = _left(token)
            found.orphans += len(left)
            found.problems += [f"left: {words}" for words in left]
        found.ends += 1
        code = run(scenario, data, cwd, resumed=True)
        if code and scenario.refused and scenario.refused in _last_words(root / "place"):
            code = 0
        changed = differences(whole, tree(cwd)) if code == 0 else []
        if code != 0:
            found.problems.append(f"exit code {code}: {_last_words(root / 'place')}")
        elif changed:
            found.problems.append(f"differ: {', '.join(changed)}")
        found.equal += code == 0 and not changed
        found.recovered += (found.kills - before) * (code == 0 and not changed)
    return found


def _kill_process(process: int) -> bool:
    """Kills a process; returns whether it had not ended before."""
    os.kill(process, signal.SIGKILL)
    return ended(process) == -signal.SIGKILL


def _kill_worker(process: int, token: str, rng: random.Random) -> bool:
    """Kills a worker of a process, which then ends by itself; returns whether there was one."""
    done = False
    while not done and (code := ended(process, 0.01)) is None:
        workers = [each for each in _marked(token) if _stat(each)[1] == process and b"loky" in _words(each)]
        if workers:
            with suppress(ProcessLookupError):
                os.kill(rng.choice(workers), signal.SIGKILL)
                done = True
    if done and ended(process) is None:
        os.kill(process, signal.SIGKILL)
        raise ValueError("a sweep does not end after one of its workers was killed")
    return done and code is None


def _left(token: str) -> list[str]:
    """The words of processes that outlive the killed one, and their state; they are killed."""
    deadline = time.monotonic() + ORPHAN_SECONDS
    while (left := _marked(token)) and time.monotonic() < deadline:
        time.sleep(0.02)
    found = []
    for process in left:
        found.append(f"{_words(process).replace(bytes(1), b' ').decode()}, state {_stat(process)[0]}")
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    return found


def _marked(token: str) -> list[int]:
    """Processes that were executed with the token in their environment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if token.encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
    return found


def _words(process: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_bytes()
    return b""


def _stat(process: int) -> tuple[str, int]:
    """State and parent of a process."""
    with suppress(OSError):
        state, parent, *_ = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return state, int(parent)
    return "ended", 0


def _last_words(place: Path) -> str:
    return (place / "stderr").read_text()[-500:].strip()


def main() -> None:
    """Kills commands, prints what became of them, and stores it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", choices=SHARES, default=list(SHARES), help="commands")
    options = parser.parse_args()
    rows = {row["command"]: row for row in read("kills").get("rows", ())}
    for row in kills(options.kills, options.seed, options.only):
        print(f"{row.command}: {row.recovered} of {row.kills} kills recovered, {row.orphans} orphans", flush=True)
        for problem in row.problems:
            print(f"  {problem}", flush=True)
        rows[row.command] = asdict(row) | {"commit": commit()}
        keep("kills", [rows[name] for name in SHARES if name in rows])


if __name__ == "__main__":
    main()
