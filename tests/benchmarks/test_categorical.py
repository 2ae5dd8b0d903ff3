"""The benchmark of categorical latents runs in small."""

import json

import pytest
from click.testing import CliRunner

from benchmarks import bits, categorical


@pytest.mark.parametrize(("sites", "states", "others"), [(2, 3, "arms_tree+first_order:2"), (1, 4, "unordered_set:2")])
def test_runs_in_small(tmp_path, sites, states, others):
    options = f"--sites {sites} --states {states} --count 512 --epochs 1 --repeats 3 --race-epochs 1 --seeds 2".split()
    specs = ["loo:2", others, "local_states:1"]
    command = [*options, "--estimators", " ".join(specs), "--json", str(tmp_path / "found.json")]
    result = CliRunner().invoke(categorical.main, command, catch_exceptions=False)
    assert "loo:2" in result.stdout
    found = json.loads((tmp_path / "found.json").read_text())
    assert [row["estimator"] for row in found["noise"]] == [*specs, "another batch, exact"]
    assert [row["estimator"] for row in found["race"]] == specs
    assert all(row["noise"] > 0 for row in found["noise"][:2])
    assert [len(row["seeds"]) for row in found["race"]] == [2, 2, 2]


def test_bits_are_measured_in_small():
    specs = ["disarm:1", "relax:2"]
    rows = bits.measure(specs, seeds=2, epochs=1, repeats=3, before=(1, 1), bits=3, count=512)
    assert [row["estimator"] for row in rows] == [*specs, "another batch, exact"]
    assert all(row["noise"] > 0 and row["late"]["noise"] > 0 for row in rows)
    assert [len(row["seeds"]) for row in rows[:-1]] == [2, 2]
    assert bits.markdown(rows).count("\n") == 1 + len(rows)
