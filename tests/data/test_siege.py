"""Damaged files of every form: read right, as an independent parse reads them, or refused in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.siege import case as siege
from benchmarks.siege.case import Case, forms, made
from benchmarks.siege.judge import FAULTS, judged
from benchmarks.siege.workers import BUDGET
from ppl_vae.plugins.discovery import available

MUTANTS = 200

SAME = 4
"""How many damaged files come from one valid file."""

SYNTHETIC = {"bars", "channel", "gaussians", "manifold", "rectangles", "sphere"}
"""Readers that read no file."""

THROUGH_OTHERS = {"mnist": "IDX/", "newsgroups": "MATLAB.tgz", "split_files": "FILE.svm", "one_file": "FILE.ldac"}
"""Readers whose files another reader reads, with its form."""


@pytest.fixture
def small_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ppl_vae.data.sizes.memory_budget", lambda: BUDGET)
    monkeypatch.setattr(siege, "BOMB", 0.0)  # they take seconds to make
    monkeypatch.setenv("PPL_VAE_DATA", "")


def repeated(make: Callable[[np.random.Generator], Case]) -> Callable[[np.random.Generator], Case]:
    """Each valid file several times, to be damaged otherwise: making some takes longer than reading them."""
    last: list[Case] = []

    def one(rng: np.random.Generator) -> Case:
        last.append(last[-1] if len(last) % SAME else make(rng))
        return last[-1]

    return one


@pytest.mark.parametrize("name", forms())
def test_damaged_files(name: str, tmp_path: Path, small_budget: None) -> None:
    form = forms()[name]
    if form.needs:
        pytest.importorskip(form.needs)
    count = MUTANTS // 10 if form.needs else MUTANTS
    if not form.needs:
        form = replace(form, make=repeated(form.make))
    outcomes = [judged(form, made(form, 1, number), tmp_path / "files", number) for number in range(count)]
    assert [outcome for outcome in outcomes if outcome.verdict in FAULTS] == []
    # The comparison is not empty, nor is the damage.
    verdicts = [outcome.verdict for outcome in outcomes]
    assert verdicts.count("read right") >= count // 40 and verdicts.count("refused") >= count // 10


def test_every_reader_is_under_siege() -> None:
    folder = Path(siege.__file__).parent / "forms"
    besieged = {file.stem for file in folder.glob("*.py")}
    missing = {name for name, plugin in available("readers", own=False).items() if plugin.shipped} - besieged
    assert missing == SYNTHETIC | set(THROUGH_OTHERS)
    assert set(THROUGH_OTHERS.values()) <= forms().keys()
