"""Rows of guides refined for each datum, from the files of a run."""

import json

import pytest

from benchmarks.refined import row


def test_the_deviance_falls_by_what_the_bound_gains(tmp_path):
    before = {"elbo": {"mean": -10.0}, "evidence": {"mean": -8.0}, "saturated": -3.0, "deviance": 7.0}
    after = {"elbo": {"mean": -8.5, "method": "guide refined by 9 steps"}, "evidence": {"mean": -7.5}, "data": 4}
    for name, content in {
        "config": {"guide": {"name": "linear_counts"}},
        "summary": {"splits": {"test": before}},
        "refined-test-importance": after,
    }.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    found = row(tmp_path)
    assert found["refined_deviance"] == pytest.approx(5.5)
    assert (found["elbo"], found["refined_elbo"], found["evidence"], found["refined_evidence"]) == (-10, -8.5, -8, -7.5)
