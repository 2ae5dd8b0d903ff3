"""What every test starts from: a fixed random state, Pyro's checks on, an empty parameter store; a run to copy."""

import gc
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pytest
import scipy.sparse
import torch

torch.set_num_threads(1)
os.environ["COLUMNS"] = "120"  # lines are folded alike in every terminal


def pytest_collection_finish() -> None:
    """The garbage collector need not look through all that was imported again and again, nor after a few objects."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


@pytest.fixture(autouse=True)
def clean_state() -> Iterator[None]:
    torch.manual_seed(0)
    pyro.clear_param_store()
    pyro.enable_validation(True)
    pyro.settings.set(module_local_params=False)  # as a user's script finds it; the command line sets it
    kind = torch.get_default_dtype()
    yield
    torch.set_default_dtype(kind)


@pytest.fixture(scope="session", autouse=True)
def state_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What the package remembers of a user's code stays out of the user's own folder."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))


RENDERED: dict[tuple[str, tuple[str, ...]], dict[str, bytes]] = {}
"""Figures by name and formats."""


@pytest.fixture(autouse=True)
def coarse_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are drawn in full, but with few pixels, and rendered once in a process: no test looks at them."""
    from matplotlib.figure import Figure

    from ppl_vae.training import run_folder
    from ppl_vae.training.run_folder import RunFolder

    whole, rendered = RunFolder.figure, run_folder._drawn

    def figure(
        self: RunFolder, name: str, draw: Callable[[Any], None], size: tuple[float, float], kinds: Any = ("png",)
    ) -> None:
        def once(draw: Callable[[Any], None], size: tuple[float, float], kinds: Any) -> dict[str, bytes]:
            known = (name, kinds)
            if known in RENDERED:
                draw(Figure(figsize=size, layout="constrained"))
            else:
                RENDERED[known] = rendered(draw, size, kinds)
            return RENDERED[known]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(run_folder, "_drawn", once)
            whole(self, name, draw, size, kinds)

    monkeypatch.setattr(run_folder, "RESOLUTION", 30)
    monkeypatch.setattr(RunFolder, "figure", figure)


@pytest.fixture(autouse=True)
def short_pilot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Annealing at few temperatures tunes its step sizes for a short while: its bounds hold for steps of any size."""
    monkeypatch.setattr("ppl_vae.evidence.ais.WARM_UP", 10)
    monkeypatch.setattr("ppl_vae.evidence.ais.PILOTS", 10)


@pytest.fixture(autouse=True)
def no_power_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits until a disk has written."""
    monkeypatch.setattr("os.fsync", lambda handle: None)


@pytest.fixture(autouse=True)
def failing_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """A figure that cannot be drawn, a note to users, is an error here."""

    def fail(figure: str, error: Exception) -> None:
        raise AssertionError(f"the figure {figure} cannot be drawn") from error

    monkeypatch.setattr("ppl_vae.training.run_folder._report_missing", fail)


@pytest.fixture
def float64() -> None:
    """Formulas are tested in float64."""
    torch.set_default_dtype(torch.float64)


@pytest.fixture
def newsgroups_data(monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = os.environ.get("PPL_VAE_DATA")
    if folder is None or not (Path(folder) / "20news_bydate_matlab").is_dir():
        pytest.skip("set PPL_VAE_DATA to a folder with 20news_bydate_matlab to run the tests on real data")
    monkeypatch.setenv("PPL_VAE_DATA", str(Path(folder).resolve()))
    return Path(folder)


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
    from tests.support.cli import SMALL, succeed

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
    from ppl_vae.training.trainer import Trainer

    def interrupt_before(*steps: int) -> None:
        step, count = Trainer.step, iter(range(10**6))

        def interrupted(self: Any, x: Any) -> Any:
            if next(count) in steps:
                raise KeyboardInterrupt
            return step(self, x)

        monkeypatch.setattr(Trainer, "step", interrupted)

    return interrupt_before
