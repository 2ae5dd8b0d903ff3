"""Guides refined for each datum: ``python -m benchmarks.refined RUN...`` stores what ``evidence --refine`` found.

The numbers go to ``benchmarks/results/refined.json``, a row for each run, test data before and after;
``python -m website.tables`` writes the table of the manual from them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.stored import keep

__all__ = ["row"]


def row(run: Path, method: str = "importance") -> dict[str, Any]:
    """Bound, evidence and deviance of a run's test data, and those of its refined guide.

    The deviance is the saturated log-likelihood minus the ELBO, so that both change by the same.
    """
    config, summary, refined = (
        json.loads((run / name).read_text(encoding="utf-8"))
        for name in ("config.json", "summary.json", f"refined-test-{method}.json")
    )
    before = summary["splits"]["test"]
    return {
        "guide": config["guide"]["name"],
        "data": refined["data"],
        "how": refined["elbo"]["method"],
        "deviance": before["deviance"],
        "refined_deviance": before["saturated"] - refined["elbo"]["mean"],
        **{
            f"{when}{name}": found[name]["mean"]
            for when, found in (("", before), ("refined_", refined))
            for name in ("elbo", "evidence")
        },
    }


def main() -> None:
    """Stores a row for each run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+")
    keep("refined", [row(run) for run in parser.parse_args().runs])


if __name__ == "__main__":
    main()
