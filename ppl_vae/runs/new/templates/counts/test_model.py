"""What must hold before a number of this pair means anything: run by `pytest`."""

import pyro
import torch
from model import Model
from model_guide import Guide
from pyro import poutine

import ppl_vae as pv

torch.manual_seed(0)
x = pv.load_corpus(Model.corpus).train.values[:8]
model = Model(data_mean=x.mean(0), shape=x.shape[1:])
guide = Guide(model, x)


def test_the_elbo_is_finite():
    assert pv.log_weight(model, guide, x, draws=10).isfinite().all()


def test_a_datum_has_the_same_density_alone_as_beside_others():
    together = poutine.trace(model).get_trace(x)
    latents = {"z": together.nodes["z"]["value"][:1]}
    alone = poutine.trace(pyro.condition(model, data=latents)).get_trace(x[:1])
    for trace in (together, alone):
        trace.compute_log_prob()
    torch.testing.assert_close(alone.nodes["x"]["log_prob"], together.nodes["x"]["log_prob"][:1])


def test_a_gradient_reaches_every_parameter():
    pv.DiscreteELBO().differentiable_loss(model, guide, x).backward()
    parameters = {**dict(model.named_parameters("model")), **dict(guide.named_parameters("guide"))}
    assert [name for name, p in parameters.items() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_the_evidence_is_not_below_the_elbo():
    result = pv.measure(model, guide, x)
    assert result.gap.mean > -4 * (result.gap.se or 0)
