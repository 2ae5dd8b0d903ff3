"""Every experiment runs in its smoke preset, and one is added by a file."""

import json
import os

import pytest

from ppl_vae.data.readers import docstrings
from ppl_vae.plugins.discovery import available
from ppl_vae.studies.experiments import Experiments, experiment, find_experiment

NAMES = sorted(available("experiments", own=False))
DIE = '''
"""Throws a die of as many sides as it is told, with a die that has one more beside it."""

import torch

from ppl_vae.studies.claims import Claim
from ppl_vae.studies.grid import Grid
from ppl_vae.studies.report import Report, Row

PRESETS = {name: {"seeds": seeds, "sides": 6} for name, seeds in (("smoke", 2), ("cpu", 3), ("paper", 4))}


class Die:
    """A tool of the experiment."""


def cell(kind, seed):
    return {"x": torch.randint(6 + (kind == "loaded"), (50,))}


def run(study, *, seeds, sides):
    cells = Grid(study, ["fair", "loaded"], seeds).compute(cell)
    rows = [Row("throw", cells.means(kind, "x"), group=kind) for kind in cells]
    study.figure("throws", lambda figure: figure.subplots().plot(rows[0].values), (2, 2))
    return Report("A die", rows, [Claim.greater("it is higher", cells.differences("loaded", "fair", "x"))])
'''


@pytest.fixture(scope="module", autouse=True)
def few_docstrings(tmp_path_factory):
    """The corpus of docstrings has some hundred documents, read once and stored apart from the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(docstrings, "_MOST_PER_PACKAGE", 60)
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.mark.parametrize("name", NAMES)
def test_has_the_three_presets_and_a_line(name):
    experiment = find_experiment(name)
    assert {"smoke", "cpu", "paper"} <= set(experiment.presets)
    assert 20 < len(experiment.summary) < 150


@pytest.mark.parametrize("name", NAMES)
def test_runs_in_small_and_keeps_what_it_did(name, tmp_path):
    report = experiment(name, preset="smoke", out=tmp_path / "out", device="cpu")
    kept = json.loads((tmp_path / "out" / "report.json").read_text())
    assert kept == json.loads(json.dumps(report.to_json()))
    assert kept["rows"] and kept["claims"]
    page = (tmp_path / "out" / "report.md").read_text()
    assert "Level 5.0% for the whole report" in page
    for decision in report.decisions:
        assert decision.answer in ("held", "did not hold", "undecided") and f"- {decision}\n" in page
    html = (tmp_path / "out" / "report.html").read_text()
    assert report.title.split("(")[0] in html and f"ppl-vae experiment {name} --preset smoke" in html
    assert html.count("data:image/png") == len(list((tmp_path / "out" / "figures").glob("*.png")))
    assert "http" not in html.replace("http-equiv", "")  # the page needs no network
    figures = {path.suffix for path in (tmp_path / "out" / "figures").iterdir()}
    assert figures == {".png", ".pdf"}
    # What does not depend on a training cut short must hold at any size.
    exact = [decision for decision in report.decisions if decision.claim.is_exact]
    assert all(decision.answer == "held" for decision in exact), [str(decision) for decision in exact]
    again = experiment(name, preset="smoke", out=tmp_path / "out", device="cpu")
    assert again.to_json() == report.to_json()


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_file_adds_an_experiment(jobs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "die.py").write_text(DIE)
    line = "Throws a die of as many sides as it is told, with a die that has one more beside it."
    listed = Experiments.take()
    assert listed.lines["die"] == line and set(listed.lines) == {*NAMES, "die"}
    assert " ".join(line.split()[:4]) in str(listed)
    report = experiment("die", preset="smoke", device="cpu", jobs=jobs)
    assert len(report["fair: throw"].values) == 2
    assert sorted(os.listdir("runs/die-smoke/values")) == [
        f"{kind}-{seed}.safetensors" for kind in ("fair", "loaded") for seed in range(2)
    ]
    assert "Level 5.0%" in (tmp_path / "runs" / "die-smoke" / "report.md").read_text()
    monkeypatch.setattr("ppl_vae.studies.experiments.package_digest", lambda: "changed")
    with pytest.raises(ValueError, match="code '[0-9a-f]{16}' is now 'changed'.; choose another --out"):
        experiment("die", preset="smoke", device="cpu", jobs=jobs)


def test_an_experiment_of_the_working_folder_wins_over_a_shipped_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "gmm.py").write_text(DIE)
    assert find_experiment("gmm").summary.startswith("Throws a die")
    (tmp_path / "experiments" / "few.toml").write_text('about = "Few trainings."\n[families.one]\nmodel = "gmm"\n')
    assert Experiments.take().lines["few"] == find_experiment("few").summary == "Few trainings."
