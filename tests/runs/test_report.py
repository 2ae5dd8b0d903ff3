"""The report of runs: one page that says what they show, needs nothing else, and can be read by anyone."""

import json
import shutil
import subprocess
from html import escape
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse

import ppl_vae as pv
from ppl_vae.nn.checkpoint import Checkpoint
from ppl_vae.plugins import trust
from ppl_vae.runs.report import sections
from ppl_vae.runs.report.advice import advise
from ppl_vae.runs.report.report import section_files
from ppl_vae.runs.sense import FailedCheck
from ppl_vae.training.settings import Settings
from tests.support.cli import SMALL, flat, invoke, json_of, succeed
from tests.support.page import check
from tests.support.pair_files import LINE

WICKED = '<script>alert("1")</script>'


@pytest.fixture(scope="module")
def reported(topics_run, tmp_path_factory):
    """A folder with a copy of the run, and its report."""
    folder = tmp_path_factory.mktemp("reported")
    shutil.copy(topics_run.parent / "topics.npz", folder)
    shutil.copytree(topics_run, folder / "r")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        content = json_of("report", "r")
    return folder, content


def test_a_report_holds_the_finding_and_every_section_of_documents(reported):
    folder, content = reported
    html = (folder / "r" / "report.html").read_text()
    page = check(html)
    found = content["runs"]["r"]
    assert found["finding"] in page.text
    titles = [module.TITLE for module in section_files()]
    without = {"What richer guides gain", "Samples and reconstructions", "In the plane"}
    assert {title for title in titles if title in page.text} == set(titles) - without
    assert content["bytes"] == len(html.encode()) < 2_000_000
    parts = json.loads((folder / "r" / "gap-test.json").read_text())
    assert f"{parts['evidence']['mean']:.3f}" in page.text
    assert "--bits 3 --corpus " in page.text
    assert "--epochs 3 --batch-size 37" in page.text


def test_a_training_that_still_rises_is_answered_by_a_command_that_trains_longer():
    check = FailedCheck("training too short", 2.0, "the validation ELBO still rises")

    def advice(schedule, retrain=False):
        config = SimpleNamespace(settings=Settings(schedule), retrain=retrain, is_of_objects=False)
        run = SimpleNamespace(folder=Path("runs/my text"), config=config)
        return next(advise(SimpleNamespace(run=run, summary=SimpleNamespace(checks=[check])), None))

    assert advice([(60, 1)]) == (
        "The validation ELBO still rises.",
        "ppl-vae train --resume 'runs/my text' --epochs 120",
    )
    assert advice([(100, 1), (50, 10)])[1].endswith("--epochs 100x1,200x10")
    assert advice([(60, 1)], retrain=True)[1] == ""


def test_what_was_measured_before_is_not_measured_again(reported, monkeypatch, tmp_path):
    folder, content = reported
    monkeypatch.chdir(folder)
    again = tmp_path / "again.html"

    def measure_again(*args, **kwargs):
        raise AssertionError("measured again")

    for name in ("gap", "information", "evidence"):
        monkeypatch.setattr(f"ppl_vae.runs.open.Run.{name}", measure_again)
    result = pv.load_run("r").report(out=again)
    assert again.read_text() == (folder / "r" / "report.html").read_text()
    assert result.to_json()["runs"] == content["runs"]


def test_nothing_is_measured_if_that_is_asked_for(trained):
    page = check(_page("report", "r", "--no-measure"))
    assert not Path("r/gap-test.json").exists()
    assert "ppl-vae gap r --split test" in page.text
    assert "is not measured" in page.text


def test_several_runs_are_compared_with_their_paired_differences(reported, tmp_path, monkeypatch):
    folder, _ = reported
    monkeypatch.chdir(folder)
    shutil.copytree("r", "s")
    content = json_of("report", "r", "s", "--out", str(tmp_path / "two.html"))
    page = check((tmp_path / "two.html").read_text())
    assert list(content["runs"]) == ["r", "s"]
    assert "B has the model of A, and its evidence" in page.text
    assert "How the runs differ from A" in page.text
    assert page.ids()["A-gap"] == page.ids()["B-gap"] == 1


def test_names_and_data_cannot_put_markup_into_the_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    counts = np.random.default_rng(0).integers(0, 3, size=(120, 4)) + 1
    scipy.sparse.save_npz("evil<i>.npz", scipy.sparse.csr_matrix(counts))
    Path("vocabulary.txt").write_text("\n".join([WICKED, "</td><b>", "stone & sand", "'\"><b>"]))
    monkeypatch.setattr("ppl_vae.runs.open.Run.titles", lambda run, split: tuple([WICKED] * len(run.data[split])))
    options = ("--bits", "2", "--epochs", "2", "--out", "<b>run</b>")
    succeed("train", "text", "--guide", "linear_counts", "--corpus", "evil<i>.npz", *options)
    html = _page("report", "<b>run</b>")
    page = check(html)
    assert WICKED in page.text
    assert {"b", "i", "script"} & {tag for tag, _ in page.elements} == set()
    assert escape("<b>run</b>") in html


def test_the_worst_data_of_a_sample_are_those_of_the_split(folder):
    succeed("train", *SMALL, "--epochs", "2", "--evidence-data", "15", "--out", "r")
    page = check(_page("report", "r", "--no-measure"))
    values = pv.load_run("r").run.folder / "pointwise.safetensors"
    stored = Checkpoint.read(values).part("test")
    rows, gaps = stored["rows"], stored["gap"]
    assert len(rows) == 15 and rows.tolist() != list(range(15))
    assert f"{gaps.max().item():.2f} nats document {rows[gaps.argmax()].item()}" in page.text
    assert "15 of 40 test documents, drawn at random" in page.text


def test_points_are_drawn_over_the_regions_of_their_codes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    np.save("points.npy", rng.normal(size=(300, 2)).astype(np.float32))
    succeed("train", "gmm", "--guide", "mean_field", "--corpus", "points.npy", "--epochs", "2", "--out", "r")
    page = check(_page("report", "r"))
    assert "over the guide's most probable code" in page.text
    assert any(a["href"].startswith("data:image/png") for a in page.named("image") if a["href"])


def test_images_are_shown_beside_their_reconstructions(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    np.save("images.npy", (rng.random((80, 8, 8)) > 0.5).astype(np.float32))
    options = ("--latents", "8", "--channels", "2", "--epochs", "1", "--evidence-draws", "10", "--out", "r")
    succeed("train", "image_binary", "--guide", "mean_field", "--corpus", "images.npy", *options)
    page = check(_page("report", "r", "--no-measure"))
    assert "Samples: E[x | z] for z of the prior" in page.text
    assert len([a for a in page.named("img") if a["class"] == "sheet"]) == 3 + 6


def test_data_of_five_channels_are_numbers_and_no_picture(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.random.default_rng(0).random((60, 5, 4, 4)).astype(np.float32))
    options = ("--guide-width", "4", "--epochs", "1", "--evidence-draws", "2", "--out", "r")
    succeed("train", "ppca", "--guide", "mean_field", "--corpus", "x.npy", *options)
    page = check(_page("report", "r", "--no-measure"))
    assert "and 68 more" in page.text and not page.named("img") and "This is not shown" not in page.text


def test_a_section_that_fails_says_why_and_costs_no_other(reported, monkeypatch, tmp_path, capsys):
    folder, _ = reported
    monkeypatch.chdir(folder)
    module = next(module for module in section_files() if module.TITLE == "Evidence")

    def fail(subject):
        raise TypeError("no <picture> of this")

    monkeypatch.setattr(module, "section", fail)
    result = succeed("report", "r", "--out", str(tmp_path / "out.html"))
    page = check((tmp_path / "out.html").read_text())
    words = "by an error, TypeError: no <picture> of this (test_report.py, line"
    assert f"This is not shown: {words}" in page.text
    assert f"note: the section 'Evidence' of the report of r is missing: {words}" in flat(result.stderr)
    assert {module.TITLE for module in section_files() if module.TITLE in page.text} >= {"Notes", "How to reproduce it"}
    for name in ("gap", "evidence"):
        monkeypatch.setattr(f"ppl_vae.runs.open.Run.{name}", lambda run, **options: fail(run))
    monkeypatch.setattr("ppl_vae.runs.report.subject.stored_measurement", lambda *arguments: None)
    pv.report("r", out=tmp_path / "out.html")
    assert f"gap is not in the report: {words}" in check((tmp_path / "out.html").read_text()).text
    monkeypatch.setenv("PPL_VAE_DEBUG", "1")
    with pytest.raises(TypeError, match="no <picture>"):
        pv.report("r", out=tmp_path / "out.html")


def test_a_report_opens_runs_that_were_sent_as_every_command_does(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("line.py").write_text(LINE)
    np.save("x.npy", np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32))
    pv.train("line.py", "mean_field", "x.npy", out="r", epochs=1, guide_width=4, evidence_draws=2)
    shutil.move("x.npy", "moved.npy")
    Path("line.py").unlink()
    monkeypatch.setattr(trust, "_trusted", set())
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    asked = ("--no-measure", "--corpus", "moved.npy")
    assert "add --trust" in flat(invoke("report", "r", *asked).stderr)
    with pytest.raises(ValueError, match="add --trust"):
        pv.report("r", corpus="moved.npy")
    succeed("report", "r", *asked, "--trust", "--code", "run")
    trust._trusted.clear()
    Path("state/ppl-vae/trusted").unlink()
    pv.report("r", corpus="moved.npy", trust=True, measure=False)
    with pytest.raises(ValueError, match=r"x.npy, the data of r, is gone"):
        pv.report("r")


def test_a_report_goes_when_the_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32))
    options = ("--guide-width", "4", "--epochs", "1", "--evidence-draws", "2", "--out", "r")
    succeed("train", "ppca", "--guide", "mean_field", "--corpus", "x.npy", *options)
    pages = [Path(json_of("report", "r", "--no-measure")["file"]), Path("r/compare-test.html")]
    pages[1].write_text("two runs")
    succeed("train", "--resume", "r")  # nothing is left to do
    assert all(page.exists() for page in pages)
    said = flat(succeed("train", "--resume", "r", "--epochs", "2").stderr)
    assert not any(page.exists() for page in pages)
    assert "r/report.html, of the state before, is removed; ppl-vae report r writes that of the new one" in said


def test_a_section_is_a_file_with_a_title_and_a_place():
    files = {path.stem for path in Path(sections.__path__[0]).glob("*.py")} - {"__init__"}
    modules = section_files()
    assert {module.__name__.rpartition(".")[2] for module in modules} == files
    assert all(module.TITLE and module.__doc__ for module in modules)
    assert [module.PLACE for module in modules] == sorted(module.PLACE for module in modules)


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed, in which the page would be opened")
def test_chromium_opens_the_page_without_a_request_and_without_scrolling_sideways(reported, tmp_path):
    folder, _ = reported
    html = (folder / "r" / "report.html").read_text()
    frame = tmp_path / "phone.html"
    frame.write_text(
        f"""<body><iframe style="width: 375px; height: 800px; border: 0" srcdoc="{escape(html)}"></iframe>
        <script>onload = () => {{
          const inner = document.querySelector("iframe").contentDocument, root = inner.documentElement;
          document.body.innerHTML = "<p>" + [root.scrollWidth, inner.querySelectorAll("section").length,
            inner.querySelector("svg").getBoundingClientRect().width > 200,
            inner.defaultView.performance.getEntriesByType("resource").length].join() + "</p>";
        }}</script>"""
    )
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--dump-dom"]
    place = [f"--user-data-dir={tmp_path / 'profile'}", frame.as_uri()]
    result = subprocess.run([CHROMIUM, *options, *place], capture_output=True, text=True, timeout=60)
    width, count, drawn, requests = result.stdout.partition("<p>")[2].partition("</p>")[0].split(",")
    assert int(width) <= 375
    assert int(count) == html.count("<section")
    assert (drawn, requests) == ("true", "0")


def _page(*args: str) -> str:
    return Path(json_of(*args)["file"]).read_text()
