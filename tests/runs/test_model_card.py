"""The model card of a run says what its summary says."""

from pathlib import Path

import numpy as np
import pytest

import ppl_vae as pv
from ppl_vae.runs.model_card import CARD


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_card_has_the_table_the_data_and_the_command_of_the_run(folder):
    run = pv.train("gmm", "mean_field", "gaussians", epochs=1, batch_size=3000, evidence_data=20, out="run")
    text = Path("run", CARD).read_text()
    lines = text.splitlines()
    assert lines[:2] == ["---", "library_name: ppl-vae"] and lines.count("---") == 2
    facts = dict(cells(line) for line in lines if line.startswith("|") and len(cells(line)) == 2)
    assert facts["guide"] == "mean_field" and run.config.fingerprint[:16] in facts["data"]
    assert all(name in facts["versions"] for name in ("torch", "pyro"))
    rows = {cells(line)[0]: cells(line) for line in lines if line.startswith("|") and len(cells(line)) > 2}
    place = rows["split"].index("ELBO")
    for name, split in run.summary.splits.items():
        assert rows[name][place].split(" ")[0] == f"{split.measurement.elbo.mean:.3f}"
    assert all(f"- {warning}" in lines for warning in run.summary.warnings)
    again = next(line for line in lines if line.startswith("    ppl-vae train gmm --guide mean_field --epochs 1"))
    assert "--evidence-data 20" in again
    assert str(Path.cwd()) not in text


def test_the_card_of_the_users_own_files_names_no_place_of_this_machine(folder, monkeypatch):
    Path("mine.py").write_text(
        "import pyro, torch\nimport pyro.distributions as dist\n\n\n"
        "def model(x):\n"
        "    with pyro.plate('data', len(x)):\n"
        "        z = pyro.sample('z', dist.Normal(torch.zeros(1), 1.0).to_event(1))\n"
        "        pyro.sample('x', dist.Normal(z.expand(z.shape[:-1] + (2,)), 1.0).to_event(1), obs=x)\n"
    )
    np.save("numbers.npy", np.random.default_rng(0).normal(size=(60, 2)).astype("float32"))
    pv.train("mine.py", "mean_field", "numbers.npy", epochs=1, out="run")
    text = Path("run", CARD).read_text()
    assert "| model | mine.py |" in text and "numbers.npy (SHA-256" in text
    (copy,) = Path("run").glob("code/*/mine.py")
    assert str(Path.cwd()) not in text
    assert f"ppl-vae train {copy.relative_to('run')} --guide mean_field" in text
    monkeypatch.chdir("run")
    assert 'run = pv.load_run(".")' in text and pv.load_run(".").config.model.name.endswith("mine.py")


def test_a_card_that_cannot_be_made_is_a_note(folder, monkeypatch, capsys):
    def fails(*args):
        raise KeyError("no such option")

    monkeypatch.setattr("ppl_vae.runs.model_card.train_command", fails)
    run = pv.train("gmm", "mean_field", "gaussians", epochs=1, batch_size=3000, evidence_data=20, out="run")
    assert run.summary is not None and not Path("run", CARD).exists()
    assert "the model card is not written (KeyError: 'no such option')" in capsys.readouterr().err


def test_a_card_of_the_state_before_does_not_outlive_the_start_of_more_epochs(folder, monkeypatch):
    pv.train("gmm", "mean_field", "gaussians", epochs=1, batch_size=3000, evidence_data=20, out="run")

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("ppl_vae.runs.train.Trainer.fit", interrupted)
        with pytest.raises(KeyboardInterrupt, match="resume"):
            pv.resume("run", epochs=2)
    assert not Path("run", CARD).exists()
    pv.resume("run", epochs=2)
    assert "| epochs | 2 of 2 |" in Path("run", CARD).read_text()
