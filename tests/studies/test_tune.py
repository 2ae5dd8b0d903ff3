"""Tuning: bad cells end early, the best on validation data is chosen, test data take no part, interruptions go on."""

import json
from pathlib import Path

import pytest

from ppl_vae.plugins.extras import install
from ppl_vae.training.run_folder import RunFolder
from tests.support.cli import flat, invoke, json_of, succeed

SWEEP = """
[train]
model = "models/text.py"
corpus = "topics.npz"
bits = 3
batch_size = 100
epochs = "9"
evidence_data = 20
[grid]
learning_rate = [0.03, 1e-6, 1e-7, 1e-8]
[families.linear]
guide = "linear_counts"
"""


@pytest.fixture
def sweep(folder, monkeypatch):
    pytest.importorskip("optuna", reason="Optuna is an extra: pip install 'ppl-vae[tune]'")
    Path("small.toml").write_text(SWEEP)
    return folder


def test_the_best_cell_on_validation_data_is_chosen_and_bad_ones_end_early(sweep, interrupt):
    interrupt(37)  # in the second trial
    stopped = invoke("experiment", "small.toml", "--tune", "elbo")
    assert stopped.exit_code == 130
    found = json_of("experiment", "small.toml", "--tune", "elbo")
    rows = {row["cell"]: row for row in found["rows"]}
    assert found["best"] == "linear-learning_rate-0.03-0" and len(rows) == 4
    assert rows[found["best"]]["state"] == "complete" and rows[found["best"]]["epochs"] == 9
    assert "pruned" in {row["state"] for row in rows.values()}
    assert all(row["epochs"] < 9 for row in rows.values() if row["state"] == "pruned")
    run = RunFolder(Path("runs/small-smoke/runs") / found["best"])
    scores = [row["validation_elbo"] for row in run.metrics("train-metrics")]
    assert rows[found["best"]]["validation"] == max(scores)
    again = succeed("experiment", "small.toml", "--tune", "elbo")
    assert "4 trials, by validation elbo" in again.output and "to be made" not in again.output


def test_the_evidence_of_validation_data_chooses_where_asked(sweep):
    Path("small.toml").write_text(SWEEP.replace("[0.03, 1e-6, 1e-7, 1e-8]", "[0.03]").replace('"9"', '"1"'))
    found = json_of("experiment", "small.toml", "--tune", "evidence")
    summary = json.loads((Path("runs/small-smoke/runs") / found["best"] / "summary.json").read_text())
    assert found["rows"][0]["validation"] == summary["splits"]["validation"]["evidence"]["mean"]


def test_what_cannot_be_tuned_is_refused(folder, monkeypatch):
    assert "gmm is no sweep: --tune chooses" in flat(invoke("experiment", "gmm", "--tune", "elbo").output)
    Path("small.toml").write_text(SWEEP)
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    refused = invoke("experiment", "small.toml", "--tune", "elbo")
    assert refused.exit_code == 1 and flat(install("tune")) in flat(refused.output)
