"""``ppl-vae gap RUN --ladder``: other guides fitted to the model of a run."""

import shutil
from pathlib import Path

import pytest
import torch

from ppl_vae.diagnostics.gap.ladder import ladder
from ppl_vae.runs.open import open_run
from tests.support.cli import SMALL, flat, invoke, json_of, succeed

LADDER = ("gap", "r", "--ladder", "linear_counts, mean_field, full", "--data", "30", "--epochs")


def test_a_ladder_of_guides_is_fitted_to_the_model_of_a_run(folder):
    succeed("train", *SMALL, "--epochs", "3", "--learning-rate", "0.01", "--out", "r")
    before = Path("r/checkpoints/train-best.safetensors").read_bytes()
    content = json_of(*LADDER, "3")
    assert list(content["families"]) == ["linear_counts", "mean_field", "full"]
    full, evidence = content["full"], content["evidence"]
    assert evidence["bound"] == "exact"
    assert full["family_gap"]["mean"] == 0
    steps = sum(content[name]["step"]["mean"] for name in ("mean_field", "full"))
    total = full["elbo"]["mean"] - content["linear_counts"]["elbo"]["mean"]
    assert steps == pytest.approx(total, abs=1e-4)
    for name in ("ladder-test.json", "ladder-test.safetensors", "figures/ladder-test.png"):
        assert Path("r", name).exists()
    assert Path("r/checkpoints/train-best.safetensors").read_bytes() == before
    assert "step up" in invoke(*LADDER, "3").output  # the fits are there already
    # Another state of the model: the fits no longer belong to it.
    succeed("train", *SMALL, "--epochs", "3", "--seed", "1", "--out", "s")
    Path("s/ladder").symlink_to(Path("r/ladder").resolve())
    assert "belongs to another state of the run's model" in flat(invoke("gap", "s", *LADDER[2:], "3").output)


def test_an_interrupted_ladder_is_taken_up(trained, interrupt):
    shutil.copytree("r", "whole")
    succeed("gap", "whole", *LADDER[2:], "3")
    interrupt(45)  # nine steps an epoch: in the second guide
    stopped = invoke(*LADDER, "3")
    assert stopped.exit_code == 130
    assert "the same command continues" in stopped.output
    assert Path("r/ladder/linear_counts").exists()
    succeed(*LADDER, "3")
    assert Path("r/ladder-test.json").read_text() == Path("whole/ladder-test.json").read_text()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--ladder", "linear_counts,linear_counts"), "each guide of a ladder is named once"),
        (("--ladder", "linear"), "there is no guide 'linear'; choose from"),
        (("--epochs", "3"), "name them with --ladder"),
        (("--ladder", "full", "--epochs", "x"), "epochs are a number of at least 1, or phases"),
        (("--steps", "1"), "1 is not in the range x>=4"),
    ],
)
def test_mistakes_with_ladders_are_named(trained, args, words):
    result = invoke("gap", "r", *args)
    assert result.exit_code in (1, 2)
    assert words in flat(result.output), result.output


def test_a_ladder_takes_fitted_guides_beside_names(trained):
    run = open_run("r")

    def twin(x):
        run.guide(x)

    found = run.gap(ladder=[twin, run.guide], data=10)
    assert list(found.rungs) == ["twin", "LinearCounts"]
    assert torch.equal(found.rungs["twin"].elbo.pointwise, found.rungs["LinearCounts"].elbo.pointwise)
    assert not Path("r/ladder").exists()
    with pytest.raises(ValueError, match=r"'full' is no fitted guide; .*run.gap\(ladder=\['full'\]\)"):
        ladder(run.model, {"full": "full"}, run.data["test"])
