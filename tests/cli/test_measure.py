"""The commands that measure a trained run: ``evidence``, ``sandwich``, ``information`` and ``curve``."""

import json
from pathlib import Path

import pytest

from ppl_vae.evidence.ais import AIS
from tests.support.added_method import ADDED_METHOD
from tests.support.cli import flat, invoke, json_of, succeed, summary


def test_evidence_is_measured_again_by_another_method(trained):
    exact = json_of("evidence", "r")
    assert exact["evidence"]["mean"] == pytest.approx(summary("r")["splits"]["test"]["evidence"]["mean"], abs=1e-4)
    sampled = json_of("evidence", "r", "--method", "importance", "--draws", "2000")
    assert sampled["evidence"]["bound"] == "lower"
    assert abs(sampled["elbo"]["mean"] - exact["elbo"]["mean"]) < 6 * sampled["elbo"]["se"]
    assert Path("r/evidence-test-importance.safetensors").exists()


def test_evidence_by_annealing_agrees_and_is_taken_up_after_an_interruption(trained, monkeypatch):
    exact = json_of("evidence", "r", "--data", "30")
    assert exact["why"] == "the discrete latents have 8 joint states"
    monkeypatch.setattr("ppl_vae.evidence.ais.CHAINS", 40)
    command = (
        "evidence",
        "r",
        "--method",
        "annealing",
        "--data",
        "30",
        "--temperatures",
        "60",
        "--draws",
        "8",
        "--json",
    )
    whole = json.loads(succeed(*command).stdout)
    assert whole["evidence"]["method"] == "annealing, 60 temperatures, 8 chains"
    assert abs(whole["evidence"]["mean"] - exact["evidence"]["mean"]) < 6 * whole["evidence"]["se"] + 0.02
    walk, calls = AIS.forward, []

    def second_time_stops(self, *args):
        calls.append(1)
        if len(calls) == 3:  # each block has two starts
            raise KeyboardInterrupt
        return walk(self, *args)

    with monkeypatch.context() as patched:
        patched.setattr(AIS, "forward", second_time_stops)
        stopped = invoke(*command)
    assert stopped.exit_code == 130
    assert "1 measured blocks are stored; the same command continues" in stopped.stderr
    again = succeed(*command)
    assert "resuming evidence-test-annealing: 1 blocks are measured already" in again.stderr
    assert json.loads(again.stdout) == whole
    assert not Path("r/partial/evidence-test-annealing").exists()


def test_a_sandwich_of_simulated_data(trained):
    content = json_of("sandwich", "r", "--data", "20", "--temperatures", "50")
    assert content["data"] == 20
    assert content["lower"]["mean"] - 6 * content["lower"]["se"] < content["upper"]["mean"] + 6 * content["upper"]["se"]
    assert Path("r/figures/sandwich-test.png").exists()


def test_the_calibration_of_a_run_is_tested(trained):
    content = json_of("calibrate", "r", "--simulated", "120", "--draws", "9")
    assert (content["data"], content["draws"], content["level"]) == (120, 9, 0.05)
    assert [test["site"] for test in content["tests"]] == [
        *["z"] * 6,
        "log p(x | z)",
        "log p(x, z)",
        "coverage, all latents",
    ]
    for name in ("calibration-test.json", "calibration-test.safetensors", "figures/calibration-test.png"):
        assert Path("r", name).exists()
    assert "120 simulated data" in succeed("calibrate", "r", "--simulated", "120", "--draws", "9").stdout


def test_the_information_of_a_run_is_measured(trained):
    content = json_of("information", "r")
    assert content["elbo"]["mean"] == pytest.approx(summary("r")["splits"]["test"]["elbo"]["mean"], abs=1e-4)
    assert content["elbo"]["mean"] == pytest.approx(-content["rate"]["mean"] - content["distortion"]["mean"])
    assert len(content["units"]) == 3
    for name in ("information-test.json", "information-test.safetensors", "figures/information-test.png"):
        assert Path("r", name).exists()
    assert "active units" in invoke("information", "r", "--split", "train", "--data", "30").output


def test_the_curve_of_a_run_is_drawn_with_its_guide_above(trained):
    content = json_of("curve", "r", "--betas", "0.5,1,2")
    assert content["betas"] == [2, 1, 0.5]
    assert content["beta 1"]["excess"]["mean"] == pytest.approx(summary("r")["splits"]["test"]["gap"]["mean"], abs=1e-4)
    assert Path("r/figures/curve-test.png").exists()
    annealed = succeed("curve", "r", "--method", "annealing", "--data", "4", "--chains", "4", "--temperatures", "5")
    assert "annealing, 5 temperatures, 4 chains" in flat(annealed.output)
    assert "weights of the rate are positive numbers, got [1.0, -2.0]" in invoke("curve", "r", "--betas", "1,-2").output
    assert "'one' is not a valid float" in invoke("curve", "r", "--betas", "one").output


def test_the_command_line_knows_an_added_method(trained):
    exact = json_of("evidence", "r", "--method", "enumeration")
    Path("evidence").mkdir()
    Path("evidence/mine.py").write_text(ADDED_METHOD)
    shown = succeed("evidence", "--help").output
    assert "mine Exact for one site of bits: a plain sum." in flat(shown)
    named, automatic = json_of("evidence", "r", "--method", "mine"), json_of("evidence", "r")
    Path("elsewhere").mkdir()
    Path("evidence/mine.py").rename("elsewhere/mine.py")
    by_path = json_of("evidence", "r", "--method", "elsewhere/mine.py")
    for result in (named, automatic, by_path):
        assert result["evidence"]["method"] == "mine"
        assert result["evidence"]["mean"] == pytest.approx(exact["evidence"]["mean"], abs=1e-4)
    assert Path("r/evidence-test-mine.json").exists()
    assert "mine" not in flat(succeed("evidence", "--help").output)
