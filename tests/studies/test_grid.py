"""Conditions times seeds: every cell is computed once, kept by name, and depends on its name alone."""

import pytest
import torch

from ppl_vae.runs.engines.base import make_engine
from ppl_vae.studies.grid import Cells, Grid, slug
from ppl_vae.studies.study import Study

CONDITIONS = ["free prior, deep guide", "F*"]


def throw(condition, seed):
    return {"x": torch.randint(1_000, (4,)), "seed": float(seed)}


def refuse(condition, seed):
    raise AssertionError("computed again")


@pytest.mark.parametrize("jobs", [1, 2])
def test_cells_are_computed_once_whatever_the_jobs_and_the_order(tmp_path, jobs):
    study = Study(tmp_path / "s", {}, engine=make_engine(jobs=jobs))
    cells = Grid(study, CONDITIONS, 2).compute(throw)
    assert sorted(path.stem for path in (tmp_path / "s" / "values").iterdir()) == [
        "Fstar-0", "Fstar-1", "free-prior-deep-guide-0", "free-prior-deep-guide-1",
    ]  # fmt: skip
    assert cells.means("F*", "seed") == [0.0, 1.0]
    assert not torch.equal(cells["F*"][0]["x"], cells["F*"][1]["x"])
    more = Grid(Study(tmp_path / "s", {}), CONDITIONS, 3)
    with pytest.raises(ValueError, match="2 of 6 cells failed"):
        more.compute(refuse)
    turned = Grid(Study(tmp_path / "other", {}), CONDITIONS[::-1], 2).compute(throw)
    for condition in CONDITIONS:
        for one, other in zip(cells[condition], turned[condition], strict=True):
            assert torch.equal(one["x"], other["x"])


def test_conditions_may_be_tuples_but_not_share_a_name(tmp_path):
    assert slug(("D + |R - 0.5|", 8, "F*")) == "D-R-0.5-8-Fstar"
    study = Study(tmp_path / "s", {})
    cells = Grid(study, [("a", 1), ("b", 2)], 1).compute(lambda condition, seed: {"n": condition[1]})
    assert [cells.means(c, "n") for c in cells] == [[1.0], [2.0]]
    with pytest.raises(ValueError, match="2 conditions have the name 'a-1'"):
        Grid(study, [("a", 1), "a 1", "b"], 1)


def test_means_and_differences_are_those_of_each_seed():
    def cell(*x):
        return {"x": torch.tensor(x)}

    cells = Cells({"one": [cell(1.0, 3.0), cell(5.0, 5.0)], "two": [cell(0.0, 1.0), cell(7.0, 6.0)]})
    assert cells.means("one", "x") == [2.0, 5.0]
    assert cells.differences("one", "two", "x") == [1.5, -1.5]


def test_a_pair_of_shipped_files_depends_on_the_seed(tmp_path):
    study, x = Study(tmp_path / "s", {}), torch.rand(20, 16).round()
    pairs = [study.pair("rbm", "mean_field", x, seed, guide_options={"width": 8}, bits=3) for seed in (0, 0, 1)]
    parameters = [[p.detach().clone() for part in pair for p in part.parameters()] for pair in pairs]
    assert all(torch.equal(a, b) for a, b in zip(parameters[0], parameters[1], strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(parameters[0], parameters[2], strict=True))
    model, guide = pairs[0]
    other = study.pair(model, "full", x, 0)
    assert other[0] is model and type(other[1]).__name__ == "Full"
    with pytest.raises(ValueError, match="there is no model 'atlantis'"):
        study.pair("atlantis", "full", x, 0)
