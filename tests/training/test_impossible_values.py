"""An epoch whose validation score cannot be right is not chosen."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.nn import PyroModule

import ppl_vae as pv
from ppl_vae.objectives.base import NonFiniteError


class Points(PyroModule):
    """Two normal latents and as many noisy numbers."""

    def __init__(self):
        super().__init__()
        self.shift = torch.nn.Parameter(torch.zeros(2))

    def forward(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z + self.shift, 1.0).to_event(1), obs=x)


class Collapsing(PyroModule):
    """A normal guide whose covariance is singular in single precision after some epochs."""

    def __init__(self, until):
        super().__init__()
        self.until, self.epoch = until, 0.0
        self.mean = torch.nn.Linear(2, 2)

    def set_epoch(self, epoch):
        self.epoch = epoch

    def forward(self, x):
        last = 0.5 if self.epoch <= self.until else 1e-20
        tril = torch.tensor([[0.7, 0.0], [0.3, last]])
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.MultivariateNormal(self.mean(x) + 0.3, scale_tril=tril))


class Counting(PyroModule):
    """Counts whose distribution is not normalised."""

    def __init__(self):
        super().__init__()
        self.shift = torch.nn.Parameter(torch.zeros(2))

    def forward(self, x):
        class Loud(dist.Poisson):
            def log_prob(self, value):
                return super().log_prob(value) + 50

        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample("x", Loud((z + self.shift).exp()).to_event(1), obs=x)


def fit(model, guide, x, tmp_path, **options):
    return pv.train(model, guide, x, out=tmp_path / "run", epochs=4, evidence_draws=10, **options)


def test_the_last_epoch_before_densities_are_lost_is_chosen_and_said(tmp_path):
    torch.manual_seed(0)
    run = fit(Points(), Collapsing(2.0), torch.randn(60, 2), tmp_path)
    assert [("validation_elbo" in row, row.get("not_chosen", "")[:21]) for row in run.history] == [
        (True, ""),
        (True, ""),
        (False, "the guide's own draws"),
        (False, "the guide's own draws"),
    ]
    assert run.summary.best_epoch <= 2
    assert run.summary.notes[0].startswith("2 of 4 epochs could not be chosen: the guide's own draws for datum")
    assert run.summary.splits["test"].measurement.elbo.mean < 0


def test_without_any_epoch_to_choose_training_ends_in_words(tmp_path):
    with pytest.raises(NonFiniteError, match="no epoch can be chosen: the guide's own draws"):
        fit(Points(), Collapsing(-1.0), torch.randn(60, 2), tmp_path)


def test_discrete_data_have_no_log_probability_above_zero(tmp_path):
    with pytest.raises(NonFiniteError, match=r"log-probability of datum \d+ is .* at most one; let the log_prob"):
        fit(Counting(), "mean_field", torch.poisson(torch.ones(60, 2)), tmp_path)


def test_an_epoch_that_cannot_be_chosen_is_not_the_last_that_counts_either(tmp_path):
    torch.manual_seed(0)
    run = fit(Points(), Collapsing(2.0), torch.randn(60, 2), tmp_path, rate=1.0, lagrangian=True)
    assert run.summary.chosen_by == "" and ["not_chosen" in row for row in run.history] == [False, False, True, True]
    assert run.summary.best_epoch == 2
