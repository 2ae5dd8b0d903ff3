"""Every benchmark runs, in small."""

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from click.testing import CliRunner

from benchmarks import estimators

SMALL = {
    "estimators": (
        estimators.main,
        ["--epochs", "1", "--repeats", "3", "--bits", "3", "--race-epochs", "2", "--seeds", "1", "--json"],
    )
}


def test_none_is_left_out():
    folder = Path(__file__).parents[2] / "benchmarks"
    assert {p.stem for p in folder.glob("*.py")} - {"__init__"} == set(SMALL)


@pytest.mark.parametrize("name", SMALL)
def test_runs_in_small(name, tmp_path):
    rows = np.random.default_rng(0).poisson(0.5, (60, 30)) + np.eye(60, 30)
    scipy.sparse.save_npz(tmp_path / "x.npz", scipy.sparse.csr_matrix(rows))
    command, options = SMALL[name]
    result = CliRunner().invoke(command, [*options, "--corpus", str(tmp_path / "x.npz")], catch_exceptions=False)
    rows = json.loads(result.stdout)["rows"]
    assert {row["estimator"] for row in rows} >= {"arm", "disarm+first_order", "loo+first_order:2", "local"}
    assert all(row["guide"] > 0 for row in rows)
    race = json.loads(result.stdout)["race"]
    assert all(run["deviance_same_epochs"] > 0 for row in race for run in row["seeds"])
    assert race[0]["seeds"][0]["time_to_target_over_arm"] <= 1
