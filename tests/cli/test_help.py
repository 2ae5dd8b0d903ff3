"""``--help`` of all commands, and what is imported to show it."""

import subprocess
import sys

import click
import pytest

from ppl_vae.cli.main import COMMANDS, GROUPS, main
from ppl_vae.runs.catalogue import catalogue
from tests.support.cli import ROOT, flat, invoke

HEAVY = {"matplotlib", "scipy.optimize", "arviz", "xarray", "joblib", "pooch", "PIL", "zuko"}
"""Packages that take long to import, and that neither a help page nor the list needs."""


def test_commands_are_shown_in_groups_each_with_its_summary_on_one_line():
    output = invoke("--help").output
    for title, commands in GROUPS.items():
        assert f"\n{title}:\n" in output
        for name, command in commands.items():
            assert any(line.split() == f"{name} {command.summary}".split() for line in output.splitlines()), name


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_page_ends_with_an_example_whose_options_it_shows(name):
    words, options = name.split(" "), COMMANDS[name].example.split(" ")
    pair = ("models/text.py", "--guide", "linear_counts") if name in ("train", "check") else ()
    output = invoke(*words, *pair, "--help").output
    assert options[: len(words)] == words and flat(output).endswith(f"Example: ppl-vae {COMMANDS[name].example}")
    assert all(f" {option} " in flat(output) for option in options if option.startswith("--"))
    loaded = main.get_command(None, name)
    assert loaded is not None and loaded.help.splitlines()[0] == COMMANDS[name].summary


@pytest.mark.parametrize(("columns", "width"), [("80", 80), ("100", 100), ("200", 110)])
def test_help_is_as_wide_as_the_terminal_up_to_110_columns(monkeypatch, columns, width):
    monkeypatch.setenv("COLUMNS", columns)
    above = click.Context(main, info_name="ppl-vae", **main.context_settings)
    command = COMMANDS["gap"].load()
    page = command.get_help(click.Context(command, parent=above, info_name="gap"))
    assert width - 15 < max(map(len, page.splitlines())) <= width


def test_unknown_commands_are_answered_with_the_nearest_names():
    assert "No such command 'infomation'; did you mean information?" in flat(invoke("infomation").output)
    assert "No such command 'xyz'; see --help" in flat(invoke("xyz").output)


def imported(*args: str) -> set[str]:
    """The modules of an interpreter that has run a command."""
    code = f"import sys; from ppl_vae.cli.main import main; main({list(args)}, standalone_mode=False)"
    code += "; print(chr(10) + ' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split(" "))


@pytest.mark.parametrize("args", [("--help",), ("--version",)])
def test_the_first_page_and_the_version_are_shown_without_torch(args):
    assert not imported(*args) & {"torch", "numpy", "pyro", "rich"}


@pytest.mark.parametrize("args", [("train", "text", "--guide", "linear_counts", "--help"), ("list", "--json")])
def test_options_and_the_list_are_shown_without_heavy_packages(args):
    assert not imported(*args) & HEAVY


def test_what_is_declared_to_go_together_is_what_is_found_by_building_every_pair(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert catalogue(check=True).sections == catalogue().sections


def test_tracebacks_are_shown_where_they_are_asked_for(monkeypatch):
    monkeypatch.delenv("PPL_VAE_DEBUG", raising=False)
    monkeypatch.setattr("os.environ", dict(__import__("os").environ))
    assert "Traceback" not in invoke("gap", "nowhere").output
    assert "Traceback" in invoke("--debug", "gap", "nowhere").output
