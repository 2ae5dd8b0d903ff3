"""A working folder with a small corpus, and a run trained once that tests copy."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from ppl_vae.training.trainer import Trainer
from tests.support.cli import SMALL, succeed


@pytest.fixture(scope="session")
def topics(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with counts of 400 documents of two topics, where runs that tests copy are trained."""
    folder = tmp_path_factory.mktemp("topics")
    rng = np.random.default_rng(0)
    topics = rng.dirichlet(0.1 * np.ones(40), size=2)
    rows = [rng.multinomial(30, topics[i % 2]) for i in range(400)]
    scipy.sparse.save_npz(folder / "topics.npz", scipy.sparse.csr_matrix(np.array(rows)))
    return folder


@pytest.fixture
def folder(topics: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with a small corpus of two topics."""
    shutil.copy(topics / "topics.npz", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture(scope="session")
def topics_run(topics: Path) -> Path:
    """The folder of a run of three epochs, which no test writes into."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(topics)
        succeed("train", *SMALL, "--epochs", "3", "--out", "r")
    return topics / "r"


@pytest.fixture
def trained(folder: Path, topics_run: Path) -> Path:
    """A working folder with a copy ``r`` of the trained run."""
    shutil.copytree(topics_run, "r")
    return folder


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes training end as ctrl-C ends it, before the steps of these numbers."""

    def interrupt_before(*steps: int) -> None:
        step, count = Trainer.step, iter(range(10**6))

        def interrupted(self: Trainer, x: Any) -> Any:
            if next(count) in steps:
                raise KeyboardInterrupt
            return step(self, x)

        monkeypatch.setattr(Trainer, "step", interrupted)

    return interrupt_before
