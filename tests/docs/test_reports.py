"""Tables of the pages from stored reports of experiments."""

import json

import pytest

from ppl_vae.studies.claims import Claim
from ppl_vae.studies.report import Report, Row
from website import reports


@pytest.fixture
def die(tmp_path, monkeypatch):
    """The folder of a finished experiment, stored."""
    rows = [
        Row("throw", [3.0, 5.0], limit=3.5, paper=3.25, group="fair"),
        Row("sum", [7.0], group="fair"),
        Row("throw", [6.0, 6.5], group="loaded"),
        Row("weight 2: throw", [1.0], group="swept"),
    ]
    claims = [Claim.exact("a die has six sides", True, "6"), Claim.greater("it is loaded", [1.0, 1.1, 1.2])]
    run = tmp_path / "run"
    run.mkdir()
    files = {
        "report": Report("A die", rows, claims).to_json(),
        "experiment": {"experiment": "die", "preset": "cpu", "code": "0", "versions": {"torch": "2"}},
        "took": {"seconds": {"cells": {"fair-0": 1.25, "loaded-0": 2.0}, "rest": 0.5}},
    }
    for name, content in files.items():
        (run / f"{name}.json").write_text(json.dumps(content))
    monkeypatch.setattr("website.report_tables.REPORTS", tmp_path / "experiments")
    reports.store(run)


def test_a_report_becomes_lines_or_a_table_of_its_groups(die):
    assert reports.stored("die")["seconds"] == 4 and reports.stored("die")["cells"] == 2
    assert reports.Lines("die", digits=2).markdown().splitlines()[2:] == [
        "| fair: throw | 4.00 | 1 | 3.50 | 3.25 |",
        "| fair: sum | 7.00 |  |  |  |",
        "| loaded: throw | 6.25 | 0.25 |  |  |",
        "| swept: weight 2: throw | 1.00 |  |  |  |",
    ]
    pivot = reports.Pivot(
        "die",
        {"throw": "throw", "known": "limit of throw", "sum": "sum"},
        "die",
        1,
        {"fair": "fair", "loaded": "loaded"},
    )
    assert pivot.markdown().splitlines() == [
        "| die | throw | known | sum |",
        "|---|---|---|---|",
        "| fair | 4.0 ± 1.0 | 3.5 | 7.0 |",
        "| loaded | 6.2 ± 0.2 |  |  |",
    ]
    beside = reports.Pivot("die", {"throw": "throw"}, "die", 3, {"fair": "a fair one"}, limits=True)
    assert beside.markdown().splitlines()[2:] == ["| a fair one | 4.0 ± 1.0 (3.500) |"]
    assert reports.Pivot("die", {"throw": "throw"}, "die", sweep=True).markdown().splitlines()[2:] == [
        "| swept, weight 2 | 1.000 |"
    ]


def test_claims_are_shown_with_what_was_decided(die):
    lines = reports.claims("die").splitlines()
    assert lines[2] == "| a die has six sides | held | 6 | exact |"
    assert (
        lines[3].startswith("| it is loaded | held | ")
        and "| p = 0.00" in lines[3]
        and lines[0] == "| claim | answer | measured | test |"
    )
