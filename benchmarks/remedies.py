"""What remedies bought: ``python -m benchmarks.remedies RUN`` stores the numbers that ``ppl-vae remedy RUN`` left.

They go to ``benchmarks/results/remedies.json``; ``python -m website.tables`` writes the table of the manual from them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.stored import keep

__all__ = ["rows"]

OVERALL = (("gain", "mean"), ("gain_se", "data_se"))


def rows(content: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each guide on each split.

    Arguments:
        content: What ``remedy.json`` holds.
    """
    found = []
    for split in ("validation", "test"):
        part = content[split] or {"families": {}}
        for guide in part["families"]:
            numbers = part[guide]
            row = {"split": split, "guide": guide, "data": part["data"], "evidence": part["evidence"]["mean"]}
            row |= {"elbo": numbers["elbo"]["mean"], "network": numbers["amortisation_gap"]["mean"]}
            row |= {"family": numbers["family_gap"]["mean"]}
            if "gain" in numbers:
                row |= {"gain": numbers["gain"]["mean"], "gain_se": numbers["gain"]["data_se"]}
            if guide in part["gain_over_all"]:
                row |= {f"{name}_over_all": part["gain_over_all"][guide][key] for name, key in OVERALL}
            if guide in part["seconds"]:
                row["seconds"] = part["seconds"][guide]
            found.append(row)
    return found


def main() -> None:
    """Stores the rows of a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    keep("remedies", rows(json.loads((parser.parse_args().run / "remedy.json").read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
