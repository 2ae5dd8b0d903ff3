"""Each check of a training's numbers finds what it is for, and nothing in a training that went well."""

import json
import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from ppl_vae.models.ppca import Ppca

import ppl_vae as pv
from ppl_vae.data.precision import lost
from ppl_vae.diagnostics.images.scale_collapse import Sharpness
from ppl_vae.diagnostics.information.active_units import Units
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.results import Evidence
from ppl_vae.runs.sense import CHECKS, failed_checks
from ppl_vae.runs.split import Split
from ppl_vae.runs.trained import Trained
from ppl_vae.training.settings import Settings

X = torch.randn(400, 2, generator=torch.Generator().manual_seed(0))


def split(elbo=-2.0, rate=1.0, gap=0.1, off=0.0, draws=0):
    """A measurement of as many equal data as X has."""
    each = {name: torch.full((len(X),), value) for name, value in (("elbo", elbo), ("rate", rate), ("gap", gap))}
    each["distortion"] = off - each["elbo"] - each["rate"]
    exact = {name: Estimate(value, "by hand", "exact", draws) for name, value in each.items()}
    evidence = Estimate(each["elbo"] + each["gap"], "by hand", "exact")
    return Split(Evidence(exact["elbo"], evidence, exact["gap"], ""), exact["rate"], exact["distortion"])


def units(variance, kl):
    names = [f"z[{i}]" for i in range(len(kl))]
    return Units(names, torch.tensor(variance), torch.zeros(len(kl)), torch.tensor(kl), {})


class TwoCodes(torch.nn.Module):
    """Two numbers given a fair bit."""

    def forward(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(0.5))
            pyro.sample("x", dist.Normal(z[..., None].expand(*z.shape, 2), 1.0).to_event(1), obs=x)


def trained(**changes):
    """A training that went well, but for what is changed."""
    one = changes.pop("split", split())
    known = {
        "model": Ppca(latents=1, shape=(2,)),
        "settings": Settings(batch_size=50),
        "metric": "elbo",
        "best_epoch": 30,
        "rows": [{"epoch": epoch, "validation_elbo": -1 / epoch} for epoch in range(1, 101)],
        "train": X,
        "validation": 50,
        "scale": Sharpness(2, 0, 0.5, 0.01, 0.0, True),
        "data": {"train": X, "test": X},
        "splits": {"train": one, "test": one},
        "units": {"train": units([0.5, 0.4], [0.6, 0.4])},
    }
    return Trained(**known | changes)


FAULTS = {
    "training too short": {"best_epoch": 100, "rows": [{"epoch": e, "validation_elbo": e} for e in range(1, 101)]},
    "rate at zero": {"split": split(rate=0.001)},
    "rate at its maximum": {"model": TwoCodes(), "split": split(rate=math.log(2) - 0.005)},
    "collapsed units": {"units": {"train": units([0.5, 0.001, 0.002], [1.0, 0.0, 0.0])}},
    "stuck units": {"units": {"train": units([0.5, 0.001], [1.0, 0.2])}},
    "ELBO below a baseline": {"split": split(elbo=-10.0)},
    "guide not learned": {"split": split(rate=3.0, gap=3.1)},
    "few validation data": {"validation": 49},
    "constant numbers": {"scale": Sharpness(2, 1, 0.5, 0.01, 1.0, True)},
    "sigma below the data's step": {"scale": Sharpness(2, 0, 0.004, 0.01, 0.0, True)},
    "sigma at its floor": {
        "model": Ppca(latents=1, shape=(2,), floor=0.5),
        "scale": Sharpness(2, 0, 0.504, 0.01, 0.0, True),
    },
    "few digits": {"train": X * torch.tensor([1.0, 1e-5]) + torch.tensor([0.0, 1.0])},
    "separate draws": {"split": split(off=0.01, draws=5)},
}


def test_every_check_has_a_fault_here():
    assert [check.name for check in CHECKS] == list(FAULTS)


def test_a_training_that_went_well_has_no_note():
    assert failed_checks(trained()) == ()


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_with_its_remedy(name):
    found = failed_checks(trained(**FAULTS[name]))
    assert [each.check for each in found] == [name]
    assert len(found[0].note) > 60 and math.isfinite(found[0].value)


@pytest.mark.parametrize(
    "changes",
    [
        {"split": split(rate=3.0, gap=2.9)},  # within the rate
        {"split": split(rate=0.2, gap=0.9)},  # within a nat
        {"model": TwoCodes(), "split": split(rate=math.log(2) - 0.02)},
        {"units": {"train": units([0.5, 0.001], [1.0, 0.09])}},  # half is collapsed, as is usual, and costs little
        {"scale": Sharpness(2, 1, 0.5, 0.01, 1.0, False)},  # sigma is given
        {"scale": Sharpness(2, 2, 0.5, math.inf, 0.0, False)},
        {"scale": None, "train": X * 1e-3 + 1},
        {"metric": "", "validation": 0},
    ],
)
def test_what_is_on_the_right_side_of_a_threshold_is_left_alone(changes):
    assert failed_checks(trained(**changes)) == ()


def test_findings_are_in_table_json_and_gap(tmp_path):
    options = {"latents": 1, "sigma": "0.01", "guide_width": 4, "evidence_draws": 2, "epochs": 1}
    run = pv.train("ppca", "mean_field", 50 + X[:100], out=tmp_path / "r", **options)
    stored = json.loads((tmp_path / "r" / "summary.json").read_text())
    found = {each["check"]: each for each in stored["checks"]}
    assert {"ELBO below a baseline", "few validation data"} <= found.keys()
    gap = run.gap(data=5, steps=2, evidence_draws=2)
    for each in found.values():
        assert each["note"] in stored["warnings"] and each["note"] in str(run.summary)
        assert f"of the training: {each['note']}" in gap.to_json()["warnings"]


def test_digits_that_32_bits_lose_are_told_and_noise_of_rounding_is_not():
    x = np.array([[1e8, 0.1, 5.0], [1e8 + 1e-3, 0.1 + 1e-17, 7.0]])
    assert "1 of 3 numbers of a datum vary, but as 32-bit floats they are all 1e+08" in lost(x, x.astype(np.float32))
    assert lost(x[:, 1:], x[:, 1:].astype(np.float32)) is None
