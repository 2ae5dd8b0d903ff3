"""The tables of docs/reliability.md from the stored results: ``python -m benchmarks.reliability``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.stored import fill_page, read

__all__ = ["PAGE", "page"]

PAGE = Path(__file__).parents[1] / "docs" / "reliability.md"


def page() -> str:
    """The page with its tables made anew."""
    text = PAGE.read_text(encoding="utf-8")
    for name, make in TABLES.items():
        content = read(name)
        text = fill_page(text, name, make(content) if content else "| not measured yet |\n|---|")
    return text


def markdown(heads: Sequence[str], rows: Sequence[Sequence[object]], numbers: int) -> str:
    """A table whose last columns are numbers."""
    line = "|" + "---|" * (len(heads) - numbers) + "---:|" * numbers
    shown = [" | ".join(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row) for row in rows]
    return "\n".join([f"| {' | '.join(heads)} |", line, *(f"| {row} |" for row in shown)])


def siege(content: dict[str, Any]) -> str:
    """Damaged files by form and outcome."""
    forms = sorted(content["forms"].items())
    outcomes = list(forms[0][1]["outcomes"])
    rows = [(name, sum(row["outcomes"].values()), *(row["outcomes"][each] for each in outcomes)) for name, row in forms]
    return markdown(("files", "mutants", *outcomes), rows, 1 + len(outcomes))


def kills(content: dict[str, Any]) -> str:
    """Kills by command."""
    rows = [(row["command"], row["kills"], row["recovered"], row["orphans"], row["commit"]) for row in content["rows"]]
    total = ("all", *(sum(row[column] for row in rows) for column in (1, 2, 3)), "")
    heads = ("command", "kills", "resumed to the same bits", "orphans", "commit")
    return markdown(heads, [*rows, total], 4)


def disk(content: dict[str, Any]) -> str:
    """Failing writes by command."""
    names = ("command", "writes", "failures", "ended_well", "said", "equal")
    heads = ("command", "writes", "failures", "ended well", "said what failed", "equal once there was room")
    return markdown(heads, [tuple(row[name] for name in names) for row in content["rows"]], 5)


def environment(content: dict[str, Any]) -> str:
    """Environments by command."""
    heads = list(content["rows"][0])
    rows = [[row[name].replace("\n", " ").replace("|", "/") for name in heads] for row in content["rows"]]
    return markdown(heads, rows, 0)


def versions(content: dict[str, Any]) -> str:
    """Tests passed by versions and extras."""
    rows = []
    for row in content["rows"]:
        packages = ", ".join(f"{name} {version}" for name, version in row.get("versions", {}).items())
        counts = [row.get(name, 0) for name in ("passed", "skipped", "failed")]
        rows.append((row["environment"], row["extra"], row["error"] or packages, *counts))
    return markdown(("versions", "extra", "packages", "passed", "skipped", "failed"), rows, 3)


TABLES = {"siege": siege, "kills": kills, "disk": disk, "environment": environment, "versions": versions}


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
