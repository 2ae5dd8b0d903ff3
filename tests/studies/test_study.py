import json
import math
import subprocess
import sys
import time
from pathlib import Path

import pyro
import pytest
import torch
from click.testing import CliRunner
from matplotlib.figure import Figure
from ppl_vae.guides.mean_field import MeanField
from ppl_vae.guides.posterior import Posterior
from ppl_vae.models.gmm import Gmm

from ppl_vae.cli.main import main
from ppl_vae.data.files import is_running, scratch_name
from ppl_vae.evidence.figures import draw_gap_bars
from ppl_vae.runs.engines.base import make_engine
from ppl_vae.studies.claims import Claim
from ppl_vae.studies.experiments import experiment, find_experiment
from ppl_vae.studies.report import Report, Row, gap_levels
from ppl_vae.studies.study import Study
from ppl_vae.training.settings import Settings

OWN = '''
"""Throws a die."""

import torch
from ppl_vae.studies.claims import Claim
from ppl_vae.studies.report import Report, Row

PRESETS = {"smoke": {"seeds": 2, "sides": 6}, "cpu": {"seeds": 3, "sides": 6}, "paper": {"seeds": 4, "sides": 6}}


def run(study, *, seeds, sides):
    throws = [study.values(f"die-{s}", lambda: {"x": torch.randint(sides, ())})["x"].item() for s in range(seeds)]
    study.figure("throws", lambda figure: figure.subplots().plot(throws), (2, 2))
    return Report("A die", [Row("throw", throws, paper=2.5)], [Claim.exact("it has six sides", True, "counted")])
'''


def test_a_row_has_the_mean_of_its_seeds_and_its_error():
    row = Row("gap", [1.0, 2.0, 6.0], paper=2.5, limit=3.1)
    assert row.mean == 3.0
    assert math.isclose(row.se, math.sqrt((4 + 1 + 9) / 2 / 3))
    assert row.to_json()["difference"] == 0.5
    assert row.cells() == ["3.000", "1.5", "3.100", "2.500", "+0.500"]
    assert math.isnan(Row("gap", [1.0]).se)
    assert Row("gap", [1.0]).to_json()["se"] is None


def test_a_report_shows_only_columns_that_say_something():
    report = Report(
        "T", [Row("a", [1.0], group="g"), Row("b", [2.0], limit=2.0)], [Claim.exact("b is two", False, "1.9")]
    )
    assert list(report.columns()) == ["quantity", "unit", "ours", "limit"]
    assert report["g: a"].mean == 1.0
    assert report["b"].limit == 2.0
    assert "did not hold: b is two (1.9; exact)" in str(report)
    assert "| g: a | nats | 1.000 |  |" in report.markdown()


def test_square_brackets_are_text_and_no_markup():
    report = Report("[/b] x", [Row("[red]throw[/red]", torch.tensor([1.0]), group="[bold]die")])
    assert all(words in str(report) for words in ("[/b] x", "[red]throw[/red]", "[bold]die"))


def test_a_report_without_rows_shows_its_claims():
    report = Report("T", [], [Claim.exact("b is two", False, "1.9")], ["none was measured"])
    assert str(report).startswith("T\ndid not hold: b is two (1.9; exact)\n")
    assert str(report).endswith("note: none was measured\n")
    assert report.columns() == {} and "|" not in report.markdown()
    assert str(Report("T", [])) == "T\n"


def test_gap_bars_are_drawn_from_rows_with_errors_over_seeds():
    values = {"ELBO": [-3.0, -3.4], "evidence": [-2.0, -2.2], "gap": [1.0, 1.2]}
    values |= {"family gap": [0.4, 0.6], "amortisation gap": [0.6, 0.6]}
    rows = [Row(f"test {name}", each, group="pair") for name, each in values.items()]
    others = [Row("train ELBO", [0.0], group="pair"), Row("curvature", [0.3], group="pair")]
    levels = gap_levels([*rows, *others, *(Row(row.quantity, row.values[:1], group="one seed") for row in rows)])
    assert {name: list(each) for name, each in levels.items()} == {
        "pair\ngap 1.100 +- 0.1": list(values),
        "one seed\ngap 1.000": list(values),
    }
    figure = Figure(layout="constrained")
    axes = figure.subplots()
    draw_gap_bars(axes, levels)
    assert [label.get_text() for label in axes.get_yticklabels()] == list(levels)
    assert [text.get_text() for text in axes.texts] == ["-3.20", "-2.10", "-3.00", "-2.00"]
    assert [text.xy[0] for text in axes.texts] == pytest.approx([-3.4, -2.0, -3.0, -2.0])  # clear of the error
    ends = [bar.get_x() + bar.get_width() for bar in axes.patches]
    assert ends == pytest.approx([-2.6, -2.1, -2.4, -2.0])


@pytest.mark.parametrize("jobs", [1, 2])
def test_cells_are_computed_together_and_one_that_fails_spoils_none(tmp_path, jobs):
    study = Study(tmp_path / "s", {"experiment": "e"}, engine=make_engine(jobs=jobs))
    alone = Study(tmp_path / "alone", {"experiment": "e"})
    cells = {name: lambda: {"x": torch.rand(()).item()} for name in ("a", "b")}
    assert study.together(cells) == {name: alone.values(name, compute) for name, compute in cells.items()}

    def wrong():
        raise ValueError("no such thing")

    with pytest.raises(ValueError, match=r"1 of 3 cells failed, the others are stored: c: no such thing"):
        study.together({"c": wrong, "d": lambda: {"x": 2.0}, "a": wrong})
    assert study.values("d", wrong) == {"x": torch.tensor(2.0)}


def test_an_experiment_of_ones_own_takes_jobs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = OWN.replace("import torch", "from functools import partial\nimport torch").replace(
        """[study.values(f"die-{s}", lambda: {"x": torch.randint(sides, ())})["x"].item() for s in range(seeds)]""",
        """list(study.together({f"die-{s}": partial(throw, sides) for s in range(seeds)}).values())
    throws = [v["x"].item() for v in throws]""",
    )
    (tmp_path / "die.py").write_text(own + "\n\ndef throw(sides):\n    return {'x': torch.randint(sides, ()).item()}\n")
    for jobs in ("1", "2"):
        done = CliRunner().invoke(main, ["experiment", "die.py", "--jobs", jobs, "--out", jobs])
        assert done.exit_code == 0, done.output
        assert len(list((tmp_path / jobs / "values").iterdir())) == 2  # wherever the process began
    assert (tmp_path / "1" / "report.json").read_text() == (tmp_path / "2" / "report.json").read_text()


def test_values_are_computed_once_and_do_not_depend_on_what_came_before(tmp_path):
    calls = []

    def compute():
        calls.append(1)
        return {"x": torch.rand(3)}

    study = Study(tmp_path / "one", {"experiment": "e"})
    first = study.values("a", compute)
    assert torch.equal(study.values("a", compute)["x"], first["x"])
    assert len(calls) == 1
    path = tmp_path / "one" / "values" / "a.safetensors"
    path.write_bytes(path.read_bytes()[:20])
    assert torch.equal(study.values("a", compute)["x"], first["x"])  # damaged, so computed again
    torch.rand(7)
    other = Study(tmp_path / "two", {"experiment": "e"})
    other.values("b", compute)
    assert torch.equal(other.values("a", compute)["x"], first["x"])


def test_an_experiment_killed_while_it_begins_is_begun_again(tmp_path):
    (tmp_path / "s").mkdir()
    for name in (".lock", scratch_name()):
        (tmp_path / "s" / name).touch()
    Study(tmp_path / "s", {"experiment": "e"})
    assert (tmp_path / "s" / "experiment.json").exists()


@pytest.mark.parametrize("moment", ["before", "after"])
def test_workers_end_with_a_process_that_ends_before_or_after_they_watch_it(moment):
    parent, worker = begin_worker(f"while {moment!r} == 'before' and os.getppid() == parent: time.sleep(0.01)")
    if moment == "after":
        # Not with the thread that began them: a call from another one computes in the same workers.
        assert parent.stdout.readline() == "watches\n"
        while len(list(Path(f"/proc/{parent.pid}/task").glob("*"))) > 1:
            time.sleep(0.01)
        print(file=parent.stdin, flush=True)
        assert parent.stdout.readline() == "computes\n"
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 30
    while is_running(worker):
        assert time.monotonic() < deadline, "the worker is an orphan"
        time.sleep(0.02)


def begin_worker(first):
    """A process and its worker, begun by a thread that ends once the worker watches the process."""
    code = (
        "import os, threading, time; from ppl_vae.runs.watching import end_with\n"
        "def begin():\n"
        "    if os.fork(): os.read(told, 1); return\n"
        "    print(os.getpid(), flush=True)\n"
        f"    {first}\n"
        "    end_with(parent); print('watches', flush=True); os.write(tells, b'1')\n"
        "    input(); print('computes', flush=True); time.sleep(60); os._exit(0)\n"
        "parent, thread, (told, tells) = os.getpid(), threading.Thread(target=begin), os.pipe()\n"
        "thread.start(); thread.join(); time.sleep(60)"
    )
    pipe = subprocess.PIPE
    parent = subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True)
    return parent, int(parent.stdout.readline())


def test_a_folder_of_something_else_is_refused(tmp_path):
    Study(tmp_path / "s", {"experiment": "e", "preset": "smoke"})
    with pytest.raises(ValueError, match="other settings .preset 'smoke' is now 'cpu'.; choose another --out"):
        Study(tmp_path / "s", {"experiment": "e", "preset": "cpu"})
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="holds no experiment; choose another --out"):
        Study(tmp_path / "full", {})


def pair(x):
    torch.manual_seed(3)
    model = Gmm(learn_centres=True)
    return model, MeanField(model, x[:2], layers=1, width=4)


def test_a_training_cut_off_goes_on_to_the_same_end(tmp_path, monkeypatch):
    pyro.settings.set(module_local_params=True)
    x = torch.randn(40, 2)
    settings = Settings(schedule=[(4, 1)], batch_size=10)
    whole, cut = (Study(tmp_path / name, {}) for name in ("whole", "cut"))
    model, guide = pair(x)
    whole.train("t", model, guide, x, settings)

    again, half = pair(x)
    monkeypatch.setattr("ppl_vae.training.saving.CHECKPOINT_SECONDS", 0.0)
    from ppl_vae.training.trainer import Trainer

    step = Trainer._epoch

    def killed(self, *args):
        if self.epoch == 2:
            raise KeyboardInterrupt
        return step(self, *args)

    monkeypatch.setattr(Trainer, "_epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        cut.train("t", again, half, x, settings)
    monkeypatch.setattr(Trainer, "_epoch", step)
    torch.rand(5)
    cut.train("t", again, half, x, settings)
    for (name, one), other in zip(model.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(one, other), name
    with pytest.raises(ValueError, match="started with other settings"):
        cut.train("t", again, half, x, Settings(schedule=[(5, 1)], batch_size=10))


def test_a_pair_with_nothing_to_learn_is_refused(tmp_path):
    x = torch.randn(6, 2)
    with pytest.raises(ValueError, match="nothing to train: neither the model nor the guide has a parameter"):
        Study(tmp_path / "s", {}).train("t", Gmm(), Posterior(Gmm(), x), x, Settings(schedule=[(1, 1)]))


def test_an_experiment_of_ones_own_runs_from_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "die.py").write_text(OWN)
    result = CliRunner().invoke(main, ["experiment", "die.py", "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found["rows"][0]["values"][0] in range(6)
    page = (tmp_path / "runs" / "die-smoke" / "report.md").read_text()
    assert "held: it has six sides" in page and "![throws](figures/throws.png)" in page
    more = CliRunner().invoke(main, ["experiment", "die.py", "--json", "--seeds", "4"], catch_exceptions=False)
    assert json.loads(more.stdout)["rows"][0]["values"][:2] == found["rows"][0]["values"]


def test_what_goes_wrong_is_said_in_words(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    listed = CliRunner().invoke(main, ["experiment"])
    assert "gmm" in listed.output and "Four Gaussians" in listed.output
    refused = CliRunner().invoke(main, ["experiment", "atlantis"])
    assert refused.exit_code == 2 and "choose from" in refused.output
    refused = CliRunner().invoke(main, ["experiment", "gmm", "--preset", "huge"])
    assert "no preset 'huge'; choose from smoke, cpu, paper" in refused.output
    (tmp_path / "empty.py").write_text("x = 1\n")
    with pytest.raises(ValueError, match="is no experiment: it lacks PRESETS and run"):
        find_experiment("empty.py")
    (tmp_path / "odd.py").write_text("PRESETS = 3\ndef run(study): pass\n")
    with pytest.raises(ValueError, match="PRESETS must be a dictionary of settings by preset, got 3"):
        find_experiment("odd.py")
    (tmp_path / "nothing.py").write_text("PRESETS = {'smoke': {}}\ndef run(study): return 3\n")
    with pytest.raises(ValueError, match="run must return a ppl_vae.studies.report.Report, got int"):
        experiment("nothing.py", preset="smoke", device="cpu")
    (tmp_path / "fixed.py").write_text(OWN.replace('"seeds": 2, ', "").replace("seeds, ", ""))
    with pytest.raises(ValueError, match="takes no --seeds"):
        experiment("fixed.py", preset="smoke", seeds=3, device="cpu")
