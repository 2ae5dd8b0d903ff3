"""What ``ppl-vae doctor`` says of this installation."""

import configparser
import importlib.metadata
import json
from pathlib import Path

import pytest
import torch

import ppl_vae as pv
from ppl_vae.plugins import extras
from ppl_vae.plugins.extras import install
from ppl_vae.runs.doctor import EXTRAS
from tests.support.cli import invoke, json_of


@pytest.fixture
def rows(monkeypatch, tmp_path):
    """The rows by name, in an empty working folder with folders of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PPL_VAE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return lambda: {row.name: row for row in pv.doctor().rows}


def test_it_names_what_is_here_and_leaves_nothing_behind(rows, tmp_path):
    found = rows()
    assert not [row for row in found.values() if row.state == "fault"]
    assert importlib.metadata.version("torch") in found["packages"].found
    assert f"{torch.get_num_threads()} of torch" in found["threads"].found
    assert str(tmp_path / "data") in found["data sets"].found
    assert not list(tmp_path.iterdir())


def test_a_missing_or_old_package_is_a_fault_with_its_remedy(rows, monkeypatch):
    version = importlib.metadata.version

    def pretended(name):
        if name == "zuko":
            raise importlib.metadata.PackageNotFoundError(name)
        return {"safetensors": "0.1"}.get(name) or version(name)

    monkeypatch.setattr("ppl_vae.runs.doctor.metadata.version", pretended)
    found = rows()
    assert found["zuko"].found == "not installed" and found["zuko"].remedy.startswith("pip install 'zuko>=")
    assert found["safetensors"].found == "0.1" and found["safetensors"].state == "fault"


def test_an_extra_that_is_missing_is_a_note(rows, monkeypatch):
    version = importlib.metadata.version

    def without(name):
        if name == "faiss-cpu":
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr("ppl_vae.runs.doctor.metadata.version", without)
    row = rows()["extra search"]
    assert (row.state, row.found) == ("note", "without faiss-cpu")
    assert install("search") in row.remedy


def test_extras_of_a_clone_are_installed_from_it(monkeypatch, tmp_path):
    root = Path(extras.__file__).parents[2]
    monkeypatch.chdir(root)
    assert install("fid") == "pip install -e '.[fid]'"
    monkeypatch.chdir(tmp_path)
    assert install("fid") == f"pip install -e '{root}[fid]'"
    monkeypatch.setattr(extras, "__file__", str(tmp_path / "site-packages" / "ppl_vae" / "plugins" / "extras.py"))
    assert install("fid") == "pip install 'ppl-vae[fid]'"


def test_every_extra_of_users_is_looked_at():
    setup = configparser.ConfigParser()
    setup.read(Path(pv.__file__).parents[1] / "setup.cfg")
    assert set(setup["options.extras_require"]) - {"test", "docs", "benchmarks"} == set(EXTRAS)


def test_a_folder_that_cannot_be_written_is_a_fault(rows, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ppl_vae.runs.doctor.tempfile.TemporaryFile", full)
    found = rows()
    assert found["working folder"].state == "fault" and "No space left on device" in found["working folder"].found
    assert found["trusted code"].state == "note"


def test_the_command_prints_the_rows_and_counts_faults(folder):
    content = json_of("doctor")
    assert content["faults"] == sum(row["state"] == "fault" for row in content["rows"])
    shown = invoke("doctor").output
    assert all(row["name"] in shown for row in content["rows"])
    assert json.loads(json.dumps(content)) == content
