"""Cells that an engine computes, in a process of its own: schedulers leave threads, sockets and warnings behind."""

import json
from contextlib import contextmanager

import torch

from ppl_vae.runs.engines.base import make_engine
from ppl_vae.studies.report import Report
from ppl_vae.studies.study import Study

SIDES = 10**6


def cells():
    """Functions that a worker cannot import by name."""
    sides = SIDES
    return {f"die-{i}": lambda: {"throws": torch.rand(3), "die": torch.randint(sides, ())} for i in range(3)}


def stored(folder, engine):
    """The table of all cells, as it is stored."""
    study = Study(folder, {}, engine=engine)
    study.together(cells(), {cell: {"seed": at} for at, cell in enumerate(cells())})
    study.finish(Report("T", []))
    return (folder / "cells.csv").read_text()


@contextmanager
def cluster(name):
    """One worker, as near as can be."""
    if name == "dask":
        from distributed import LocalCluster

        each = {"n_workers": 1, "processes": False, "dashboard_address": ":0", "silence_logs": 50}
        with LocalCluster(threads_per_worker=1, **each) as one, LocalCluster(threads_per_worker=2, **each) as two:
            yield one.scheduler_address, two.scheduler_address
    else:
        import ray

        ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        yield None, None
        ray.shutdown()


def compute(name, folder):
    """Writes what is found into ``found.json``."""

    def at_first(error):
        place = folder / error.__name__
        place.write_text(f"{place.read_text() if place.exists() else ''}x")
        if place.read_text() == "x":
            raise error("not yet")
        return {"x": 2.0}

    def always():
        raise KeyError("lost")

    with cluster(name) as (address, threaded):
        engine = make_engine(name, address=address, retry=1)
        found = {"table": stored(folder / "table", engine)}
        study = Study(folder / "failing", {}, engine=engine)
        failing = {"retried": lambda: at_first(OSError), "refused": lambda: at_first(ValueError), "lost": always}
        done, found["failed"] = study.attempted(failing)
        found["done"] = list(done)
        found["again"] = list(study.attempted({"retried": always})[0])  # kept
        if threaded:
            try:
                list(make_engine(name, address=threaded).results([int], folder))
            except ValueError as error:
                found["threads"] = str(error)
    (folder / "found.json").write_text(json.dumps(found))
