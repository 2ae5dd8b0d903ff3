"""``ppl-vae remedy RUN``: the cause of a gap, fits against it, and what they buy."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ppl_vae.diagnostics.gap.gap import Gap
from ppl_vae.diagnostics.gap.remedies import Remedies
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.measure import measure
from ppl_vae.nn.checkpoint import Checkpoint
from ppl_vae.runs import remedy
from ppl_vae.runs.fit import GuideFit
from ppl_vae.runs.open import open_run
from ppl_vae.runs.remedy import causes_of
from tests.support.cli import SMALL, flat, invoke, json_of, succeed

REMEDY = ("--epochs", "2", "--data", "20", "--refine", "4")


@pytest.fixture
def few_remedies(monkeypatch):
    """Two fits, whatever the cause."""
    few = {key: replace(cause, remedies=(remedy.HALF, remedy.MORE)) for key, cause in remedy.CAUSES.items()}
    monkeypatch.setattr(remedy, "CAUSES", few)


def gap(family: float, network: float, data: int = 50) -> Gap:
    """A gap of these parts, the same for each datum but for a millinat."""
    noise = torch.linspace(-1e-3, 1e-3, data)
    evidence, best, elbo = (torch.full((data,), -value) for value in (5.0, 5.0 + family, 5.0 + family + network))
    bounds = {"evidence": (evidence, "exact"), "best": (best, "lower"), "elbo": (elbo + noise, "exact")}
    return Gap(**{name: Estimate(value, "made", bound) for name, (value, bound) in bounds.items()}, family="some")


def test_a_split_shows_the_refined_guide(trained):
    content = json_of("gap", "r", "--refine", "20", "--data", "20")
    assert content["elbo"]["mean"] < content["refined_elbo"]["mean"] < content["evidence"]["mean"]
    assert content["refined_elbo"]["method"].startswith("guide refined by 20 steps, 200 draws")
    mixed = invoke("gap", "r", "--refine", "5", "--ladder", "full")
    assert "refinement apply to the split of the run's own gap: leave out the ladder" in flat(mixed.output)


def test_evidence_of_the_refined_guide(trained):
    plain, refined = (json_of("evidence", "r", "--data", "20", *args) for args in ((), ("--refine", "20")))
    assert plain["elbo"]["mean"] < refined["elbo"]["mean"] < refined["evidence"]["mean"]
    assert refined["evidence"]["mean"] == pytest.approx(plain["evidence"]["mean"], rel=1e-6)
    assert refined["elbo"]["method"].startswith("guide refined by 20 steps")
    assert Path("r/refined-test-auto.json").is_file()
    for args, told in ((("--check",), "leave out --check"), (("--jobs", "2"), "leave out --engine and --jobs")):
        assert told in flat(invoke("evidence", "r", "--refine", "5", *args).output)


@pytest.mark.parametrize(
    ("train", "validation", "names"),
    [
        ((0.01, 0.01), (0.01, 0.01), ["tight"]),
        ((0.06, 0.9), (0.06, 3.0), ["the network overfits"]),
        ((0.06, 2.5), (0.06, 3.0), ["the network falls short"]),
        ((1.0, 0.1), (1.0, 0.2), ["the family is too small"]),
        ((1.0, 0.9), (1.2, 1.0), ["the family is too small", "the network falls short"]),
    ],
)
def test_the_cause_is_named_by_the_larger_part_and_by_both_splits(train, validation, names):
    assert [cause.name for cause in causes_of(gap(*train), gap(*validation))] == names


def test_a_gap_to_a_lower_bound_is_not_called_tight():
    narrow = gap(0.01, 0.01)
    below = replace(narrow, evidence=replace(narrow.evidence, bound="lower"))
    assert [cause.name for cause in causes_of(below, below)] != ["tight"]


def test_a_guide_is_chosen_where_it_gains_more_than_its_error():
    gaps = {"as trained": gap(0.1, 1.0), "better": gap(0.1, 0.5), "alike": gap(0.1, 0.9999)}
    whole = {name: each.elbo.minus(gaps["as trained"].elbo) for name, each in gaps.items() if name != "as trained"}
    found = Remedies.of(gaps, seconds={"better": 3.0}, overall=whole)
    assert found.chosen() == "better"
    assert found.gains()["better"].mean == pytest.approx(0.5)
    wide = {"better": Estimate(torch.tensor([-30.0, 40.0, -1.0, 1.0]), "made", "exact")}
    assert Remedies.of(gaps, overall=wide).chosen() == "as trained"


def test_remedies_are_fitted_measured_and_resumed(trained, interrupt, few_remedies):
    shutil.copytree("r", "whole")
    before = Checkpoint.read(Path("r/checkpoints/train-best.safetensors")).tensors
    result = invoke("remedy", "whole", *REMEDY)
    assert result.exit_code == 0, result.output
    assert "the guide chosen on validation data, " in flat(result.output)
    interrupt(13)  # nine steps an epoch: in the first fit
    assert invoke("remedy", "r", *REMEDY).exit_code == 130
    content = json_of("remedy", "r", *REMEDY)
    whole = json.loads(Path("whole/remedy.json").read_text())
    timed = ("run", "notes")
    tables = [part for each in (content, whole) for part in (each["validation"], each["test"]) if part]
    assert all(part.pop("seconds").keys() <= set(part["families"]) for part in tables)
    assert {k: v for k, v in content.items() if k not in timed} == {k: v for k, v in whole.items() if k not in timed}
    after = Checkpoint.read(Path("r/checkpoints/train-best.safetensors")).tensors
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    for name in ("remedies-validation.json", "remedies-test.json", "figures/remedies-test.png"):
        assert Path("r", name).exists()

    run = open_run("r")
    found = run.remedy(epochs="2", data=20, refine=4)
    assert found.to_json()["test"] == content["test"] | {"seconds": found.test.seconds}
    exact = measure(run.model, found.guide, run.split("test", 20))
    assert exact.elbo.mean == pytest.approx(content["test"][found.chosen]["elbo"]["mean"], abs=1e-4)
    assert exact.evidence.mean == pytest.approx(content["test"]["evidence"]["mean"], abs=1e-4)


def test_a_budget_ends_the_fits_and_mistakes_are_named(trained, monkeypatch, few_remedies):
    class Slow(GuideFit):
        def fit(self):
            remark = super().fit()
            self.seconds = 5.0
            return remark

    monkeypatch.setattr(remedy, "GuideFit", Slow)
    args = ("remedy", "r", "--epochs", "1", "--data", "9", "--refine", "0")
    content = json_of(*args, "--budget", "4")
    assert list(content["validation"]["families"]) == ["as trained", "half dreams"]
    assert content["notes"] == ["more training was not tried: the budget of 4 seconds was spent (--budget, budget=)"]
    assert "epochs are a number of at least 1, or phases" in flat(invoke("remedy", "r", "--epochs", "x").output)


def test_a_run_without_validation_data_is_refused(folder):
    succeed("train", *SMALL, "--epochs", "1", "--validation", "0", "--out", "r")
    assert "r has no validation data; choose from train, test" in flat(invoke("remedy", "r").output)
