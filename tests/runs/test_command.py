"""The command that a report prints makes the configuration of its run, by the command line's own parser."""

import ast
import shlex
from pathlib import Path

import numpy as np
import pytest

from ppl_vae.cli.options import was_given
from ppl_vae.cli.train import train
from ppl_vae.runs.command import train_command
from ppl_vae.runs.options import run_config
from tests.support.pair_files import LINE


def from_command(command):
    """The configuration that a command of ``ppl-vae train`` makes."""
    words = shlex.split(command)
    assert words[:2] == ["ppl-vae", "train"]
    with train.make_context("train", words[2:]) as ctx:
        given = {name: value for name, value in ctx.params.items() if was_given(ctx, name)}
    return run_config(**given, device="cpu")


@pytest.mark.parametrize(
    "pair, options",
    [
        (("text", "linear_counts"), {"bits": 3, "epochs": 3, "vocabulary": 100, "validation": 0.2, "seed": 4}),
        (("gmm", "full"), {"epochs": "3x1,2x4", "beta": 2, "retrain": True, "estimator": "arm", "control": "none"}),
        (
            ("image", "convolutional"),
            {"corpus": "mnist", "image_size": 8, "dequantise": True, "guide_blocks": 2},
        ),
        (("gmm", "mean_field"), {"objective": "likelihood", "draws": 7, "clip": 0.0, "guide_width": 7, "patience": 0}),
        (("line.py", "mean_field"), {"corpus": "x.npy", "bias": False, "depth": 0, "name": "it's; rm -rf *"}),
    ],
)
def test_the_command_of_a_run_makes_its_configuration(tmp_path, monkeypatch, pair, options):
    monkeypatch.chdir(tmp_path)
    Path("line.py").write_text(LINE)
    np.save("x.npy", np.zeros((9, 2), np.float32))
    config = run_config(*pair, device="cpu", **options)
    assert from_command(train_command(config)) == config


def test_an_option_that_is_none_is_given_in_python(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("line.py").write_text(LINE)
    np.save("x.npy", np.zeros((9, 2), np.float32))
    config = run_config("line.py", "mean_field", corpus="x.npy", depth=None, seed=2, device="cpu")
    command = train_command(config)
    assert "depth=None" in command and "seed=2" in command
    call = ast.parse(command, mode="eval").body
    assert ast.unparse(call.func) == "ppl_vae.train"
    given = {each.arg: ast.literal_eval(each.value) for each in call.keywords}
    assert run_config(*map(ast.literal_eval, call.args), **given, device="cpu") == config
