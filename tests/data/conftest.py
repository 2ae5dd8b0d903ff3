"""What tests of data share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder, and no way to the network."""

    def no_network(url: str, **_: object) -> str:
        raise OSError(f"no route to {url}")

    monkeypatch.setattr("pooch.retrieve", no_network)
    monkeypatch.setenv("PPL_VAE_DATA", str(tmp_path))
    return tmp_path
