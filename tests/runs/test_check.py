"""The check of a pair before training: all faults at once, nothing changed, and never against what training does."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.nn import PyroModule
from torch import nn
from torch.nn import functional

import ppl_vae as pv
from ppl_vae.runs.check.result import Check

SMALL = {"epochs": 1, "batch_size": 16, "evidence_draws": 5, "device": "cpu"}


class Model(PyroModule):
    """A normal code, of which the parts that can be wrong are methods."""

    def __init__(self, shape: tuple[int, ...] = (3,)):
        super().__init__()
        self.decoder = nn.Linear(2, *shape)

    def observed(self, z):
        return dist.Normal(self.decoder(z), 1.0)

    def forward(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample("x", self.observed(z).to_event(1), obs=x)


class Guide(PyroModule):
    """Independent normals."""

    def __init__(self, model, x):
        super().__init__()
        self.encoder = nn.Linear(x.shape[1], 4)

    def encoded(self, x):
        return self.encoder(x)

    def latent(self, loc, log_scale):
        return "z", dist.Normal(loc, log_scale.exp())

    def forward(self, x):
        with pyro.plate("data", len(x)):
            name, fn = self.latent(*self.encoded(x).chunk(2, -1))
            pyro.sample(name, fn.to_event(1))


class Bits(Model):
    def observed(self, z):
        return dist.Bernoulli(logits=self.decoder(z), validate_args=False)


class Noisy(Model):
    def observed(self, z):
        return dist.Normal(functional.dropout(self.decoder(z)), 1.0)


class Joint(Model):
    def observed(self, z):
        out = self.decoder(z)
        return dist.Normal(out - out.mean(-2, keepdim=True), 1.0)


class NoisyBits(Model):
    def observed(self, z):
        return dist.Bernoulli(logits=functional.dropout(self.decoder(z)), validate_args=False)


class Rooted(Model):
    def observed(self, z):
        return dist.Normal(self.decoder(z), 1.0 + (0 * self.decoder.weight).sum().sqrt())


class Factor(Model):
    def forward(self, x):
        super().forward(x)
        with pyro.plate("again", len(x)):
            pyro.factor("penalty", x.new_ones(len(x)))


class Misnamed(Guide):
    def latent(self, loc, log_scale):
        return "code", dist.Normal(loc, log_scale.exp())


class Positive(Guide):
    def latent(self, loc, log_scale):
        return "z", dist.Categorical(logits=torch.stack([loc, log_scale], -1))


class Dropping(Guide):
    def encoded(self, x):
        return functional.dropout(self.encoder(x))


class Detached(Guide):
    def encoded(self, x):
        return self.encoder(x).detach() + 0 * self.encoder.bias


class Bare(Guide):
    def forward(self, x):
        loc, log_scale = self.encoded(x).chunk(2, -1)
        pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


class Normalised(Guide):
    def __init__(self, model, x):
        super().__init__(model, x)
        self.norm = nn.BatchNorm1d(4)

    def encoded(self, x):
        return self.norm(self.encoder(x))


@pytest.fixture
def x():
    return torch.randn(90, 3)


def found(result: Check) -> dict[str, str]:
    return {row.check: row.text for row in result.faults}


def test_a_sound_pair_has_no_fault_and_is_described(x):
    result = pv.check(Model, Guide, x, **SMALL)
    assert result.ok and result.exit_code == 0
    assert result["plate over data"].values == {"plates": ["data"], "dim": -1, "vectorise": "left"}
    assert result["latent z"].found == "Normal of shape (2,); the guide draws it from Normal"
    assert result["evidence"].values["method"] == "closed form: the posterior is Gaussian"
    assert result["gradients"].found == "finite, and reach all 25 parameters"
    parts = dict(result["time"].values["seconds"])
    assert parts.pop("step") == pytest.approx(sum(parts.values()))
    assert result["ELBO at the start"].values["baseline"] > result["ELBO at the start"].values["elbo"]


FAULTS = {
    "support": (Bits, Guide, {"observed x": "takes zeros and ones, but the train data have"}),
    "random": (Noisy, Guide, {"batch independence": "changes from call to call"}),
    "joint": (Joint, Guide, {"batch independence": "changes with the other data"}),
    "factor": (Factor, Guide, {"model": "is a pyro.factor"}),
    "names": (Model, Misnamed, {"guide": "name the guide's sites after the model's"}),
    "kind": (Model, Positive, {"guide": "Normal in the model and Categorical in the guide"}),
    "no plate": (Model, Bare, {"guide": "site 'z' of the guide lies outside the plate over data"}),
    "random guide": (Model, Dropping, {"guide": "the guide draws random numbers outside its sample sites"}),
    "unreached": (Model, Detached, {"gradients": "no gradient reaches guide.encoder.weight; let the program"}),
    "not finite": (Rooted, Guide, {"training steps": "gradient of parameter 'model.decoder.weight' is not finite"}),
    "last batch": (Model, Normalised, {"training steps": "more than 1 value per channel"}),
    "several": (
        NoisyBits,
        Misnamed,
        {
            "observed x": "takes zeros and ones",
            "batch independence": "changes from call to call",
            "guide": "name the guide's sites",
        },
    ),
}


@pytest.mark.parametrize("case", FAULTS)
def test_faults_are_all_found_at_once_with_what_to_do_and_training_refuses_them(case, x, tmp_path):
    model, guide, expected = FAULTS[case]
    x = x[:80] if case == "last batch" else x  # 65 to train on, and one in the last batch of 64
    options = SMALL | {"batch_size": 64}
    result = pv.check(model, guide, x, **options)
    assert not result.ok and result.exit_code == 1
    assert set(found(result)) == set(expected)
    for check, words in expected.items():
        assert words in found(result)[check]
        assert "; " in found(result)[check] or case == "last batch"
    if case == "unreached":
        return  # it trains, but never learns
    with pytest.raises((ValueError, FloatingPointError)) as refused:
        pv.train(model, guide, x, out=tmp_path / "r", **options)
    first = str(refused.value)
    assert any(first.partition("; ")[0] in row.text for row in result.faults) or case == "not finite"


def test_what_is_scaled_masked_and_switched_is_noted(x):
    decoder, encoder = nn.Sequential(nn.Linear(2, 3), nn.Dropout()), nn.Linear(3, 4)
    holes = torch.where(torch.rand(90, 3) < 0.5, torch.nan, x)

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", 1000, subsample_size=len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), 1.0).mask(~x.isnan()).to_event(1), obs=x)
            with pv.regulariser():
                pyro.factor("penalty", x.new_zeros(len(x)))

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", 1000, subsample_size=len(x)):
            loc, log_scale = encoder(x.nan_to_num()).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

    result = pv.check(model, guide, holes, missing=True, **SMALL)
    assert result.ok, result
    assert result["data"].found.endswith("numbers missing (NaN)") and "nan" not in result["data"].found
    weights = result["scales, masks, factors"]
    assert weights.status == "note"
    assert "'z' of the model counts 62.5 times in training, once in measurements" in weights.found
    assert "of 'x' of the model: missing values" in weights.found
    assert "factor 'penalty' of the model counts in training alone" in weights.found
    assert result["training mode"].values == {"layers": ["Dropout in the model"]}


def test_data_on_another_scale_are_noted(x):
    result = pv.check(Model, Guide, 30 * x, **SMALL)
    assert "divide the data by their spread" in result["ELBO at the start"].remedy


def test_the_check_changes_nothing_and_chooses_what_training_takes(x, tmp_path):
    def pair():
        torch.manual_seed(1)
        model = Model()
        return model, Normalised(model, x)

    model, guide = pair()
    before = {name: value.clone() for part in (model, guide) for name, value in part.state_dict().items()}
    state = torch.get_rng_state()
    checked = pv.check(model, guide, x, **SMALL)
    assert checked.ok, checked
    assert torch.equal(torch.get_rng_state(), state)
    after = {name: value for part in (model, guide) for name, value in part.state_dict().items()}
    assert after.keys() == before.keys() and all(torch.equal(after[name], before[name]) for name in before)
    runs = [
        pv.train(*each, x, out=tmp_path / str(n), **SMALL).summary for n, each in enumerate(((model, guide), pair()))
    ]
    one, other = (run.splits["test"].measurement for run in runs)
    assert torch.equal(one.elbo.pointwise, other.elbo.pointwise)
    assert checked["objective"].values["estimator"] == runs[0].estimator
    assert checked["evidence"].values["method"] == one.evidence.method


def test_parameters_of_functions_stay_those_of_pyro(x):
    encoder = nn.Linear(3, 4)

    def model(x):
        loc = pyro.param("loc", torch.zeros(3))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(loc + z.sum(-1, keepdim=True), 1.0).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            loc, log_scale = encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

    assert pv.check(model, guide, x, **SMALL).ok
    assert "loc" not in pyro.get_param_store()
    assert pv.measure(model, guide, x[:3]).gap.mean > 0  # a run that had trained the function would be named here


def test_results_are_tables_in_notebooks_and_frames(x):
    result = pv.check(Bits, Guide, x, **SMALL)
    assert "<td>fault</td>" in result._repr_html_() and "1 fault" in str(result)
    frame = result.to_frame()
    assert frame.loc["observed x", "status"] == "fault" and frame.loc["observed x", "remedy"]
    with pytest.raises(KeyError, match="there is no check 'x'"):
        result["x"]


class Spare(Guide):
    def __init__(self, model, x):
        super().__init__(model, x)
        self.spare = nn.Linear(2, 2)


def test_parameters_that_these_data_do_not_use_are_noted(x):
    result = pv.check(Model, Spare, x, **SMALL)
    assert result.ok
    assert result["gradients"].values["unused"] == ["guide.spare.weight", "guide.spare.bias"]
