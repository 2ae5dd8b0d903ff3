"""``ppl-vae check``: what it prints, and how it ends."""

import json
from pathlib import Path

import ppl_vae as pv
from tests.support.cli import flat, invoke

FILE = """
import pyro, pyro.distributions as dist, torch

decoder, encoder = torch.nn.Linear(2, 2), torch.nn.Linear(2, 4)

def model(x):
    pyro.module("decoder", decoder)
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.FAMILY.to_event(1), obs=x)

def guide(x):
    pyro.module("encoder", encoder)
    with pyro.plate("data", len(x)):
        loc, log_scale = encoder(x).chunk(2, -1)
        pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))
"""


def test_the_command_prints_what_to_do_next_or_ends_with_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(FILE.replace("FAMILY", "Normal(decoder(z), 1.0)"))
    options = ("--corpus", "gaussians", "--evidence-draws", "5")
    done = invoke("check", "mine.py", *options)
    assert done.exit_code == 0, done.output
    assert "next: ppl-vae train mine.py --guide" in flat(done.stderr) and "--evidence-draws 5" in flat(done.stderr)
    assert not Path("runs").exists()
    Path("mine.py").write_text(FILE.replace("FAMILY", "Exponential(decoder(z).exp())"))
    done = invoke("check", "mine.py", *options, "--json")
    content = json.loads(done.stdout)
    assert done.exit_code == 1 and not content["ok"] and "next:" not in done.stderr
    faults = [row for row in content["checks"] if row["status"] == "fault"]
    assert [row["check"] for row in faults] == ["observed x"]
    assert faults[0]["remedy"] == "take data of that kind, or another distribution"


def test_an_error_of_the_program_is_a_row_with_its_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(FILE.replace("FAMILY", "Normal(decoder(z) @ torch.ones(5, 2), 1.0)"))
    done = invoke("check", "mine.py", "--corpus", "gaussians")
    assert done.exit_code == 1
    assert "at mine.py, line 10" in flat(done.stdout) and "Traceback" not in done.output


def test_shipped_pairs_have_no_fault(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = pv.check("gmm", "full", learn_centres=True, centres="random", retrain=False, start=None)
    content = result.to_json()
    assert content["ok"]
    assert result.next_step == "ppl-vae train gmm --guide full --learn-centres true --centres random --no-retrain"
    assert {row["check"]: row["status"] for row in content["checks"]}["gradients"] in ("ok", "note")
