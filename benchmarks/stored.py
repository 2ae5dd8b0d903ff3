"""Results of benchmarks, stored as JSON beside the commit and the day they were made."""

from __future__ import annotations

import json
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

__all__ = ["FOLDER", "commit", "fill_page", "keep", "read"]

FOLDER = Path(__file__).parent / "results"


def commit() -> str:
    """The commit that is measured."""
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return found.stdout.strip()


def keep(name: str, rows: list[dict[str, Any]]) -> None:
    """Stores the rows of a result under its name."""
    content = {"commit": commit(), "date": f"{datetime.now(UTC):%Y-%m-%d}", "rows": rows}
    (FOLDER / f"{name}.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read(name: str) -> dict[str, Any]:
    """The stored result: ``commit``, ``date`` and ``rows``; empty if there is none."""
    path = FOLDER / f"{name}.json"
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return content


def fill_page(text: str, marker: str, table: str) -> str:
    """A text whose table below the comment ``<!-- marker -->`` is this one."""
    before, after = text.split(f"<!-- {marker} -->\n")
    rest = re.sub(r"\A\n(\|.*\n)*", "", after)
    end = f"\n{rest.lstrip()}" if rest.strip() else ""
    return f"{before}<!-- {marker} -->\n\n{table}\n{end}"
