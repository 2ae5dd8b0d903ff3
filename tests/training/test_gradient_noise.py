"""Signal-to-noise ratios of gradients: the formula in NumPy, and a training that they do not disturb."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from ppl_vae.objectives.elbo import DiscreteELBO
from ppl_vae.training.gradient_noise import draw_signal_to_noise, signal_to_noise
from tests.support.cli import SMALL, metrics, succeed
from tests.support.small_pairs import text_pair


class Noisy(torch.nn.Module):
    """A loss whose gradient is a given mean plus normal noise of a given deviation, with running statistics."""

    def __init__(self):
        super().__init__()
        self.model, self.guide = torch.nn.Linear(4, 1, bias=False), torch.nn.Linear(3, 1, bias=False)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        self.seen += 1
        noise = 0.5 * torch.randn(4)
        signal = torch.tensor([1.0, 2.0, 0.0, -2.0])
        return len(x) * ((self.model.weight[0] * (signal + noise)).sum() + self.guide.weight.sum())


def test_ratios_are_those_of_the_formula_and_leave_no_trace():
    loss, objective, x = Noisy(), DiscreteELBO("loo"), torch.zeros(7, 1)
    names = dict(loss.named_parameters())
    state, objective.batch_metrics = torch.get_rng_state(), {"rate": torch.ones(())}
    found = signal_to_noise(loss, objective, (loss,), names, x, seed=3, repeats=2000)
    assert found["guide.weight"] is None  # without noise
    assert found["model.weight"] == pytest.approx(3 / (4 * 0.25) ** 0.5, rel=0.05)
    assert loss.seen == 0
    assert torch.equal(torch.get_rng_state(), state)
    assert objective.batch_metrics == {"rate": torch.ones(())}
    assert all(p.grad is None for p in names.values())


def test_few_gradients_of_a_pair_agree_with_numpy():
    model, guide, x = text_pair()
    objective = DiscreteELBO("loo", draws=2)
    loss = objective(model, guide)
    names = dict(loss.named_parameters())
    found = signal_to_noise(loss, objective, (model, guide), names, x, seed=5, repeats=6)
    torch.manual_seed(5)
    rows = [torch.autograd.grad(loss(x) / len(x), list(names.values()), allow_unused=True) for _ in range(6)]
    for group in found:
        columns = [i for i, name in enumerate(names) if name.startswith(group + ".") and rows[0][i] is not None]
        table = np.array([np.concatenate([row[i].double().numpy().ravel() for i in columns]) for row in rows])
        variance = table.var(0, ddof=1).sum()
        expected = max(0.0, (table.mean(0) ** 2).sum() - variance / 6) / variance
        assert found[group] == pytest.approx(expected**0.5, rel=1e-6)
    assert set(found) == {".".join(name.split(".")[:2]) for name in names}


def test_a_training_is_the_same_with_and_without_and_its_ratios_are_logged_and_drawn(folder):
    common = ("train", *SMALL, "--epochs", "2", "--estimator", "disarm", "--learning-rate", "0.01")
    succeed(*common, "--out", "plain")
    succeed(*common, "--out", "watched", "--watch-gradients")
    for name in ("train-last", "train-best"):
        plain, watched = (Path(run, "checkpoints", f"{name}.safetensors").read_bytes() for run in ("plain", "watched"))
        assert plain == watched
    rows = metrics("watched")
    groups = {name for name in rows[0] if name.startswith("gradient_snr_")}
    assert {name.split(".")[0] for name in groups} == {"gradient_snr_model", "gradient_snr_guide"}
    assert all(row[name] >= 0 for row in rows for name in groups)
    assert not any("snr" in name for name in metrics("plain")[0])
    assert Path("watched/figures/gradients.png").exists()
    assert not Path("plain/figures/gradients.png").exists()


def test_a_figure_has_a_line_for_each_group():
    rows = [{"epoch": e, "gradient_snr_model.words": 2.0 / e, "gradient_snr_guide.net": None} for e in (1, 2)]
    figure = Figure()
    draw_signal_to_noise(figure, json.loads(json.dumps(rows)), "title")
    labels = figure.axes[0].get_legend_handles_labels()[1]
    assert labels == ["model.words", "guide.net: no noise"]
