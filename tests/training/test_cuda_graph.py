"""Steps that are captured once and replayed, with the graph imitated where there is no CUDA device."""

import pytest
import torch

from guides.linear_counts import LinearCounts
from models.text import Text
from ppl_vae.data.counts import PackedCounts
from ppl_vae.objectives.elbo import DiscreteELBO, NonFiniteError
from ppl_vae.objectives.rate_cost import RateCost
from ppl_vae.training.cuda_graph import GraphedGradients, padded
from ppl_vae.training.run_folder import RunFolder
from ppl_vae.training.settings import Settings
from ppl_vae.training.trainer import Trainer

WORDS = 12


@pytest.fixture
def x():
    return PackedCounts.from_dense(
        torch.poisson(0.7 * torch.rand(60, WORDS)).int().clamp(min=0) + torch.eye(WORDS)[torch.arange(60) % WORDS].int()
    )


class Imitation:
    """A graph as far as it can be seen from outside: the work is done again into the tensors of the first time."""

    def __init__(self, parameters):
        self.parameters, self.replays = list(parameters), 0

    def __call__(self, work):
        values = work()
        gradients = [p.grad for p in self.parameters]

        def replay():
            self.replays += 1
            for parameter in self.parameters:
                parameter.grad = None
            for name, value in work().items():
                values[name].copy_(value)
            for gradient, parameter in zip(gradients, self.parameters, strict=True):
                gradient.copy_(parameter.grad)

        return values, replay


def trainer(folder, x, capture=None, cost=1.0, **settings):
    torch.manual_seed(0)
    model = Text(WORDS, bits=3, hidden=1, width=8)
    guide = LinearCounts(model, x)
    settings = Settings([(3, 1), (2, 2)], batch_size=8, learning_rate=0.05, **settings)
    made = Trainer(model, guide, DiscreteELBO("disarm", beta=cost), RunFolder(folder), settings)
    if capture is not None:
        steps = made._steps
        steps._graphed = GraphedGradients(
            steps.set_gradients, (model, guide), capture=capture(made.parameters.values())
        )
    torch.manual_seed(1)
    return made


def trained(made, x):
    made.fit(x, x[:5])
    drop = ("seconds", "data_per_second")
    return [{k: v for k, v in row.items() if k not in drop} for row in made.rows]


def test_training_by_replays_is_the_same_training(tmp_path, x, capsys):
    plain = trained(trainer(tmp_path / "plain", x, clip=2.0), x)
    made = trainer(tmp_path / "captured", x, Imitation, clip=2.0)
    captured = trained(made, x)
    assert [row.keys() for row in captured] == [row.keys() for row in plain]
    for row, other in zip(captured, plain, strict=True):
        assert row == pytest.approx(other, rel=1e-4)
    assert not made._steps._graphed.given_up
    shapes = made._steps._graphed.shapes
    assert len({key[0] for key in shapes}) == 2  # numbers of draws
    assert any(shape.checked for shape in shapes.values())
    assert "note" not in capsys.readouterr().err


def test_padded_documents_are_the_same_documents(x):
    part = x[:7]
    longer = padded(part)
    assert len(longer.words) % 2 == 0 and len(longer.words) >= len(part.words)
    weight = torch.randn(WORDS, 4, requires_grad=True)
    gradients = []
    for batch in (part, longer):
        (batch @ weight).sin().sum().backward()
        gradients.append(weight.grad.clone())
        weight.grad = None
    torch.testing.assert_close(*gradients)
    torch.testing.assert_close(longer.sum(longer.counts), part.lengths)
    torch.testing.assert_close(longer.log_coefficient, part.log_coefficient)


def deaf(parameters):
    """A graph whose replay leaves everything as it was."""
    return lambda work: (work(), lambda: None)


def waiting(parameters):
    def capture(work):
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    return capture


@pytest.mark.parametrize(
    ("capture", "reason"),
    [
        (deaf, "a replay did not give what the work itself gives"),
        (waiting, "operation not permitted when stream is capturing"),
    ],
)
def test_what_cannot_be_captured_is_trained_as_before_and_said_once(tmp_path, x, capsys, capture, reason):
    plain = trained(trainer(tmp_path / "plain", x), x)
    made = trainer(tmp_path / "captured", x, capture)
    assert trained(made, x) == [pytest.approx(row, rel=1e-4) for row in plain]
    assert made._steps._graphed.given_up == reason
    assert capsys.readouterr().err.count(f"capture as a CUDA graph failed: {reason}") == 1


def test_a_replay_that_is_not_finite_names_the_site(tmp_path, x):
    made = trainer(tmp_path, x, Imitation)
    for _ in range(3):
        made.step(x[:8])
    with torch.no_grad():
        made.model.words.bias[0] = torch.nan
    with pytest.raises(NonFiniteError, match="site 'x' is not finite"):
        made.step(x[:8])


def test_only_steady_losses_are_captured():
    assert DiscreteELBO("disarm", beta=0.5).is_stationary
    for cost in (RateCost(anneal="linear:3"), RateCost(free_bits=1.0), RateCost(rate=2.0)):
        assert not DiscreteELBO("disarm", beta=cost).is_stationary


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("hidden", [0, 1])
def test_graphs_on_cuda_train_as_single_operations_do(tmp_path, x, hidden):
    rows = []
    for capture in (False, True):
        torch.manual_seed(0)
        model = Text(WORDS, bits=3, hidden=hidden, width=8).cuda()
        guide = LinearCounts(model, x.to("cuda")).cuda()
        settings = Settings([(3, 1)], batch_size=8, learning_rate=0.05, capture=capture)
        made = Trainer(model, guide, DiscreteELBO(), RunFolder(tmp_path / str(capture)), settings)
        torch.manual_seed(1)
        rows.append(trained(made, x.to("cuda")))
        assert (made._steps._graphed is not None) == capture
    assert not made._steps._graphed.given_up
    assert rows[1] == [pytest.approx(row, rel=1e-3) for row in rows[0]]
