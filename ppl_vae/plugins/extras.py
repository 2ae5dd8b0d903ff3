"""How an extra of this package is installed."""

from __future__ import annotations

import shlex
from pathlib import Path

__all__ = ["install"]


def install(extra: str) -> str:
    """The command that installs an extra: of a clone by its folder, since that is what is installed."""
    root = Path(__file__).parents[2]
    if not (root / "pyproject.toml").is_file():
        return f"pip install 'ppl-vae[{extra}]'"
    here = "." if root == Path.cwd() else str(root)
    return f"pip install -e {shlex.quote(f'{here}[{extra}]')}"
