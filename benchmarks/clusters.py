"""A small sweep on two-node clusters of Dask and Ray, a worker killed in mid-cell: ``python -m benchmarks.clusters``.

Each cluster runs on loopback addresses of this machine, its nodes as processes of their own. Once a cell trains, the
process that trains it is killed. The sweep must end with the table and the values of this machine alone, bit for bit,
and nothing may have been computed again but that cell. Needs ``pip install -e '.[dask,ray,parquet]'``.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from benchmarks.stored import keep

__all__ = ["CLUSTERS", "Cluster", "compare", "run"]

SWEEP = """
title = "Four cells"
seeds = 1
[train]
model = "gmm"
corpus = "gaussians"
epochs = "{epochs}"
evidence_data = 100
guide_width = 32
batch_size = 1000
[grid]
beta = [0.5, 2.0]
[families.factorised]
[families.whole]
guide = "full"
[measure]
data = 50
codes = 50
"""
PATIENCE = 1800.0
"""Seconds in which a cell must have begun to train."""

Cluster = Callable[[Path, ExitStack], str]
"""Starts two nodes, which end with the stack, and returns the address."""


def begin(stack: ExitStack, *command: str) -> subprocess.Popen[bytes]:
    """A process that ends with the stack."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([sys.executable, "-m", *command], **quiet)
    stack.callback(process.wait)
    stack.callback(process.terminate)
    return process


def dask(folder: Path, stack: ExitStack) -> str:
    """A scheduler and two workers, each on an address of its own, as the commands of Dask start them."""
    file = folder / "scheduler.json"
    begin(
        stack,
        "dask",
        "scheduler",
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--no-dashboard",
        "--scheduler-file",
        str(file),
    )
    while not file.exists() or not file.read_text().endswith("}"):
        time.sleep(0.1)
    address: str = json.loads(file.read_text())["address"]
    for host in ("127.0.0.2", "127.0.0.3"):
        begin(stack, "dask", "worker", address, "--host", host, "--nthreads", "1", "--no-nanny", "--no-dashboard")
    return address


def ray(folder: Path, stack: ExitStack) -> str:
    """A head and a second node of one core each."""
    from ray.cluster_utils import Cluster as Nodes

    nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    stack.callback(nodes.shutdown)
    nodes.add_node(num_cpus=1)
    nodes.wait_for_nodes()
    return str(nodes.address)


CLUSTERS: dict[str, Cluster] = {"dask": dask, "ray": ray}
PACKAGES = {"dask": "distributed", "ray": "ray"}


def experiment(folder: Path, out: str, *options: str) -> list[str]:
    """The command of the sweep."""
    command = [sys.executable, "-m", "ppl_vae", "experiment", str(folder / "sweep.toml"), "--out", str(folder / out)]
    return [*command, "--device", "cpu", *options]


def trains(out: Path) -> tuple[str, int, int] | None:
    """A cell that trains, its process, and how many epochs it has written; None if there is none."""
    for lock in out.glob("runs/*/.lock"):
        run = lock.parent
        metrics, summary = run / "train-metrics.jsonl", run / "summary.json"
        if metrics.exists() and not summary.exists():
            epochs = len(metrics.read_text().splitlines())
            with suppress(ValueError, OSError):  # it is being written, or has just been removed
                return run.name, int(json.loads(lock.read_text())["process"]), epochs
    return None


def stored(out: Path) -> dict[str, tuple[int, bytes]]:
    """Times and contents of the values of all cells."""
    return {file.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in sorted(out.glob("values/*"))}


@contextmanager
def killed(out: Path, sweep: subprocess.Popen[bytes], row: dict[str, Any]) -> Iterator[None]:
    """Kills the process of a cell in the middle of its training, once another cell has ended."""
    deadline = time.monotonic() + PATIENCE
    while not (cell := trains(out)) or not stored(out):
        if time.monotonic() > deadline or sweep.poll() is not None:
            raise SystemExit(f"no cell trains in {out}")
        time.sleep(0.05)
    before = stored(out)
    os.kill(cell[1], signal.SIGKILL)
    row |= {"killed": cell[0], "epochs_written": cell[2], "ended_before": len(before)}
    yield
    after = stored(out)
    row["computed_again"] = sum(after[name] != known for name, known in before.items())


def run(engine: str, folder: Path) -> dict[str, Any]:
    """The sweep on one cluster, with a kill."""
    row: dict[str, Any] = {"engine": engine, "version": version(PACKAGES[engine]), "nodes": 2}
    with ExitStack() as stack:
        address, out = CLUSTERS[engine](folder, stack), folder / engine
        begun = time.monotonic()
        command = experiment(folder, engine, "--engine", engine, "--address", address)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        with killed(out, process, row):
            code = process.wait()
        row |= {"exit": code, "seconds": round(time.monotonic() - begun, 1)}
    return row | compare(folder / "local", out)


def compare(here: Path, there: Path) -> dict[str, Any]:
    """Whether table and values are the same, byte by byte."""
    tables = {
        name: (here / name).read_bytes() == (there / name).read_bytes() for name in ("cells.csv", "cells.parquet")
    }
    ours, theirs = ({name: content for name, (_, content) in stored(out).items()} for out in (here, there))
    return {"cells": len(ours), "same_table": all(tables.values()), "same_values": ours == theirs}


def main() -> None:
    """Runs all, prints a row an engine, and stores them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engines", default=",".join(CLUSTERS))
    parser.add_argument("--epochs", type=int, default=60, help="of each cell")
    parser.add_argument("--keep", action="store_true", help="store the result")
    asked = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.getcwd(), os.environ.get("PYTHONPATH")]))
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "sweep.toml").write_text(SWEEP.format(epochs=asked.epochs))
        begun = time.monotonic()
        subprocess.run(experiment(folder, "local", "--threads", "1"), check=True, stdout=subprocess.DEVNULL)
        alone = {"engine": "local", "nodes": 1, "seconds": round(time.monotonic() - begun, 1)}
        rows.append(alone | {"machine": machine()})
        for engine in asked.engines.split(","):
            rows.append(run(engine, folder))
            print(json.dumps(rows[-1]))
    if asked.keep:
        keep("clusters", rows)


if __name__ == "__main__":
    main()
