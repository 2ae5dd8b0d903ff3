"""Streams that are closed or full stop no work, and no file takes their place."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ppl_vae.plugins.streams import is_terminal, say
from ppl_vae.training.progress import Reporter, log

ROOT = Path(__file__).parents[2]
FULL = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")


def test_progress_goes_on_without_an_error_stream(monkeypatch):
    monkeypatch.setattr("sys.stderr", None)
    with Reporter("work", 3) as reporter:
        reporter.shown -= 60
        reporter.advance(1, "well")
    log("note: nobody reads this")
    assert not is_terminal(None)


def test_a_total_is_found_when_it_is_first_shown_and_costs_the_work_no_random_number(capsys):
    calls = []

    def total():
        calls.append(torch.rand(()))
        return 4

    torch.manual_seed(1)
    expected = torch.rand(())
    torch.manual_seed(1)
    with Reporter("work", total) as reporter:
        reporter.advance(1)
        assert not calls
        for _ in range(2):
            reporter.shown -= 60
            reporter.advance(1)
    assert len(calls) == 1 and torch.rand(()) == expected
    assert "work: 50%" in capsys.readouterr().err


@FULL
def test_lines_for_a_full_disk_are_dropped(monkeypatch):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr("sys.stderr", full)
        say("one")
        say("two")


def python(code: str, closed: str = "", **streams: int) -> subprocess.CompletedProcess:
    """Runs Python in a shell that closes or redirects streams."""
    command = ["sh", "-c", f'exec "$0" -c "$1" {closed}', sys.executable, code]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, **streams)


def test_no_file_takes_the_place_of_a_closed_stream(tmp_path):
    code = (
        "import sys; from ppl_vae.plugins.streams import keep_streams; keep_streams(); "
        f"file = open({str(tmp_path / 'x')!r}, 'w'); file.write(str(file.fileno())); print('none', file=sys.stderr)"
    )
    assert python(code, "<&- >&- 2>&-").returncode == 0
    assert int((tmp_path / "x").read_text()) > 2


@FULL
@pytest.mark.parametrize("arguments", [["--help"], ["list", "guides"]])
def test_output_that_cannot_be_written_is_said(arguments):
    done = python(f"from ppl_vae.cli.main import main; main({arguments!r})", "> /dev/full")
    assert done.returncode == 1
    assert "cannot be written to standard output (No space left on device)" in done.stderr
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr


def test_a_name_too_long_for_a_file_is_shown_in_short(tmp_path):
    done = python(f"from ppl_vae.cli.main import main; main(['gap', {'r' * 5000!r}])")
    assert done.returncode == 1
    assert "(5,012 characters) is too long for a file; shorten it" in done.stderr and len(done.stderr) < 200
