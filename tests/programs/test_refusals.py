"""Programs whose data have no density of their own are refused before anything is computed, with the remedy."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import torch.nn.functional as F
from pyro.nn import PyroModule, PyroSample

from ppl_vae.data.inputs import as_batch
from ppl_vae.evidence.measure import measure
from ppl_vae.programs.layouts import layout_of, set_layout

WEIGHT = torch.linspace(-1, 1, 6).reshape(2, 3)
X = torch.linspace(-2, 2, 60).reshape(20, 3)


def linear(mean, number=len):
    """A model with this mean of the observation, and a guide."""

    def model(x):
        with pyro.plate("data", number(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(mean(z, x), 1.0).to_event(1), obs=x if number is len else x.T)

    def guide(x):
        with pyro.plate("data", number(x)):
            pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))

    return model, guide


def branching(most):
    return lambda z, x: z @ WEIGHT + (1.0 if len(x) > most else 0.0)


@pytest.mark.parametrize("most, count", [(500, 900), (2000, 3000)], ids=["within a block", "above a block"])
def test_a_density_that_depends_on_the_number_of_data_is_refused(most, count):
    x = X[:1].repeat(count, 1)
    with pytest.raises(ValueError, match=rf"the other data of its batch, or their number \(3 or {count} in all\)"):
        measure(*linear(branching(most)), x)
    assert measure(*linear(branching(count)), x).evidence.bound == "exact"


def without_plate(x):
    z = pyro.sample("z", dist.Normal(torch.zeros(len(x), 2), 1.0).to_event(2))
    pyro.sample("x", dist.Normal(z @ WEIGHT, 1.0).to_event(2), obs=x)


def from_outside():
    with pyro.plate("data", 20):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z @ WEIGHT, 1.0).to_event(1), obs=X)


class Weights(PyroModule):
    """A Bayesian layer, read inside the plate or before it."""

    def __init__(self, before):
        super().__init__()
        self.before, self.layer = before, PyroModule[torch.nn.Linear](2, 3)
        self.layer.weight = PyroSample(dist.Normal(0.0, 1.0).expand([3, 2]).to_event(2))

    def forward(self, x):
        if self.before:
            self.layer.weight  # noqa: B018  # drawn here
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.layer(z), 1.0).to_event(1), obs=x)


def weights_guide(x):
    pyro.sample("layer.weight", dist.Normal(0.0, 1.0).expand([3, 2]).to_event(2))
    linear(None)[1](x)


def rows_from_outside(z, x):
    return z @ WEIGHT + X


CASES = {
    "no plate": (without_plate, linear(None)[1], (X,), "no plate of the model has the number of data, 20, as its size"),
    "columns": (*linear(lambda z, x: z @ WEIGHT, lambda x: x.shape[1]), (X.T,), r"has 'data' of 20.*transpose, x\.T"),
    "normalised by the batch": (
        *linear(lambda z, x: F.batch_norm((z @ WEIGHT).reshape(-1, 3), None, None, training=True)),
        (X,),
        "batch normalisation by the batch",
    ),
    "no arguments": (
        from_outside,
        linear(None)[1],
        (X,),
        r"takes no arguments.*take them, def from_outside\(x\)",
    ),
    "rows from outside": (
        *linear(rows_from_outside),
        (X,),
        r"a further argument, model\(x, y\), not taken from",
    ),
    "a single datum": (
        *linear(branching(99)),
        (X[0],),
        r"a single datum .* is a batch of one, x\[None\]",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_remedy_is_named(case):
    model, guide, data, message = CASES[case]
    with pytest.raises(ValueError, match=message):
        measure(model, guide, *data)


def test_weights_sampled_inside_the_plate_are_named():
    with pytest.raises(RuntimeError) as caught:
        measure(Weights(before=False), weights_guide, X)
    assert "read it before the plate, as `self.layer.weight` on a line of its own" in "".join(caught.value.__notes__)
    assert measure(Weights(before=True), weights_guide, X[:3], draws=20).joint is not None


def test_data_of_another_precision_are_named():
    layer = torch.nn.Linear(3, 2)

    def guide(x):
        pyro.module("layer", layer)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(layer(x), 1.0).to_event(1))

    with pytest.raises(RuntimeError) as caught:
        measure(linear(lambda z, x: z @ WEIGHT)[0], guide, X.double())
    assert r"convert the data, x.float(), or the networks, .double()" in "".join(caught.value.__notes__)


def test_masks_by_element_are_named_with_what_is_taken():
    seen = torch.linspace(0, 1, 60).reshape(3, 20).T > 0.4

    def model(x, seen):
        with pyro.plate("data", len(x), dim=-2):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            with pyro.plate("pixels", 3, dim=-1):
                pyro.sample("x", dist.Normal(z * WEIGHT[0], 1.0), obs=x, obs_mask=seen)

    def masked(x, seen):
        with pyro.plate("data", len(x), dim=-2):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            with pyro.plate("pixels", 3, dim=-1):
                pyro.sample("x", dist.Normal(z * WEIGHT[0], 1.0).mask(seen), obs=x)

    def guide(x, seen):
        with pyro.plate("data", len(x), dim=-2):
            pyro.sample("z", dist.Normal(0.0, 1.0))

    with pytest.raises(ValueError, match=r"`pyro\.sample\('x', fn\.mask\(m\), obs=x\)`, m the same mask, without 'x_"):
        measure(model, guide, X, seen)
    assert measure(masked, guide, X, seen).evidence.bound == "exact"


def test_whole_numbers_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"uint64 holds 9223372036854775808, above 2\*\*63 - 1"):
        as_batch(np.array([1, 2**63], dtype=np.uint64))
    assert as_batch(np.array([1, 2**63 - 1], dtype=np.uint64)).tolist() == [1, 2**63 - 1]


class Slotted:
    """An object without weak references, with a decoder that reshapes if asked."""

    __slots__ = ("reshapes",)

    def __init__(self):
        self.reshapes = False

    def model(self, x):
        with pyro.plate("rows", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            z = z.reshape(-1, 2) if self.reshapes else z
            pyro.sample("x", dist.Normal(z @ WEIGHT, 1.0).to_event(1), obs=x)


def test_an_object_that_has_changed_is_laid_out_again():
    program, guide = Slotted(), linear(None)[1]
    before = measure(program.model, guide, X).evidence
    assert layout_of(program.model, (X,), {}).vectorise == "left"
    program.reshapes = True
    torch.testing.assert_close(measure(program.model, guide, X).evidence.pointwise, before.pointwise)
    assert layout_of(program.model, (X,), {}).vectorise == "fold"


def test_the_layout_of_an_object_without_weak_references_is_kept():
    programs = [Slotted() for _ in range(3)]
    set_layout(*(program.model for program in programs), vectorise="loop")
    assert {layout_of(program.model, (X,), {}).vectorise for program in programs} == {"loop"}
