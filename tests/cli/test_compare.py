"""``ppl-vae compare``: runs of one corpus side by side."""

import shutil
from pathlib import Path

import pytest

from tests.support.cli import SMALL, flat, invoke, json_of, succeed, summary

RUNS = (("bound", "elbo"), ("best", "likelihood"))


@pytest.fixture(scope="module")
def two_runs(topics):
    """Two runs of one model, on the bound and on the likelihood, which no test writes into."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(topics)
        for name, objective in RUNS:
            options = ("--epochs", "30", "--learning-rate", "0.02", "--objective", objective)
            succeed("train", *SMALL, *options, "--out", name)
    return topics


@pytest.fixture
def trained(folder, two_runs):
    """A working folder with copies of the two runs."""
    for name, _ in RUNS:
        shutil.copytree(two_runs / name, name)
    return folder


def test_runs_are_compared_from_what_was_measured_before(trained, monkeypatch):
    content = json_of("compare", "bound", "best")
    bound, best = content["A"], content["B"]
    assert (bound["objective"], best["objective"], bound["optimum"]) == ("elbo", "likelihood", "best")
    for row, run in ((bound, "bound"), (best, "best")):
        expected = summary(run)["splits"]["test"]
        for number in ("elbo", "evidence", "gap"):
            assert row[number]["mean"] == pytest.approx(expected[number]["mean"], abs=1e-6)
        assert row["deviance"] == pytest.approx(expected["deviance"], abs=1e-6)
        parts = row["family_gap"]["mean"] + row["amortisation_gap"]["mean"]
        assert parts == pytest.approx(expected["gap"]["mean"], abs=1e-4)
    for split in ("train", "test"):
        ends = [summary(run)["splits"][split]["evidence"]["mean"] for run in ("bound", "best")]
        difference = ends[1] - ends[0]
        assert bound["approximation_error"][split]["mean"] == pytest.approx(difference, abs=1e-5)
        assert bound["approximation_error"][split]["se"] > 0
    assert Path("bound/compare-test.json").exists()
    assert Path("bound/figures/compare-test.png").exists()

    def measure_again(*args, **kwargs):
        raise AssertionError("measured again")

    monkeypatch.setattr("ppl_vae.runs.compare.measure_and_save", measure_again)
    monkeypatch.setattr("ppl_vae.runs.stored.measure_evidence", measure_again)
    monkeypatch.setattr("ppl_vae.runs.compare.open_run", measure_again)
    monkeypatch.setattr("ppl_vae.runs.stored.open_run", measure_again)
    assert "approximation error, train" in succeed("compare", "bound", "best").output
    # Another state than that of the run is measured afresh.
    path = Path("bound/checkpoints/train-best.safetensors")
    path.write_bytes(Path("best/checkpoints/train-best.safetensors").read_bytes())
    assert "measured again" in invoke("compare", "bound", "best").output


def test_unfinished_runs_are_measured_for_a_comparison(trained):
    Path("bound/summary.json").unlink()
    content = json_of("compare", "best", "bound")
    assert any("B: training is not finished" in line for line in content["warnings"])
    assert content["B"]["deviance"] is not None
    assert Path("bound/evidence-test-auto.safetensors").exists()
    assert Path("bound/evidence-train-auto.safetensors").exists()


def test_runs_that_cannot_be_compared_are_named(trained):
    succeed("train", *SMALL, "--epochs", "1", "--vocabulary", "30", "--out", "fewer")
    succeed("train", *SMALL, "--epochs", "1", "--retrain", "--out", "again")

    def refused(*args):
        result = invoke("compare", *args)
        assert "Traceback" not in result.output
        return flat(result.output)

    assert "bound and fewer were trained on different data or splits" in refused("bound", "fewer")
    assert "vocabulary 30" in refused("bound", "fewer")
    assert "a comparison takes 2 to 26 runs, got 1" in refused("bound")
    assert "is not a run folder" in refused("bound", "nowhere")
    assert "compare on test" in refused("bound", "again", "--split", "train")
    assert "not compared on training data" in refused("bound", "again")
    assert "again has no validation data" in refused("again", "bound", "--split", "validation")
