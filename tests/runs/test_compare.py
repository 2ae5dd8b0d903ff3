import json
import math

import pytest
import torch
from matplotlib.figure import Figure
from scipy.stats import t

import ppl_vae as pv
from ppl_vae.diagnostics.comparison import Compared, Comparison, with_shared_evidence
from ppl_vae.diagnostics.difference import Difference
from ppl_vae.diagnostics.gap.gap import Gap
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.results import Evidence
from tests.support.z_test import assert_mean

pytestmark = pytest.mark.usefixtures("float64")


def compared(name: str, objective: str = "elbo", *, model: str = "m", lift: float = 0.0, data: int = 50, **fields):
    """A run whose evidence lies ``lift`` over that of others made at the same random state."""
    evidence = -100 + torch.randn(data) + lift
    bound = fields.pop("bound", "exact")
    best, elbo = evidence - 0.5, evidence - 2
    measurement = Evidence(
        Estimate(elbo, "made", "exact"), Estimate(evidence, "made", bound), Estimate(evidence - elbo, "made", bound)
    )
    gap = Gap(*(Estimate(v, "made", "exact") for v in (evidence, best, elbo)), "independent latents")
    train = Estimate(evidence[:20] + lift, "made", "exact")
    return Compared(name, f"text with {name} (bits=3)", objective, model, measurement, train, gap, **fields)


def test_differences_are_paired():
    """Data differ by a hundred times what the runs do: only pairs of the same datum show it."""
    base = 100 * torch.randn(400)
    one, other = base + 0.3 + 0.1 * torch.randn(400), base
    found = Difference.of(Estimate(one, "", "exact"), Estimate(other, "", "exact"))
    assert_mean(found.pointwise, torch.tensor(0.3))
    assert found.se == pytest.approx(0.1 / 400**0.5, rel=0.2)
    content = found.to_json()
    assert (content["mean"], content["se"], content["monte_carlo_se"]) == (found.mean, found.se, 0.0)
    assert (content["bound"], content["data"], content["zero_by_construction"]) == ("exact", 400, False)
    low, high = content["population_95"]
    assert low < 0.3 < high
    assert high - low == pytest.approx(2 * t.ppf(0.975, 399) * found.se, rel=0.01)


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [("exact", "exact", "0.000 +- 0"), ("unbiased", "exact", "0.000 +- 0"), ("lower", "exact", ">= 0.000"),
     ("exact", "lower", "<= 0.000"), ("lower", "lower", "not known"), ("approximate", "exact", "not known"),
     ("lower", "upper", ">= 0.000")],
)  # fmt: skip
def test_differences_of_bounds_have_the_ends_that_are_known(one, other, words):
    value = torch.randn(5)
    assert str(Difference.of(Estimate(value, "", one), Estimate(value, "", other))) == words


def test_evidence_of_one_model_is_one_number():
    """Whichever guide measured it: the best serves both, and their difference is zero."""
    good, bad = compared("a", bound="lower", state="s"), compared("b", bound="lower", state="s", lift=-1.0)
    other = compared("c", bound="lower", state="t")
    runs = with_shared_evidence([bad, good, other])
    best = good.measurement.evidence
    for run in runs[:2]:
        shared = run.measurement.evidence
        assert shared.pointwise is best.pointwise
        # The better of two lower bounds: twice the chance that one exceeds the truth.
        assert shared.at_least(0.95) == pytest.approx(best.mean - math.log(2 / 0.05) / len(best.pointwise))
    lost = good.measurement.evidence.mean - bad.measurement.elbo.mean
    assert runs[0].measurement.gap.mean == pytest.approx(lost)
    assert runs[2] is other
    result = Comparison("test", runs)
    zero = result.differences(runs[1])["evidence"]
    assert (zero.mean, zero.interval.to_json(), str(zero)) == (0, [0, 0], "0 (one model)")
    assert str(result.differences(other)["evidence"]) == "not known"
    assert result.to_json()["B"]["from_first"]["evidence"]["zero_by_construction"]
    assert "not known: neither has an upper bound" in " ".join(str(result).split())
    assert not compared("d").is_one_model_with(compared("e"))  # no state is known of them


def test_the_optimum_is_the_likelihood_run_of_the_same_model_that_explains_training_data_best():
    torch.manual_seed(0)
    start = torch.get_rng_state()

    def again(*args, **kwargs):
        torch.set_rng_state(start)
        return compared(*args, **kwargs)

    runs = (
        again("a"),
        again("b", "likelihood", lift=0.5),
        again("c", "likelihood", lift=0.7),
        again("d", model="deeper", lift=3),
    )
    result = Comparison("test", runs)
    assert result.optimum(runs[0]) is result.optimum(runs[1]) is runs[2]
    assert result.optimum(runs[3]) is None
    errors = result.approximation_errors(runs[0])
    assert errors["test"].mean == pytest.approx(0.7)
    assert errors["train"].mean == pytest.approx(1.4)
    assert result.approximation_errors(runs[2])["test"].mean == 0
    assert result.approximation_errors(runs[3]) == {}
    assert result.differences(runs[1])["evidence"].mean == pytest.approx(0.5)

    content = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert [content[run]["optimum"] for run in "ABCD"] == ["c", "c", "c", None]
    assert content["A"]["approximation_error"]["test"]["mean"] == pytest.approx(0.7)
    assert content["A"]["family_gap"]["mean"] == pytest.approx(0.5)
    assert "negative value" in content["warnings"][-1]
    names = ("elbo", "evidence", "gap", "family_gap", "amortisation_gap")
    assert set(result.pointwise()) == {f"{run}.{name}" for run in "ABCD" for name in names}

    words = str(result)
    for expected in ("A  a: text with a (bits=3)", "approximation error, train", "optimum", "0.700 +- ", "family gap"):
        assert expected in words


def test_what_is_not_known_is_left_out():
    one = compared("a", bound="lower")
    bare = Compared("b", "text with b", "elbo", "m", compared("b", bound="lower").measurement, notes=("not finished",))
    result = Comparison("test", (one, bare))
    row = result.to_json()["B"]
    assert row["deviance"] is row["optimum"] is None
    assert not {"family_gap", "amortisation_gap"} & set(row)
    assert "approximation" not in str(result)
    assert "not known" in str(result)
    assert "note: B: not finished" in str(result)


@pytest.mark.parametrize("objective", ["elbo", "likelihood"])
def test_the_figure_has_a_bar_a_part_and_labelled_axes(objective):
    runs = (compared("a", saturated=-90.0), compared("b", objective), compared("c", bound="lower"))
    figure = Figure()
    Comparison("test", runs).draw(figure, "three runs")
    (axes,) = figure.axes
    assert len(axes.patches) == 6
    assert "nats" in axes.get_xlabel()
    legend = {text.get_text() for text in figure.legends[0].get_texts()}
    assert {"ELBO", "evidence", "family gap", "amortisation gap"} <= legend
    assert ("evidence of the likelihood optimum" in legend) == (objective == "likelihood")
    assert any(">=" in text.get_text() for text in axes.texts)


def test_other_data_are_refused_naming_both():
    with pytest.raises(ValueError, match="a has 50 test data and b has 49"):
        Comparison("test", (compared("a"), compared("b", data=49)))


def test_a_gap_that_only_an_ascent_could_split_is_left_to_its_command(tmp_path):
    runs = [
        pv.train(
            "ppca",
            "mean_field",
            torch.linspace(-1, 1, 180).reshape(60, 3).sin(),
            epochs=1,
            out=tmp_path / n,
            device="cpu",
            evidence_draws=5,
        )
        for n in "ab"
    ]
    notes = " ".join(pv.compare(*runs, split="test").to_json()["warnings"])
    assert f"run ppl-vae gap {tmp_path / 'a'} --split test first" in notes
