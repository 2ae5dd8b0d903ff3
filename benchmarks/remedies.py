"""What remedies bought: ``python -m benchmarks.remedies RUN...`` stores the numbers that ``ppl-vae remedy RUN`` left.

They go to ``benchmarks/results/remedies.json``, in place of those of the same model; ``python -m website.tables``
writes the tables of the manual from them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.stored import commit, keep, read

__all__ = ["rows"]

OVERALL = (("gain", "mean"), ("gain_se", "data_se"))


def rows(model: str, content: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each guide on each split.

    Arguments:
        model: Name of the model.
        content: What ``remedy.json`` holds.
    """
    found = []
    for split in ("validation", "test"):
        part = content[split] or {"families": {}}
        for guide in part["families"]:
            numbers = part[guide]
            row = {
                "model": model,
                "commit": commit(),
                "split": split,
                "guide": guide,
                "data": part["data"],
                "evidence": part["evidence"]["mean"],
            }
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
    """Stores the rows of runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+")
    found = list(read("remedies").get("rows", []))
    for run in parser.parse_args().runs:
        config, content = (json.loads((run / name).read_text("utf-8")) for name in ("config.json", "remedy.json"))
        model = config["model"]["name"]
        found = [row for row in found if row["model"] != model] + rows(model, content)
    keep("remedies", found)


if __name__ == "__main__":
    main()
