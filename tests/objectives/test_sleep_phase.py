"""The sleep phase: value and gradient against enumeration and closed forms, for any pair, and by the command line."""

import json
import math
import shutil
from pathlib import Path

import pyro
import pyro.distributions as dist
import pytest
import torch
from click.testing import CliRunner
from ppl_vae.guides.linear_counts import LinearCounts
from ppl_vae.guides.tree import Tree
from ppl_vae.models.text import Text
from pyro.infer import SVI

from ppl_vae.cli.main import main
from ppl_vae.distributions.bits import bit_states
from ppl_vae.evidence.measure import measure
from ppl_vae.nn.checkpoint import Checkpoint
from ppl_vae.objectives import sleep_phase as sleep
from ppl_vae.objectives.base import NonFiniteError
from ppl_vae.objectives.sleep_phase import SleepPhase
from ppl_vae.programs.layouts import layout_of
from tests.support.small_pairs import BitsOfPoints, LinearGaussian, documents
from tests.support.z_test import assert_mean


@pytest.mark.usefixtures("float64")
class TestObjective:
    def test_the_posterior_scores_minus_its_entropy(self):
        pair, x = LinearGaussian(2), torch.zeros(4000, 4)
        precision = torch.eye(2) + pair.map @ pair.map.T / pair.noise**2
        truth = -dist.MultivariateNormal(torch.zeros(2), precision_matrix=precision).entropy()
        with torch.no_grad():
            assert_mean(SleepPhase()._scores(pair.model, pair.posterior, x, 2), truth)
            assert SleepPhase().loss(pair.model, pair.guide, x) > SleepPhase().loss(pair.model, pair.posterior, x)

    @pytest.mark.parametrize("draws", [1, 3])
    def test_the_mean_gradient_is_that_over_all_codes_and_the_models_is_none(self, draws):
        """Of bits: over x by its own draws, over z by enumeration."""
        pair, x = BitsOfPoints(2), torch.zeros(3, 3)
        found = []
        for _ in range(150):
            found.append(pair.gradient(SleepPhase(draws), x))
            assert pair.noise.grad is None
        z = bit_states(2)
        prior = dist.Bernoulli(0.3).log_prob(z).sum(1).exp()
        noise = torch.randn(30_000, 1, 3)
        data = torch.tanh(2 * z @ pair.map) + noise  # sigma is 1
        # d/dW log q(z | x) = x (z - sigmoid(x W))'
        slope = data[..., None] * (z - (data @ pair.weight).sigmoid())[..., None, :]
        each = -3 * torch.einsum("s,nsij->nij", prior, slope).flatten(1)
        truth = each.reshape(len(found), -1, *each.shape[1:]).mean(1)  # itself drawn, one for each of the gradients
        assert_mean(torch.stack(found) - truth, torch.zeros(6))

    @pytest.mark.parametrize("guide", [LinearCounts, Tree])
    def test_documents_keep_their_lengths_and_the_guide_learns_the_posterior(self, guide):
        x = documents(40, 9)
        model = Text(9, bits=2)
        q = guide(model, x)
        optimizer = torch.optim.Adam(q.parameters(), 3e-2)
        before, kept = measure(model, q, x).gap.mean, [p.clone() for p in model.parameters()]
        loss = SleepPhase(20)(model, q)
        for _ in range(60):
            optimizer.zero_grad()
            (loss(x) / len(x)).backward()
            optimizer.step()
        assert measure(model, q, x).gap.mean < before / 2
        assert all(torch.equal(p, k) and p.grad is None for p, k in zip(model.parameters(), kept, strict=True))

    def test_it_works_in_pyros_own_loop_and_validates_alike_every_time(self):
        pair, x = LinearGaussian(2), torch.zeros(50, 4)
        guide = LinearCounts(pair.model, x)
        svi = SVI(pair.model, guide, pyro.optim.Adam({"lr": 0.03}), loss=SleepPhase(4))
        losses = [svi.step(x) for _ in range(100)]
        assert sum(losses[-10:]) < sum(losses[:10])
        found = []
        for _ in range(2):
            torch.manual_seed(3)
            found.append(SleepPhase().validate(pair.model, guide, x))
        assert found[0] == found[1] and set(found[0]) == {"conditional"}

    def test_validation_goes_in_blocks(self, monkeypatch):
        pair, seen = LinearGaussian(2), []

        def guide(x):
            seen.append(len(x))
            pair.posterior(x)

        monkeypatch.setattr(sleep, "rows_at_once", lambda x: 9)
        layout_of(guide, (torch.zeros(5, 4),), {})  # runs the guide to learn its plates
        seen.clear()
        assert math.isfinite(SleepPhase().validate(pair.model, guide, torch.zeros(5, 4))["conditional"])
        assert seen == [8, 8, 4]

    def test_misuse_is_named(self):
        pair, x = LinearGaussian(2), torch.zeros(5, 4)

        def other(x):
            with pyro.plate("data", len(x)):
                pyro.sample("y", dist.Normal(torch.zeros(2), 1.0).to_event(1))

        def endless(x):
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(torch.zeros(2), torch.tensor(1e-200)).to_event(1))

        with pytest.raises(ValueError, match=r"the guide draws \['y'\] but the latents of the model are \['z'\]"):
            SleepPhase().loss(pair.model, other, x)
        with pytest.raises(NonFiniteError, match="at the latents that the model drew is not finite"):
            SleepPhase().loss(pair.model, endless, x)


PAIR = ("models/ppca.py", "--latents", "1", "--corpus", "gaussians", "--device", "cpu")
FEW = ("--batch-size", "3000", "--evidence-draws", "5", "--evidence-data", "50")


def train(*args: str):
    result = CliRunner().invoke(main, ["train", *PAIR, "--guide", "linear_counts", *FEW, *args])
    assert "Traceback" not in result.output
    return result


def tensors(run: str) -> dict:
    return Checkpoint.read(Path(run, "checkpoints", "train-best.safetensors")).tensors


def test_a_run_begins_where_another_ended_and_only_the_guide_learns(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert train("--epochs", "2", "--learning-rate", "1e-2", "--out", "a").exit_code == 0
    slept = train("--objective", "sleep", "--start", "a", "--epochs", "3", "--out", "b", "--estimator", "loo")
    assert slept.exit_code == 0, slept.output
    assert "--estimator belongs to the ELBO: the sleep phase needs none" in slept.output
    assert "pairs that the model" in " ".join(slept.output.split())
    rows = [json.loads(line) for line in Path("b/train-metrics.jsonl").read_text().splitlines()]
    assert {"train_conditional", "validation_conditional"} <= set(rows[0])
    assert json.loads(Path("b/summary.json").read_text())["objective"] == "sleep"
    before, after = tensors("a"), tensors("b")
    for name in before:
        unchanged = name.startswith("model.") or ".numbers." in name  # scales of the data, which are not learned
        assert torch.equal(before[name], after[name]) is unchanged, name
    joint = train("--start", "b", "--epochs", "1", "--learning-rate", "1e-12", "--out", "c", "--validation", "0")
    assert joint.exit_code == 0, joint.output
    for name, value in tensors("c").items():
        torch.testing.assert_close(value, after[name], atol=1e-6, rtol=0)
    assert json.loads(Path("c/config.json").read_text())["start"] == str(tmp_path / "b")
    shutil.rmtree("a")  # what grew from it stands by itself
    for args in (["evidence", "b", "--data", "4", "--draws", "5", "--json"], ["train", "--resume", "b"]):
        again = CliRunner().invoke(main, args)
        assert again.exit_code == 0, again.output
    shutil.rmtree("b/checkpoints")
    told = " ".join(CliRunner().invoke(main, ["train", "--resume", "b"]).output.split())
    assert "begins with the pair of" in told and "which is missing; restore it, or start a new run" in told


def test_what_cannot_be_a_start_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "not a run folder" in train("--start", "nowhere").output
    assert train("--epochs", "1", "--out", "a").exit_code == 0
    told = " ".join(train("--start", "a", "--latents", "2", "--out", "b").output.split())
    assert "has shape" in told and "its options differ from those of the run" in told
    told = " ".join(train("--objective", "sleep", "--beta", "2").output.split())
    assert "--beta weighs the rate, and the sleep phase has none" in told
