"""Mistakes end in a line that says what is wrong and what to do."""

import sys
from pathlib import Path

import pytest
import torch

from ppl_vae.cli.main import main
from ppl_vae.training.progress import Reporter
from tests.support.cli import SMALL, flat, invoke


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("train",), "name a model, such as models/text.py"),
        (("train", "txet"), "there is no model 'txet'; choose from"),
        (("train", "text", "--guide", "e1"), "there is no guide 'e1'; choose from"),
        (("train", "text", "--estimator", "amr"), "there is no estimator 'amr'; choose from auto, "),
        (("train", "text", "--corpus", "20nws"), "20nws"),
        (("train", "text", "--epochs", "many"), "epochs are a number of at least 1, or phases such as 1000x1,500x10"),
        (("train", "text", "--optimizer", "Adm"), "unknown optimizer 'Adm'; choose from"),
        (("train", "text", "--optimizer", "adm"), "; did you mean Adam?"),
        (("train", "text", "--lr", "1"), "; did you mean --learning-rate?"),
        (("evidence", "r", "--temps", "9"), "--temperatures"),
        (("train", "text", "--bits", "0", "--corpus", "topics.npz"), "bits must be at least 1, got 0"),
        (("train", "text", "--bits", "two"), "'two' is not a valid integer"),
        (("train", "text", "--resume", "nowhere"), "leave out"),
        (("train", "--resume", "nowhere"), "is not a run folder"),
        (("train", "text", "--batch-size", "0"), "batch size must be at least 1"),
        (("train", "text", "--learning-rate", "-1"), "the learning rate must be a positive finite number, got -1"),
        (("train", "text", "--decay", "slow"), "'slow' is not one of 'none', 'linear', 'cosine'"),
        (("train", "text", "--corpus", "gaussians"), "model text reads documents, but gaussians holds tensors"),
        (("train", "text", "--clip", "-1"), "clip must be a finite number, at least 0, got -1; 0 turns it off"),
        (("train", "text", "--clip", "nan"), "clip must be a finite number, at least 0, got nan; 0 turns it off"),
        (
            ("train", "text", "--learning-rate", "inf"),
            "a positive finite number, got inf; 0.001 is the default",
        ),
        (("train", "text", "--seed", "99999999999999999999"), "the seed must lie in"),
        (("train", "text", "--evidence-draws", "1"), "1 is not in the range x>=2"),
        (("train", "text", "--draws", "0"), "0 is not in the range x>=1"),
        (("train", *SMALL, "--estimator", "enumerate", "--control", "first_order"), "it takes no control variate"),
        (("train", "text", "--optimizer", "SparseAdam"), "unknown optimizer 'SparseAdam'"),
        (("train", "models/txt.py"), "there is no file models/txt.py"),
        (("train", "text", "--corpus", "topics.npz", "--out", "topics.npz"), "choose another --out"),
        (("tain",), "No such command 'tain'"),
        (("list", "guide"), "; did you mean guides?"),
        (("train", "txt.py"), "nor a shipped model of that name; did you mean text?"),
    ],
)
def test_mistakes_are_named(folder, args, words):
    result = invoke(*args)
    assert result.exit_code in (1, 2)
    assert words in flat(result.output), result.output
    assert "Traceback" not in result.output
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    "args",
    [
        ("train", "nosuch"),
        ("train", "gmm", "--corpus", "nosuch.npz"),
        ("generator", "nosuch"),
        ("data", "pack", "nosuch", "--out", "p"),
        ("experiment", "nosuch"),
        ("gap", "nosuch"),
        ("train", "--resume", "nosuch"),
    ],
)
def test_what_is_named_and_not_there_is_a_fault_of_usage(folder, args):
    assert invoke(*args).exit_code == 2


def test_absent_devices_are_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    result = invoke("train", "text", "--device", "cuda")
    assert result.exit_code == 2
    assert "has no cuda; use --device cpu" in result.output


def test_a_full_device_is_named_with_the_remedy(folder, monkeypatch):
    def full(**_):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB. See the documentation")

    monkeypatch.setattr("ppl_vae.runs.config.load_corpus", full)
    result = invoke("train", *SMALL, "--out", "r")
    assert result.exit_code == 1
    words = "the device's memory is full (CUDA out of memory); take a smaller --batch-size, or --device cpu"
    assert words in flat(result.output)


def test_closed_streams_are_no_error(monkeypatch):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)  # what Python makes of "2>&-"
    with pytest.raises(SystemExit) as stopped:
        main.main(["list", "--help"])
    opened = [sys.stdout, sys.stderr]
    Reporter("work", 1).advance(1)
    for stream in opened:
        stream.close()
    assert stopped.value.code == 0
