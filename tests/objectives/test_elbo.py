import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import TraceEnum_ELBO, config_enumerate

from ppl_vae.distributions.bits import bit_states
from ppl_vae.estimators import FirstOrder
from ppl_vae.estimators.disarm import DisARM
from ppl_vae.estimators.enumerate import Enumerate
from ppl_vae.estimators.loo import ReinforceLOO
from ppl_vae.objectives.choice import make_estimator
from ppl_vae.objectives.elbo import DiscreteELBO, NonFiniteError
from tests.support.small_pairs import BitsOfPoints
from tests.support.z_test import assert_mean

pytestmark = pytest.mark.usefixtures("float64")


def exact_elbo(pair: BitsOfPoints, x: torch.Tensor) -> torch.Tensor:
    """By a sum over codes written without any of the package's objectives."""
    z = bit_states(pair.bits)[:, None]
    log_q = dist.Bernoulli(logits=x @ pair.weight).log_prob(z.expand(-1, len(x), -1)).sum(-1)
    log_z = dist.Bernoulli(0.3 * torch.ones(pair.bits)).log_prob(z).sum(-1)
    log_x = dist.Normal(torch.tanh(2 * z @ pair.map), pair.noise.exp()).log_prob(x).sum(-1)
    return (log_q.exp() * (log_z + log_x - log_q)).sum()


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("bits", [1, 3])
@pytest.mark.parametrize(
    ("name", "control"),
    [
        *((name, control) for name in ("arm", "disarm", "arms", "loo") for control in (False, True)),
        ("double_cv", None),
        ("rodeo", None),
        ("rebar", None),
        ("relax", None),
        ("local", None),
        ("auto", None),
    ],
)
def test_mean_gradient_of_a_stock_pair_is_the_enumerated_one(name, control, bits, batch):
    pair, x = BitsOfPoints(bits), torch.randn(batch, 3)
    expected = torch.cat([g.flatten() for g in torch.autograd.grad(-exact_elbo(pair, x), pair.parameters)])
    objective = DiscreteELBO(make_estimator(name, control), draws=2)
    single = batch == 1  # a datum alone, not one of many copies
    samples = [pair.gradient(objective, x) for _ in range(100)] if single else pair.gradients(objective, x, 1000)
    assert_mean(torch.stack(tuple(samples)), expected)


@pytest.mark.parametrize("bits", [1, 3])
def test_enumeration_gives_value_and_gradient_exactly(bits):
    pair, x = BitsOfPoints(bits), torch.randn(4, 3)
    expected = torch.cat([g.flatten() for g in torch.autograd.grad(-exact_elbo(pair, x), pair.parameters)])
    objective = DiscreteELBO("enumerate")
    torch.testing.assert_close(pair.gradient(objective, x), expected)
    assert objective.loss(pair.model, pair.guide, x) == pytest.approx(-exact_elbo(pair, x).item())


def test_value_agrees_with_pyros_own_objective():
    pair, x = BitsOfPoints(3), torch.randn(4, 3)
    ours = DiscreteELBO("enumerate").loss(pair.model, pair.guide, x)
    theirs = TraceEnum_ELBO(max_plate_nesting=1)

    def guide(x):
        logits = x @ pair.weight
        with pyro.plate("data", len(x)):
            for bit in range(3):
                pyro.sample(f"z{bit}", dist.Bernoulli(logits=logits[:, bit]))

    def model(x):
        with pyro.plate("data", len(x)):
            z = torch.stack(
                torch.broadcast_tensors(*(pyro.sample(f"z{b}", dist.Bernoulli(torch.tensor(0.3))) for b in range(3))),
                -1,
            )
            pyro.sample("x", dist.Normal(torch.tanh(2 * z @ pair.map), pair.noise.exp()).to_event(1), obs=x)

    assert ours == pytest.approx(theirs.loss(model, config_enumerate(guide), x))
    # The same pair with a site a bit is served too.
    assert DiscreteELBO("enumerate").loss(model, guide, x) == pytest.approx(ours)
    objective = DiscreteELBO(DisARM())
    samples = torch.tensor([objective.loss(model, guide, x) for _ in range(200)])
    assert_mean(samples, torch.tensor(ours))


@pytest.mark.parametrize(
    ("name", "control", "rows"),
    [
        ("arm", False, [4]),
        ("disarm", False, [4]),
        ("disarm", True, [4, 1]),
        ("arms", False, [2]),
        ("loo", True, [2, 1]),
        ("double_cv", None, [2]),
        ("rebar", None, [2, 2]),
        ("local", None, [2, 6]),
        ("enumerate", None, [8]),
    ],
)
def test_a_step_runs_the_model_for_what_the_estimator_reads_and_nothing_else(name, control, rows):
    pair, x, runs = BitsOfPoints(3), torch.randn(4, 3), []
    objective = DiscreteELBO(make_estimator(name, control), draws=2)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.3 * torch.ones(3)).to_event(1))
            runs.append(len(z))
            pyro.sample("x", dist.Normal(torch.tanh(2 * z @ pair.map), pair.noise.exp()).to_event(1), obs=x)

    objective.differentiable_loss(model, pair.guide, x)
    runs.clear()
    objective.differentiable_loss(model, pair.guide, x).backward()
    assert runs == rows


def test_sampled_values_have_the_elbo_as_their_mean():
    pair, x = BitsOfPoints(3), torch.randn(4, 3)
    objective = DiscreteELBO("arm", draws=3)
    losses = torch.tensor([objective.loss(pair.model, pair.guide, x) for _ in range(200)])
    assert_mean(losses, -exact_elbo(pair, x).detach())


def test_guide_and_model_see_the_same_subsample():
    """Pyro draws the subsample at the guide; the mean over subsamples is the gradient of all the data."""
    pair, x = BitsOfPoints(2), torch.randn(6, 3)

    def model(x):
        with pyro.plate("data", len(x), subsample_size=2) as index:
            z = pyro.sample("z", dist.Bernoulli(0.3 * torch.ones(2)).to_event(1))
            pyro.sample("x", dist.Normal(torch.tanh(2 * z @ pair.map), pair.noise.exp()).to_event(1), obs=x[index])

    def guide(x):
        with pyro.plate("data", len(x), subsample_size=2) as index:
            pyro.sample("z", dist.Bernoulli(logits=x[index] @ pair.weight).to_event(1))

    expected = torch.cat([g.flatten() for g in torch.autograd.grad(-exact_elbo(pair, x), pair.parameters)])
    for estimator in (FirstOrder(DisARM()), Enumerate(), ReinforceLOO()):
        objective, samples = DiscreteELBO(estimator, draws=2), []
        for _ in range(200):
            for parameter in pair.parameters:
                parameter.grad = None
            objective.loss_and_grads(model, guide, x)
            samples.append(torch.cat([p.grad.flatten() for p in pair.parameters]))
        assert_mean(torch.stack(samples), expected)


def test_scaled_pairs_scale_value_and_gradient():
    pair, x = BitsOfPoints(3), torch.randn(6, 3)

    def scaled(program):
        def wrapped(x):
            with pyro.poutine.scale(scale=2.5):
                program(x)

        return wrapped

    expected = 2.5 * torch.cat([g.flatten() for g in torch.autograd.grad(-exact_elbo(pair, x), pair.parameters)])
    objective, samples = DiscreteELBO(draws=3), []
    model, guide = scaled(pair.model), scaled(pair.guide)
    for _ in range(300):
        for parameter in pair.parameters:
            parameter.grad = None
        objective.loss_and_grads(model, guide, x)
        samples.append(torch.cat([p.grad.flatten() for p in pair.parameters]))
    assert_mean(torch.stack(samples), expected)


def test_a_loss_that_is_not_finite_names_its_site():
    pair, x = BitsOfPoints(2), torch.randn(4, 3)
    x[2, 1] = float("nan")
    pyro.enable_validation(False)
    with pytest.raises(NonFiniteError, match="site 'x' is not finite .first at datum 2"):
        pair.weight.data.zero_()
        DiscreteELBO("disarm").loss(pair.model, lambda x: pair.guide(torch.nan_to_num(x)), x)
