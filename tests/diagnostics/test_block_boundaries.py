"""More data than fit into a block, the last one narrower: evidence, ascents and refined guides join them in order."""

import sys

import numpy as np
import pytest

import ppl_vae as pv
from tests.support.evidence_cases import CASES

pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of four data and forty samples, and ascents of three data at once."""
    for module in [module for name, module in sys.modules.items() if name.startswith("ppl_vae.")]:
        if hasattr(module, "rows_at_once"):
            monkeypatch.setattr(module, "rows_at_once", lambda x: 40)
        if hasattr(module, "data_block"):
            monkeypatch.setattr(module, "data_block", lambda x, draws=1: 4)
    monkeypatch.setattr("ppl_vae.evidence.methods.enumeration.CELLS", 100)
    monkeypatch.setattr("ppl_vae.diagnostics.gap.gradient_ascent.DATA", 3)


def assert_near(estimate, truth):
    """A bound or an estimate of each datum, in the order of the data, within its noise and a little of the truth."""
    off = estimate.pointwise.numpy() - truth
    noise = 0 if estimate.pointwise_se is None else estimate.pointwise_se.numpy()
    assert len(off) == len(truth)
    assert (np.abs(off) < 5 * noise + 2).all()
    assert abs(off.mean()) < 1


def test_small_blocks_change_no_number(small_blocks):
    case = CASES["bit and number"]()
    pair, truth = (case.model, case.guide, case.x), case.oracle
    exact = pv.measure(*pair)
    np.testing.assert_allclose(exact.evidence.pointwise, truth, atol=1e-3)
    assert_near(pv.measure(*pair, method="importance", draws=100).evidence, truth)
    assert_near(pv.measure(*pair, method="best_member", draws=50, search_steps=8).evidence, truth)
    gap = pv.split_gap(*pair, method="ascent", steps=20, draws=50, restarts=2, check=0)
    np.testing.assert_allclose(gap.evidence.pointwise, truth, atol=1e-3)
    assert_near(gap.best, truth)
    refined = pv.measure(case.model, pv.RefinedGuide(*pair, steps=10, draws=50), case.x)
    np.testing.assert_allclose(refined.evidence.pointwise, truth, atol=1e-3)
    assert refined.elbo.mean > exact.elbo.mean - 5 * (refined.elbo.se + exact.elbo.se)
