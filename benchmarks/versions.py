"""The tests under the oldest and the newest versions of every dependency: ``python -m benchmarks.versions``.

Makes an environment of the lower bounds of ``setup.cfg`` and one of the newest releases, without extras and with one
after another, runs the tests that reach them, and stores what passed.
"""

from __future__ import annotations

import argparse
import configparser
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.stored import keep, read

ROOT = Path(__file__).parents[1]

CORE = (
    "tests/data",
    "tests/distributions",
    "tests/nn",
    "tests/plugins",
    "tests/training",
    "tests/runs/test_config.py",
    "tests/runs/test_tensor_runs.py",
    "tests/runs/test_export_arviz.py",
    "tests/cli/test_train.py",
    "tests/evidence/test_importance.py",
)
"""Tests that reach every dependency."""

OF_EXTRAS = {
    "search": ("tests/cli/test_search.py", "tests/diagnostics/retrieval"),
    "fid": ("tests/diagnostics/images",),
    "parquet": ("tests/data/readers", "tests/cli/test_columns.py"),
}
"""Tests that an extra adds."""

RESOLUTIONS = {"oldest": "lowest-direct", "newest": "highest"}
"""How ``uv`` chooses the versions of an environment."""

IGNORED = {"oldest": ("-W", "ignore::DeprecationWarning", "-W", "ignore::FutureWarning"), "newest": ()}
"""Warnings that old packages cause in new ones that they require, such as Matplotlib 3.7 in pyparsing."""

UNPINNED = ("build", "mypy", "pytest-xdist", "ruff")
"""Tools of which any version serves."""


def requirements() -> tuple[list[str], dict[str, list[str]]]:
    """What ``setup.cfg`` requires, and what its extras add."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    extras = {name: text.split() for name, text in config["options.extras_require"].items()}
    return config["options"]["install_requires"].split(), extras


def name_of(requirement: str) -> str:
    """The package that is required."""
    return re.split(r"[<>=]", requirement)[0]


def install(python: Path, packages: list[str], resolution: str) -> str:
    """Installs packages; returns the end of the error, empty if there is none.

    Arguments:
        python: Python of the environment, beside which lies ``uv``, which can choose lower bounds.
        packages: Requirements.
        resolution: ``"lowest-direct"`` for the lower bound of each requirement, or ``"highest"``.
    """
    uv = [str(python.parent / "uv"), "pip", "install", "--quiet", "--python", str(python), "--only-binary", ":all:"]
    command = [*uv, "--resolution", resolution, *packages]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else " ".join(done.stderr.split()) or "failed"


def test(python: Path, paths: tuple[str, ...], environment: str) -> dict[str, Any]:
    """The numbers of tests that passed, failed and were skipped, and the names of those that failed."""
    options = ["-q", "-n", "0", "-p", "no:cacheprovider", "-rfE", *IGNORED[environment]]
    command = [str(python), "-m", "pytest", *options, *paths]
    begun = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    last = (done.stdout.splitlines() or [""])[-1]
    counts = {what: int(number) for number, what in re.findall(r"(\d+) (passed|failed|skipped|error)", last)}
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    wrong = counts.get("failed", 0) + counts.get("error", 0)
    return {
        "passed": counts.get("passed", 0),
        "failed": wrong or int(done.returncode not in (0, 1)),
        "skipped": counts.get("skipped", 0),
        "failures": failed[:20] or ([last] if done.returncode else []),
        "seconds": round(time.monotonic() - begun),
    }


def versions(python: Path, names: list[str]) -> dict[str, str]:
    """The versions that are installed."""
    code = f"import importlib.metadata as m, json; print(json.dumps({{n: m.version(n) for n in {names!r}}}))"
    found: dict[str, str] = json.loads(subprocess.check_output([str(python), "-c", code], text=True))
    return found


def main() -> None:
    """Prints a row for each environment, and stores them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instead", default="", help="versions that install here, as NAME==VERSION,...")
    parser.add_argument("--only", default=",".join(RESOLUTIONS), help="environments to make")
    parser.add_argument("--folder", type=Path, help="where the environments are made and kept; else they are not")
    parser.add_argument("--tests", nargs="*", default=CORE, help="tests to run without extras")
    options = parser.parse_args()
    required, extras = requirements()
    instead = {each.partition("==")[0]: each for each in options.instead.split(",") if each}
    rows: list[dict[str, Any]] = []
    for environment in options.only.split(","):
        with tempfile.TemporaryDirectory(prefix="versions-") as scratch:
            folder = (options.folder or Path(scratch)) / environment
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
            python = folder / "bin" / "python"
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", "uv"], check=True)
            bounded = [each for each in extras["test"] if each not in UNPINNED]
            for extra, added in {"": required, **{name: extras[name] for name in OF_EXTRAS}}.items():
                packages = [instead.get(name_of(each), each) for each in added]
                error = install(python, packages + ([] if extra else bounded), RESOLUTIONS[environment])
                error = error or install(python, list(UNPINNED), "highest")
                row: dict[str, Any] = {"environment": environment, "extra": extra or "none", "error": error}
                if not error:
                    row |= test(python, OF_EXTRAS.get(extra, tuple(options.tests)), environment)
                    row["versions"] = versions(python, [name_of(each) for each in added])
                rows.append(row)
                print(json.dumps(row), flush=True)
    others = [row for row in read("versions").get("rows", ()) if row["environment"] not in options.only.split(",")]
    keep("versions", sorted(others + rows, key=lambda row: list(RESOLUTIONS).index(row["environment"])))
    sys.exit(any(row["error"] or row["failed"] for row in rows))


if __name__ == "__main__":
    main()
