"""What every model must do; a new one is tested by being found in its folder."""

import math
from functools import cache

import pytest
import torch
from pyro import poutine

from ppl_vae.data.counts import PackedCounts
from ppl_vae.nn.modes import evaluating
from ppl_vae.programs.loading import available, check_fit
from ppl_vae.programs.log_weight import log_joint
from ppl_vae.programs.simulate import simulate
from tests.support.small_pairs import documents

MODELS = {definition.name: definition for definition in available("models")[0] if definition.shipped}
assert MODELS
pytestmark = [pytest.mark.parametrize("name", MODELS), pytest.mark.usefixtures("float64")]
SHAPES = ((2,), (16,), (28, 28), (1, 28, 28))
DATA = 5


@cache
def example(name):
    """Options that come from the data, and a batch of them: documents, or of the first shape that the model reads."""
    definition = MODELS[name]
    if definition.data is PackedCounts:
        batches = [documents(DATA, 9)]
    else:
        batches = [torch.eye(DATA, math.prod(shape)).reshape(DATA, *shape) for shape in SHAPES]
    for x in batches:
        try:
            check_fit(definition.target(**definition.facts(x)), x)
        except (ValueError, RuntimeError, IndexError):
            continue
        return definition.facts(x), x
    pytest.fail(f"{name} reads no documents, nor tensors of the shapes {SHAPES}")


def pair_of(name):
    """A model with the options it has by default, latents of its prior and data that it has made."""
    options, x = example(name)
    torch.manual_seed(0)
    model = MODELS[name].target(**options).double()
    z, x = simulate(model, x)
    return model, {site: value[None] for site, value in z.items()}, x


def log_prob(model, x, z):
    with evaluating(model), torch.no_grad():
        return log_joint(model, x, z)[0]


def test_options_are_documented(name):
    assert MODELS[name].summary
    for option in MODELS[name].options():
        assert option.help, option


def test_simulated_data_have_the_shape_of_the_data(name):
    _, x = example(name)
    model, z, made = pair_of(name)
    assert z and type(made) is type(x) and len(made) == len(x)
    if isinstance(x, PackedCounts):
        assert made.vocabulary == x.vocabulary
        torch.testing.assert_close(made.lengths, x.lengths)
    else:
        assert made.shape == x.shape
    assert log_prob(model, made, z).isfinite().all()


def test_every_site_lies_in_one_plate_of_the_data(name):
    model, z, x = pair_of(name)
    with evaluating(model), torch.no_grad():
        trace = poutine.trace(model).get_trace(x)
    samples = [site for site in trace.nodes.values() if site["type"] == "sample"]
    sites = [site for site in samples if not poutine.util.site_is_subsample(site)]
    plates = {frame.name for site in sites for frame in site["cond_indep_stack"] if frame.size == DATA}
    assert len(plates) == 1
    assert all(plates & {frame.name for frame in site["cond_indep_stack"]} for site in sites)


@pytest.mark.parametrize("size", [1, 3])
def test_the_density_of_a_datum_does_not_depend_on_the_others(name, size):
    """In batches of one, and in batches of which the last is smaller."""
    model, z, x = pair_of(name)
    whole = log_prob(model, x, z)
    for rows in torch.arange(DATA).split(size):
        part = log_prob(model, x[rows], {site: value[:, rows] for site, value in z.items()})
        torch.testing.assert_close(part, whole[rows])


def test_densities_are_in_double_precision_and_the_same_again(name):
    model, z, x = pair_of(name)
    once = log_prob(model, x, z)
    assert once.dtype == torch.float64
    torch.manual_seed(1)
    torch.testing.assert_close(log_prob(model, x, z), once, rtol=0, atol=0)


def test_gradients_reach_every_parameter(name):
    model, z, x = pair_of(name)
    learned = {key: parameter for key, parameter in model.named_parameters() if parameter.requires_grad}
    if learned:  # a model may be fixed
        log_joint(model, x, z).sum().backward()
    for key, parameter in learned.items():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key


def test_other_latents_change_the_density(name):
    model, z, x = pair_of(name)
    others = {site: value[None] for site, value in simulate(model, x)[0].items()}
    assert not torch.equal(log_prob(model, x, z), log_prob(model, x, others))
