"""Sweeps by file: what a file may say, cells that are trainings, and the plane of their rates and distortions."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ppl_vae.experiment_runs import find_experiment, run_experiment
from ppl_vae.plane import REGIMES, Point, hull, regimes
from ppl_vae.sweep import Sweep

WHOLE = """
about = "Two bits for four Gaussians, at two weights of the rate."
title = "Small"
seeds = 2

[train]
model = "gmm"
corpus = "gaussians"
epochs = "1"
evidence_data = 60
batch_size = 500

[grid]
beta = [0.5, 4]

[families.factorised]
[families.whole]
guide = "full"

[measure]
data = 40
draws = 3
codes = 40
curve = 20
"""
PRESETS = """
[presets.smoke]
only = ["whole"]
seeds = 1
[presets.smoke.grid]
beta = [1.0]
[presets.smoke.families.whole]
learning_rate = 0.01
[presets.smoke.families.whole.measure]
curve = 0
[presets.cpu]
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(text: str) -> Path:
    Path("small.toml").write_text(text)
    return Path("small.toml")


def test_a_preset_changes_what_it_names_and_keeps_the_rest():
    sweep = Sweep.read(written(WHOLE + PRESETS))
    assert sweep.about == "Two bits for four Gaussians, at two weights of the rate."
    smoke, cpu = sweep.presets["smoke"], sweep.presets["cpu"]
    (cell,) = smoke["cells"]
    assert (cell["name"], cell["family"], cell["at"]) == ("whole-beta-1.0", "whole", {"beta": 1.0})
    assert cell["options"]["learning_rate"] == 0.01 and cell["options"]["epochs"] == "1"
    assert (cell["measure"]["curve"], cell["measure"]["data"], smoke["seeds"], smoke["title"]) == (0, 40, 1, "Small")
    assert [cell["name"] for cell in cpu["cells"]] == [
        *("factorised-beta-0.5", "factorised-beta-4"),
        *("whole-beta-0.5", "whole-beta-4"),
    ]


def test_without_presets_the_file_is_each_of_them():
    presets = Sweep.read(written(WHOLE)).presets
    assert presets["smoke"] == presets["cpu"] == presets["paper"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a = ", "small.toml cannot be read as TOML"),
        (WHOLE + "[grip]\nbeta = [1]", "a sweep has no grip; it has about, presets, families, grid"),
        (WHOLE.replace("[families.", "[famlies."), "a sweep has no famlies"),
        ("[train]\nmodel = 'gmm'", "needs at least one table"),
        (WHOLE.replace("[0.5, 4]", "0.5"), "grid has beta = 0.5; give a list of values"),
        (WHOLE + "[presets.smoke]\nonly = ['hole']", "there is no family 'hole'; there are factorised, whole"),
        (WHOLE.replace("curve =", "curves ="), "measure takes data, draws, codes, curve"),
        ("presets = 3\n" + WHOLE, "presets are tables"),
        (WHOLE.replace("[families.whole]", "[families.'factorised ']"), "two cells have one name"),
    ],
)
def test_faults_of_a_file_are_named(text, words):
    with pytest.raises(ValueError, match=words):
        Sweep.read(written(text))


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("betta = 2", "cell factorised-beta-0.5: No such option"),
        ("model = 'gmn'", "there is no model 'gmn'"),
        ("epochs = 'few'", "epochs are a number or phases"),
    ],
)
def test_a_wrong_option_is_named_before_anything_is_trained(folder, option, words):
    file = written(
        WHOLE.replace('model = "gmm"', "" if "model" in option else 'model = "gmm"')
        .replace('epochs = "1"', "" if "epochs" in option else 'epochs = "1"')
        .replace("[grid]", f"{option}\n[grid]")
    )
    with pytest.raises(ValueError, match=words):
        run_experiment(str(file), "smoke", folder / "out", None, "cpu")
    assert not (folder / "out" / "runs").exists()


def test_a_sweep_trains_measures_and_says_what_held(folder):
    report = run_experiment(str(written(WHOLE)), "cpu", folder / "out", 1, "cpu")
    assert {claim.text: claim.held for claim in report.claims} == {
        "in every run I <= R": True,
        "in every run H - D is at most the least upper bound of I": True,
        "the guide is nowhere below the curve of its decoder": True,
        "a heavier weight never raises the rate": True,
    }
    summary = json.loads(Path("out/runs/whole-beta-4-0/summary.json").read_text())
    assert summary["objective"] == "D + 4 R"
    assert summary["splits"]["test"]["data"] == 60
    assert any("test is measured on 60 of 2,000 data" in note for note in summary["notes"])
    assert report["whole: beta 4: R"].values == [summary["splits"]["test"]["rate"]]
    assert {path.stem for path in Path("out/figures").glob("*.png")} == {"plane", "curves"}
    assert find_experiment("small.toml").summary.startswith("Two bits")


def test_a_cell_that_fails_spoils_no_other(folder):
    file = written(WHOLE.replace("[families.whole]", "[families.whole]\ncorpus = 'odd.npy'"))
    np.save("odd.npy", np.zeros((50, 3), dtype=np.float32))
    report = run_experiment(str(file), "cpu", folder / "out", 1, "cpu")
    failed = [note for note in report.notes if note.startswith("failed: whole-beta")]
    assert len(failed) == 2 and "take centres 'random'" in failed[0]
    assert len([row for row in report.rows if row.group == "factorised"]) == 10


def point(rate: float, distortion: float) -> Point:
    return Point(
        "f",
        {},
        0,
        {k: torch.tensor(v) for k, v in {"rate": rate, "distortion": distortion, "elbo": -rate - distortion}.items()},
    )


def test_the_hull_has_all_points_above_it():
    torch.manual_seed(0)
    points = [tuple(p) for p in torch.rand(60, 2).tolist()]
    corner = hull(points)
    assert corner == sorted(corner) and set(corner) <= set(points)
    for (r0, d0), (r1, d1) in zip(corner, corner[1:], strict=False):
        assert d1 < d0
        assert all((d - d0) * (r1 - r0) >= (d1 - d0) * (r - r0) - 1e-12 for r, d in points)


def test_regimes_are_picked_by_their_rules():
    runs = [point(0.2, 99), point(0.5, 98), point(20, 70), point(21, 60), point(50, 40), point(100, 5)]
    found = regimes(runs, 90.0)
    assert list(found) == list(REGIMES)
    assert [p.rate for p in found.values()] == [0.5, 21, 50, 100]
    assert list(regimes(runs[:2], 90.0)) == ["auto-decoder"]
