"""Engines compute what this process would: the same numbers, failures in words, and what they cannot do refused."""

import json
import os
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from joblib.externals.loky.process_executor import TerminatedWorkerError

from ppl_vae.plugins.discovery import available
from ppl_vae.plugins.extras import install
from ppl_vae.runs.engines.base import Engine, make_engine
from ppl_vae.runs.place import Place, Refusal, at_place
from ppl_vae.studies.report import Report
from ppl_vae.studies.study import Study
from tests.support.cli import flat, forkserver, invoke
from tests.support.engine_cells import compute, stored

OWN = '''
"""Begins with the last."""
from ppl_vae.runs.engines.base import Engine


class Backwards(Engine):
    """Begins with the last."""

    def results(self, tasks, folder):
        for at in reversed(range(len(tasks))):
            yield at, tasks[at]()
'''


class Here(Engine):
    """Computes as a worker would, but in this process."""

    def results(self, tasks, folder):
        return ((at, task()) for at, task in enumerate(tasks))


@pytest.mark.parametrize("name", ["dask", "ray"])
def test_a_cluster_gives_the_numbers_of_this_process_and_tries_again_what_failed(tmp_path, name):
    package = {"dask": "distributed", "ray": "ray"}[name]
    pytest.importorskip(package, reason=f"{name} is an extra: pip install 'ppl-vae[{name}]'")
    process = forkserver().Process(target=compute, args=(name, tmp_path))
    process.start()
    process.join()
    assert process.exitcode == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["table"] == stored(tmp_path / "here", make_engine())
    assert found["failed"] == {"refused": "not yet", "lost": "KeyError: 'lost'"}
    assert found["done"] == ["retried"] and found["again"] == ["retried"]
    assert "KeyError: 'lost'" in (tmp_path / "failing" / "logs" / "lost.log").read_text()
    if name == "dask":
        assert "has several threads" in found["threads"] and "start workers with --nthreads 1" in found["threads"]


def test_a_process_that_is_killed_costs_no_cell_that_has_ended(tmp_path, monkeypatch):
    class Killed:
        def __init__(self, **options):
            assert options == {"n_jobs": 2, "return_as": "generator_unordered"}

        def __call__(self, tasks):
            function, arguments, _ = list(tasks)[1]
            yield function(*arguments)
            raise TerminatedWorkerError

    monkeypatch.setattr("ppl_vae.runs.engines.local.Parallel", Killed)
    study = Study(tmp_path / "s", {}, engine=make_engine(jobs=2))
    done, failed = study.attempted({name: lambda: {"x": 1.0} for name in "abc"})
    assert list(done) == ["b"] and list(failed) == ["a", "c"]
    assert "a process was killed, perhaps for lack of memory" in failed["a"]


def test_workers_that_would_compute_something_else_refuse(tmp_path):
    (tmp_path / "experiment.json").write_text("{}")
    place = Place.here(tmp_path, "experiment.json")

    def reason(place):
        found = at_place(place, "a", int)
        assert isinstance(found, Refusal) and found.unfit
        return found.reason

    assert at_place(place, "a", int) == 0
    gone = replace(place, folder=tmp_path / "gone")
    words = f"does not see {tmp_path / 'gone'}: results are written into a folder that all machines share"
    assert words in reason(gone)
    assert "sees another" in reason(replace(place, content=b"[]"))
    assert "has another version of ppl-vae" in reason(replace(place, code="0"))
    with pytest.raises(ValueError, match="does not see .*: results are written into a folder"):
        list(Here().compute("cells", {"a": int, "b": int}, gone))


def test_a_task_has_folder_data_and_threads_of_the_process_that_sends_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PPL_VAE_DATA", "data")
    (tmp_path / "mark").touch()
    place = replace(Place.here(tmp_path, "mark"), threads=2)
    monkeypatch.delenv("PPL_VAE_DATA")
    monkeypatch.chdir("/")
    seen = at_place(place, "a", lambda: (Path.cwd(), os.environ["PPL_VAE_DATA"], torch.get_num_threads()))
    assert seen == (tmp_path, "data", 2)
    assert Path.cwd() == Path("/") and torch.get_num_threads() == 1


def test_cells_of_several_workers_are_counted(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("ppl_vae.training.progress.EVERY", 0.0)
    done, failed = Study(tmp_path / "s", {}, engine=Here()).attempted(
        {"a": lambda: {"x": 1.0}, "b": lambda: {"x": 2.0}}
    )
    assert len(done) == 2 and not failed
    assert "cells: 50%, 1 of 2 cells" in capsys.readouterr().err


def test_what_an_engine_cannot_do_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"the engine local takes no retry \(--retry\); leave it out, or take .* dask"):
        make_engine(retry=2)
    with pytest.raises(ValueError, match="takes no address"):
        make_engine(address="tcp://there")
    with pytest.raises(ValueError, match="no engine 'slurm'; choose from dask, local, ray"):
        make_engine("slurm")
    for name, package in (("dask", "distributed"), ("ray", "ray")):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(ValueError, match=f"engine {name} needs more packages .*{re.escape(install(name))}"):
            list(make_engine(name).results([], tmp_path))
    refused = invoke("experiment", "gmm", "--gpus", "0.5")
    assert refused.exit_code == 1 and "takes no gpus (--gpus)" in flat(refused.output)


def test_an_engine_of_ones_own_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("engines").mkdir()
    Path("engines/backwards.py").write_text(OWN)
    assert {"backwards", "dask", "local", "ray"} <= set(available("engines"))
    order = []
    study = Study(tmp_path / "s", {}, engine=make_engine("backwards"))
    monkeypatch.setattr("ppl_vae.runs.engines.base.wrap_non_picklable_objects", lambda task: task)
    done = study.together({name: lambda name=name: order.append(name) or {"x": 1.0} for name in "ab"})
    assert order == ["b", "a"] and list(done) == ["a", "b"]


def test_the_table_of_cells_keeps_every_bit_in_csv_and_parquet(tmp_path):
    pytest.importorskip("pyarrow", reason="Parquet is an extra: pip install 'ppl-vae[parquet]'")
    numbers = torch.rand(20, dtype=torch.float64) / 3
    study = Study(tmp_path / "s", {})
    study.together({f"c{i}": lambda x=x: {"x": x, "pointwise": torch.ones(2)} for i, x in enumerate(numbers)})
    study.finish(Report("T", []))
    written = tmp_path / "s" / "cells.csv"
    for table in (pd.read_csv(written), pd.read_parquet(written.with_suffix(".parquet"))):
        assert list(table) == ["cell", "x", "failed"]
        assert np.array_equal(table.x, numbers.numpy())
