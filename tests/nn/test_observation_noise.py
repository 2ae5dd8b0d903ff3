"""The noise of a Gaussian decoder: five kinds, their trace, and its replay."""

import json
import math
from pathlib import Path

import pytest
import torch
from ppl_vae.models.gan_gaussian import GanGaussian
from ppl_vae.models.image import Image
from ppl_vae.models.manifold import Manifold
from ppl_vae.models.ppca import Ppca
from ppl_vae.models.sphere import Sphere
from pyro import poutine

from ppl_vae.nn.observation_noise import ObservationNoise, read_trace
from ppl_vae.objectives.importance_weighted import ImportanceWeightedELBO
from ppl_vae.programs.log_weight import log_joint
from ppl_vae.training.run_folder import RunFolder
from tests.support.cli import flat, invoke, succeed, summary

TRAIN = ("train", "ppca", "--guide", "mean_field", "--guide-width", "16", "--epochs", "4", "--batch-size", "3000")
TRAIN += ("--learning-rate", "0.003", "--evidence-data", "20")


def trace(run):
    return [(row.get("sigma_start"), row.get("sigma")) for row in RunFolder(Path(run)).metrics("train-metrics")]


@pytest.mark.parametrize("sigma", ["0.3", "learned", "analytic", "vector"])
def test_constants_are_in_the_likelihood(sigma):
    model = Ppca(2, hidden=1, width=4, sigma=sigma, scale=0.3, shape=(3,)).double().eval()
    x, z = torch.randn(5, 3).double(), torch.randn(1, 5, 2).double()
    found = log_joint(model, x, {"z": z})
    squares = (x - model.mean(z[0])).square().sum(-1) / (2 * 0.3**2) + z[0].square().sum(-1) / 2
    expected = -squares - 3 * math.log(0.3) - 2.5 * math.log(2 * math.pi)
    torch.testing.assert_close(found[0], expected, rtol=1e-6, atol=1e-6)  # 0.3 in single precision


def test_vectors_far_from_their_start_are_bounded():
    noise, h = ObservationNoise("vector", (2,), inputs=3, start=0.5), torch.tensor([[1.0, -1.0, 0.5], [1e4, -1e4, 1e3]])
    torch.nn.init.constant_(noise.layer.weight, 0.3)
    with torch.no_grad():
        near, far = noise(h)
        noise.layer.weight.neg_()
        small = noise(h)[1]
    torch.testing.assert_close(near, torch.full((2,), 0.5 * math.exp(0.15)))
    assert 0.5 * math.exp(4) < far.max().item() <= 0.5 * math.exp(7) * 1.001
    assert 0.5 * math.exp(-15) * 0.999 <= small.min().item() < 0.5 * math.exp(-12)


def test_vectors_are_learned_by_the_decoder():
    noise, h = ObservationNoise("vector", (2, 3), inputs=4, start=0.5), torch.randn(7, 4)
    assert torch.allclose(noise(h), torch.full((7, 2, 3), 0.5))
    assert noise.metrics()["sigma"] == pytest.approx(0.5)
    with torch.no_grad():
        noise.layer.weight.normal_()
    assert noise(h).std(0).min() > 0


def test_an_analytic_sigma_is_the_best_of_the_batch_in_training_and_one_number_elsewhere():
    model = Ppca(2, hidden=1, width=4, sigma="analytic", scale=0.5, shape=(3,)).double()
    x, z = torch.randn(5, 3).double(), torch.randn(2, 5, 2).double()
    residual = x - model.mean(z)
    square = residual.square().mean()
    # At the best sigma the density is -(log sigma^2 + 1 + log 2 pi) / 2 for each number, of slope zero in sigma.
    expected = -residual.numel() * (square.log() + 1 + math.log(2 * math.pi)) / 2 - z.square().sum() / 2
    expected = expected - z.numel() * math.log(2 * math.pi) / 2
    found = log_joint(model, x, {"z": z}).sum()
    torch.testing.assert_close(found, expected)
    parameters = [p for p in model.parameters() if p.requires_grad]
    for one, other in zip(*(torch.autograd.grad(each, parameters) for each in (found, expected)), strict=True):
        torch.testing.assert_close(one, other)
    assert model.noise.metrics()["sigma"] ** 2 == pytest.approx(square.item())
    log_joint(model, 0 * x, {"z": z})
    kept = (0.9 * square + 0.1 * model.mean(z).square().mean()).item()
    assert model.noise.metrics()["sigma"] ** 2 == pytest.approx(kept)
    model.eval()
    alone = torch.cat([log_joint(model, x[[i]], {"z": z[:, [i]]}) for i in range(5)], 1)
    torch.testing.assert_close(log_joint(model, x, {"z": z}), alone)
    normal = torch.distributions.Normal(model.mean(z), kept**0.5).log_prob(x).sum(-1)
    torch.testing.assert_close(alone, normal + torch.distributions.Normal(0, 1).log_prob(z).sum(-1))
    assert model.noise.metrics()["sigma"] ** 2 == pytest.approx(kept)
    assert ObservationNoise("analytic", (2,), floor=0.2).fitted(
        torch.zeros(3, 2), torch.zeros(3, 2), torch.ones(())
    ) == pytest.approx(0.2)


@pytest.mark.parametrize("kind", [Ppca, Manifold, Sphere, Image, GanGaussian])
def test_every_gaussian_model_fits_an_analytic_sigma_in_training_alone(kind):
    shape = (1, 8, 8) if kind in (Image, GanGaussian) else (3,)
    model = kind(sigma="analytic", shape=shape, **({"channels": 2} if kind in (Image, GanGaussian) else {}))
    x = torch.rand(4, *shape)
    before = model.noise.metrics()["sigma"]
    for training in (False, True):
        model.train(training)
        poutine.trace(model).get_trace(x)
        assert (model.noise.metrics()["sigma"] != before) is training
    objective = ImportanceWeightedELBO()
    with pytest.raises(
        ValueError, match="an analytic sigma is the best for the ELBO of a batch, not for its likelihood"
    ):
        objective.differentiable_loss(model, lambda x: None, x)


def test_a_floor_holds():
    low = ObservationNoise("analytic", (2,), start=0.1, floor=0.2)
    assert low() == pytest.approx(0.2)
    for sigma in ("learned", "vector"):
        noise = ObservationNoise(sigma, (2,), inputs=4, start=1e-30, floor=0.01)
        assert torch.allclose(noise(torch.zeros(1, 4)), torch.tensor(0.01))


@pytest.mark.parametrize("sigma", ["learned", "vector"])
def test_it_starts_at_the_scale_above_a_floor(sigma):
    assert torch.allclose(
        ObservationNoise(sigma, (2,), inputs=4, start=0.3, floor=0.1)(torch.zeros(1, 4)), torch.tensor(0.3)
    )


def test_a_number_stays_whatever_run_it_begins_from(folder):
    short = (*TRAIN, "--epochs", "1")
    succeed(*short, "--out", "a")
    succeed(*short, "--sigma", "0.2", "--start", "a", "--out", "b")
    succeed(*short, "--sigma", "learned", "--floor", "0.1", "--start", "b", "--out", "c")
    assert trace("b") == [(pytest.approx(0.2), pytest.approx(0.2))]
    assert trace("c")[0][0] == pytest.approx(0.3)  # the floor is added to what was learned so far


def test_a_run_records_sigma_and_another_replays_it(folder):
    succeed(*TRAIN, "--out", "learned")
    succeed(*TRAIN, "--sigma", "schedule:learned", "--out", "replayed")
    succeed(*TRAIN, "--sigma", "0.7", "--out", "fixed")
    succeed(*TRAIN, "--sigma", "vector", "--out", "vector")
    (first, after), *rest = trace("learned")
    assert first == 1
    assert all(sigma != 1 and start is None for start, sigma in rest)
    for (a, b), (c, d) in zip(trace("learned"), trace("replayed"), strict=True):
        assert (a or 0, b) == pytest.approx((c or 0, d))
    assert all(sigma == pytest.approx(0.7) for _, sigma in trace("fixed"))
    succeed(*TRAIN, "--sigma", "analytic", "--out", "analytic")
    assert (
        trace("analytic")[0] == (1, pytest.approx(1.9, abs=0.1)) and trace("analytic")[-1][1] < trace("analytic")[0][1]
    )
    succeed(*TRAIN, "--sigma", "learned", "--start", "analytic", "--out", "from-analytic")
    succeed(*TRAIN, "--sigma", "analytic", "--start", "learned", "--out", "from-learned")
    assert trace("vector")[-1][1] > 0
    for sigma, start, words in (
        ("vector", "learned", "learned is one number for all data, but here it is an output of the decoder"),
        ("0.2", "vector", "vector is an output of the decoder (vector), but here it is one number"),
    ):
        refused = invoke(*TRAIN, "--sigma", sigma, "--start", start, "--out", "other")
        assert refused.exit_code != 0 and words in flat(refused.output)


def test_a_replay_goes_on_where_it_was(folder, interrupt):
    succeed(*TRAIN, "--out", "learned")
    replay = (*TRAIN, "--sigma", "schedule:learned")
    succeed(*replay, "--out", "whole")
    interrupt(7)
    assert invoke(*replay, "--out", "stopped").exit_code == 130
    succeed("train", "--resume", "stopped")
    assert summary("whole") == summary("stopped")
    assert trace("whole") == trace("stopped")


def test_between_epochs_its_logarithm_is_linear(tmp_path):
    rows = [{"sigma_start": 1.0, "sigma": 0.1}, {"sigma": 0.4}]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert read_trace(tmp_path / "m.jsonl") == [1.0, 0.1, 0.4]
    noise = ObservationNoise(f"schedule:{tmp_path / 'm.jsonl'}", (2,))
    found = []
    for position in (0, 0.5, 1, 1.5, 2, 9):
        noise.set_epoch(position)
        found.append(noise().item())
    assert found == pytest.approx([1, 0.1**0.5, 0.1, 0.2, 0.4, 0.4])


@pytest.mark.parametrize("sigma", ["0", "-1", "nan", "inf", "small", "vector", "schedule", "schedule:"])
def test_what_is_no_sigma_is_refused(sigma):
    with pytest.raises(ValueError, match="positive number, learned, analytic, vector or schedule:RUN"):
        ObservationNoise(sigma, (2,))


def test_numbers_out_of_range_are_refused():
    for options in ({"start": 0.0}, {"floor": -1.0}, {"floor": math.inf}):
        with pytest.raises(ValueError, match="scale must be positive and floor at least 0"):
            ObservationNoise("learned", (2,), **options)


def test_traces_that_are_none_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"train-metrics.jsonl cannot be read .*give the folder"):
        read_trace(tmp_path)
    for text in ("", "{", '{"sigma": 1}', '{"sigma_start": 1}', "[1]", '{"sigma_start": 1, "sigma": null}'):
        (tmp_path / "m").write_text(text)
        with pytest.raises(ValueError, match="records no sigma"):
            read_trace(tmp_path / "m")
    (tmp_path / "m").write_text('{"sigma_start": 1, "sigma": -2}')
    with pytest.raises(ValueError, match="sigma must be a positive number"):
        read_trace(tmp_path / "m")
