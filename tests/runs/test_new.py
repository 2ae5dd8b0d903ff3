"""New files of a pair: short, clean, and at work as they are."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ppl_vae as pv
from ppl_vae.plugins.user_files import load_file
from ppl_vae.runs.new.new import TEMPLATES
from tests.support.cli import flat, invoke, json_of, succeed

KINDS = ["documents", "counts", "points", "images", "table"]
FEW = ("--batch-size", "128", "--evidence-draws", "5", "--evidence-data", "10")


@pytest.fixture
def written(folder, request):
    """A folder ``mine`` with new files; documents and counts are those of small files."""
    np.save("cells.npy", np.random.default_rng(0).poisson(3.0, size=(60, 4)).astype(float))
    small = {"documents": ("--data-file", "topics.npz"), "counts": ("--data-file", "cells.npy")}
    options = small.get(request.param, ())
    return json_of("new", "mine", "--data", request.param, *options)


def test_there_is_a_template_of_every_kind():
    assert sorted(path.name for path in TEMPLATES.iterdir() if path.name != "__pycache__") == sorted(KINDS)


@pytest.mark.parametrize("written", KINDS, indirect=True)
def test_new_files_are_short_and_clean_pass_their_tests_and_train(written, monkeypatch):
    files = sorted(Path("mine").glob("*.py"))
    assert [file.name for file in files] == ["mine.py", "mine_guide.py", "test_mine.py"]
    assert all(len(file.read_text().splitlines()) < 60 for file in files)
    assert all("Choice" in file.read_text() for file in files[:2])
    if shutil.which("ruff") or Path(sys.executable).with_name("ruff").exists():
        for command in (["check", "--select", "B,E,F,UP,W", "--ignore", "E741"], ["format", "--check"]):
            done = subprocess.run(
                [sys.executable, "-m", "ruff", *command, "--line-length", "120", "mine"], capture_output=True, text=True
            )
            assert done.returncode == 0, done.stdout
    monkeypatch.syspath_prepend("mine")
    for name in ("mine", "mine_guide"):
        monkeypatch.setitem(sys.modules, name, None)  # forgotten afterwards
        del sys.modules[name]
    tests = [value for name, value in vars(load_file(Path("mine/test_mine.py"))).items() if name.startswith("test_")]
    assert len(tests) == 4
    for test in tests:
        test()
    commands = written["commands"]
    assert [command.split()[:2] for command in commands if command.startswith("ppl-vae")] == [
        ["ppl-vae", name] for name in ("check", "train", "gap", "report")
    ]
    done = invoke(*commands[0].split()[1:], "--evidence-draws", "5")
    assert done.exit_code == 0, done.output
    if not Path("mine/table.npz").exists():
        return  # a pair without a fault trains, as the tests of the check show
    train = commands[2].replace("--epochs 40", "--epochs 1").split()[1:]
    succeed(*train, *FEW)
    assert Path("runs/mine/summary.json").exists()
    succeed(*commands[3].replace("100", "5").split()[1:], "--evidence-draws", "5")
    succeed(*commands[4].split()[1:])
    assert Path("runs/mine/report.html").exists()


def test_data_of_the_user_are_what_the_new_model_trains_on(folder):
    np.save("cells.npy", np.random.default_rng(0).poisson(3.0, size=(50, 4)).astype(float))
    result = pv.new("mine", "counts", "cells.npy")
    files = ["mine.py", "mine_guide.py", "pytest.ini", "test_mine.py"]
    assert sorted(path.name for path in Path("mine").iterdir()) == files
    text = Path("mine/mine.py").read_text()
    assert f"    corpus = {json.dumps(str(Path('cells.npy').resolve()))}\n" in text and "pathlib" not in text
    assert "ppl-vae check mine/mine.py --guide mine/mine_guide.py" in str(result)


def test_nothing_is_overwritten_and_refusals_say_what_to_do(folder):
    succeed("new", "mine")
    before = Path("mine/mine.py").read_text()
    refusals = {
        ("mine",): "mine is there already, and nothing is overwritten; choose another name, or remove it",
        ("my-pair",): "'my-pair' is no name of a Python file; take letters, digits and underscores, such as my_pair",
        ("class",): "'class' is no name of a Python file",
        (
            "torch",
        ): "'torch' is the name of a package of Python, which the new file would hide; choose another, such as",
        ("a", "--data", "point"): "did you mean points?",
        ("a", "--data-file", "nowhere.npy"): "there is no file nowhere.npy; check the path (--data-file)",
        (
            "a",
            "--data",
            "points",
            "--data-file",
            "topics.npz",
        ): "topics.npz is not read as points; take --data documents",
    }
    for arguments, words in refusals.items():
        done = invoke("new", *arguments)
        assert done.exit_code and words in flat(done.output), done.output
    assert Path("mine/mine.py").read_text() == before and not Path("a").exists()


def test_the_tests_of_a_new_pair_are_found_inside_another_project(folder):
    """In a project whose pytest imports files by their paths, a folder of the model's name is no module."""
    Path("pyproject.toml").write_text(
        '[tool.pytest.ini_options]\naddopts = "--import-mode=importlib"\npythonpath = ["."]\n'
    )
    pv.new("mine")
    found = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "mine"], capture_output=True, text=True
    )
    assert found.returncode == 0, found.stdout
    assert found.stdout.count("test_mine.py::") == 4
