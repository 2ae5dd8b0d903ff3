"""The cells of an experiment as one tidy table: a row a cell, a column a number; CSV, and Parquet where it can be."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Any

from torch import Tensor

from ppl_vae.evidence.tables import in_short
from ppl_vae.plugins.extras import install
from ppl_vae.training.progress import log
from ppl_vae.training.run_folder import RunFolder

__all__ = ["cell_row", "reasons", "write_table"]


def cell_row(name: str, labels: Mapping[str, object], values: Mapping[str, Tensor], failed: str) -> dict[str, object]:
    """The row of a cell: its name, what it is of, its numbers (tensors of several are left out), and why it failed."""
    numbers = {key: value.item() for key, value in values.items() if value.numel() == 1}
    return {"cell": name, **labels, **numbers, "failed": failed}


def reasons(failed: Mapping[str, str]) -> list[str]:
    """Why cells failed, each reason once, after the names of its cells, the first ones of many."""
    names = dict[str, list[str]]()
    for name, reason in failed.items():
        names.setdefault(reason, []).append(name)
    return [f"{in_short(each, 3)}: {reason}" for reason, each in names.items()]


def write_table(run: RunFolder, rows: list[dict[str, object]]) -> None:
    """Writes ``cells.csv`` and ``cells.parquet`` into the folder of an experiment; numbers are kept to the last bit."""
    import pandas as pd

    if not rows:
        return
    frame: Any = pd.DataFrame(rows)
    frame = frame[[*(column for column in frame if column != "failed"), "failed"]]
    run.write("cells.csv", frame.to_csv(index=False).encode())
    content = BytesIO()
    try:
        frame.to_parquet(content, index=False)
    except ImportError:
        log(f"note: cells.csv has no cells.parquet beside it, which needs pyarrow: {install('parquet')}")
        return
    run.write("cells.parquet", content.getvalue())
