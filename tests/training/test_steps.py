"""Steps of the guide by itself and on data that the model draws, against enumeration in NumPy."""

import numpy as np
import pytest
import torch

from ppl_vae.objectives.elbo import DiscreteELBO
from ppl_vae.training.run_folder import RunFolder
from ppl_vae.training.settings import Settings
from ppl_vae.training.steps import Steps
from ppl_vae.training.trainer import Trainer
from tests.support.cli import SMALL, invoke, metrics, succeed, summary
from tests.support.two_pixels import GUIDE, MODEL, STATES, OneBit, TwoPixels, elbos, log_joint, slope
from tests.support.z_test import assert_mean


def steps_of(pair, **settings):
    return Steps(*pair, DiscreteELBO("enumerate"), Settings(optimizer="SGD", clip=0, **settings))


@pytest.fixture
def pair(float64):
    return TwoPixels(), OneBit()


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_dreams_reach_the_guide_alone_and_by_their_share(pair, share):
    steps, x, found = steps_of(pair, dreams=share), torch.tensor(STATES[1:]), []
    of_model = torch.tensor(slope(lambda theta: elbos(theta, GUIDE)[1:].mean(), MODEL))
    for _ in range(100):
        steps.set_gradients(x)
        torch.testing.assert_close(-pair[0].theta.grad, of_model)
        found.append(-pair[1].phi.grad)
    dreamt = np.exp(log_joint(MODEL)).sum(1)

    def mixture(phi):
        return (1 - share) * elbos(MODEL, phi)[1:].mean() + share * dreamt @ elbos(MODEL, phi)

    assert_mean(torch.stack(found), torch.tensor(slope(mixture, GUIDE)))


def test_a_step_of_the_guide_leaves_the_model_and_the_mode_of_its_networks(pair):
    model, guide = pair
    steps, x = steps_of(pair, learning_rate=0.1, dreams=0.5), torch.tensor(STATES)
    model.train()
    steps.guide_step(x)
    assert model.training and model.theta.requires_grad
    assert model.theta.grad is None and torch.equal(model.theta, torch.tensor(MODEL))
    assert not torch.equal(guide.phi, torch.tensor(GUIDE))


def test_the_guide_takes_its_steps_and_its_own_weight_decay(pair, tmp_path):
    model, guide = pair
    settings = Settings([(2, 1)], batch_size=2, guide_steps=3, guide_weight_decay=0.25, weight_decay=0.5)
    trainer = Trainer(model, guide, DiscreteELBO("enumerate"), RunFolder(tmp_path), settings)
    trainer.fit(torch.tensor(STATES), None)
    state = trainer.optimizer.state
    assert (int(state[model.theta]["step"]), int(state[guide.phi]["step"])) == (4, 12)
    decays = {id(p): group["weight_decay"] for group in trainer.optimizer.param_groups for p in group["params"]}
    assert decays == {id(model.theta): 0.5, id(guide.phi): 0.25}


def test_mistakes_are_named(pair):
    for wrong, words in (
        ({"dreams": 1.5}, r"the share of dreams must lie in \[0, 1\], got 1.5"),
        ({"guide_steps": 0}, "the number of guide steps must be at least 1, got 0"),
        ({"guide_weight_decay": -1.0}, "guide weight decay must be a finite number, at least 0"),
    ):
        with pytest.raises(ValueError, match=words):
            Settings(**wrong)
    pair[1].phi.requires_grad_(False)
    with pytest.raises(ValueError, match="the guide has no parameters of its own that are learned; leave out --dreams"):
        steps_of(pair, dreams=0.5)


def test_a_run_with_dreams_and_guide_steps_resumes_as_if_never_interrupted(folder, interrupt):
    apart = ("--dreams", "0.5", "--guide-steps", "2", "--guide-weight-decay", "0.01", "--epochs", "2")
    succeed("train", *SMALL, *apart, "--out", "whole")
    interrupt(12)
    assert invoke("train", *SMALL, *apart, "--out", "cut").exit_code == 130
    succeed("train", "--resume", "cut")
    assert summary("whole") == summary("cut")
    drop = ("seconds", "data_per_second")
    whole, cut = ([{k: v for k, v in row.items() if k not in drop} for row in metrics(run)] for run in ("whole", "cut"))
    assert whole == cut
