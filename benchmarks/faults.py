"""Commands of ``ppl-vae`` in forked processes that may come to harm, and what they leave on disk.

The parent imports PyTorch once, computes nothing, and forks: a command begins within milliseconds.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np

__all__ = [
    "SCENARIOS",
    "Scenario",
    "differences",
    "ended",
    "make_data",
    "make_run",
    "fresh",
    "preload",
    "prepare",
    "run",
    "start",
    "tree",
]

UNTIMED = ("seconds", "data_per_second")
"""Entries of metrics that differ between any two runs."""

COMPARED_BY_NAME = (".pdf",)
"""Kinds of files that hold the time they were made at."""

SWEEP = """
title = "Two trainings"
[train]
model = "text"
guide = "linear_counts"
corpus = "{corpus}"
epochs = 3
bits = 2
[grid]
beta = [0.5, 1.0]
[families.text]
[measure]
data = 40
codes = 40
"""

EXPERIMENT = '''
"""Trains two small pairs."""

from functools import partial

import torch

from ppl_vae.studies.report import Report, Row
from ppl_vae.training.settings import Settings

PRESETS = {"smoke": {"seeds": 2}, "cpu": {"seeds": 3}, "paper": {"seeds": 4}}


def cell(study, seed):
    x = torch.randn(60, 2, generator=torch.Generator().manual_seed(seed))
    model, guide = study.pair("gmm", "mean_field", x, seed)
    trainer = study.train(f"gmm-{seed}", model, guide, x, Settings([(3, 1)], batch_size=20, seed=seed))
    return {"elbo": trainer.rows[-1]["train_elbo"]}


def run(study, *, seeds):
    values = [study.values(f"gmm-{seed}", partial(cell, study, seed))["elbo"].item() for seed in range(seeds)]
    study.figure("elbo", lambda figure: figure.subplots().plot(values), (2, 2))
    return Report("Two small pairs", [Row("ELBO", values)])
'''


@dataclass(frozen=True)
class Scenario:
    """A command that is harmed, and the one that ends its work.

    Arguments:
        name: Name of the scenario.
        first: The command, with ``{data}`` for the folder of the data.
        again: The command that continues it; None is the same one.
        run: Whether it takes a trained run, ``r``.
        refused: What the error of the command holds where a killed one had already done all of its work.
    """

    name: str
    first: str
    again: str | None = None
    run: bool = False
    refused: str = ""

    def command(self, data: Path, cwd: Path, resumed: bool = False) -> list[str]:
        """The words of the first command, or of the one that continues where one has begun."""
        begun = resumed and self.again is not None and (cwd / "r" / "config.json").exists()
        return (self.again if begun and self.again is not None else self.first).format(data=data).split()


TRAIN = "train text --guide linear_counts --corpus {data}/topics.npz --bits 3 --batch-size 37 --out r"
RESUME = "train --resume r"

SCENARIOS = {
    each.name: each
    for each in (
        Scenario("train", f"{TRAIN} --epochs 8x1,4x2 --patience 0", RESUME),
        Scenario("train --retrain", f"{TRAIN} --epochs 6 --patience 0 --retrain", RESUME),
        Scenario("train --anneal", f"{TRAIN} --epochs 8 --anneal linear:4", RESUME),
        Scenario("evidence", "evidence r --method importance --draws 2000 --check", run=True),
        Scenario("gap", "gap r", run=True),
        Scenario("gap --ladder", "gap r --ladder linear_counts,mean_field --epochs 3", run=True),
        Scenario("report", "report r", run=True),
        Scenario("experiment", "experiment {data}/small.py --out r"),
        Scenario(
            "generator",
            "generator {data}/images.npy --epochs 4 --batch-size 16 --latents 2 --channels 2 --out r",
            "generator --resume r",
        ),
        Scenario("data pack", "data pack {data}/topics.npz --out r", refused="r exists already"),
        Scenario("sweep", "experiment {data}/sweep.toml --out r"),
    )
}


def prepare() -> None:
    """Imports what all commands need, before anything is forked."""
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    import ppl_vae.cli.main
    import ppl_vae.runs.train  # noqa: F401

    torch.set_num_threads(1)


def preload(place: Path) -> None:
    """Imports what a command that has ended imported, so that the next ones begin at once."""
    for name in (place / "modules").read_text().splitlines():
        if name not in sys.modules:
            with contextlib.suppress(Exception):  # that of a user's file
                import_module(name)


def make_data(folder: Path) -> None:
    """Writes the data of all scenarios."""
    import scipy.sparse

    rng = np.random.default_rng(0)
    topics = rng.dirichlet(0.1 * np.ones(40), size=2)
    rows = np.array([rng.multinomial(30, topics[i % 2]) for i in range(300)])
    scipy.sparse.save_npz(folder / "topics.npz", scipy.sparse.csr_matrix(rows))
    np.save(folder / "images.npy", rng.random((48, 8, 8)).astype(np.float32))
    (folder / "sweep.toml").write_text(SWEEP.format(corpus=folder / "topics.npz"))
    (folder / "small.py").write_text(EXPERIMENT)


def make_run(root: Path, trained: Path | None = None) -> None:
    """Makes ``base``, the working folder with the trained run of scenarios that take one: a copy, or a new one."""
    if trained is None:
        run(SCENARIOS["train"], root / "data", fresh(SCENARIOS["train"], root, root / "base"))
    else:
        shutil.copytree(trained, root / "base" / "work" / "r")


def start(cwd: Path, words: list[str], before: Callable[[], object] = lambda: None) -> int:
    """Begins a command in a forked process, its streams in files of the folder above; returns the process.

    Arguments:
        cwd: Its working folder.
        words: The command.
        before: Function called in the process first.
    """
    process = os.fork()
    if process:
        return process
    status = 70
    try:
        os.setsid()
        for stream, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(cwd.parent / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
        os.chdir(cwd)
        from ppl_vae.cli.main import main
        from ppl_vae.training import run_folder, saving

        saving.CHECKPOINT_SECONDS = 0.0
        if not words[1].endswith(".toml"):  # the workers of sweeps draw as always
            run_folder.RESOLUTION = 30
        before()
        try:
            main(words)
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
    except BaseException:
        import traceback

        os.write(2, traceback.format_exc().encode())
    finally:
        (cwd.parent / "modules").write_text("\n".join(sys.modules))
        os._exit(status)


def ended(process: int, seconds: float = 400.0) -> int | None:
    """Exit code of a process, negative for a signal; None if it has not ended in so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            return None
        time.sleep(0.002)


def run(scenario: Scenario, data: Path, cwd: Path, resumed: bool = False) -> int | None:
    """Runs a command of a scenario to its end; returns its exit code."""
    return ended(start(cwd, scenario.command(data, cwd, resumed)))


def fresh(scenario: Scenario, base: Path, place: Path) -> Path:
    """An empty working folder for a scenario, or one with the trained run."""
    shutil.rmtree(place, ignore_errors=True)
    cwd = place / "work"
    cwd.mkdir(parents=True)
    if scenario.run:
        shutil.copytree(base / "work" / "r", cwd / "r")
    return cwd


def tree(folder: Path) -> dict[str, bytes]:
    """Content of all files of a folder by path, without the times they hold."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if not path.is_dir()):
        content = path.read_bytes()
        if path.suffix in (".json", ".jsonl"):
            lines = content.splitlines() if path.suffix == ".jsonl" else [content]
            content = json.dumps([_untimed(json.loads(line)) for line in lines]).encode()
        found[str(path.relative_to(folder))] = b"" if path.suffix in COMPARED_BY_NAME else content
    return found


def _untimed(value: object) -> object:
    if isinstance(value, dict):
        return {key: _untimed(each) for key, each in value.items() if key not in UNTIMED}
    return [_untimed(each) for each in value] if isinstance(value, list) else value


def differences(one: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    """Names of the files that only one of two trees has, or that differ."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
