"""What every test starts from: a fixed random state, Pyro's checks on, an empty parameter store."""

import os
from collections.abc import Iterator
from pathlib import Path

import pyro
import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def clean_state() -> Iterator[None]:
    torch.manual_seed(0)
    pyro.clear_param_store()
    pyro.enable_validation(True)
    pyro.settings.set(module_local_params=False)  # as a user's script finds it; the command line sets it
    kind = torch.get_default_dtype()
    yield
    torch.set_default_dtype(kind)


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
