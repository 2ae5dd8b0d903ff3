"""Which estimator serves a pair: the same in Python and on the command line, and by counted work."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import scipy.sparse
import torch

from ppl_vae.objectives.choice import fit_estimator
from ppl_vae.objectives.elbo import DiscreteELBO
from ppl_vae.objectives.work import work_by_rows
from ppl_vae.programs.sites import guide_sites
from ppl_vae.runs.config import RunConfig
from ppl_vae.runs.pair import Pair, make_objective
from ppl_vae.training.run_folder import RunFolder
from tests.support.cli import invoke, succeed, summary
from tests.support.small_pairs import BitsOfPoints

pytestmark = pytest.mark.usefixtures("float64")


def categorical(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Categorical(logits=x))
        pyro.sample("x", dist.Normal(z[..., None].double(), 1.0).expand([*z.shape, 3]).to_event(1), obs=x)


def one_hot(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.OneHotCategorical(logits=x))
        pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)


def chain(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Bernoulli(logits=x).to_event(1))
        y = pyro.sample("y", dist.Bernoulli(logits=z.sum(-1) - 1))
        pyro.sample("x", dist.Normal(y[..., None] - z, 1.0).to_event(1), obs=x)


def count(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Poisson(x[:, 0].exp()))
        pyro.sample("x", dist.Normal(z[..., None], 1.0).expand([*z.shape, 3]).to_event(1), obs=x)


def normal_after_states(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Categorical(logits=x))
        w = pyro.sample("w", dist.Normal(z.double(), 1.0))
        pyro.sample("x", dist.Normal(w[..., None], 1.0).expand([*w.shape, 3]).to_event(1), obs=x)


def without_data(program):
    """A guide that draws the latents of a program."""

    def guide(x):
        with pyro.poutine.block(hide=["x"]):
            program(x)

    return guide


PROGRAMS = [categorical, one_hot, chain, count, normal_after_states]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_auto_serves_every_pair_that_some_estimator_serves(program):
    x, guide = torch.randn(20, 3), without_data(program)
    objective = DiscreteELBO()
    objective.differentiable_loss(program, guide, x)
    chosen, line = fit_estimator("auto", guide_sites(guide, (x,)), program, (x,))
    assert (objective.estimator.name, line) == (chosen.name, None)
    assert torch.isfinite(DiscreteELBO().differentiable_loss(program, guide, x))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
@pytest.mark.parametrize("name", ["loo", "disarm", "local", "enumerate"])
def test_estimators_by_name_are_replaced_where_they_do_not_serve(program, name):
    """As on the command line: with a line, but for a control variate that nobody asked for."""
    x, guide = torch.randn(20, 3), without_data(program)
    chosen, line = fit_estimator(name, guide_sites(guide, (x,)), program, (x,))
    objective = DiscreteELBO(name)
    if line is None:
        assert objective.loss(program, guide, x) is not None
        assert chosen.name == name
    else:
        assert f"using {chosen.name} instead" in line
        with pytest.warns(UserWarning, match=f"using {chosen.name} instead".replace("+", r"\+")):
            objective.loss(program, guide, x)
    assert objective.estimator.name == chosen.name


def test_the_control_variate_of_an_estimator_by_name():
    pair, x = BitsOfPoints(9), torch.randn(4, 3)
    for name, control, expected in (
        ("loo", None, "loo+first_order"),
        ("loo", "none", "loo"),
        ("disarm", "first_order", "disarm+first_order"),
        ("auto", "none", "disarm"),
    ):
        objective = DiscreteELBO(name, control=control)
        objective.loss(pair.model, pair.guide, x)
        assert objective.estimator.name == expected
    with pytest.warns(UserWarning, match=r"loo\+first_order needs independent bits, .* using loo instead"):
        DiscreteELBO("loo", control="first_order").loss(categorical, without_data(categorical), x)
    with pytest.raises(ValueError, match="enumerate is exact: it takes no control variate"):
        DiscreteELBO("enumerate", control="first_order")


def inflated(bits, genes=300):
    """Zero-inflated counts, whose likelihood costs so much that listing many codes does not pay."""
    decoder = torch.nn.Linear(bits, 2 * genes)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.5 * torch.ones(bits)).to_event(1))
            logits, gate = decoder(z).chunk(2, -1)
            counts = dist.ZeroInflatedNegativeBinomial(total_count=2.0, logits=logits, gate_logits=gate)
            pyro.sample("x", counts.to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(logits=x[:, :bits]).to_event(1))

    return model, guide


@pytest.mark.parametrize(("bits", "name"), [(1, "enumerate"), (6, "disarm+first_order")])
def test_states_are_listed_where_that_costs_about_what_a_few_draws_do(bits, name):
    objective = DiscreteELBO()
    objective.loss(*inflated(bits), torch.zeros(64, 300))
    assert objective.estimator.name == name


@pytest.mark.parametrize("shared", [False, True])
def test_work_is_affine_in_the_rows_and_the_same_every_time(shared):
    model, _ = inflated(3)
    x = torch.zeros(64, 300)
    work, again = (work_by_rows(model, (x,), {}, shared=shared) for _ in range(2))
    assert work(8) == again(8) == work(2) + 3 * (work(4) - work(2))
    per_row = (work(4) - work(2)) / 2
    data = 1 if shared else 64
    products = 2 * 3 * 600 / 64
    # Each row writes at least the decoder's output, for all data or for each, and the likelihood of each datum.
    assert per_row > data * (600 + products) + 64 * 300
    assert per_row < 40 * 64 * 600


def test_the_choice_is_recorded_and_kept(tmp_path, monkeypatch):
    torch.set_default_dtype(torch.float32)
    monkeypatch.chdir(tmp_path)
    scipy.sparse.save_npz("counts.npz", scipy.sparse.csr_matrix(np.random.default_rng(0).poisson(1.0, (60, 20)) + 1))
    options = ("--corpus", "counts.npz", "--bits", "3", "--epochs", "1", "--out", "r")
    succeed("train", "text", "--guide", "linear_counts", *options)
    recorded = json.loads(Path("r/config.json").read_text())
    assert recorded["estimator"] == "auto"
    assert recorded["chosen_estimator"] == summary("r")["estimator"]
    config = RunConfig.of(RunFolder.open(Path("r")))
    x = config.load_corpus().train.values
    for name in ("loo", "disarm+first_order"):
        kept = replace(config, chosen_estimator=name)
        _, method, settings = make_objective(kept, Pair.from_config(config, x), config.settings, x)
        assert method == name
        assert settings.draws(1) == (2 if name == "loo" else 1)
    assert config.differences(kept) == []
    assert "--chosen-estimator" not in invoke("train", "--help").output
