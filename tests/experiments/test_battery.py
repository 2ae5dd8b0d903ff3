"""Every experiment runs in small, and says what it found."""

import json

import pytest

from ppl_vae.studies.experiments import Experiments, find_experiment, run_experiment

NAMES = sorted(Experiments.take().lines)


@pytest.mark.parametrize("name", NAMES)
def test_has_the_three_presets_and_a_line(name):
    found = find_experiment(name)
    assert {"smoke", "cpu", "paper"} <= set(found.presets)
    assert 20 < len(found.summary) < 150


@pytest.mark.parametrize("name", NAMES)
def test_runs_in_small_and_keeps_what_it_did(name, tmp_path):
    report = run_experiment(name, "smoke", tmp_path / "out", None, "cpu")
    kept = json.loads((tmp_path / "out" / "report.json").read_text())
    assert kept == json.loads(json.dumps(report.to_json()))
    assert kept["rows"] and kept["claims"]
    figures = {path.suffix for path in (tmp_path / "out" / "figures").iterdir()}
    assert figures == {".png", ".pdf"}
    # What does not depend on a training cut short must hold at any size.
    exact = [decision for decision in report.decisions if "in the limit" in decision.claim.text]
    assert all(decision.answer == "held" for decision in exact), [str(decision) for decision in exact]
    again = run_experiment(name, "smoke", tmp_path / "out", None, "cpu")
    assert again.to_json() == report.to_json()
