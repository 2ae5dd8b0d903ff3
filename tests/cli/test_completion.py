"""What a shell completes, as the scripts of click ask for it."""

import subprocess
from pathlib import Path

import click
import pytest
from click.shell_completion import BashComplete, ShellComplete

from ppl_vae.cli.main import main
from ppl_vae.data.load import corpora
from ppl_vae.plugins.discovery import available


def completed(*words: str) -> tuple[list[str], list[str]]:
    """Values that are offered for the last word of a command, and the kinds of files beside them."""
    *args, incomplete = words
    items = ShellComplete(main, {}, "ppl-vae", "_PPL_VAE_COMPLETE").get_completions(args, incomplete)
    return [item.value for item in items if item.type == "plain"], [i.type for i in items if i.type != "plain"]


@pytest.fixture
def empty(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (("train", ""), "models"),
        (("train", "text", "--guide", ""), "guides"),
        (("experiment", ""), "experiments"),
    ],
)
def test_plugins_are_offered_beside_files(empty, words, kind):
    assert completed(*words) == (list(available(kind)), ["file"])


def test_a_beginning_narrows_the_choice(empty):
    assert completed("train", "text_")[0] == ["text_rbm"]
    assert completed("train", "text", "--guide", "linear_c")[0] == ["linear_counts"]
    assert completed("train", "text", "--guide", "linear_counts", "--corpus", "doc")[0] == ["docstrings"]
    assert completed("train", "text", "--guide", "linear_counts", "--estimator", "dis")[0] == ["disarm"]


def test_bash_keeps_the_names_beside_files(empty):
    complete = BashComplete(main, {}, "ppl-vae", "_PPL_VAE_COMPLETE")
    lines = "\n".join(map(complete.format_completion, complete.get_completions(["train"], "text_")))
    Path("asked.bash").write_text(
        f"{complete.source()}\nenv() {{ printf '%s' '{lines}'; echo; }}\ncompopt() {{ :; }}\n"
        'COMP_WORDS=(ppl-vae train text_) COMP_CWORD=2\n_ppl_vae_completion ppl-vae\necho "${COMPREPLY[@]}"\n'
    )
    offered = subprocess.run(["/bin/bash", "asked.bash"], capture_output=True, text=True, check=True)
    assert offered.stdout.split() == ["text_rbm"], offered.stderr


def test_corpora_are_those_with_a_name(empty):
    named = [name for name, reader in corpora().items() if reader.named]
    assert completed("train", "text", "--corpus", "") == (named, ["file"])


def test_the_users_own_guides_are_offered(empty):
    Path("guides").mkdir()
    Path("guides/zigzag.py").write_text('"""Mine."""\nraise AssertionError("completion runs no file")\n')
    assert completed("train", "text", "--guide", "zig")[0] == ["zigzag"]


def test_runs_are_found_below_the_folder_that_is_typed(empty):
    for name in ("runs/text", "runs/text-2", "runs/sweep/runs/a", ".hidden/x", "other [1]/y"):
        Path(name).mkdir(parents=True)
        Path(name, "config.json").write_text("{}")
    assert sorted(completed("gap", "")[0]) == ["other [1]/y", "runs/text", "runs/text-2"]
    assert completed("gap", "runs/te")[0] == ["runs/text", "runs/text-2"]
    assert completed("compare", "runs/text", "runs/")[0] == ["runs/text", "runs/text-2", "runs/sweep/runs/a"]
    assert completed("gap", "other [")[0] == ["other [1]/y"]
    assert completed("train", "--resume", "runs/sw")[0] == ["runs/sweep/runs/a"]
    assert completed("gap", "nowhere/x") == ([], ["dir"])


def test_every_command_that_takes_a_run_completes_runs():
    for name in ("evidence", "gap", "tightness", "report", "compare", "export", "codes", "frechet"):
        command = main.get_command(click.Context(main), name)
        with command.make_context(name, ["x"], resilient_parsing=True) as ctx:
            argument = next(param for param in command.get_params(ctx) if isinstance(param, click.Argument))
        assert type(argument.type).__name__ == "RunPath", name
