"""Every evidence method, found in its folder, against oracles in NumPy and SciPy, and a method added by one file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ppl_vae.evidence.measure import measure
from ppl_vae.evidence.methods.base import EvidenceMethod
from ppl_vae.evidence.plan import obstacle_of, plan
from ppl_vae.evidence.results import Evidence
from ppl_vae.nn.modes import evaluating
from ppl_vae.plugins.discovery import available
from ppl_vae.programs.sites import guide_sites
from tests.support.added_method import ADDED_METHOD
from tests.support.cli import flat, succeed
from tests.support.evidence_cases import CASES, Case, bits, counts

METHODS = list(available("evidence"))

each_method = pytest.mark.parametrize("name", METHODS)
each_case = pytest.mark.parametrize("case", CASES)


@pytest.fixture(autouse=True)
def precise(float64: None) -> None:
    """Oracles compute in float64."""


def method_class(name: str) -> type[EvidenceMethod]:
    return available("evidence")[name].load_class(EvidenceMethod)


def options(name: str, steps: int = 40) -> dict[str, Any]:
    """Few samples and steps, so that all methods take some tenths of a second."""
    fast = {"draws": 60, "temperatures": steps, "leapfrog_steps": 3, "search_steps": steps, "search_starts": 2}
    known = method_class(name)
    return {"method": name} | {key: value for key, value in fast.items() if hasattr(known, key)}


def possible(name: str, case: Case) -> str | None:
    """The obstacle of a method."""
    with evaluating(case.model):
        return obstacle_of(method_class(name)(), case.model, case.x, guide_sites(case.model, (case.x[:2],)))


def in_small_blocks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(method_class(name), "block", lambda self, x: 4)


@each_case
@each_method
def test_a_method_agrees_with_the_oracle_or_says_why_it_cannot(name, case):
    pair = CASES[case]()
    obstacle = possible(name, pair)
    if obstacle is not None:
        sites = [site.name for site in guide_sites(pair.model, (pair.x[:2],))]
        general = ("the latents have", "log p(x, z) is")
        assert any(f"site {site!r}" in obstacle for site in sites) or obstacle.startswith(general)
        with pytest.raises(ValueError, match="is not possible") as error:
            measure(pair.model, pair.guide, pair.x, **options(name))
        assert obstacle in str(error.value)
        assert "use the method '" in str(error.value)
        return
    counted: list[int] = []
    result = measure(pair.model, pair.guide, pair.x, progress=counted.append, check=False, **options(name))
    assert sum(counted) == plan(pair.model, pair.x, **options(name)).cells
    difference = result.evidence.pointwise.numpy() - pair.oracle
    evidence = result.evidence
    assert not evidence.notes
    if method_class(name).exact:
        assert evidence.bound == "exact"
        assert evidence.se == 0
        np.testing.assert_allclose(difference, 0, atol=1e-4)
    else:
        assert evidence.bound in ("lower", "approximate")
        assert evidence.se > 0
        assert difference.mean() > -0.1 - 6 * evidence.se
        if evidence.bound == "lower":
            assert difference.mean() < 6 * evidence.se
        else:
            assert difference.mean() < 0.1 + 6 * evidence.se
    # The ELBO is below the evidence, and the gap is their difference.
    assert result.elbo.mean < pair.oracle.mean() + 6 * result.elbo.se
    torch.testing.assert_close(result.gap.pointwise, evidence.pointwise - result.elbo.pointwise)


@each_method
def test_every_method_measures_some_case(name):
    assert any(possible(name, make()) is None for make in CASES.values())


@each_method
def test_blocks_joined_are_the_whole(name, monkeypatch):
    pair, how = next(pair for make in CASES.values() if possible(name, pair := make()) is None), options(name, steps=6)
    torch.manual_seed(3)
    whole = measure(pair.model, pair.guide, pair.x, **how)
    in_small_blocks(name, monkeypatch)
    done: dict[int, Evidence] = {}
    torch.manual_seed(3)
    joined = measure(pair.model, pair.guide, pair.x, done=done, **how)
    assert [(start, len(part.evidence.pointwise)) for start, part in done.items()] == [(0, 4), (4, 4), (8, 2)]
    together = torch.cat([part.evidence.pointwise for part in done.values()])
    torch.testing.assert_close(joined.evidence.pointwise, together, rtol=0, atol=0)
    if method_class(name).exact:
        torch.testing.assert_close(joined.evidence.pointwise, whole.evidence.pointwise)


@each_method
def test_a_measurement_resumed_after_an_interruption_ends_with_the_same_numbers(name, monkeypatch):
    pair, how = next(pair for make in CASES.values() if possible(name, pair := make()) is None), options(name, steps=6)
    in_small_blocks(name, monkeypatch)
    torch.manual_seed(7)
    whole = measure(pair.model, pair.guide, pair.x, **how)

    class Interrupted(dict[int, Evidence]):
        def __setitem__(self, start: int, evidence: Evidence) -> None:
            super().__setitem__(start, evidence)
            if start == 4:
                raise KeyboardInterrupt

    done = Interrupted()
    torch.manual_seed(7)
    with pytest.raises(KeyboardInterrupt):
        measure(pair.model, pair.guide, pair.x, done=done, **how)
    assert list(done) == [0, 4]
    torch.manual_seed(7)
    counted: list[int] = []
    again = measure(pair.model, pair.guide, pair.x, done=dict(done), progress=counted.append, **how)
    for key in ("elbo", "evidence", "gap"):
        torch.testing.assert_close(getattr(again, key).pointwise, getattr(whole, key).pointwise, rtol=0, atol=0)
    assert sum(counted) == plan(pair.model, pair.x, **how).cells


@each_method
def test_unknown_options_are_refused_by_name(name):
    pair = next(pair for make in CASES.values() if possible(name, pair := make()) is None)
    with pytest.raises(ValueError, match=f"the evidence method {name} has no colour; it has draws"):
        measure(pair.model, pair.guide, pair.x, method=name, colour="red")
    with pytest.raises(ValueError, match="no evidence method has an option colour; there are draws"):
        measure(pair.model, pair.guide, pair.x, colour="red")


@each_method
def test_a_method_is_listed_with_its_summary(name):
    summary = available("evidence")[name].summary
    assert summary in (method_class(name).__doc__ or "").replace("\n    ", " ")
    assert flat(summary) in flat(succeed("evidence", "--help").output)


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder outside the package with one file: a method."""
    (tmp_path / "evidence").mkdir()
    file = tmp_path / "evidence/mine.py"
    file.write_text(ADDED_METHOD)
    # Neither run nor taken for a method, although it lies beside one.
    (tmp_path / "evidence/court_case.py").write_text("raise SystemExit('this is no plugin')\n")
    (tmp_path / "evidence/broken.py").write_text("# An EvidenceMethod that fails.\nraise SystemExit('broken')\n")
    (tmp_path / "evidence/latin.py").write_bytes("# Mörike's EvidenceMethod\nimport missing_module\n".encode("latin-1"))
    monkeypatch.chdir(tmp_path)
    return file


def test_a_file_in_the_working_folder_adds_a_method(mine):
    pair = bits()
    assert "mine" in available("evidence")
    named = measure(pair.model, pair.guide, pair.x, method="mine")
    automatic = measure(pair.model, pair.guide, pair.x)
    by_path = measure(pair.model, pair.guide, pair.x, method=str(mine))
    for result in (named, automatic, by_path):
        assert result.evidence.method == "mine"
        assert result.why == "mine is exact here"
        np.testing.assert_allclose(result.evidence.pointwise.numpy(), pair.oracle)
    assert measure(pair.model, pair.guide, pair.x, most=2).evidence.method == "enumeration of 8 states"
    with pytest.raises(ValueError, match="mine is not possible: site 'z' is not one of at most 2 bits; use the method"):
        measure(pair.model, pair.guide, pair.x, method="mine", most=2)
    other = counts()
    assert "mine: site 'z' is not one of at most 8 bits" in measure(other.model, other.guide, other.x, draws=20).why
