"""What every result shares: table, JSON, values per datum, worst data, warnings and figure."""

import json
import math
import re
from dataclasses import dataclass, fields, replace
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure

import ppl_vae
from ppl_vae.diagnostics.calibration import result as calibration
from ppl_vae.diagnostics.comparison import Compared, Comparison
from ppl_vae.diagnostics.gap.gap import Gap
from ppl_vae.diagnostics.gap.ladder import Ladder, Rung
from ppl_vae.diagnostics.information.active_units import Units
from ppl_vae.diagnostics.information.curve import Curve
from ppl_vae.diagnostics.information.information import Information
from ppl_vae.diagnostics.information.mutual_information import Mutual
from ppl_vae.diagnostics.information.rates import Rates
from ppl_vae.diagnostics.tightness.least_squares import Unexplained
from ppl_vae.diagnostics.tightness.verdict import Tightness
from ppl_vae.evidence.bdmc import BDMC
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.results import Evidence, Result
from ppl_vae.evidence.tables import noted, text_table
from ppl_vae.runs.split import Split
from ppl_vae.runs.summary import Summary
from ppl_vae.training.progress import log

pytestmark = pytest.mark.usefixtures("float64")

CAUTION = "the chains have hardly moved"


def evidence(data: int = 6) -> Evidence:
    """A lower bound with errors, Pareto shapes and a note."""
    elbo = -torch.arange(1.0, data + 1)
    gap = torch.linspace(0.5, 2.0, data)
    error, shape = torch.full((data,), 0.1), torch.zeros(data)
    return Evidence(
        Estimate(elbo, "30 draws", "unbiased", 30, error),
        Estimate(elbo + gap, "importance, 30 draws", "lower", 30, error, shape, (CAUTION,)),
        Estimate(gap, "importance, 30 draws", "lower", 30, error),
        "no exact method serves",
    )


def results() -> dict[str, Result]:
    """One of each kind, all on the same evidence."""
    whole = evidence()
    best = replace(whole.elbo, pointwise=whole.elbo.pointwise + 0.2, method="ascent", bound="lower")
    gap = Gap(whole.evidence, best, whole.elbo, "independent latents", {"gain of the second round": whole.gap})
    upper = replace(whole.evidence, pointwise=whole.evidence.pointwise + 1, bound="upper", k_hat=None)
    runs = [Compared(name, f"text with {name}", "elbo", "m", whole, gap=gap) for name in ("a", "b")]
    return {
        "evidence": whole,
        "gap": gap,
        "bdmc": BDMC(replace(whole.evidence, k_hat=None), upper),
        "ladder": Ladder(
            whole.evidence, {"small": Rung(whole.elbo, best, "independent"), "large": Rung(best, None, "?")}
        ),
        "comparison": Comparison("test", tuple(runs)),
        "split": Split(whole, replace(whole.gap, bound="exact"), replace(whole.gap, bound="exact"), saturated=-0.5),
    }


def others() -> dict[str, Result]:
    """One of each further kind, whose rows are not all values per datum."""
    whole = evidence()
    exact = replace(whole.gap, bound="exact")
    ones = torch.ones(6)
    units = Units(["z"], torch.ones(1), torch.zeros(1), None, {})
    mutual = Mutual(exact, replace(exact, bound="lower"), replace(exact, bound="upper", notes=(CAUTION,)), 3)
    fit = Unexplained(ones, ones, torch.zeros(6, 3), 1e-9 * ones, ones > 0)
    gap = Gap(whole.evidence, whole.elbo, whole.elbo, "independent latents")
    rates = Rates(exact, exact, whole.elbo, units)
    places = calibration.Tested("z", "z", "density", torch.linspace(0.1, 0.9, 6), 1.0)
    outside = Tightness({"guide": fit}, {}, {}, "none", False, "independent", 2, "all states", gap, ())
    return {
        "information": Information(rates, mutual),
        "curve": Curve((1.0,), (exact,), (exact,), (exact,), exact, exact, replace(whole.elbo, notes=(CAUTION,))),
        "tightness": outside,
        "calibration": calibration.Calibration((places,), 10, {"z": 1}),
    }


def test_every_kind_of_result_is_here():
    source = Path(ppl_vae.__file__).parent
    named = {name for path in source.rglob("*.py") for name in re.findall(r"class (\w+)\(Result\)", path.read_text())}
    assert named == {type(result).__name__ for result in [*results().values(), *others().values()]}


every = pytest.mark.parametrize("name", list(results()))


@pytest.mark.parametrize("name", [*results(), *others()])
def test_warnings_are_in_json_and_in_print(name):
    result = (results() | others())[name]
    caution = "6 simulated data show gross faults alone" if name == "calibration" else CAUTION
    assert any(caution in line for line in result.warnings)
    content = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert content["warnings"] == list(result.warnings)
    assert len(set(result.warnings)) == len(result.warnings)
    for line in result.warnings:
        assert f"note: {line}" in str(result)


@every
def test_json_and_values_per_datum_hold_every_row(name):
    result = results()[name]
    content, values = result.to_json(), result.pointwise()
    assert content["data"] == result.data == 6
    for label, estimate in result.rows().items():
        *group, key = label.split(": ")
        key = key.replace(" ", "_").lower()
        nested = content[group[0]] if group else content
        assert nested[key]["mean"] == pytest.approx(estimate.pointwise.mean().item())
        assert nested[key]["bound"] == estimate.bound
        full = ".".join([*group, key])
        assert torch.equal(values[full], estimate.pointwise)
        assert (f"{full}_se" in values) == (estimate.pointwise_se is not None)
        assert (f"{full}_k_hat" in values) == (estimate.k_hat is not None)


@every
def test_worst_data_are_numbered_by_the_split_of_which_they_are_a_sample(name):
    result = results()[name]
    if result.losses() is None:
        assert "worst" not in result.to_json()
        return
    assert result.worst(2) == result.losses().argsort(descending=True)[:2].tolist() or name == "bdmc"
    sample = torch.tensor([3, 5, 8, 13, 21, 34])
    assert result.of_sample(sample).to_json()["worst"] == [int(sample[i]) for i in result.worst()]


@pytest.mark.parametrize("name", ["evidence", "gap", "bdmc"])
def test_blocks_join_to_the_whole(name):
    whole = results()[name]

    def cut(value, part):
        if isinstance(value, dict):
            return {key: cut(each, part) for key, each in value.items()}
        if not isinstance(value, Estimate):
            return value
        parts = {n: getattr(value, n) for n in ("pointwise", "pointwise_se", "k_hat")}
        return replace(value, **{n: None if v is None else v[part] for n, v in parts.items()})

    def block(part):
        return type(whole)(**{n: cut(getattr(whole, n), part) for n in [field.name for field in fields(whole)]})

    joined = type(whole).join([block(slice(0, 2)), block(slice(2, 6))])
    assert joined.to_json() == whole.to_json()
    assert all(torch.equal(value, whole.pointwise()[key]) for key, value in joined.pointwise().items())


@pytest.mark.parametrize("name", ["evidence", "gap", "bdmc", "ladder", "comparison"])
def test_a_figure_has_a_title_and_labels_with_units(name):
    result, figure = results()[name], Figure(layout="constrained")
    result.draw(figure, "a pair")
    assert figure.get_suptitle().startswith("a pair")
    assert len(figure.axes) == len(result.panels)
    assert all("nats" in axes.get_xlabel() + axes.get_ylabel() for axes in figure.axes)


def test_a_result_needs_its_rows_only():
    @dataclass(frozen=True)
    class Costs(Result):
        cost: Estimate

        def rows(self):
            return {"Cost": self.cost}

    costs = Costs(Estimate(torch.tensor([1.0, 3.0]), "by hand", "exact"))
    assert "Cost" in str(costs) and "2.000" in str(costs) and "by hand: exact" in str(costs)
    assert costs.to_json()["cost"]["mean"] == 2
    assert (costs.data, costs.warnings, costs.worst()) == (2, (), [])
    assert Costs.join([costs, costs]).data == 4


def test_a_stored_estimate_is_read_back():
    whole = evidence()
    back = Estimate.stored(whole.to_json()["evidence"], whole.pointwise(), "evidence")
    assert back.warnings == whole.evidence.warnings
    assert (back.mean, back.se, back.bound) == (whole.evidence.mean, whole.evidence.se, whole.evidence.bound)
    heavy = replace(whole.evidence, k_hat=torch.full((6,), 2.0))
    assert any("Pareto k-hat over" in line for line in heavy.warnings)
    for estimate in (heavy, replace(heavy, tolerated=1.0)):
        values = {"evidence": estimate.pointwise, "evidence_k_hat": estimate.k_hat}
        assert Estimate.stored(estimate.to_json(), values, "evidence").warnings == estimate.warnings


def test_the_limit_is_that_of_the_evidence_alone():
    whole = evidence()
    limit = whole.evidence.mean - math.log(40) / 6
    for result in (whole, results()["split"]):
        content = result.to_json()
        assert content["evidence"]["bracket"]["lower"] == pytest.approx(limit)
        assert content["gap"]["bracket"]["lower"] < content["gap"]["mean"]


def test_a_summary_has_the_warnings_of_its_splits():
    split = results()["split"]
    summary = Summary("r", "text", "elbo", "arm", 1, 1, {"test": split})
    assert any(f"test: {CAUTION}" in line for line in summary.to_json()["warnings"])
    assert f"note: test: {CAUTION}" in str(summary)


def test_a_table_names_the_splits_of_each_evidence_method_where_there_are_several():
    split = results()["split"]
    exact = replace(split.measurement.evidence, method="quadrature", bound="exact")
    other = replace(split, measurement=replace(split.measurement, evidence=exact))
    table = Summary("r", "text", "elbo", "arm", 1, 1, {"train": split, "validation": other, "test": split})
    assert [line for line in table.captions() if line.startswith("evidence")] == [
        "evidence of train, test: importance, 30 draws, a lower bound",
        "evidence of validation: quadrature, exact",
    ]
    alike = Summary("r", "text", "elbo", "arm", 1, 1, {"train": split, "test": split})
    assert next(alike.captions()) == "evidence: importance, 30 draws, a lower bound"


def test_values_that_are_no_numbers_are_told():
    estimate = Estimate(torch.tensor([-1.0, torch.nan, torch.nan]), "100 draws", "lower", 100)
    assert any("2 of 3 data have no value (NaN)" in line for line in estimate.warnings)
    assert not any("NaN" in line for line in Estimate(torch.tensor([-1.0]), "100 draws", "lower", 100).warnings)


@pytest.mark.parametrize(("columns", "boxed"), [("120", True), ("80", True), ("55", False), ("30", False)])
def test_tables_are_as_wide_as_the_terminal_and_no_number_is_broken(monkeypatch, columns, boxed):
    monkeypatch.setenv("COLUMNS", columns)
    rows = [("family gap", "<= 0.061 +- 0.002", "-433.000", "evidence minus best of family: an upper bound")]
    lines = text_table("nats", ("", "mean", "smallest", "how"), rows, left=("", "how")).splitlines()
    assert any("<= 0.061 +- 0.002" in line and "-433.000" in line for line in lines)
    assert ("┃" in "".join(lines)) is boxed
    assert max(map(len, lines)) <= max(int(columns), 51)
    assert all(word in " ".join(" ".join(lines).split()) for word in ("evidence", "minus", "family:", "upper", "bound"))


@pytest.mark.parametrize(("columns", "beneath"), [("80", False), ("54", True)])
def test_a_column_of_sentences_stands_below_a_narrow_table(monkeypatch, columns, beneath):
    monkeypatch.setenv("COLUMNS", columns)
    rows = [("gap", "0.061", "evidence minus best of family: an upper bound"), ("rate", "3", "sampled"), ("H", "", "")]
    table = text_table("nats", ("", "mean of all the data", "how"), rows, left=("", "how"), beneath=True)
    last = table.splitlines()[-2:]
    assert (last == ["gap: evidence minus best of family: an upper bound", "rate: sampled"]) is beneath
    assert ("how" in table) is not beneath
    assert "0.061" in table and " ".join(table.split()).count("minus") == 1


def test_results_are_shown_as_tables_in_words_and_not_as_tensors():
    evidence = Estimate(torch.tensor([-3.0, -4.0]), "16 chains", "lower", 16)
    best = Estimate(torch.tensor([-3.5, -4.5]), "ascent", "lower")
    gap = Gap(evidence, best, best, "independent bits")
    assert repr(gap) == str(gap) and "tensor" not in repr([gap])
    assert repr(evidence) == "Estimate(>= -3.500 nats, 16 chains: a lower bound; 2 data)"
    assert evidence.minus(best).how == "16 chains minus ascent: may be too high or too low"


def test_notes_are_folded_for_a_terminal_alone(monkeypatch, capsys):
    remark = "the importance-weighted bound of a single draw is the ELBO: take more"
    log(f"note: {remark}")
    assert capsys.readouterr().err == f"note: {remark}\n"
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    lines = noted(remark).splitlines()
    assert len(lines) == 3 and max(map(len, lines)) <= 30
    assert all(line.startswith("      ") and line[6] != " " for line in lines[1:])
    assert " ".join(line[6:] for line in lines) == remark
