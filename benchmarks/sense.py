"""How often the checks of a training's numbers are right: ``python -m benchmarks.sense``.

Pairs at their defaults, on data that suit them, must have no note that is wrong; a fault made on purpose must be found.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.stored import fill_page
from ppl_vae.runs.sense import CHECKS

PAGE = Path(__file__).parents[1] / "docs" / "training.md"


def table() -> str:
    """The checks as a table of a page."""
    lines = ["| check | what is computed | threshold | because |", "|---|---|---|---|"]
    return "\n".join(lines + [f"| {c.name} | {c.computes} | {c.threshold:g} | {c.reason} |" for c in CHECKS])


def main() -> None:
    """Prints the table of cases, and stores it; ``--page`` writes the list of checks into the manual."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", action="store_true", help="only write the checks into docs/training.md")
    if parser.parse_args().page:
        PAGE.write_text(fill_page(PAGE.read_text(encoding="utf-8"), "checks", table()), encoding="utf-8")


if __name__ == "__main__":
    main()
