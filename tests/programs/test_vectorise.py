"""Programs that do not take draws on the left: their data are repeated, or they run once for each draw."""

import gc

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.stats import multivariate_normal, norm
from torch import nn

from ppl_vae.evidence.measure import measure
from ppl_vae.objectives.elbo import DiscreteELBO
from ppl_vae.programs import layouts
from ppl_vae.programs.layouts import layout_of, set_layout
from ppl_vae.programs.log_weight import log_joint

pytestmark = pytest.mark.usefixtures("float64")


class Decoder(nn.Module):
    """Reshapes as decoders of images do."""

    def __init__(self):
        super().__init__()
        self.dense, self.norm, self.up = nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ConvTranspose2d(2, 1, 2, stride=2)
        self.norm.running_mean += torch.linspace(-1, 1, 8)

    def forward(self, z):
        return self.up(self.norm(self.dense(z)).relu().view(-1, 2, 2, 2))


def images(decoder):
    def model(x):
        with pyro.plate("images", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x), 2), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(3), obs=x)

    return model


def guide(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(torch.zeros(len(x), 2), 1.0).to_event(1))


def once(x):
    """Branches on its latent, as a program of a single draw can."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        loc = z if z.shape == (len(x), 2) and len(x) < 6 else z.flip(0)
        pyro.sample("x", dist.Normal(loc, 0.5).to_event(1), obs=x)


def test_a_decoder_that_reshapes_scores_as_the_network_does():
    decoder = Decoder()
    x, z = (torch.rand(3, 1, 4, 4) < 0.5).double(), torch.randn(4, 3, 2)
    model = images(decoder)
    assert layout_of(model, (x,), {}).vectorise == "fold"
    decoder.eval()
    with torch.no_grad():
        logits = torch.stack([decoder(each) for each in z])
        likelihood = -nn.functional.binary_cross_entropy_with_logits(logits, x.expand(4, *x.shape), reduction="none")
    truth = likelihood.sum((-3, -2, -1)).numpy() + norm.logpdf(z).sum(-1)
    assert np.allclose(log_joint(model, x, {"z": z}).detach(), truth)


def test_training_through_repeated_data_has_the_gradient_of_one_draw_after_the_other():
    decoder, x = Decoder().eval(), (torch.rand(3, 1, 4, 4) < 0.5).double()
    torch.manual_seed(5)
    DiscreteELBO(draws=4, kl="sampled").differentiable_loss(images(decoder), guide, x).backward()
    gradient = decoder.dense.weight.grad.clone()
    decoder.zero_grad()
    torch.manual_seed(5)
    z = torch.randn(4, 3, 2)
    logits = torch.stack([decoder(each) for each in z])
    loss = nn.functional.binary_cross_entropy_with_logits(logits, x.expand(4, *x.shape), reduction="sum") / 4
    loss.backward()
    assert torch.allclose(gradient, decoder.dense.weight.grad)


def test_a_program_of_single_draws_runs_once_for_each():
    x, z = torch.randn(4, 2), torch.randn(3, 4, 2)
    assert layout_of(once, (x,), {}).vectorise == "loop"
    truth = norm.logpdf(x, z, 0.5).sum(-1) + norm.logpdf(z).sum(-1)
    assert np.allclose(log_joint(once, x, {"z": z}), truth)
    measured = measure(once, guide, x, method="closed_form").evidence.pointwise
    assert np.allclose(measured, multivariate_normal.logpdf(x, np.zeros(2), 1.25 * np.eye(2)))


def test_the_way_may_be_chosen():
    def model(x):
        return once(x)

    set_layout(model, vectorise="left")
    assert layout_of(model, (torch.randn(4, 2),), {}).vectorise == "left"
    with pytest.raises(ValueError, match="vectorise is 'right'; give 'left', 'fold' or 'loop'"):
        set_layout(model, vectorise="right")  # type: ignore[arg-type]


def test_a_program_is_run_to_learn_its_layout_once_and_is_forgotten_with_it():
    calls = []

    def model(x):
        calls.append(len(x))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.0, 1.0))

    x, state = torch.zeros(4), torch.get_rng_state()
    layout_of(model, (x,), {})
    assert calls and torch.equal(state, torch.get_rng_state())
    calls.clear()
    layout_of(model, (torch.zeros(7),), {})
    assert not calls
    known = len(layouts._LAYOUTS._owners)
    del model
    gc.collect()
    assert len(layouts._LAYOUTS._owners) < known


def both(x):
    with pyro.plate("rows", len(x), dim=-1), pyro.plate("columns", len(x), dim=-2):
        pyro.sample("x", dist.Normal(0.0, 1.0), obs=x @ x.T)


def test_plates_that_cannot_be_told_apart_are_refused_until_one_is_named():
    x = torch.randn(4, 2)

    def model(x):
        return both(x)

    with pytest.raises(ValueError, match=r"plates \['columns', 'rows'\] all have the number of data .*--plate columns"):
        layout_of(model, (x,), {})
    set_layout(model, plate="words")
    with pytest.raises(ValueError, match=r"there is no plate 'words'; the program's plates are \['columns', 'rows'\]"):
        layout_of(model, (x,), {})
    set_layout(model, plate="rows")
    assert layout_of(model, (x,), {}).names == {"rows"}


def test_a_loop_over_data_and_a_fixed_number_of_them_are_named():
    def loop(x):
        for i in pyro.plate("people", len(x)):
            pyro.sample(f"z_{i}", dist.Normal(0.0, 1.0))

    def fixed(x):
        with pyro.plate("data", 4):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 0.5).to_event(1), obs=x.view(4, 2))

    with pytest.raises(ValueError, match="plate 'people' over data is a Python loop; write `with pyro.plate"):
        measure(loop, guide, torch.randn(4, 2))
    x, z = torch.randn(4, 2), torch.randn(1, 4, 2)
    log_joint(fixed, x, {"z": z})
    with pytest.raises(ValueError, match="the program takes 4 data, but the batch has 5: write pyro.plate"):
        log_joint(fixed, torch.randn(5, 2), {"z": torch.randn(1, 5, 2)})


def test_errors_of_a_program_do_not_speak_of_draws():
    def broken(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x) + 1, 2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    with pytest.raises(ValueError, match="Shape mismatch inside plate") as caught:
        measure(broken, guide, torch.randn(4, 2))
    assert "draws" not in str(caught.value)
