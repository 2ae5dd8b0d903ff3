"""What the command line can do, Python can: every command has a Python name with its options and defaults."""

import inspect
from collections.abc import Mapping
from operator import attrgetter
from pathlib import Path

import click
import pytest

import ppl_vae as pv
from ppl_vae.cli.main import COMMANDS, main
from ppl_vae.evidence.plan import method_options
from ppl_vae.plugins.options import options_of
from ppl_vae.programs.loading import find
from ppl_vae.runs.options import reader_options, training_options
from ppl_vae.training.gan_settings import GanSettings
from tests.support.added_method import ADDED_METHOD
from tests.support.cli import flat, invoke, json_of

PAIR = find("models", "text"), find("guides", "linear_counts")
PAIR_NAMES = ["text", "--guide", "linear_counts"]


def options_of_training():
    return [option for group in training_options(*PAIR).values() for option in group]


KEYWORDS = {
    "data pack": lambda: [option for option in reader_options() if option.name != "vocabulary"],
    "train": options_of_training,
    "check": options_of_training,
    "evidence": lambda: [option for group in method_options().values() for option in group],
    "gap": lambda: [option for group in method_options().values() for option in group],
    "generator": lambda: options_of(GanSettings),
}
"""Where the options of commands that take further keywords are declared."""
NAMED = {"folder": "self", "folders": "runs", "corpus": "images"}
"""Arguments of commands under other names than in Python, where they differ."""

OPENING = {"code", "corpus", "trust"}
"""Options of every command that opens a run, which are arguments of ``load_run``."""

HIDDEN = {"as_json", *(param.name for param in click.Command("any").get_params(click.Context(click.Command("any"))))}
"""What all commands have on the command line alone."""


def options_shown(name: str) -> dict[str, click.Parameter]:
    """The parameters of a command, those of a pair included."""
    command = main.get_command(None, name)
    args = [*{"train": PAIR_NAMES, "check": PAIR_NAMES, "new": ["x"]}.get(name, ["x", "y"])]
    with command.make_context(name, args, resilient_parsing=True) as ctx:
        return {param.name: param for param in command.get_params(ctx) if param.name not in HIDDEN}


def defaults_in_python(name: str) -> Mapping[str, object]:
    """The arguments of the Python name of a command with their defaults."""
    function = attrgetter(COMMANDS[name].python)(pv)
    parameters = inspect.signature(function).parameters.values()
    defaults = {each.name: each.default for each in parameters if each.kind is not each.VAR_KEYWORD}
    if any(each.kind is each.VAR_KEYWORD for each in parameters):
        defaults |= {option.name: option.default for option in KEYWORDS[name]()}
    return defaults


def default_of(param: click.Parameter) -> object:
    """The default of an option on the command line."""
    return param.default if param.default is not click.core.UNSET else False if param.is_flag else None


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_python_name_with_its_options_and_defaults(name):
    shown, python = options_shown(name), defaults_in_python(name)
    assert attrgetter(COMMANDS[name].python)(pv).__doc__
    for option, param in shown.items():
        if name == "train" and option == "resume":
            assert callable(pv.resume)
            continue
        if option in OPENING - set(python) and isinstance(param, click.Option):
            for function in (pv.load_run, pv.resume):
                default = inspect.signature(function).parameters[option].default
                assert default_of(param) == default
            continue
        other = option if option in python else NAMED[option]
        assert other in python, f"--{option} of {name} is missing in Python"
        if isinstance(param, click.Argument):
            continue
        ours = python[other]
        ours = ",".join(map(str, ours)) if isinstance(ours, tuple) else ours
        assert default_of(param) == (None if ours is inspect.Parameter.empty else ours), option
    only_in_python = set(python) - set(shown) - {NAMED.get(option) for option in shown}
    assert only_in_python <= {"data"}, "data is the corpus of a training, in any form"


def test_options_of_a_method_of_ones_own_reach_the_command_line(trained):
    Path("evidence").mkdir()
    Path("evidence/mine.py").write_text(ADDED_METHOD)
    named = ("evidence", "r", "--method", "mine")
    assert "Method mine: --most INTEGER Most bits. [default: 8]" in flat(invoke(*named, "--help").output)
    assert json_of(*named, "--most", "3")["evidence"]["method"] == "mine"
    assert "site 'z' is not one of at most 2 bits" in flat(invoke(*named, "--most", "2").output)
    assert "No such option '--most'" in invoke("evidence", "r", "--method", "psis", "--most", "1").output
    with pytest.raises(ValueError, match="not one of at most 2 bits"):
        pv.load_run("r").evidence("mine", most=2)
