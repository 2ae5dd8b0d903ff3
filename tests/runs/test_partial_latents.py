"""Trainings of pairs whose latents count for some data only: the table against Gaussian algebra in NumPy."""

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from scipy import stats

import ppl_vae as pv

STEPS = 3


class Walk(torch.nn.Module):
    """A random walk seen with noise, of which each datum has a length of its own."""

    def __init__(self):
        super().__init__()
        self.step, self.loc = torch.nn.Parameter(torch.tensor(0.8)), torch.nn.Parameter(torch.zeros(STEPS))

    def model(self, x, lengths):
        pyro.module("walk", self)
        with pyro.plate("walks", len(x)):
            z = torch.zeros(len(x))
            for t in range(STEPS):
                with poutine.mask(mask=t < lengths):
                    z = pyro.sample(f"z_{t}", dist.Normal(self.step * z, 1.0))
                    pyro.sample(f"x_{t}", dist.Normal(z, 0.5), obs=x[:, t])

    def guide(self, x, lengths):
        pyro.module("walk", self)
        with pyro.plate("walks", len(x)):
            for t in range(STEPS):
                with poutine.mask(mask=t < lengths):
                    pyro.sample(f"z_{t}", dist.Normal(x[:, t] + self.loc[t], 0.5))


def log_evidence(x, lengths, step):
    """log N(x; 0, A A' + I / 4), A the lower triangle of the powers of the step, of each length."""
    powers = np.tril(step ** np.abs(np.subtract.outer(np.arange(STEPS), np.arange(STEPS))))
    covariance = powers @ powers.T + 0.25 * np.eye(STEPS)
    return [
        stats.multivariate_normal(np.zeros(n), covariance[:n, :n]).logpdf(row[:n])
        for row, n in zip(x, lengths, strict=True)
    ]


def test_sequences_of_unequal_length_are_trained_and_measured(tmp_path, capsys):
    rng = np.random.default_rng(0)
    x, lengths = rng.normal(size=(60, STEPS)).astype("float32"), rng.integers(1, STEPS + 1, 60)
    run = pv.train(
        Walk(), None, {"x": x, "lengths": lengths}, out=tmp_path / "r", epochs=2, patience=0, evidence_draws=200
    )
    test = run.data["test"]
    split = run.summary.splits["test"]
    truth = log_evidence(test.fields()["x"].numpy(), test.fields()["lengths"].numpy(), run.model.owner.step.item())
    evidence, elbo = split.measurement.evidence, split.measurement.elbo
    np.testing.assert_allclose(evidence.pointwise, truth, atol=1e-4)
    assert abs(split.rate.mean + split.distortion.mean + elbo.mean) < 4 * (
        split.rate.se + split.distortion.se + elbo.se
    )
    assert (elbo.pointwise < evidence.pointwise + 4 * elbo.pointwise_se).all()
    for measured in (run.gap(refine=2), run.gap(ladder=["mean_field"], epochs=1)):
        np.testing.assert_allclose(measured.evidence.pointwise, truth, atol=1e-4)
    assert "z_2" in run.export(draws=2, predictive=0).groups["posterior"]
    assert [found.verdict for found in run.report().findings.values()] == ["network"]
    assert capsys.readouterr().err.count("'z_0' is masked") == 1  # the information of latents alone is missing


def test_labels_of_some_rows_are_trained_with_a_guide_of_this_package(tmp_path):
    rng = np.random.default_rng(0)
    x, known = rng.normal(size=(60, 2)).astype("float32"), rng.random(60) < 0.5
    loading = torch.nn.Parameter(torch.tensor([1.0, -1.0]))

    def model(x, y, known):
        pyro.param("loading", loading)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("y", dist.Normal(z, 0.5), obs=y, obs_mask=known)
            pyro.sample("x", dist.Normal(z[..., None] * loading, 1.0).to_event(1), obs=x)

    data = {"x": x, "y": x[:, 0], "known": known}
    run = pv.train(model, "mean_field", data, out=tmp_path / "r", epochs=1, evidence_draws=20, guide_width=4)
    fields = run.data["test"].fields()
    vector = np.append(loading.detach().numpy(), 1.0)
    covariance = np.outer(vector, vector) + np.diag([1.0, 1.0, 0.25])
    rows = np.column_stack([fields["x"].numpy(), fields["y"].numpy()])
    seen = [3 if each else 2 for each in fields["known"].tolist()]
    truth = [
        stats.multivariate_normal(np.zeros(n), covariance[:n, :n]).logpdf(row[:n])
        for n, row in zip(seen, rows, strict=True)
    ]
    assert len(set(seen)) == 2
    np.testing.assert_allclose(run.summary.splits["test"].measurement.evidence.pointwise, truth, atol=1e-4)
