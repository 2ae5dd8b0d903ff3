"""Every benchmark runs, in small."""

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch
from click.testing import CliRunner
from rich.table import Table

from benchmarks import endurance, estimators, evidence, growth, precision, reference, steps
from benchmarks.arithmetic import arithmetic
from benchmarks.peers.ours import Ours
from benchmarks.setting import Setting, dense, zipf
from tests.support.cli import forkserver

QUICK = ["--blocks", "2", "--seconds", "0.01", "--documents", "60", "--vocabulary", "30", "--json"]
SMALL = {
    "endurance": (
        endurance.main,
        ["--steps", "6", "--blocks", "2", "--documents", "60", "--vocabulary", "30", "--batch", "9", "--json"],
    ),
    "estimators": (
        estimators.main,
        ["--epochs", "1", "--repeats", "3", "--bits", "3", "--race-epochs", "2", "--seeds", "1", "--json"],
    ),
    "evidence": (evidence.main, ["--bits", "7", "--general", *QUICK]),
    "reference": (reference.main, ["--setting", "d1e2S2", *QUICK]),
    "growth": (growth.main, ["--size", "draws", "--most", "3", *QUICK]),
    "precision": (precision.main, ["--setting", "d1e2S1", "--steps", "4", "--width", "8", *QUICK]),
    "steps": (steps.main, ["--setting", "d1e2S2", "--peers", "ours,torch-arm", "--bits", "3", *QUICK]),
}
NOT_RUN = {
    "__init__",
    "arithmetic",
    "bills",
    "bits",
    "categorical",
    "clusters",
    "defaults",
    "disk",
    "environment",
    "faults",
    "gpu",
    "kills",
    "larger",
    "machine",
    "race",
    "reliability",
    "refined",
    "remedies",
    "sense",
    "setting",
    "stored",
    "versions",
}


def expect_estimators(rows, race):
    assert {row["estimator"] for row in rows} >= {"arm", "disarm+first_order", "loo+first_order:2", "local"}
    assert all(row["guide"] > 0 for row in rows)
    assert all(run["deviance_same_epochs"] > 0 for row in race for run in row["seeds"])
    assert race[0]["seeds"][0]["time_to_target_over_arm"] <= 1


def expect_endurance(rows):
    assert [row["steps"] for row in rows] == [3, 6]
    assert all(row["cpu_ms"] > 0 and row["resident_mb"] > 10 for row in rows)
    assert all(0 <= row["denormal"] < 1 for row in rows)


def expect_evidence(rows):
    assert [(row["path"], row["bound"]) for row in rows] == [
        (path, bound) for path in ("products", "densities") for bound in (False, True)
    ]
    assert all(row["largest_error"] < 1e-3 for row in rows)


def expect_reference(rows):
    assert all(row[part] > 0 for row in rows for part in ("flops", "bytes_per_second", "seconds_bf16"))


def expect_growth(rows):
    assert [row["value"] for row in rows[:-1]] == [1, 3]
    assert set(rows[-1]["exponents"]) == {"time", "memory"}


def expect_precision(rows):
    (row,) = rows
    assert row["time_over_float32"] > 0
    assert row["bound"] < 0
    assert all(0 <= row["error"][part] < row["noise"][part] for part in ("decoder", "guide"))


def expect_steps(rows):
    assert [row["peer"] for row in rows] == ["ours", "torch-arm"]
    assert rows[0]["time_over_ours"] == {"median": 1, "low": 1, "high": 1}
    for row in rows:
        # A tenth of the 60 documents is the corpus's test split, and the batch is what is left.
        assert row["documents_per_second"] == pytest.approx(row["batch"] * row["steps_per_second"])
        assert row["batch"] == 54
        assert row["time_over_ours"]["low"] <= row["time_over_ours"]["median"] <= row["time_over_ours"]["high"]
        assert row["peak_bytes"] >= row["start_bytes"] > 10**7


def test_none_is_left_out():
    folder = Path(__file__).parents[2] / "benchmarks"
    assert {p.stem for p in folder.glob("*.py")} - NOT_RUN == set(SMALL)


@pytest.fixture
def quick_start(monkeypatch):
    """Competitors begin as forks of a process that has imported the package, not each by importing it."""
    context = forkserver()
    monkeypatch.setattr("multiprocessing.get_context", lambda _: context)


@pytest.mark.parametrize("name", SMALL)
def test_runs_in_small(name, tmp_path, request):
    if name != "steps":  # whose competitors are started as a user starts them
        request.getfixturevalue("quick_start")
    rows = np.random.default_rng(0).poisson(0.5, (60, 30)) + np.eye(60, 30)
    scipy.sparse.save_npz(tmp_path / "x.npz", scipy.sparse.csr_matrix(rows))
    command, options = SMALL[name]
    result = CliRunner().invoke(command, [*options, "--corpus", str(tmp_path / "x.npz")], catch_exceptions=False)
    found = json.loads(result.stdout)
    globals()[f"expect_{name}"](**{part: found[part] for part in ("rows", "race") if part in found})


@pytest.mark.parametrize(
    ("command", "options"),
    [
        (steps.main, ("--blocks", "0")),
        (steps.main, ("--seconds", "-1")),
        (evidence.main, ("--bits", "0")),
        (endurance.main, ("--blocks", "0")),
        (endurance.main, ("--steps", "3", "--blocks", "4")),
        (estimators.main, ("--seeds", "0")),
        (precision.main, ("--steps", "0")),
    ],
)
def test_what_cannot_be_timed_is_refused(command, options):
    result = CliRunner().invoke(command, options)
    assert result.exit_code == 2 and "Invalid value" in result.output


def test_tables_hold_whole_numbers(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    table = Table(*(f"column {i}" for i in range(8)))
    table.add_row(*["0.00012345"] * 8)
    steps.show(table)
    assert capsys.readouterr().out.count("0.00012345") == 8


def test_a_peer_that_cannot_run_is_left_out_with_a_line(quick_start):
    options = ["--setting", "d0e1S1", "--peers", "ours,reference", "--bits", "0", *QUICK]
    result = CliRunner().invoke(steps.main, options, catch_exceptions=False)
    assert "note: d0 e1 S1: ours left out: bits must be at least 1, got 0" in result.stderr
    assert "skipped" in json.loads(result.stdout)["rows"][0]


def test_the_arithmetic_counts_the_parameters_there_are():
    x = zipf(50, 20)
    for setting in (Setting(bits=3), Setting(2, 2, bits=3, width=5)):
        model, guide = setting.pair(x)
        own = sum(p.numel() for module in (model, guide) for p in module.parameters())
        work = arithmetic(setting, 20, 100)
        assert work.parameters == own
    # Of the decoder two of 3 x 5, three of 5 x 5, three of 5 x 20; three
    # of the guide's 5 x 5 and of its 5 x 3.
    rows = 2 * setting.batch
    products = rows * (2 * 15 + 3 * 25 + 3 * 100) + setting.batch * (3 * 25 + 3 * 15)
    assert work.flops == 2 * products
    assert work.exponentials == rows * 20
    # One side of each pair alone, in its turn evaluated alone.
    assert arithmetic(setting, 20, 100, differentiated=1).flops == 2 * (
        products - setting.batch * (15 + 2 * 25 + 2 * 100)
    )
    assert arithmetic(setting, 20, 100, evaluated=1, differentiated=1).flops == 2 * (
        setting.batch * (2 * 15 + 3 * 25 + 3 * 100) + setting.batch * (3 * 25 + 3 * 15)
    )


def test_the_synthetic_corpus_looks_like_newsgroups():
    x = zipf(2000, 10_000)
    assert 125 < x.lengths.mean() < 138
    assert 78 < x.sizes.float().mean() < 88
    assert (dense(x[:5]).sum(1) == x.lengths[:5]).all()


def test_denormal_moments_are_counted():
    x = zipf(20, 20)
    peer = Ours(Setting(bits=3, batch=20), x)
    peer.step(x)
    assert endurance.denormal(peer) == 0
    state = next(iter(peer.trainer.optimizer.state.values()))
    whole = sum(m.numel() for s in peer.trainer.optimizer.state.values() for n, m in s.items() if n != "step")
    state["exp_avg"].view(torch.int32).flatten()[:2] = 5
    assert endurance.denormal(peer) == 2 / whole
