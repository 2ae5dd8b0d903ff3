"""What every estimator must do; a new one is tested by being found in its folder."""

import json
import math
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pyro
import pytest
import scipy.sparse
import torch

from ppl_vae.estimators import Estimator
from ppl_vae.objectives.choice import make_estimator
from ppl_vae.objectives.elbo import DiscreteELBO
from ppl_vae.plugins.discovery import available, find
from tests.support.cli import ROOT, flat, invoke, json_of, succeed, summary
from tests.support.estimator_checks import CHECKS, OF_ALL
from tests.support.small_pairs import BitsOfPoints
from tests.support.z_test import assert_mean

pytestmark = pytest.mark.usefixtures("float64")

SHIPPED = list(available("estimators", own=False))
assert SHIPPED


def variants(name: str) -> list[Estimator]:
    """An estimator without and, where it takes one, with the first-order control variate."""
    plain = make_estimator(name, control=False)
    return [plain] if plain.no_control else [plain, make_estimator(name, control=True)]


ESTIMATORS = [estimator for name in SHIPPED for estimator in variants(name)]


def draws_of(estimator: Estimator) -> list[int]:
    """The least number of draws, and several."""
    return [1] if estimator.exact else sorted({estimator.least_draws, 2, 5})


CASES = [(estimator, draws) for estimator in ESTIMATORS for draws in draws_of(estimator)]


CHECKED = [
    pytest.param(check, estimator, draws, id=f"{check.__name__.removeprefix('check_')}-{estimator.name}-{draws}")
    for check, (estimator, draws) in product(CHECKS, CASES)
    if check in OF_ALL or estimator.bias is None
]


@pytest.mark.parametrize("bits", [1, 3, 8])
@pytest.mark.parametrize(("check", "estimator", "draws"), CHECKED)
def test_every_estimator(check, estimator, draws, bits):
    check(estimator, bits, draws)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: e.name)
def test_fewer_draws_than_the_least_are_refused(estimator):
    if estimator.least_draws > 1:
        message = f"{estimator.without_control.name} needs at least {estimator.least_draws} draws, got"
        with pytest.raises(ValueError, match=message):
            estimator.draw(torch.zeros(1, 3), estimator.least_draws - 1)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: e.name)
def test_estimators_of_independent_bits_have_no_weights_of_scores(estimator):
    if estimator.factorised:
        with pytest.raises(ValueError, match="independent bits only; use loo or enumerate"):
            estimator.score_weights(torch.zeros(2), torch.zeros(2))


@pytest.mark.parametrize("name", SHIPPED)
def test_the_name_is_that_of_the_file(name):
    kind = find("estimators", name, own=False).load_class(Estimator)
    assert kind().name == name
    assert make_estimator(name, control=False).name == name


def test_names_are_found_without_torch_and_one_file_is_loaded():
    code = """
import sys
from ppl_vae.plugins.discovery import available
assert "arm" in available("estimators") and available("estimators")["arm"].summary
assert "torch" not in sys.modules
from ppl_vae.objectives.choice import make_estimator
make_estimator("loo")
print(*sorted(name for name in sys.modules if name.count(".") == 2 and name.startswith("ppl_vae.estimators.")))
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([ROOT, os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["ppl_vae.estimators.base", "ppl_vae.estimators.loo"], done.stderr


OWN = '''
import torch

from ppl_vae.estimators import Code, Estimator


class Mine(Estimator):
    """Sample covariance of f with each bit over independent draws."""

    factorised = True
    least_draws = 2

    def draw(self, logits, draws):
        noise = torch.rand(self.rows(draws), *logits.shape, dtype=logits.dtype)
        return Code((noise < logits.sigmoid()).to(logits.dtype), noise, logits)

    def gradient(self, code, f):
        values = f.values - f.values.mean(0)
        return (values[..., None] * code.bits).sum(0) / (len(values) - 1)
'''


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "estimators").mkdir()
    (tmp_path / "estimators" / "mine.py").write_text(OWN)
    return tmp_path


def test_one_file_in_the_working_folder_is_all_a_new_estimator_takes(own):
    for estimator in variants("mine"):
        for check in CHECKS:
            check(estimator, 3, 2)
    pair, x = BitsOfPoints(3), torch.randn(4, 3)
    expected = pair.gradient(DiscreteELBO("enumerate"), x)
    objective = DiscreteELBO("mine", draws=2)
    assert_mean(torch.stack([pair.gradient(objective, x) for _ in range(200)]), expected)
    objective.differentiable_loss(pair.model, pair.guide, x)
    assert objective.estimator.name == "mine+first_order"


def test_a_new_estimator_trains_by_name_or_path(own):
    x = (torch.rand(100, 1) < 0.5).double().expand(100, 6).clone()
    decoder, encoder = torch.nn.Linear(4, 6), torch.nn.Linear(6, 4)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", pyro.distributions.Bernoulli(torch.full((4,), 0.5)).to_event(1))
            pyro.sample("x", pyro.distributions.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", pyro.distributions.Bernoulli(logits=encoder(x)).to_event(1))

    for name in ("mine", "estimators/mine.py", str(own / "estimators" / "mine.py")):
        objective = DiscreteELBO(name, draws=2)
        optimiser = torch.optim.Adam([*decoder.parameters(), *encoder.parameters()], lr=0.05)
        losses = []
        for _ in range(60):
            optimiser.zero_grad()
            losses.append(objective.loss_and_grads(model, guide, x) / len(x))
            optimiser.step()
    assert sum(losses[-20:]) / 20 < 3 * math.log(2)


def test_a_new_estimator_is_listed_and_chosen_on_the_command_line(own):
    torch.set_default_dtype(torch.float32)
    scipy.sparse.save_npz("counts.npz", scipy.sparse.csr_matrix(np.random.default_rng(0).poisson(1.0, (60, 20)) + 1))
    (own / "estimators" / "broken.py").write_text("import nowhere\n")
    content = json_of("list")
    rows = {row["name"]: row for row in content["estimators"]}
    assert "nowhere" in next(row["summary"] for row in content["broken"] if row["name"].endswith("broken.py"))
    assert rows["mine"]["summary"] == "Sample covariance of f with each bit over independent draws."
    assert "linear_counts" in rows["mine"]["goes_with"]
    assert {*SHIPPED, "auto"} < set(rows)
    assert "mine" in flat(invoke("train", "--help").output)
    pair = ("train", "text", "--guide", "linear_counts", "--corpus", "counts.npz", "--bits", "3", "--epochs", "1")
    succeed(*pair, "--estimator", "mine", "--out", "r")
    assert summary("r")["estimator"] == "mine+first_order"
    assert json.loads(Path("r/config.json").read_text())["estimator"] == str(own / "estimators" / "mine.py")
    missing = invoke(*pair, "--estimator", "hers")
    assert missing.exit_code == 2
    assert "there is no estimator 'hers'; choose from auto, arm, arms," in flat(missing.output)


def test_a_file_with_no_estimator_or_one_that_wants_arguments_is_named(own):
    (own / "estimators" / "none.py").write_text("x = 1\n")
    message = r"none\.py must define one Estimator, or one named after the file; it defines none"
    with pytest.raises(ValueError, match=message):
        make_estimator("none")
    wanting = OWN.replace("    factorised", "    def __init__(self, k): ...\n\n    factorised")
    (own / "estimators" / "wants.py").write_text(wanting)
    with pytest.raises(ValueError, match=r"wants\.py: .*argument: 'k'; give each argument a default"):
        make_estimator("wants")
