"""Errors inside a user's program name its line, the site and the shapes that met, in Python and at the command line."""

from pathlib import Path

import numpy as np
import pytest
import torch

import ppl_vae as pv
from tests.support.cli import flat, invoke
from tests.support.pair_files import CLASSES, FUNCTIONS, METHODS

HERE = Path(__file__).name


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32))
    return tmp_path


CASES = {
    "a layer that does not fit": (
        FUNCTIONS.replace("dec(z)", "dec(z[..., :1])"),
        'pyro.sample("x", dist.Normal(dec(z[..., :1]), sigma).to_event(1), obs=x)',
        "RuntimeError: mat1 and mat2 shapes cannot be multiplied",
        ("dec is Linear(in_features=2, out_features=3, bias=True)", "z is (2, 2)", "sampled so far: z is (2, 2)"),
    ),
    "dimensions that are not declared": (
        METHODS.replace("(self.dec(z), sigma).to_event(1)", "(self.dec(z), sigma)"),
        'pyro.sample("x", dist.Normal(self.dec(z), sigma), obs=x)',
        "ValueError: Shape mismatch inside plate('data') at site x",
        (
            "site 'x': its distribution has batch shape (2, 3) and event shape (), the observed value (2, 3)",
            "x is (2, 3)",
            "declare the dimensions of one datum by .to_event(number of them)",
        ),
    ),
    "a name that is not there": (
        CLASSES.replace("self.dec(z)", "self.decoder(z)"),
        'pyro.sample("x", dist.Normal(self.decoder(z), self.sigma).to_event(1), obs=x)',
        "AttributeError: 'LinearGaussian' object has no attribute 'decoder'",
        ("x is (2, 3)", "z is (2, 2)"),
    ),
    "a constructor that fails": (
        METHODS.replace("(z_dim, input_dim)", "(z_dim, input_dim / z)"),
        "self.dec = torch.nn.Linear(z_dim, input_dim / z)",
        "NameError: name 'z' is not defined",
        ("VAE is built with z_dim=2, input_dim=3",),
    ),
    "an error in the guide": (
        FUNCTIONS.replace('pyro.module("enc", enc)', "x = x @ torch.ones(4, 3)"),
        "x = x @ torch.ones(4, 3)",
        "RuntimeError: mat1 and mat2 shapes cannot be multiplied (2x3 and 4x3)",
        ("there x is (2, 3)",),
    ),
}


def place(text, line):
    number = next(number for number, each in enumerate(text.splitlines(), 1) if line in each)
    return f"at mine.py, line {number}: {line}"


@pytest.mark.parametrize("name", CASES)
def test_the_command_line_says_where_and_with_which_shapes(folder, name):
    text, line, error, shapes = CASES[name]
    Path("mine.py").write_text(text)
    shown = invoke("train", "mine.py", "--corpus", "x.npy", "--epochs", "1", "--out", "r")
    assert shown.exit_code == 1
    for words in (error, place(text, line), *shapes, "--debug prints the traceback"):
        assert words in flat(shown.stderr), shown.stderr
    assert "Traceback" not in shown.output and "corpus" not in shown.stderr and not Path("r").exists()


def test_debug_is_taken_anywhere_on_the_line_and_prints_the_traceback(folder, monkeypatch):
    monkeypatch.setenv("PPL_VAE_DEBUG", "")
    Path("mine.py").write_text(CASES["an error in the guide"][0])
    shown = invoke("train", "mine.py", "--corpus", "x.npy", "--debug", "--epochs", "1")
    assert "Traceback (most recent call last)" in shown.stderr and "mine.py" in shown.stderr


def test_python_raises_the_error_itself_with_the_same_words(folder):
    Path("mine.py").write_text(CASES["dimensions that are not declared"][0])
    with pytest.raises(ValueError, match="Shape mismatch inside plate") as caught:
        pv.train("mine.py", data="x.npy", epochs=1)
    (note,) = caught.value.__notes__
    assert note.startswith("at mine.py, line ") and "site 'x': its distribution has batch shape (2, 3)" in note


def test_functions_that_are_measured_explain_their_errors(folder):
    def model(x):
        return x @ torch.ones(len(x) + 5, 1)

    with pytest.raises(RuntimeError) as caught:
        pv.measure(model, model, torch.zeros(4, 3))
    assert HERE in caught.value.__notes__[0] and "there x is (2, 3)" in caught.value.__notes__[0]


def test_refusals_of_this_package_have_their_own_words_alone(folder):
    Path("mine.py").write_text(FUNCTIONS.replace("dec = torch.nn.Linear(2, 3)", "dec = torch.nn.Linear(2, 5)"))
    shown = invoke("train", "mine.py", "--corpus", "x.npy", "--epochs", "1")
    words = "data of shape (3,) do not fit the model (site 'x' observes values of shape (3,), but its distribution has"
    assert words in flat(shown.stderr) and "traceback" not in shown.stderr


def test_an_error_as_the_file_is_loaded_has_its_line(folder):
    text = FUNCTIONS.replace("enc = torch", "enc = troch")
    Path("mine.py").write_text(text)
    shown = invoke("train", "mine.py", "--corpus", "x.npy")
    words = f"does not load: NameError: name 'troch' is not defined ({place(text, 'enc = troch.nn.Linear(3, 2)')})"
    assert words in flat(shown.stderr)
