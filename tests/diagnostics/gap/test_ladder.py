import pytest
import torch
from ppl_vae.guides.full import Full
from ppl_vae.guides.linear_counts import LinearCounts
from ppl_vae.guides.mean_field import MeanField
from ppl_vae.models.text import Text
from torch import nn

from ppl_vae.diagnostics.gap.ladder import ladder
from ppl_vae.evidence.measure import measure
from ppl_vae.nn.modes import frozen
from ppl_vae.objectives.elbo import DiscreteELBO
from ppl_vae.training.run_folder import RunFolder
from ppl_vae.training.settings import Settings
from ppl_vae.training.trainer import Trainer
from tests.support.small_pairs import LinearGaussian, documents

pytestmark = pytest.mark.usefixtures("float64")


def three(bits=3):
    x = documents(20, 9)
    model = Text(9, bits=bits)
    model.words.weight.data *= 4
    return model, {"linear": LinearCounts(model, x), "deep": MeanField(model, x), "full": Full(model, x)}, x


def test_every_step_is_the_paired_difference_of_two_rungs():
    model, guides, x = three()
    ticks = []
    found = ladder(model, guides, x, progress=ticks.append)
    assert sum(ticks) == 3 * len(x)
    whole = {name: measure(model, guide, x) for name, guide in guides.items()}
    steps = found.steps()
    assert list(steps) == ["deep", "full", "evidence"]
    difference = whole["deep"].elbo.pointwise - whole["linear"].elbo.pointwise
    torch.testing.assert_close(steps["deep"].pointwise, difference)
    assert steps["deep"].data_se == pytest.approx((difference.std() / 20**0.5).item())
    torch.testing.assert_close(steps["evidence"].pointwise, whole["full"].gap.pointwise)
    for name in guides:
        amortisation, family = found.gaps(name)
        torch.testing.assert_close(amortisation.pointwise + family.pointwise, whole[name].gap.pointwise)
    assert found.gaps("full")[1].bound == "exact"
    assert found.gaps("full")[1].mean == 0
    text, content = str(found), found.to_json()
    for word in ("step up", "family gap", "evidence", "deep"):
        assert word in text
    assert content["deep"]["step"]["mean"] == pytest.approx(difference.mean().item())
    assert "step" not in content["linear"]
    assert set(found.pointwise()) >= {"evidence", "linear.elbo", "full.best_of_family"}


def test_a_falling_ladder_says_so():
    model, guides, x = three()
    bad = guides["linear"]
    for parameter in bad.parameters():
        parameter.data += 5
    found = ladder(model, {"deep": guides["deep"], "linear": bad}, x)
    assert found.steps()["linear"].mean < 0
    assert any("the ELBO falls from deep to linear by" in note for note in found.warnings)
    assert "note: the ELBO falls" in str(found)


def test_a_guide_of_unknown_family_keeps_its_place():
    model, guides, x = three(bits=14)

    def full(x):  # a function, of which nothing is known but what it draws
        guides["full"](x)

    found = ladder(model, {"linear": guides["linear"], "full": full}, x, most_bits=4, steps=4, draws=20)
    assert found.gaps("full") is None
    assert found.gaps("linear") is not None
    assert "not known" in str(found)
    assert any(note.startswith("full: ") for note in found.warnings)
    assert "best_of_family" not in found.to_json()["full"]
    # One evidence for all, the highest of the lower bounds.
    assert found.evidence.bound == "lower"


def test_guides_of_one_family_share_its_best_members():
    model, guides, x = three(bits=5)
    found = ladder(model, {"linear": guides["linear"], "deep": guides["deep"]}, x, method="ascent", steps=10, draws=10)
    assert found.rungs["linear"].best is found.rungs["deep"].best


def test_families_of_normals():
    """Full covariance contains independence; both best members are found by ascent."""
    pair = LinearGaussian(2, 3)
    _, x = pair.simulate(30)
    guides = {"mean_field": MeanField(pair.model, x), "full": Full(pair.model, x)}
    found = ladder(pair.model, guides, x, steps=100)
    torch.testing.assert_close(found.evidence.pointwise, pair.evidence(x))
    (_, independent), (_, correlated) = (found.gaps(name) for name in guides)
    assert correlated.mean < independent.mean


def test_no_guides_no_ladder():
    with pytest.raises(ValueError, match="at least one guide"):
        ladder(lambda x: None, {}, torch.zeros(2, 1))


def test_training_a_guide_leaves_a_frozen_model_as_it_was(tmp_path):
    x, model = documents(20, 9), Text(9, bits=3)
    model.hidden.append(nn.Dropout(0.5))
    guide = LinearCounts(model, x)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    seen = []
    model.register_forward_pre_hook(lambda module, args: seen.append(module.training))
    with frozen(model):
        trainer = Trainer(model, guide, DiscreteELBO(), RunFolder(tmp_path), Settings([(2, 1)], batch_size=10))
        trainer.keep_start(x)
        start = trainer.best
        trainer.fit(x, x)
    assert trainer.best >= start
    assert not any(seen)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(p.requires_grad for p in model.parameters())


def test_a_finished_training_is_not_written_again(tmp_path):
    x, model = documents(20, 9), Text(9, bits=3)

    def trainer():
        return Trainer(
            model, LinearCounts(model, x), DiscreteELBO(), RunFolder(tmp_path), Settings([(2, 1)], batch_size=10)
        )

    trainer().fit(x, x)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    again = trainer()
    assert again.resume()
    again.fit(x, x)
    again.restore_best()
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == written


def test_a_start_that_is_never_beaten_is_the_best(tmp_path):
    x, model = documents(20, 9), Text(9, bits=3)
    guide = LinearCounts(model, x)
    before = [p.clone() for p in guide.parameters()]
    with frozen(model):
        settings = Settings([(50, 1)], learning_rate=10.0, patience=3)
        trainer = Trainer(model, guide, DiscreteELBO(), RunFolder(tmp_path), settings)
        trainer.keep_start(x)
        trainer.fit(x, x)
        trainer.restore_best()
    assert (trainer.best_epoch, trainer.epoch) == (0, 3)
    assert all(map(torch.equal, before, guide.parameters()))
