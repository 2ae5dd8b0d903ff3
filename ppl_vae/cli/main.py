"""The command line: its commands by group, each imported when it is called."""

from __future__ import annotations

import ast
import os
import sys
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Never

import click

from ppl_vae import __version__
from ppl_vae.cli.errors import errors_in_one_line, receive_signals
from ppl_vae.plugins.nearest import nearest
from ppl_vae.plugins.streams import abandon, keep_streams, say

__all__ = ["GROUPS", "Command", "main"]

# GNU OpenMP reads it when torch is loaded. Its threads spin for milliseconds at the end of every parallel region, which
# beside a busy neighbour makes a step ten times slower; some tens of microseconds cost nothing on an idle machine.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")


@dataclass(frozen=True)
class Command:
    """The module and function of a command, an example, and what does the same in Python.

    Arguments:
        module: Name of its module in this folder.
        example: Example command, shown at the end of its help.
        function: Name of its function.
        python: Name in the package, or of a method of ``Run``.
    """

    module: str
    example: str
    function: str
    python: str

    def load(self) -> click.Command:
        """Imports the command."""
        command: click.Command = getattr(import_module(f"ppl_vae.cli.{self.module}"), self.function)
        command.epilog = command.epilog or f"\b\nExample:\n  ppl-vae {self.example}"
        return command

    @property
    def summary(self) -> str:
        """First line of the docstring of the command, or of the method of runs that it is made of, read unimported."""
        files = (f"cli/{self.module}", "runs/measurements", "runs/uses")
        return next(lines[self.function] for lines in map(_first_lines, files) if self.function in lines)


@cache
def _first_lines(file: str) -> dict[str, str]:
    """First lines of the docstrings of a file's functions and methods by name."""
    tree = ast.parse((Path(__file__).parents[1] / f"{file}.py").read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    return {node.name: text.splitlines()[0] for node in functions if (text := ast.get_docstring(node))}


def _commands(python: str = "{}", **commands: tuple[str, str]) -> dict[str, Command]:
    return {name: Command(module, example, name, python.format(name)) for name, (module, example) in commands.items()}


OF_RUNS = "Run.{}"


GROUPS: dict[str, dict[str, Command]] = {
    "Train and measure": {
        "list": Command("catalogue", "list", "list_command", "catalogue"),
        "data pack": Command("data", "data pack part1.npz part2.npz --out packed", "pack", "pack"),
        **_commands(
            new=("new", "new mine --data table --data-file people.parquet"),
            check=("check", "check mine/mine.py --guide mine/mine_guide.py --corpus data.npz"),
            train=("train", "train models/text.py --guide linear_counts --bits 16 --out runs/text"),
        ),
        **_commands(
            OF_RUNS,
            evidence=("evidence", "evidence runs/text --method annealing --data 100"),
            gap=("evidence", "gap runs/text --ladder linear_counts,mean_field,full"),
            remedy=("measure", "remedy runs/text --budget 300"),
            tightness=("measure", "tightness runs/text --data 200"),
            calibrate=("measure", "calibrate runs/text --simulated 2000"),
            information=("measure", "information runs/text --split validation"),
            curve=("measure", "curve runs/text --betas 4,2,1,0.5 --data 100"),
            sandwich=("measure", "sandwich runs/text --data 100 --temperatures 1000"),
        ),
    },
    "Compare and report": {
        **_commands("list_{}", runs=("runs", "runs --corpus docstrings --sort evidence")),
        **_commands(show=("show", "show runs/text --follow")),
        **_commands(
            compare=("measure", "compare runs/text runs/text-likelihood --split test"),
            report=("report", "report runs/text runs/text-likelihood"),
        ),
        **_commands(OF_RUNS, export=("measure", "export runs/text --draws 500")),
    },
    "Search": _commands(
        OF_RUNS,
        codes=("measure", "codes runs/text --how median --out codes.npz"),
        search=("measure", "search runs/text gradient of a normal distribution --count 5"),
        retrieval=("measure", "retrieval runs/text --k 100"),
    ),
    "Images": {
        **_commands(
            "train_{}", generator=("images", "generator mnist --latents 10 --image-size 32 --out runs/generator")
        ),
        **_commands(OF_RUNS, frechet=("images", "frechet runs/images --images 5000")),
    },
    "Experiments": _commands(experiment=("experiment", "experiment gmm --preset cpu --jobs 2")),
    "This installation": _commands(doctor=("doctor", "doctor")),
}
"""The commands by group."""

COMMANDS = {name: command for group in GROUPS.values() for name, command in group.items()}


class Group(click.Group):
    """A group whose commands are imported on demand, and never end in a traceback."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # One who sees an error adds --debug at the end of the line.
        rest = [arg for arg in args if arg != "--debug"]
        return super().parse_args(ctx, rest if len(rest) == len(args) else ["--debug", *rest])

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().main(*args, **kwargs)
        except OSError as error:  # of printing help, or an error: commands handle their own
            if sys.stdout is not None:
                abandon(sys.stdout)
            say(f"Error: the output cannot be written to standard output ({error.strerror}); send it elsewhere")
            sys.exit(1)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return COMMANDS[cmd_name].load() if cmd_name in COMMANDS else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if (name := " ".join(args[:2])) in COMMANDS:
            return name, self.get_command(ctx, name), args[2:]
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            self._refuse(ctx, args[0])
        return super().resolve_command(ctx, args)

    def _refuse(self, ctx: click.Context, name: str) -> Never:
        near = nearest(name, COMMANDS, 3)
        ctx.fail(f"No such command {name!r}; " + (f"did you mean {' or '.join(near)}?" if near else "see --help"))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, commands in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(name, command.summary) for name, command in commands.items()])

    def invoke(self, ctx: click.Context) -> object:
        receive_signals()  # before the command is imported
        with errors_in_one_line():
            return super().invoke(ctx)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="ppl-vae")
@click.option(
    "--debug", is_flag=True, help="Show the traceback of an error, as PPL_VAE_DEBUG=1 does; anywhere on the line."
)
def main(debug: bool) -> None:
    """Train variational autoencoders written in Pyro, and measure the gap between ELBO and evidence.

    Begin with:  ppl-vae train models/text.py --guide linear_counts
    """
    if debug:
        os.environ["PPL_VAE_DEBUG"] = "1"
    keep_streams()
    if sys.flags.optimize > 1:
        raise click.UsageError("options are read off docstrings, which python -OO leaves out; take -O at most")
