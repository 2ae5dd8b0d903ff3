"""Models and guides in one file, in every form: they train to the same numbers, and are resumed and opened again."""

import copy
import importlib
import math
import sys
from pathlib import Path

import numpy as np
import pyro
import pytest
import torch
from scipy.stats import multivariate_normal

import ppl_vae as pv
from ppl_vae.nn.checkpoint import Checkpoint
from ppl_vae.plugins.discovery import find
from ppl_vae.plugins.neighbours import neighbours
from ppl_vae.plugins.user_files import load_file
from tests.support.cli import succeed
from tests.support.pair_files import CLASSES, FORMS, FUNCTIONS, METHODS

OPTIONS = {"epochs": 3, "learning_rate": 0.05, "evidence_draws": 2}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pyro.clear_param_store()
    draws = np.random.default_rng(0)
    x = draws.normal(size=(120, 2)) @ [[2.0, -1.0, 0.5], [0.0, 1.0, 1.0]] + 0.5 * draws.normal(size=(120, 3))
    np.save("x.npy", x.astype(np.float32))
    for form, text in FORMS.items():
        Path(f"{form}.py").write_text(text)
    yield tmp_path
    assert len(pyro.get_param_store()) == 0  # every parameter belongs to its pair


def tensors(run, part):
    return {name: value.clone() for name, value in getattr(run, part).state_dict().items()}


def losses(run):
    return [row["train_elbo"] for row in run.history]


@pytest.fixture
def reference(folder):
    return pv.train("classes.py", data="x.npy", out="reference", **OPTIONS)


def test_the_reference_has_the_evidence_of_its_weights(reference):
    state = {name: value.double().numpy() for name, value in tensors(reference, "model").items()}
    scale = math.exp(state["sigma_unconstrained"])
    covariance = state["dec.l.weight"] @ state["dec.l.weight"].T + scale**2 * np.eye(3)
    expected = multivariate_normal(state["dec.l.bias"], covariance).logpdf(reference.data["test"].double().numpy())
    evidence = reference.summary.splits["test"].measurement.evidence
    np.testing.assert_allclose(evidence.pointwise.numpy(), expected, rtol=1e-5)
    assert scale != 0.5 and len(set(losses(reference))) == 3


@pytest.mark.parametrize("form", [form for form in FORMS if form != "classes"])
def test_every_form_has_the_numbers_of_classes(reference, form):
    run = pv.train(f"{form}.py", data="x.npy", out=form, **OPTIONS)
    if form in ("functions", "classes", "modules"):  # whose networks are made in the same order
        assert losses(run) == losses(reference)
        for split, measured in run.summary.splits.items():
            expected = reference.summary.splits[split].measurement
            assert torch.equal(measured.measurement.evidence.pointwise, expected.evidence.pointwise)
            assert measured.measurement.elbo.mean == expected.elbo.mean
    assert losses(run)[0] < losses(run)[-1]
    assert set(tensors(run, "model")) | set(tensors(run, "guide")) >= {"pyro_parameters.sigma", "pyro_parameters.tau"}


@pytest.mark.parametrize("form", ["functions", "methods"])
def test_a_file_is_resumed_bit_for_bit_and_opened_again(folder, interrupt, form):
    whole = pv.train(f"{form}.py", data="x.npy", out="whole", **OPTIONS)
    interrupt(2)  # one step is an epoch
    with pytest.raises(KeyboardInterrupt):
        pv.train(f"{form}.py", data="x.npy", out="cut", **OPTIONS)
    resumed, opened = pv.resume("cut"), pv.load_run("whole")
    for part in ("model", "guide"):
        for other in (resumed, opened):
            one = tensors(whole, part)
            assert one.keys() == tensors(other, part).keys()
            assert all(torch.equal(value, one[name]) for name, value in tensors(other, part).items())
    assert losses(resumed) == losses(whole)
    x = whole.data["test"]
    assert torch.equal(
        pv.measure(opened.model, opened.guide, x).evidence.pointwise,
        whole.summary.splits["test"].measurement.evidence.pointwise,
    )


def test_two_runs_of_one_file_share_nothing_and_the_seed_makes_all_its_networks(folder):
    first = pv.train("functions.py", data="x.npy", out="a", **OPTIONS)
    kept = tensors(first, "model") | tensors(first, "guide")
    other = pv.train("functions.py", data="x.npy", out="b", **OPTIONS, seed=1)
    again = pv.train("functions.py", data="x.npy", out="c", **OPTIONS)
    assert losses(first) == losses(again) != losses(other)
    for name, value in (tensors(first, "model") | tensors(first, "guide")).items():
        assert torch.equal(value, kept[name])
    ours = {id(parameter) for parameter in first.model.parameters()}
    assert not ours & {id(parameter) for parameter in again.model.parameters()}


def test_another_guide_takes_the_place_of_the_files_own(folder):
    run = pv.train("methods.py", "mean_field", "x.npy", out="a", guide_width=8, epochs=1)
    assert type(run.guide).__name__ == "MeanField"
    Path("mine.py").write_text(CLASSES.replace("LinearGaussian", "Other"))
    run = pv.train("methods.py", "mine.py", "x.npy", out="b", epochs=1)
    assert type(run.guide).__name__ == "Reading"


def test_gap_compare_and_export_take_the_run_of_a_file(folder):
    for form in ("functions", "methods"):
        succeed("train", f"{form}.py", "--corpus", "x.npy", "--epochs", "1", "--evidence-draws", "2", "--out", form)
        succeed("gap", form, "--ladder", f"{form}.py", "--epochs", "1", "--data", "8")
        # The model is fixed while its own guide learns on, though one object has both.
        last = "checkpoints/train-last.safetensors"
        fitted, run = (Checkpoint.read(Path(path, last)) for path in (f"{form}/ladder/{form}", form))
        for part, same in (("model", True), ("guide", False)):
            pairs = [(value, run.tensors[f"{part}.{name}"]) for name, value in fitted.part(part).items()]
            assert pairs and all(torch.equal(*pair) == same for pair in pairs)
    succeed("compare", "functions", "methods")
    succeed("export", "functions", "--draws", "3", "--data", "4")
    assert list(Path("functions").rglob("*.nc"))


def test_the_sleep_phase_leaves_the_model_of_an_object_as_it_was(folder):
    run = pv.train("methods.py", data="x.npy", out="a", objective="sleep", epochs=2)
    torch.manual_seed(0)
    namespace = {}
    exec(METHODS, namespace)
    drawn = namespace["VAE"](3)
    assert torch.equal(run.model.dec.weight, drawn.dec.weight)
    assert not torch.equal(run.guide.enc.weight, drawn.enc.weight)


def test_functions_and_methods_of_a_session_are_trained_where_they_are(folder):
    x = np.load("x.npy")
    namespace = {"__name__": "session"}
    exec(METHODS, namespace)
    vae = namespace["VAE"](3)
    run = pv.train(vae.model, vae.guide, x, out="a", **OPTIONS)
    assert run.model.dec is vae.dec and run.guide.enc is vae.enc
    sigma = run.model.pyro_parameters["sigma"].item()
    fresh = namespace["VAE"](3)
    opened = pv.load_run("a", fresh, data=x)
    assert (
        torch.equal(fresh.dec.weight, vae.dec.weight) and opened.model.pyro_parameters["sigma"].item() == sigma != 0.5
    )
    by_class = pv.train(namespace["VAE"], data=x, out="b", **OPTIONS)
    assert losses(by_class)[0] < losses(by_class)[-1]

    exec(FUNCTIONS, namespace)
    functions = pv.train(namespace["model"], namespace["guide"], x, out="c", **OPTIONS)
    assert functions.model.dec is namespace["dec"]
    assert functions.model.pyro_parameters["sigma"].item() != sigma
    assert run.model.pyro_parameters["sigma"].item() == sigma


def test_a_copy_of_a_function_has_networks_of_its_own(folder):
    run = pv.train("functions.py", data="x.npy", out="a", epochs=1)
    x = run.data["test"][:4]
    twin = copy.deepcopy(run.model)
    one = pv.measure(run.model, run.guide, x, method="closed_form").evidence.pointwise
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(0.3)
    moved = pv.measure(twin, run.guide, x, method="closed_form").evidence.pointwise
    assert torch.equal(pv.measure(run.model, run.guide, x, method="closed_form").evidence.pointwise, one)
    state = {name: value.double().numpy() for name, value in twin.state_dict().items()}
    scale = math.exp(state["pyro_parameters.sigma"])
    covariance = state["dec.weight"] @ state["dec.weight"].T + scale**2 * np.eye(3)
    expected = multivariate_normal(state["dec.bias"], covariance).logpdf(x.double().numpy())
    np.testing.assert_allclose(moved.numpy(), expected, rtol=1e-5)


def test_one_name_in_model_and_guide_is_one_parameter_of_the_pair(folder):
    Path("shared.py").write_text(
        FUNCTIONS.replace('pyro.param("tau", torch.ones(2)', 'pyro.param("sigma", torch.tensor(2.0)')
    )
    run = pv.train("shared.py", data="x.npy", out="a", epochs=1)
    assert "pyro_parameters.sigma" not in tensors(run, "guide")
    Path("torn.py").write_text(FUNCTIONS.replace('"tau"', '"sigma"'))
    with pytest.raises(ValueError, match=r"'sigma' of model and guide are one parameter.*rename one"):
        pv.train("torn.py", data="x.npy", out="b", epochs=1)


SIGMA = "torch.tensor(0.5)"
MODULE = 'pyro.module("dec", dec)'


@pytest.mark.parametrize(
    "old, new, words",
    [
        (SIGMA, "torch.ones(len(x), 1)", r"'sigma' has a row per datum \(shape \(2, 1\) for two data\)"),
        (SIGMA, "torch.tensor(-1.0)", "initial value of pyro.param 'sigma' lies outside its constraint"),
        (MODULE, f"dec = torch.nn.Linear(2, 3); {MODULE}", "'dec' of pyro.module is made anew"),
    ],
)
def test_what_cannot_be_learned_is_refused(folder, old, new, words):
    Path("wrong.py").write_text(FUNCTIONS.replace(old, new))
    with pytest.raises(ValueError, match=words):
        pv.train("wrong.py", data="x.npy", out="a", epochs=1)


def test_a_statement_that_was_not_met_at_first_is_refused_when_it_is(folder):
    late = 'if len(x) > 2: pyro.param("late", torch.ones(()))'
    Path("late.py").write_text(FUNCTIONS.replace(MODULE, f"{MODULE}; {late}".replace("; if", "\n    if")))
    with pytest.raises(ValueError, match="pyro.param 'late' was not met when the pair was built"):
        pv.train("late.py", data="x.npy", out="a", epochs=1)


def test_a_network_that_is_not_registered_is_not_trained_and_the_log_says_so(folder, capsys):
    Path("frozen.py").write_text(FUNCTIONS.replace('    pyro.module("dec", dec)\n', ""))
    run = pv.train("frozen.py", data="x.npy", out="a", epochs=1)
    assert "linear is not registered by pyro.module: it is not trained" in capsys.readouterr().err
    assert not run.model.linear.weight.requires_grad and "linear.weight" in tensors(run, "model")


def test_one_of_several_classes_is_named(folder):
    Path("several.py").write_text(CLASSES + CLASSES.replace("LinearGaussian", "Other").replace("Reading", "Second"))
    with pytest.raises(ValueError, match=r"several models.*LinearGaussian, Other; say which one: several.py:LinearG"):
        pv.train("several.py", data="x.npy")
    with pytest.raises(ValueError, match=r"has several guides.*Reading, Second; say which one"):
        pv.train("several.py:Other", data="x.npy")
    run = pv.train("several.py:Other", "several.py:Second", "x.npy", epochs=1, out="a")
    assert (type(run.model).__name__, type(run.guide).__name__) == ("Other", "Second")
    assert type(pv.load_run("a").model).__name__ == "Other"
    with pytest.raises(ValueError, match=r"has no model 'Third'; it defines LinearGaussian, Other"):
        pv.train("several.py:Third", data="x.npy")


def test_neighbours_are_found_without_running_them(tmp_path):
    files = {
        "vae.py": "import os, json\nfrom . import one\nfrom package.two import f\ndef late(): import three.four",
        "one.py": "import vae, json\nraise SystemExit",
        "json.py": "never = 'imported: it is called as a module of Python'",
        "package/__init__.py": "",
        "package/two.py": "from .. import five\nfrom ..five import x\nfrom . import six\nfrom four import *",
        "four/seven.py": "",
        "package/six.py": "this is no Python",
        "three/four.py": "",
        "five.py": "",
        "unused.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    found = [str(path.relative_to(tmp_path)) for path in neighbours(tmp_path / "vae.py")]
    assert found == [
        "five.py",
        "four/seven.py",
        "one.py",
        "package/__init__.py",
        "package/six.py",
        "package/two.py",
        "three/four.py",
    ]


def test_neighbours_of_two_folders_with_one_name_are_not_mixed_and_make_part_of_the_digest(folder):
    for name, size in (("a", 1), ("b", 2)):
        Path(name).mkdir()
        Path(name, "sizes_beside.py").write_text(f"size = {size}")
        Path(name, "vae.py").write_text("from sizes_beside import size\nfrom .sizes_beside import size as again\n")
    loaded = [load_file(Path(name, "vae.py")) for name in ("a", "b", "a")]
    assert [(module.size, module.again) for module in loaded] == [(1, 1), (2, 2), (1, 1)]
    before = find("models", "b/vae.py").sha256
    Path("b/sizes_beside.py").write_text("size = 30")
    assert load_file(Path("b/vae.py")).size == 30
    assert find("models", "b/vae.py").sha256 != before
    assert "sizes_beside" not in sys.modules or importlib.import_module("sizes_beside").size == 30
