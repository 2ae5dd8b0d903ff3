"""A training that ends while its validation metric rises is told to go on; one that has settled is not."""

import json

import numpy as np
import pytest
import torch
from scipy.stats import linregress

import ppl_vae as pv
from ppl_vae.training.undertraining import undertrained


def rows(values, metric="elbo"):
    return [{"epoch": epoch, f"validation_{metric}": value} for epoch, value in enumerate(values, 1)]


def test_the_rise_and_its_error_are_those_of_a_fitted_line():
    values = np.log(np.arange(1, 61)) + 0.01 * np.random.default_rng(0).normal(size=60)
    line = linregress(np.arange(6), values[-6:])
    rise, text = undertrained(rows(values), "elbo", 60, [(60, 1)])
    assert rise == pytest.approx(5 * line.slope)
    assert f"(by {5 * line.slope:.2g} +- {5 * line.stderr:.1g} nats per datum in the last 6 of 60 epochs)" in text
    assert text.endswith("--epochs 120 (epochs=120 in Python)")
    phases = [(50, 1), (10, 10)]
    text = undertrained(rows(values, "evidence"), "evidence", 57, phases)[1]
    assert "--epochs 100x1,20x10 (epochs='100x1,20x10' in Python)" in text


@pytest.mark.parametrize(
    ("values", "best", "schedule"),
    [
        (np.arange(60.0), 50, [(60, 1)]),  # the best epoch was before
        (np.arange(60.0), 60, [(80, 1)]),  # stopped by patience
        (np.arange(4.0), 4, [(4, 1)]),  # too few to fit a line
        (np.arange(60) * 0.0019, 60, [(60, 1)]),  # 0.0095 nats in six epochs
        (np.tile([0.0, 1.0, -1.0, 0.1, 0.9, 0.0], 10), 60, [(60, 1)]),  # noise
    ],
)
def test_what_has_settled_or_ended_early_is_left_alone(values, best, schedule):
    assert undertrained(rows(values), "elbo", best, schedule) is None
    assert undertrained(rows(np.arange(60.0)), "", 60, [(60, 1)]) is None


def test_the_summary_of_a_short_training_says_so(tmp_path):
    x = 3 + torch.randn(100, 2, generator=torch.Generator().manual_seed(0))
    options = {"latents": 1, "guide_width": 4, "evidence_draws": 2, "epochs": 5}
    run = pv.train("ppca", "mean_field", x, out=tmp_path / "r", **options)
    stored = json.loads((tmp_path / "r" / "summary.json").read_text())
    found = run.summary.checks[0]
    assert found.check == "training too short" and "--epochs 10 (epochs=10 in Python)" in found.note
    assert found.note in stored["warnings"] and found.note == stored["checks"][0]["note"]
    assert f"note: {found.note}" in str(run.summary)
