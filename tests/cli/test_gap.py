"""``ppl-vae gap`` and ``ppl-vae tightness`` of a trained run."""

import json
from pathlib import Path

import pytest

from ppl_vae.nn.checkpoint import Checkpoint
from ppl_vae.runs import gap as gap_runs
from ppl_vae.runs.open import open_run
from tests.support.cli import SMALL, flat, invoke, json_of, succeed, summary


def test_the_gap_of_a_run_is_split(trained):
    content = json_of("gap", "r")
    expected = summary("r")["splits"]["test"]
    assert content["evidence"]["mean"] == pytest.approx(expected["evidence"]["mean"], abs=1e-4)
    assert content["elbo"]["mean"] == pytest.approx(expected["elbo"]["mean"], abs=1e-4)
    parts = content["family_gap"]["mean"] + content["amortisation_gap"]["mean"]
    assert parts == pytest.approx(expected["gap"]["mean"], abs=1e-4)
    for name in ("gap-test.json", "gap-test.safetensors", "figures/gap-test.png"):
        assert Path("r", name).exists()
    assert "amortisation gap" in invoke("gap", "r", "--split", "train").output


def test_a_gap_is_taken_up_after_an_interruption(trained, monkeypatch):
    monkeypatch.setattr(gap_runs, "BLOCK", 15)
    options = ("--method", "ascent", "--steps", "20", "--draws", "10")
    whole = json_of("gap", "r", *options)
    calls, split_gap = [], gap_runs.split_gap

    def second_time_stops(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return split_gap(*args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(gap_runs, "split_gap", second_time_stops)
        stopped = invoke("gap", "r", *options)
    assert stopped.exit_code == 130
    assert "1 measured blocks are stored" in stopped.stderr
    assert json_of("gap", "r", *options) == whole
    assert not Path("r/partial/gap-test").exists()


def test_the_gap_of_long_codes_is_split_by_ascent(folder):
    succeed("train", *SMALL[:-4], "--bits", "20", "--epochs", "2", "--out", "r")
    result = succeed("gap", "r", "--data", "10", "--steps", "10", "--draws", "30", "--json")
    content = json.loads(Path("r/gap-test.json").read_text())
    assert content["best_of_family"]["method"] == "ascent of 10 steps from 8 starts"
    assert content["family_gap"]["bound"] == "between"
    assert content["gain_in_last_half_of_steps"]["se"] > 0
    assert "widest gaps" in result.stderr
    place = f"in Python the first of these is pv.load_run('r').data['test'][{content['worst'][0]}]"
    assert f"numbered from 0 in the test data; {place}" in flat(result.stderr)
    few = invoke("gap", "r", "--data", "10", "--method", "enumeration")
    assert "the latents have 1048576 joint states, more than 2^16; use the method 'ascent'" in flat(few.output)


def test_gaps_that_cannot_be_split_are_named(folder):
    succeed("train", *SMALL, "--epochs", "1", "--retrain", "--out", "r")
    assert "has no validation data; choose from train, test" in invoke("gap", "r", "--split", "validation").output
    succeed("gap", "r", "--split", "train")
    assert "is not a run folder" in invoke("gap", "nowhere").output
    for path in Path("r/checkpoints").iterdir():
        path.unlink()
    assert "has no trained state yet; finish it with" in flat(invoke("gap", "r").output)


def test_tightness_of_a_run_is_tested(trained):
    content = json_of("tightness", "r")
    assert (content["status"], content["method"]) == ("outside", "enumeration of 8 states")
    gap = json_of("gap", "r")
    assert content["family_gap"]["mean"] == pytest.approx(gap["family_gap"]["mean"], abs=1e-5)
    assert 0 < content["guide"]["affine"]["share"] < 0.5
    for name in ("tightness-test.json", "tightness-test.safetensors", "figures/tightness-test.png"):
        assert Path("r", name).exists()
    result = invoke("tightness", "r", "--split", "train", "--data", "50")
    assert "outside the family, by" in flat(result.output)
    assert "furthest from affine" in result.output
    for name in ("tightness", "gap"):  # data are numbered by their split
        printed = json_of(name, "r", "--split", "train", "--data", "50")
        stored = Checkpoint.read(Path("r", f"{name}-train.safetensors")).tensors
        gap = stored["guide_residual"] if name == "tightness" else stored["evidence"] - stored["elbo"]
        assert printed["worst"][0] == int(stored["rows"][gap.argmax()])
    tested = open_run("r").tightness(split="train", data=50)
    assert tested.examples[1].datum == tested.to_json()["worst"][0] == int(tested.sample[tested.worst(1)[0]])
