"""The command line in tests: called in this process, or in another where signals or a fresh interpreter matter."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

from click.testing import CliRunner, Result

from ppl_vae.cli.main import main
from ppl_vae.training import saving

ROOT = str(Path(__file__).parents[2])
SMALL = ("models/text.py", "--guide", "linear_counts", "--corpus", "topics.npz", "--bits", "3", "--batch-size", "37")
"""Arguments of a training that takes some tenths of a second; the last four may be left out."""


def invoke(*args: str) -> Result:
    """Runs a command in this process, in a terminal of 100 columns."""
    return CliRunner(env={"COLUMNS": "100"}).invoke(main, args)


def flat(text: str) -> str:
    """Text without its line breaks, which depend on the width of the terminal."""
    return " ".join(text.split())


def succeed(*args: str) -> Result:
    """Runs a command that must end well."""
    result = invoke(*args)
    assert result.exit_code == 0, result.output
    return result


def json_of(*args: str) -> dict:
    """What a command with ``--json`` prints on stdout."""
    return json.loads(succeed(*args, "--json").stdout)


def summary(run: str) -> dict:
    """The summary of a run, without its name."""
    content = json.loads(Path(run, "summary.json").read_text())
    return {key: value for key, value in content.items() if key != "run"}


def metrics(run: str, stage: str = "train") -> list[dict]:
    """The rows logged in training, one per epoch."""
    return [json.loads(line) for line in Path(run, f"{stage}-metrics.jsonl").read_text().splitlines()]


def call(*args: str) -> subprocess.CompletedProcess:
    """Runs a command in an interpreter of its own."""
    paths = [ROOT, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "COLUMNS": "100"}
    command = [sys.executable, "-m", "ppl_vae", *args]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def forkserver() -> ForkServerContext:
    """Makes processes, forked from one that has imported the package already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ppl_vae.cli.main", "ppl_vae.runs.train", "matplotlib.figure", "torch._dynamo"])
    return context


def start(*args: str, checkpoint_seconds: float | None = None) -> BaseProcess:
    """Begins a command in a process of its own, forked from one that has imported the package already.

    Its streams go to the files ``stdout`` and ``stderr`` of the working folder.

    Arguments:
        args: Of the command line.
        checkpoint_seconds: Between two checkpoints, instead of the trainer's own.
    """
    process = forkserver().Process(target=_run, args=(args, checkpoint_seconds))
    process.start()
    return process


def _run(args: tuple[str, ...], checkpoint_seconds: float | None) -> None:
    for stream, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests begun in the background of a shell ignore it
    if checkpoint_seconds is not None:
        saving.CHECKPOINT_SECONDS = checkpoint_seconds
    main(args)
