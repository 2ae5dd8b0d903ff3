"""The benchmark of coverage: its models and their NumPy agree, its counts are counts, and it runs in small."""

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from scipy.stats import beta

import ppl_vae as pv
from benchmarks.coverage import prices
from benchmarks.coverage.__main__ import PARTS, RESULTS, main, read, table_of
from benchmarks.coverage.adversarial import MODELS, cases, examine
from benchmarks.coverage.guides import KINDS, Guide, good, one_mode, prior
from benchmarks.coverage.rates import Rate, markdown
from benchmarks.coverage.several import Labels


@pytest.mark.parametrize("kind", MODELS, ids=lambda kind: kind.__name__)
def test_model_and_numpy_agree(kind):
    oracle = kind(3)
    guide = Guide(oracle, prior if kind.__name__ == "HeavyTails" else good)
    x = oracle.data(3)
    torch.manual_seed(0)
    # Half of the samples are of the prior, so that the mean weight has little noise.
    found = pv.measure(oracle.model, guide, x, method="importance", draws=4000, prior_share=1.0, check=False).evidence
    off = found.pointwise.numpy() - oracle.evidence(x.double().numpy())
    noisy = kind.__name__ == "EightModes"  # one of 256 modes is hardly ever drawn
    assert (off < 5 * found.pointwise_se.numpy() + 0.02).all()
    assert noisy or (np.abs(off) < 5 * found.pointwise_se.numpy() + 0.02).all()


def test_the_highest_mode_is_one_of_two():
    oracle = Labels(0)
    x = oracle.data(5).double().numpy()
    both, one = oracle.posterior(x), oracle.posterior(x, highest=True)
    np.testing.assert_allclose(both[0][:, 0], both[0][:, 1], atol=1e-9)
    assert (one[1] < both[1] + 1e-9).all() and (one[1] < 0.8 * both[1]).any()


def test_kinds_of_guides_are_wrong_in_their_way():
    oracle = MODELS[0](0)
    x = oracle.data(40)
    mean, deviation = oracle.posterior(x.double().numpy())
    found = {kind.__name__: Guide(oracle, kind, 5).moments(x) for kind in KINDS}
    assert (found["narrow"][1] < 0.51 * deviation).all() and (found["wide"][1] > 2.9 * deviation).all()
    assert (found["shifted"][0] > mean + 0.9 * deviation).all()
    assert np.ptp(found["blind"][0]) == np.ptp(found["prior"][0]) == 0
    assert len({kind for case in cases(110) for kind in [case.guide.kind]}) == len(KINDS)
    assert one_mode in {case.guide.kind for case in cases(110)}


def test_a_rate_and_its_interval():
    rate = Rate("covers", 180, 200, 0.95)
    assert rate.interval == pytest.approx((beta.ppf(0.025, 180, 21), beta.ppf(0.975, 181, 20)))
    assert rate.holds is False
    assert Rate("covers", 188, 200, 0.95).holds
    assert Rate("wrong", 1, 200, 0.0, "at most").holds is False
    assert Rate("wrong", 0, 200, 0.0, "at most").holds
    assert Rate("silent", 5, 200, 0.02, "at most").holds


def test_guides_that_deceive_in_small(tmp_path):
    outcomes = [examine(case, "importance") for case in cases(len(MODELS))]
    assert [outcome.model for outcome in outcomes] == [kind.__name__ for kind in MODELS]
    assert all(outcome.lower <= outcome.truth - outcome.error + 1e-6 for outcome in outcomes)
    assert sum(outcome.error for outcome in outcomes) > 0
    assert not any(outcome.wrong_exact or outcome.message for outcome in outcomes)
    out = tmp_path / "found.json"
    options = ["--cases", "1", "--methods", "importance", "--out", str(out)]
    result = CliRunner().invoke(main, ["adversarial", *options], catch_exceptions=False)
    assert "`importance`: called exact and wrong | never | 0 of 1" in result.stdout
    assert len(read(out, "adversarial")) == 5


def test_statements_and_warnings_in_small(tmp_path):
    out = tmp_path / "found.json"
    for command in (
        ["statements", "--runs", "2", "--only", "constant_weights"],
        ["warnings", "--pairs", "3"],
    ):
        CliRunner().invoke(main, [*command, "--out", str(out)], catch_exceptions=False)
    assert {rate.runs for rate in read(out, "statements") if "called exact" in rate.statement} == {2}
    due = read(out, "warnings")
    measured, *others = due
    assert measured.count == measured.runs == 3
    assert len(others) == 12 and sum(rate.runs for rate in others) == 3 * 3
    CliRunner().invoke(main, ["draw", "--picture", str(tmp_path / "found.png")], catch_exceptions=False)
    assert (tmp_path / "found.png").stat().st_size > 10_000
    page = tmp_path / "page.md"
    page.write_text("".join(f"<!-- {part} -->\n\n| stale |\n\nText.\n" for part in (*PARTS, "commits")))
    CliRunner().invoke(main, ["show", str(out), "--page", str(page)], catch_exceptions=False)
    assert markdown(due) in page.read_text() and "stale" not in page.read_text()
    assert page.read_text().count("Text.") == len(PARTS) + 1


def test_prices_in_small(monkeypatch):
    monkeypatch.setattr(prices, "CASES", (("importance", {"draws": 20}),))
    found = list(prices.prices(1))
    assert len(found) == 6 and all("ms" in rate.note for rate in found)


def test_the_page_has_the_stored_rates():
    page = (Path(__file__).parents[2] / "docs/honest.md").read_text()
    for part in PARTS:
        assert f"<!-- {part} -->\n\n{table_of(RESULTS, part)}\n" in page
