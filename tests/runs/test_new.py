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


def test_a_table_of_the_user_gives_a_site_for_each_column(folder, monkeypatch):
    rng = np.random.default_rng(0)
    columns = {
        "who": [f"P{i}" for i in range(40)],
        "age": rng.integers(18, 90, 40),
        "blood pressure (mmHg)": np.where(np.arange(40) == 3, "", rng.integers(90, 160, 40).astype(str)),
        "visits": rng.poisson(2.0, 40),
        "sex": rng.choice(["female", "male"], 40),
        "owner": rng.integers(2, size=40),
        "label": rng.integers(3, size=40),
        "constant": np.ones(40),
    }
    rows = [",".join(map(str, row)) for row in zip(*columns.values(), strict=True)]
    Path("people.csv").write_text("\n".join([",".join(columns), *rows]))
    written = json_of("new", "mine", "--data", "table", "--data-file", "people.csv")
    assert written["left_out"] == {
        "who": "40 different texts",
        "label": "a label, which colours reports and is no part of a datum",
        "constant": "one value in all rows",
    }
    text = Path("mine/mine.py").read_text()
    for line in (
        "def forward(self, age, blood_pressure_mmHg, visits, sex, owner):",
        ".mask(~blood_pressure_mmHg.isnan())",
        'pyro.sample("visits", dist.Poisson(',
        'pyro.sample("sex", dist.Categorical(logits=out[..., 3:5]), obs=sex)',
    ):
        assert line in text
    for name in ("mine", "mine_guide"):
        monkeypatch.setitem(sys.modules, name, None)  # forgotten afterwards
        del sys.modules[name]
    monkeypatch.syspath_prepend("mine")
    for name, test in vars(load_file(Path("mine/test_mine.py"))).items():
        if name.startswith("test_"):
            test()
    check, train = (written["commands"][i].split()[1:] for i in (0, 2))
    assert "--missing" in check and "--missing" in train
    succeed(*train, *FEW, "--epochs", "1")
    succeed("report", "runs/mine", "--no-measure")
    assert "<b>sex</b> female" in Path("runs/mine/report.html").read_text()


def test_what_is_no_table_is_refused(folder):
    np.save("cells.npy", np.ones((5, 2)))
    Path("same.csv").write_text("a,b\n1,2\n1,2\n")
    for file, words in (("cells.npy", "is no table; take --data points"), ("same.csv", "fewer than two columns")):
        done = invoke("new", "mine", "--data", "table", "--data-file", file)
        assert done.exit_code and words in flat(done.output), done.output
    assert not Path("mine").exists()
