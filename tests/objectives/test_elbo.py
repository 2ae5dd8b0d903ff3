import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO, TraceEnum_ELBO, config_enumerate
from pyro.nn import PyroModule

from ppl_vae.distributions.bits import AutoregressiveBits, bit_states
from ppl_vae.estimators import FirstOrder
from ppl_vae.estimators.disarm import DisARM
from ppl_vae.estimators.enumerate import Enumerate
from ppl_vae.estimators.loo import ReinforceLOO
from ppl_vae.objectives.choice import fit_estimator, make_estimator
from ppl_vae.objectives.elbo import DiscreteELBO, NonFiniteError
from ppl_vae.programs.sites import guide_sites
from tests.support.small_pairs import BitsOfPoints, copies_of
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
        ("local", None),
        ("auto", None),
    ],
)
def test_mean_gradient_of_a_stock_pair_is_the_enumerated_one(name, control, bits, batch):
    pair, x = BitsOfPoints(bits), torch.randn(batch, 3)
    expected = torch.cat([g.flatten() for g in torch.autograd.grad(-exact_elbo(pair, x), pair.parameters)])
    objective = DiscreteELBO(make_estimator(name, control), draws=2)
    single = batch == 1  # a datum alone, not one of many copies
    samples = [pair.gradient(objective, x) for _ in range(300)] if single else pair.gradients(objective, x, 1000)
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
    samples = torch.tensor([DiscreteELBO(DisARM()).loss(model, guide, x) for _ in range(500)])
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
    losses = torch.tensor([DiscreteELBO("arm", draws=3).loss(pair.model, pair.guide, x) for _ in range(500)])
    assert_mean(losses, -exact_elbo(pair, x).detach())


class Mixed:
    """Bits and reparameterisable normals in one pair; the normal may lean on the bits, or the bits on it."""

    def __init__(self, order: str) -> None:
        self.order = order
        self.a, self.b, self.c = (torch.nn.Parameter(torch.randn(*s)) for s in ((3, 2), (3,), (2,)))
        self.parameters = (self.a, self.b, self.c)

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.5 * torch.ones(2)).to_event(1))
            y = pyro.sample("y", dist.Normal(z.sum(-1), 1.0))
            pyro.sample("x", dist.Normal((z * y[..., None]).sum(-1, keepdim=True), torch.ones(3)).to_event(1), obs=x)

    def guide(self, x):
        # The parameters are those of all data, or one of each datum.
        logits, mean = (x[:, None] @ self.a).squeeze(-2), (x * self.b).sum(-1)
        with pyro.plate("data", len(x)):
            if self.order == "bits last":
                y = pyro.sample("y", dist.Normal(mean, 0.7))
                pyro.sample("z", dist.Bernoulli(logits=logits + y[..., None] * self.c).to_event(1))
            else:
                z = pyro.sample("z", dist.Bernoulli(logits=logits).to_event(1))
                lean = ((z if self.order == "bits first" else 1) * self.c).sum(-1)
                pyro.sample("y", dist.Normal(mean + lean, 0.7))


@pytest.mark.parametrize(
    ("order", "estimator"),
    [
        ("independent", FirstOrder(DisARM())),
        ("bits first", FirstOrder(DisARM())),
        ("bits first", DisARM()),
        ("bits last", ReinforceLOO()),
        ("bits last", Enumerate()),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_reparameterised_sites_keep_their_pathwise_gradient(order, estimator):
    """Against quadrature over the normal and a sum over the bits."""
    pair, x = Mixed(order), torch.randn(2, 3)
    pair.c.data *= 2  # the more the sites lean on each other, the more a wrong estimator shows
    nodes, weights = (torch.from_numpy(v) for v in __import__("numpy").polynomial.hermite_e.hermegauss(60))
    weights = weights / weights.sum()
    z = bit_states(2)[:, None, None]  # (codes, nodes, data, bits)
    noise = nodes[None, :, None]
    if order == "bits last":
        y = x @ pair.b + 0.7 * noise
        logits = x @ pair.a + y[..., None] * pair.c
    else:
        logits = (x @ pair.a)[None, None]
        y = x @ pair.b + (z @ pair.c if order == "bits first" else pair.c.sum()) + 0.7 * noise
    log_q_bits = dist.Bernoulli(logits=logits).log_prob(z.expand(4, 60, 2, 2)).sum(-1)
    log_q_normal = dist.Normal(0.0, 0.7).log_prob(0.7 * noise)
    log_p = dist.Normal(z.sum(-1), 1.0).log_prob(y) + 2 * torch.tensor(0.5).log()
    log_p = log_p + dist.Normal((z * y[..., None]).sum(-1, keepdim=True), 1.0).log_prob(x).sum(-1)
    elbo = (weights[:, None] * log_q_bits.exp() * (log_p - log_q_bits - log_q_normal)).sum()
    expected = torch.cat([g.flatten() for g in torch.autograd.grad(-elbo, pair.parameters)])
    copies, (pair.a, pair.b, pair.c) = copies_of(pair.parameters, 1500, len(x))
    DiscreteELBO(estimator, draws=2).loss_and_grads(pair.model, pair.guide, x.repeat(1500, 1))
    assert_mean(torch.cat([p.grad.flatten(1) for p in copies], -1), expected)


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
        for _ in range(400):
            for parameter in pair.parameters:
                parameter.grad = None
            objective.loss_and_grads(model, guide, x)
            samples.append(torch.cat([p.grad.flatten() for p in pair.parameters]))
        assert_mean(torch.stack(samples), expected)


def one_hot_pair(scale):
    logits = torch.nn.Parameter(torch.randn(3))

    def model(x):
        with pyro.plate("data", len(x)), pyro.poutine.scale(scale=scale):
            z = pyro.sample("z", dist.OneHotCategorical(logits=torch.zeros(3)))
            pyro.sample("x", dist.Normal(z @ torch.arange(3.0), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)), pyro.poutine.scale(scale=scale):
            pyro.sample("z", dist.OneHotCategorical(logits=logits))

    return logits, model, guide


@pytest.mark.parametrize("estimator", [Enumerate(), ReinforceLOO()], ids=lambda e: e.name)
def test_scaled_categoricals(estimator):
    x, scale = torch.randn(4), 2.5
    logits, model, guide = one_hot_pair(scale)
    log_q = logits.log_softmax(0)
    log_p = dist.Normal(torch.arange(3.0)[:, None], 1.0).log_prob(x) - torch.tensor(3.0).log()
    elbo = scale * (log_q.exp()[:, None] * (log_p - log_q[:, None])).sum()
    (expected,) = torch.autograd.grad(-elbo, logits)
    objective, samples = DiscreteELBO(estimator, draws=4), []
    for _ in range(400):
        logits.grad = None
        objective.loss_and_grads(model, guide, x)
        samples.append(logits.grad.clone())
    assert_mean(torch.stack(samples), expected)
    if estimator.exact:
        assert objective.loss(model, guide, x) == pytest.approx(-elbo.item())


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


class Net(PyroModule):
    def __init__(self, *widths):
        super().__init__()
        self.net = torch.nn.Linear(*widths)


class Decoder(Net):
    def forward(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(torch.full((4,), 0.5)).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=self.net(z)).to_event(1), obs=x)


class MLP(Net):
    def forward(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Bernoulli(logits=self.net(x)).to_event(1))


def test_two_pairs_in_one_process_do_not_disturb_each_other():
    """Through Pyro's SVI, whose parameter store knows parameters of the same names for both."""
    x = torch.rand(20, 6).round()

    def train(seed, steps, other=None):
        torch.manual_seed(seed)
        pair = Decoder(4, 6), MLP(6, 4)
        svi = SVI(*pair, pyro.optim.Adam({"lr": 0.05}), loss=DiscreteELBO())
        if other:
            svi_other = SVI(*other, pyro.optim.Adam({"lr": 0.05}), loss=DiscreteELBO())
        losses = []
        for step in range(steps):
            torch.manual_seed(step)
            losses.append(svi.step(x))
            if other:
                svi_other.step(x)
        return losses

    alone = train(1, 10)
    pyro.clear_param_store()
    torch.manual_seed(2)
    other = Decoder(4, 6), MLP(6, 4)
    before = other[1].net.weight.clone()
    assert train(1, 10, other) == alone
    assert not torch.equal(other[1].net.weight, before)


def test_svi_still_saves_its_optimiser_and_its_parameters():
    x, pair = torch.rand(20, 6).round(), (Decoder(4, 6), MLP(6, 4))
    optimiser = pyro.optim.Adam({"lr": 0.05})
    SVI(*pair, optimiser, loss=DiscreteELBO()).step(x)
    assert "net$$$weight" in optimiser.get_state()
    kept = pyro.get_param_store()["net$$$weight"]
    assert any(kept is module.net.weight for module in pair)


def test_probing_and_relaxing_leave_running_statistics_alone():
    class Normed(PyroModule):
        def __init__(self):
            super().__init__()
            self.net = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.BatchNorm1d(4))

        def forward(self, x):
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Bernoulli(logits=self.net(x)).to_event(1))

    guide, x = Normed(), torch.rand(20, 6).round()
    DiscreteELBO()(Decoder(4, 6), guide)(x)
    assert guide.net[1].num_batches_tracked == 1


def test_enumeration_of_a_guide_that_works_on_the_codes_of_another_site():
    def guide(x):
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Bernoulli(0.5 * torch.ones(2)).to_event(1))
            both = torch.cat([x.expand(*a.shape[:-1], 3), a], -1)
            pyro.sample("b", dist.Bernoulli(logits=both[..., :2]).to_event(1))

    assert DiscreteELBO("enumerate").loss(guide, guide, torch.randn(4, 3)) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("local", [False, True])
def test_svi_trains_a_stock_pair(local):
    pyro.settings.set(module_local_params=local)
    x = (torch.rand(200, 1) < 0.5).double().expand(200, 6).clone()
    svi = SVI(Decoder(4, 6), MLP(6, 4), pyro.optim.Adam({"lr": 0.05}), loss=DiscreteELBO())
    losses = [svi.step(x) / 200 for _ in range(300)]
    # Six equal pixels hold one bit: log 2 is the best there is, 6 log 2 what independence reaches.
    assert sum(losses[-20:]) / 20 < 3 * math.log(2) < losses[0]


def test_pairs_without_discrete_sites_get_the_pathwise_elbo():
    x, loc = torch.randn(5), torch.nn.Parameter(torch.tensor(0.3))

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc * x, 0.5))

    torch.manual_seed(3)
    ours = DiscreteELBO(draws=4).differentiable_loss(model, guide, x)
    torch.manual_seed(3)
    theirs = Trace_ELBO(num_particles=4, vectorize_particles=True, max_plate_nesting=1).differentiable_loss(
        model, guide, x
    )
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(*(torch.autograd.grad(loss, loc)[0] for loss in (ours, theirs)))


def chained(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Bernoulli(logits=x[:, :1] @ torch.ones(1, 1)).to_event(1))
        pyro.sample("y", dist.Bernoulli(logits=z @ torch.ones(1, 2)).to_event(1))


def counting(x):
    with pyro.plate("data", len(x)):
        pyro.sample("n", dist.Poisson(torch.ones(len(x))))


def autoregressive(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", AutoregressiveBits(lambda z: z @ torch.ones(20, 20).tril(-1), x.shape[:1], 20, x))


def test_couplings_whose_weights_are_still_zero_are_seen():
    weight = torch.nn.Parameter(torch.zeros(1, 2))

    def guide(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(logits=x[:, :1]).to_event(1))
            pyro.sample("y", dist.Bernoulli(logits=z @ weight).to_event(1))

    first, second = guide_sites(guide, (torch.randn(4, 3),))
    assert first.independent
    assert not second.independent


def test_parents_of_every_discrete_family_are_seen():
    def guide(x):
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Categorical(logits=torch.tensor([30.0, 0.0])))
            pyro.sample("z", dist.Bernoulli(logits=k[..., None].double() * torch.ones(2)).to_event(1))

    assert not guide_sites(guide, (torch.randn(4, 3),))[1].independent


def test_couplings_that_come_later_are_refused():
    weight = torch.zeros(1, 2)  # not a parameter: no graph shows it

    def guide(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(logits=x[:, :1]).to_event(1))
            pyro.sample("y", dist.Bernoulli(logits=(z @ weight).detach()).to_event(1))

    objective, x = DiscreteELBO(DisARM()), torch.randn(4, 3)
    objective.loss(guide, guide, x)
    weight += 1
    with pytest.raises(ValueError, match="bits of site 'y' have come to depend on other draws"):
        objective.loss(guide, guide, x)


@pytest.mark.parametrize(
    ("guide", "name", "message", "instead"),
    [
        (chained, "disarm", "those of site 'y' depend on other draws", "enumerate"),
        (counting, "disarm", "site 'n' is Poisson", "loo"),
        (counting, "enumerate", "cannot list the values of site 'n' .Poisson.", "loo"),
        (autoregressive, "arm", "site 'z' is AutoregressiveBits", "loo"),
    ],
)
def test_unfit_estimators_are_refused_by_site_and_replaced_with_a_line(guide, name, message, instead):
    x = torch.randn(4, 3)
    sites = guide_sites(guide, (x,))
    chosen, line = fit_estimator(make_estimator(name, control=False), sites)
    assert chosen.name == instead
    assert f"using {instead} instead" in line
    with pytest.raises(ValueError, match=message):
        DiscreteELBO(make_estimator(name, control=False)).loss(guide, guide, x)


def test_long_codes_are_not_enumerated():
    pair = BitsOfPoints(13)
    with pytest.raises(ValueError, match="at most 4096 states, but sites 'z' have 8192"):
        DiscreteELBO("enumerate").loss(pair.model, pair.guide, torch.randn(2, 3))


def test_models_that_refuse_relaxed_bits_are_named():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(torch.full((1,), 0.5)).to_event(1))
            if not (z == z.round()).all():
                raise ValueError("half a bit")
            pyro.sample("x", dist.Normal(z.expand(*z.shape[:-1], 3), 1.0).to_event(1), obs=x)

    pair, x = BitsOfPoints(1), torch.randn(4, 3)
    with pytest.raises(
        ValueError, match=r"bits between 0 and 1 \(sites \['z'\]\), which it refuses: half a bit; .*--control none"
    ):
        DiscreteELBO("disarm").differentiable_loss(model, pair.guide, x)
    DiscreteELBO(DisARM()).differentiable_loss(model, pair.guide, x).backward()


def test_mismatched_pairs_and_names_are_refused():
    pair, x = BitsOfPoints(2), torch.randn(4, 3)
    with pytest.raises(ValueError, match=r"guide draws \['n'\] but the latents of the model are \['z'\]"):
        DiscreteELBO().loss(pair.model, counting, x)
    with pytest.raises(
        ValueError,
        match="there is no estimator 'amr'; choose from auto, arm, arms, disarm, double_cv, enumerate, local, loo",
    ):
        DiscreteELBO("amr")


def test_a_loss_that_is_not_finite_names_its_site():
    pair, x = BitsOfPoints(2), torch.randn(4, 3)
    x[2, 1] = float("nan")
    pyro.enable_validation(False)
    with pytest.raises(NonFiniteError, match="site 'x' is not finite .first at datum 2"):
        pair.weight.data.zero_()
        DiscreteELBO("disarm").loss(pair.model, lambda x: pair.guide(torch.nan_to_num(x)), x)
