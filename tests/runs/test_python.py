"""The public names, and training from Python."""

import json
import pydoc
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import scipy.sparse
import torch
from pyro.nn import PyroModule, PyroParam

import ppl_vae as pv
from tests.support.page import Page


class Line(PyroModule):
    """Points on a line with noise."""

    def __init__(self, shape=(2,)):
        super().__init__()
        self.out = torch.nn.Linear(1, shape[0])

    def forward(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.out(z), 0.5).to_event(1), obs=x)


class Reading(PyroModule):
    """A normal guide with a linear mean."""

    def __init__(self, model, x):
        super().__init__()
        self.mean = torch.nn.Linear(x.shape[1], 1)
        self.log_scale = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.mean(x), self.log_scale.exp()).to_event(1))


@pytest.fixture
def points(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    z = np.random.default_rng(0).normal(size=(200, 1))
    return (z @ [[2.0, -1.0]] + 0.5 * np.random.default_rng(1).normal(size=(200, 2))).astype(np.float32)


def test_every_public_name_is_loaded_documented_and_listed():
    for name in dir(pv):
        value = getattr(pv, name)
        assert name == "__version__" or value.__doc__, name
        assert name == "__version__" or re.search(rf"\b{name}\b", pv.__doc__), name
    assert len(pydoc.render_doc(pv).splitlines()) < 60
    with pytest.raises(AttributeError, match="no attribute 'mesure'; it has .*measure"):
        pv.mesure  # noqa: B018


def test_names_for_type_checkers_are_those_that_are_loaded():
    source = Path(pv.__file__).read_text()
    block = source[source.index("if TYPE_CHECKING:") : source.index("__version__ =")]
    declared = {line.split(" as ")[1] for line in block.splitlines() if " as " in line}
    assert declared | {"__version__"} == set(dir(pv))


def test_importing_the_package_does_not_import_torch():
    code = "import sys, ppl_vae; assert 'torch' not in sys.modules; ppl_vae.PackedCounts; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_named_run_from_python_is_that_of_the_command_line(points):
    from tests.support.cli import invoke

    np.save("points.npy", points)
    run = pv.train("ppca", "mean_field", "points.npy", latents=1, guide_width=8, epochs=2, out="a")
    options = ["--corpus", "points.npy", "--latents", "1", "--guide-width", "8", "--epochs", "2", "--out", "b"]
    shown = invoke("train", "ppca", "--guide", "mean_field", *options)
    assert shown.exit_code == 0, shown.output
    summaries = [json.loads(Path(f"{name}/summary.json").read_text()) for name in "ab"]
    assert summaries[0]["splits"] == summaries[1]["splits"]
    again = pv.load_run("b")
    for call in (pv.resume, pv.load_run):
        with pytest.raises(ValueError, match="b knows its model, guide and data; leave them out"):
            call("b", "ppca")
    assert all(torch.equal(p, q) for p, q in zip(run.model.parameters(), again.model.parameters(), strict=True))
    assert again.config.settings == run.config.settings
    assert str(again.summary) == str(run.summary) and len(again.history) == 2
    assert list(again.data) == ["train", "validation", "test"]
    gap = run.summary.splits["test"].measurement.gap.mean
    assert repr(run).splitlines()[0] == "Run a" and f"gap {gap:.3f} nats per datum" in repr(run)
    assert repr(run).splitlines()[2].split(None, 1) == ["data", "points.npy: 162 train, 18 validation, 20 test"]
    for shown in (run, run.summary):
        page = Page(shown._repr_html_())
        assert page.faults == [] and f"{gap:.3f}" in page.text and "tensor" not in page.text
    assert run.summary.to_frame().loc["test", "gap"] == gap
    assert [axes.get_xlabel() for axes in run.plot().axes] == ["epoch", "gap (nats per datum)"]
    same = pv.compare(run, "b")
    assert len({part.measurement.evidence.mean for part in same.runs}) == 1
    evidence = pv.measure(again.model, again.guide, again.data["test"])
    assert torch.allclose(evidence.evidence.pointwise, again.summary.splits["test"].measurement.evidence.pointwise)


@pytest.mark.parametrize("kind", ["classes", "modules", "a class with a named guide"])
def test_objects_are_trained_and_opened_again_with_them(points, kind):
    torch.manual_seed(0)
    model, guide = Line, Reading
    if kind == "modules":
        model = Line()
        guide = Reading(model, torch.from_numpy(points[:2]))
    elif kind == "a class with a named guide":
        guide = "mean_field"
    options = {"guide_width": 8} if guide == "mean_field" else {}
    run = pv.train(model, guide, points, epochs=3, learning_rate=0.05, out="run", **options)
    assert len(run.data["train"]) == 162 and len(run.history) == 3
    elbo = run.summary.splits["test"].measurement.elbo.mean
    assert run.history[0]["validation_elbo"] < run.history[-1]["validation_elbo"]

    given = (run.model, run.guide) if kind == "modules" else (model, None if guide == "mean_field" else guide)
    again = pv.load_run("run", *given, points)
    for one, other in zip(run.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, other)
    assert again.summary.splits["test"].measurement.elbo.mean == pytest.approx(elbo)
    with pytest.raises(ValueError, match="was trained on objects .*Line.*pv.load_run"):
        pv.load_run("run")
    with pytest.raises(ValueError, match="not those that run was trained on"):
        pv.load_run("run", *given, points + 1)


def test_an_interrupted_training_of_objects_ends_as_if_never_interrupted(points, interrupt):
    def pair():
        torch.manual_seed(3)
        model = Line()
        return model, Reading(model, torch.from_numpy(points[:2]))

    whole = pv.train(*pair(), points, epochs=4, out="whole")
    interrupt(3)  # one step is an epoch
    with pytest.raises(KeyboardInterrupt):
        pv.train(*pair(), points, epochs=4, out="cut")
    resumed = pv.resume("cut", *pair(), points)
    for one, other in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_sleep_phase_trains_the_guide_alone_and_leaves_the_model_as_it_was(points, interrupt):
    torch.manual_seed(0)
    model = Line()
    guide, weight = Reading(model, torch.from_numpy(points[:2])), model.out.weight.detach().clone()
    interrupt(2)
    with pytest.raises(KeyboardInterrupt):
        pv.train(model, guide, points, objective="sleep", epochs=3, out="cut")
    assert model.out.weight.requires_grad
    pv.resume("cut", model, guide, points)
    assert torch.equal(model.out.weight, weight) and model.out.weight.requires_grad


def test_counts_keep_their_words_in_any_form(points):
    counts = scipy.sparse.random(60, 12, 0.4, "csr", random_state=0, data_rvs=lambda n: np.ones(n))
    packed = pv.PackedCounts.from_csr(counts)
    fingerprints = set()
    for data in (counts, packed):
        run = pv.train("text", "linear_counts", data, bits=2, epochs=1, evidence_draws=2)
        fingerprints.add(run.corpus.fingerprint)
        assert run.data["train"].vocabulary == 12
    assert len(fingerprints) == 1


def test_modules_built_before_a_training_are_measured_and_trained_after_it(points):
    class Scaled(Line):
        def __init__(self):
            super().__init__()
            self.scale = PyroParam(torch.tensor(0.5), dist.constraints.positive)

        def forward(self, x):
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(x.new_zeros(1), 1.0).to_event(1))
                pyro.sample("x", dist.Normal(self.out(z), self.scale).to_event(1), obs=x)

    x = torch.from_numpy(points[:20])
    model = Scaled()
    guide = Reading(model, x)
    before = pv.measure(model, guide, x, method="closed_form")
    pv.train("gmm", "mean_field", "gaussians", epochs=1, batch_size=3000, evidence_data=20, out="other")
    after = pv.measure(model, guide, x, method="closed_form")
    assert torch.allclose(before.evidence.pointwise, after.evidence.pointwise)
    run = pv.train(model, guide, points, epochs=20, learning_rate=0.1, out="run")
    assert run.model is model and model.scale.item() != 0.5


def test_positive_parameters_of_pyro_stay_with_the_run(points):
    class Scaled(Line):
        def __init__(self, shape=(2,)):
            super().__init__(shape)
            self.scale = PyroParam(torch.tensor(0.5), dist.constraints.positive)

        def forward(self, x):
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(x.new_zeros(1), 1.0).to_event(1))
                pyro.sample("x", dist.Normal(self.out(z), self.scale).to_event(1), obs=x)

    first = pv.train(Scaled, Reading, points, epochs=2, learning_rate=0.1, out="first")
    second = pv.train(Scaled, Reading, points, epochs=30, learning_rate=0.1, out="second")
    assert first.model.scale.item() != second.model.scale.item()
    again = pv.load_run("first", Scaled, Reading, points)
    assert again.model.scale.item() == first.model.scale.item() != 0.5


def holed(x, row):
    """The points with a missing number."""
    x = x.copy()
    x[row, 1] = np.nan
    return x


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda x: pv.train(Line, Reading), "needs its data: give a tensor"),
        (lambda x: pv.train(Line, Reading, x, epoch=3), "Line with Reading has no epoch; did you mean epochs"),
        (lambda x: pv.train(Line, Reading, x, retrain=True), "retrain needs a model, a guide and data given by name"),
        (lambda x: pv.train(Line, Reading, x, start="nowhere"), "start needs a model, a guide and data given by name"),
        (
            lambda x: pv.train(Line, Reading, x, vocabulary=3),
            "vocabulary needs a model, a guide and data given by name",
        ),
        (lambda x: pv.train(Line, Reading, pv.load_corpus("bars"), validation=0.2), "a Corpus is split already"),
        (lambda x: pv.train("text", "linear_counts", x), "model text reads PackedCounts, but the data are Tensor"),
        (lambda x: pv.train(Line, Reading, [1, 2]), "data are a tensor, .* got list"),
        (lambda x: pv.train(Line, Reading, x * np.nan), "400 values that are not finite"),
        (lambda x: pv.train(Line, Reading, holed(x, 137)), r"the first in row 137 \(counted from 0\): nan"),
        (lambda x: pv.train(Line, Reading, x, holed(x, 5)), r"field 2 of the data has .* the first in row 5"),
        (lambda x: pv.train(Line, Reading, x, lr=0.1), "has no lr; did you mean learning_rate"),
        (lambda x: pv.train("no_model", "mean_field", "bars"), "there is no model 'no_model'"),
        (lambda x: pv.train(3, Reading, x), "neither a name nor a file, a function, a method, a module or the class"),
        (lambda x: pv.train(len, Reading, x), "the model observes nothing"),
    ],
)
def test_wrong_arguments_are_named(points, call, message):
    with pytest.raises(ValueError, match=message):
        call(points)


def test_a_guide_of_other_sites_leaves_no_run(points):
    slope = torch.nn.Linear(1, 2)

    def model(x):
        pyro.module("slope", slope)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(slope(z), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("code", dist.Normal(torch.zeros(1), 1.0).to_event(1))

    with pytest.raises(ValueError, match=r"the guide draws \['code'\] but the latents of the model are \['z'\]"):
        pv.train(model, guide, points, epochs=1, out="run")
    assert not Path("run").exists()


class Conditional(PyroModule):
    """A model of x given a class y, as its constructor has to know."""

    def __init__(self, shape: tuple[int, ...], y_classes: int):
        super().__init__()
        self.mean = torch.nn.Linear(1 + y_classes, shape[0])
        self.classes = y_classes

    def forward(self, x, y):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            one_hot = torch.nn.functional.one_hot(y, self.classes).float().expand(*z.shape[:-1], -1)
            pyro.sample("x", dist.Normal(self.mean(torch.cat([z, one_hot], -1)), 1.0).to_event(1), obs=x)


def test_several_fields_are_trained_on_as_they_are_measured(points):
    y = np.arange(len(points)) % 3
    run = pv.train(Conditional, "mean_field", points, y, epochs=1, out="run", guide_width=4)
    assert run.data["test"].kwargs == {} and len(run.data["test"].args) == 2
    with pytest.raises(ValueError, match="y_classes comes from a field 'y' of the data, which have none: give one"):
        pv.train(Conditional, "mean_field", points, epochs=1, out="other", guide_width=4)


def test_names_that_are_nearly_right_are_told(points):
    with pytest.raises(ValueError, match="no guide 'mean_feild'; choose from .*; did you mean mean_field"):
        pv.train(Line, "mean_feild", points, out="run")
