"""Bidirectional Monte Carlo, and measurements that are taken up after an interruption."""

from dataclasses import replace

import pytest
import torch
from ppl_vae.guides.mean_field import MeanField
from ppl_vae.models.text import Text

from ppl_vae.diagnostics.gap.gap import Gap
from ppl_vae.evidence.ais import Schedule
from ppl_vae.evidence.bdmc import BDMC, sandwich, sandwich_cells
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.measure import measure
from ppl_vae.evidence.results import Evidence
from ppl_vae.runs.resumable import BlockStore
from tests.support.small_pairs import LinearGaussian, documents

pytestmark = pytest.mark.usefixtures("float64")


def pairs(name):
    if name == "gaussian":
        pair = LinearGaussian(3)
        return pair.model, pair.guide, pair.simulate(30)[1]
    x = documents(30, 11)
    model = Text(11, bits=5)
    model.words.weight.data *= 5
    return model, MeanField(model, x, width=8), x


@pytest.mark.parametrize("name", ["gaussian", "text"])
def test_the_bounds_hold_the_exact_evidence_between_them(name, monkeypatch):
    model, guide, x = pairs(name)
    seen = []
    monkeypatch.setattr("ppl_vae.evidence.bdmc.simulate", lambda m, part: seen.append(simulate(m, part)) or seen[-1])
    from ppl_vae.programs.simulate import simulate

    found = sandwich(model, guide, x, draws=8, schedule=Schedule(temperatures=100))
    exact = torch.cat([measure(model, guide, data).evidence.pointwise for _, data in seen])
    assert found.lower.mean - 6 * found.lower.se < exact.mean() < found.upper.mean + 6 * found.upper.se
    assert abs(found.width.mean) < 0.5
    assert found.width.bound == "upper"


def test_data_that_come_with_their_latents_are_bounded_themselves():
    pair = LinearGaussian(3)
    z, x = pair.simulate(40)
    found = sandwich(pair.model, pair.guide, x, draws=8, schedule=Schedule(temperatures=40), drawn_with={"z": z})
    exact = pair.evidence(x)
    assert found.lower.mean - 6 * found.lower.se < exact.mean() < found.upper.mean + 6 * found.upper.se
    for bound in (found.lower, found.upper):  # datum by datum, not only in the mean
        assert torch.corrcoef(torch.stack([bound.pointwise, exact]))[0, 1] > 0.9
    with pytest.raises(ValueError, match="3 values of site 'z' were given for 40 data; give one per datum"):
        sandwich(pair.model, pair.guide, x, drawn_with={"z": z[:3]})


def test_coarse_annealing_leaves_a_wide_sandwich():
    model, guide, x = pairs("gaussian")
    coarse = sandwich(model, guide, x, draws=4, schedule=Schedule(temperatures=3, start="guide"))
    fine = sandwich(model, guide, x, draws=4, schedule=Schedule(temperatures=40, start="guide"))
    assert coarse.width.mean > fine.width.mean + 1
    assert "standard errors over the data" in " ".join(str(coarse).split())


def test_blocks_are_taken_up(monkeypatch, tmp_path):
    monkeypatch.setattr("ppl_vae.evidence.ais.CHAINS", 20)
    model, guide, x = pairs("gaussian")
    x = x[:30]  # three blocks
    options = {"draws": 4, "schedule": Schedule(temperatures=3)}
    torch.manual_seed(3)
    whole = sandwich(model, guide, x, **options)
    kept = BlockStore(tmp_path / "kept", {"draws": 4}, BDMC)
    ticks = []

    def stop(cells):
        ticks.append(cells)
        if len(kept) == 2:
            raise KeyboardInterrupt

    torch.manual_seed(3)
    with pytest.raises(KeyboardInterrupt):
        sandwich(model, guide, x, done=kept, progress=stop, **options)
    again = BlockStore(tmp_path / "kept", {"draws": 4}, BDMC)
    assert list(again) == [0, 10]
    torch.manual_seed(3)
    counted = []
    found = sandwich(model, guide, x, done=again, progress=counted.append, **options)
    torch.testing.assert_close(found.upper.pointwise, whole.upper.pointwise, rtol=0, atol=0)
    assert sum(counted) == sandwich_cells(x, **options)
    again.delete()
    assert not (tmp_path / "kept").exists()


def test_kept_blocks_come_back_whole_and_others_are_dropped(tmp_path):
    values = torch.arange(3.0)
    lower = Estimate(values, "here", "lower", 5, pointwise_se=values / 10, k_hat=values, notes=("so so",))
    plain = Estimate(values, "there", "exact")
    first = BlockStore(tmp_path, {"draws": 5, "state": "a"}, Evidence)
    first[4] = Evidence(plain, lower, plain)
    back = BlockStore(tmp_path, {"draws": 5, "state": "a"}, Evidence)[4]
    assert back.evidence.warnings == lower.warnings
    assert (back.evidence.method, back.evidence.bound, back.evidence.draws) == ("here", "lower", 5)
    torch.testing.assert_close(back.evidence.pointwise_se, lower.pointwise_se)
    assert back.elbo.pointwise_se is None
    other = BlockStore(tmp_path, {"draws": 6, "state": "a"}, Evidence)
    assert 4 not in other
    assert 4 in first  # a shorter trial beside it costs a long measurement nothing
    assert 4 not in BlockStore(tmp_path, {"draws": 5, "state": "b"}, Evidence)
    assert not list(tmp_path.iterdir())
    # What one process measured serves it to the end, though another has deleted the files.
    assert list(first) == [4] and torch.equal(first[4].evidence.pointwise, values)
    assert 4 not in BlockStore(tmp_path, {"draws": 5, "state": "a"}, Evidence)


def test_kept_gaps_and_damaged_blocks(tmp_path):
    values = Estimate(torch.arange(3.0), "here", "lower", 5, pointwise_se=torch.ones(3))
    gap = Gap(values, replace(values), replace(values), "normals", {"gained in the second round": values})
    kept = BlockStore(tmp_path, {}, Gap)
    kept[0] = kept[3] = gap
    assert str(kept[3]) == str(gap)
    assert kept[3].family == "normals"
    file = next(tmp_path.rglob("*3.safetensors"))
    file.write_bytes(file.read_bytes()[:100])
    again = BlockStore(tmp_path, {}, Gap)
    assert 3 not in again
    assert list(again) == [0]


def test_blocks_measured_by_different_methods_join_under_both_names():
    parts = [Estimate(torch.zeros(2), "sum", "exact"), Estimate(torch.ones(1), "draws", "lower", 9)]
    joined = Estimate.join(parts)
    assert (joined.method, joined.bound, len(joined.pointwise)) == ("sum or draws", "lower", 3)


def test_too_few_chains_and_no_data_are_refused():
    model, guide, x = pairs("gaussian")
    with pytest.raises(ValueError, match="at least 2 chains per datum and start, got 3 from both"):
        sandwich(model, guide, x, draws=3)
    with pytest.raises(ValueError, match="an empty batch has no shape"):
        sandwich(model, guide, x[:0])
