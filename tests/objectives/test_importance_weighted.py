import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from ppl_vae.guides.full import Full
from ppl_vae.guides.linear_counts import LinearCounts
from ppl_vae.models.text import Text
from pyro.infer import SVI

import ppl_vae.objectives.importance_weighted
from ppl_vae.distributions.bits import bit_states
from ppl_vae.evidence.measure import measure
from ppl_vae.objectives.base import NonFiniteError
from ppl_vae.objectives.elbo import DiscreteELBO
from ppl_vae.objectives.importance_weighted import ImportanceWeightedELBO, _others
from ppl_vae.programs.log_weight import log_weight
from tests.support.gradients import gradient
from tests.support.small_pairs import BitsOfPoints, documents
from tests.support.z_test import assert_mean

pytestmark = pytest.mark.usefixtures("float64")


def tables(pair: BitsOfPoints, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """log p(x, z) and log q(z | x) of all codes, ``(codes, data)``, written without the package's objectives."""
    z = bit_states(pair.bits)[:, None]
    log_q = dist.Bernoulli(logits=x @ pair.weight).log_prob(z.expand(-1, len(x), -1)).sum(-1)
    log_z = dist.Bernoulli(0.3 * torch.ones(pair.bits)).log_prob(z).sum(-1)
    log_x = dist.Normal(torch.tanh(2 * z @ pair.map), pair.noise.exp()).log_prob(x).sum(-1)
    return log_z + log_x, log_q


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("bits", [1, 3])
def test_few_states_give_the_likelihood_to_the_model_and_the_elbo_to_the_guide(bits, batch):
    pair, x = BitsOfPoints(bits), torch.randn(batch, 3)
    joint, log_q = tables(pair, x)
    evidence, elbo = joint.logsumexp(0).sum(), (log_q.exp() * (joint - log_q)).sum()
    objective = ImportanceWeightedELBO()
    expected = torch.cat([gradient(-evidence, pair.noise), gradient(-elbo, pair.weight)])
    torch.testing.assert_close(pair.gradient(objective, x), expected)
    assert objective.loss(pair.model, pair.guide, x) == pytest.approx(-evidence.item())
    assert objective.method(pair.model, pair.guide, x) == f"enumeration of {2**bits} states"


@pytest.mark.parametrize("guide", [LinearCounts, Full])
def test_documents_share_their_codes(guide):
    x = documents(6, 9)
    model = Text(9, bits=3)
    q = guide(model, x)
    objective = ImportanceWeightedELBO()
    loss = objective(model, q)
    before = measure(model, q, x)
    loss(x).backward()
    assert objective._shared
    assert -loss(x).item() == pytest.approx(before.evidence.pointwise.sum().item())
    torch.testing.assert_close(objective.score(model, q, x), before.evidence.pointwise)
    # A step along the gradient raises the evidence by the model's part and the bound by the guide's as well.
    with torch.no_grad():
        for parameter in loss.parameters():
            parameter += -1e-3 * parameter.grad
    after = measure(model, q, x)
    assert after.evidence.mean > before.evidence.mean
    assert after.elbo.mean > before.elbo.mean


def test_codes_that_cannot_be_shared_and_blocks_of_data_change_nothing(monkeypatch):
    pair, x = BitsOfPoints(3), torch.randn(5, 3)
    expected = pair.gradient(ImportanceWeightedELBO(), x)

    def apart(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.3 * torch.ones(3)).to_event(1))
            centre = torch.tanh(2 * z.reshape(-1, len(x), 3) @ pair.map)
            pyro.sample("x", dist.Normal(centre, pair.noise.exp()).to_event(1), obs=x)

    objective = ImportanceWeightedELBO()
    loss = objective.differentiable_loss(apart, pair.guide, x)
    assert not objective._shared
    torch.testing.assert_close(gradient(loss, *pair.parameters), expected)
    monkeypatch.setattr(ppl_vae.objectives.importance_weighted, "CELLS", 60)
    torch.testing.assert_close(pair.gradient(ImportanceWeightedELBO(), x), expected)
    x[4, 1] = float("nan")
    pyro.enable_validation(False)
    with pytest.raises(NonFiniteError, match="site 'x' is not finite .first at datum 4 of the batch"):
        ImportanceWeightedELBO().loss(pair.model, lambda x: pair.guide(torch.nan_to_num(x)), x)


def test_blocks_of_draws_keep_their_draws_when_worked_through_again(monkeypatch):
    pair, x = BitsOfPoints(3), torch.randn(5, 3)
    monkeypatch.setattr(ppl_vae.objectives.importance_weighted, "CELLS", 1)
    torch.manual_seed(1)
    found = pair.gradient(ImportanceWeightedELBO(4, most_bits=0), x)
    torch.manual_seed(1)
    parts = [ImportanceWeightedELBO(4, most_bits=0).differentiable_loss(pair.model, pair.guide, row[None]) for row in x]
    # Each datum begins where the one before it left off, so the same numbers are drawn.
    torch.testing.assert_close(found, gradient(sum(parts), *pair.parameters))


@pytest.mark.parametrize("draws", [1, 2, 3])
def test_mean_gradient_is_that_of_the_bound_over_all_tuples_of_codes(draws):
    """One draw is the ELBO itself."""
    pair, x = BitsOfPoints(2), torch.randn(2, 3)
    joint, log_q = tables(pair, x)
    choice = torch.cartesian_prod(*[torch.arange(4)] * draws).reshape(-1, draws)
    value = (joint - log_q)[choice].logsumexp(1) - math.log(draws)
    bound = (log_q[choice].sum(1).exp() * value).sum()
    if draws == 1:
        torch.testing.assert_close(bound, (log_q.exp() * (joint - log_q)).sum())
    expected, objective = gradient(-bound, *pair.parameters), ImportanceWeightedELBO(draws, most_bits=0)
    assert_mean(torch.stack([pair.gradient(objective, x) for _ in range(300)]), expected)
    values = torch.tensor([objective.loss(pair.model, pair.guide, x) for _ in range(150)])
    assert_mean(values, -bound.detach())


def test_the_mean_of_the_others_does_not_cancel():
    weights = 30 * torch.randn(6, 50)
    weights[2] += 1000
    weights[3] -= 1000
    expected = [torch.cat([weights[:k], weights[k + 1 :]]).logsumexp(0) - math.log(5) for k in range(6)]
    torch.testing.assert_close(_others(weights), torch.stack(expected))
    assert (_others(weights[:1]) == 0).all()
    lost = torch.tensor([[0.0], [-torch.inf]])
    assert _others(lost).tolist() == [[0.0], [0.0]]


def test_the_control_leaves_no_noise_where_all_weights_are_equal():
    """The guide is the posterior: nothing is left to learn, and every draw says so."""
    logits = torch.nn.Parameter(torch.tensor([0.3, -1.0]))

    def program(x, logits=logits):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(logits=logits).to_event(1))

    def model(x):
        program(x, logits.detach())

    loss = ImportanceWeightedELBO(4, most_bits=0).differentiable_loss(model, program, torch.zeros(3))
    assert gradient(loss, logits).abs().max() < 1e-12


def test_the_likelihood_optimum_is_above_the_elbo_optimum():
    """Exact gradients from one start: nothing but the objective differs."""
    torch.manual_seed(3)
    x = torch.randn(40, 3).sign() + 0.3 * torch.randn(40, 3)
    reached = {}
    for name, objective in (("likelihood", ImportanceWeightedELBO()), ("elbo", DiscreteELBO("enumerate"))):
        torch.manual_seed(0)
        pair = BitsOfPoints(2)
        optimizer = torch.optim.Adam(pair.parameters, lr=0.05)
        for _ in range(150):
            optimizer.zero_grad()
            objective.loss_and_grads(pair.model, pair.guide, x)
            optimizer.step()
        with torch.no_grad():
            reached[name] = measure(pair.model, pair.guide, x).evidence.mean
    assert reached["likelihood"] > reached["elbo"] + 1e-3


@pytest.mark.parametrize("most_bits", [10, 0])
def test_svi_trains_a_stock_pair(most_bits):
    pair, x = BitsOfPoints(2), torch.randn(50, 3)
    noise, weight = pair.noise.detach(), pair.weight.detach()

    def model(x):
        pair.noise = pyro.param("noise", noise)
        pair.model(x)

    def guide(x):
        pair.weight = pyro.param("weight", weight)
        pair.guide(x)

    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.05}), loss=ImportanceWeightedELBO(8, most_bits))
    losses = [svi.step(x) for _ in range(150)]
    assert sum(losses[-10:]) < sum(losses[:10])


def test_long_codes_are_sampled_and_scored_with_draws():
    pair, x = BitsOfPoints(3), torch.randn(5, 3)
    objective = ImportanceWeightedELBO(4, most_bits=2)
    assert objective.method(pair.model, pair.guide, x) == "importance weights"
    torch.manual_seed(2)
    found = objective.score(pair.model, pair.guide, x)
    torch.manual_seed(2)
    with torch.no_grad():
        expected = log_weight(pair.model, pair.guide, x, 32).logsumexp(0) - math.log(32)
    torch.testing.assert_close(found, expected)
    assert not found.requires_grad
