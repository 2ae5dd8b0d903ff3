"""Data that stay on the disk: what is random in their order, and training that holds no more than a window of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

import ppl_vae as pv
from ppl_vae.data import Source, SourceSplit, load_corpus
from ppl_vae.data.inputs import Batch, Inputs
from ppl_vae.data.packed import mapped
from ppl_vae.data.packed.mapped import MappedTensor
from ppl_vae.data.packed.stored import StoredArray
from ppl_vae.data.source import numbered_words
from ppl_vae.training import order
from ppl_vae.training.order import batches, window_blocks

DATA = 2005

COUNT = 25_000
"""More than any block in which data are looked at."""


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Batch:
    """Positions and documents of so many words, in blocks of 8 of which 16 are held."""
    monkeypatch.setattr(order, "BLOCK", 8)
    monkeypatch.setattr(order, "BLOCKS", 16)
    place = np.arange(DATA, dtype=np.float32)
    source = SourceSplit({"x": place, "y": np.arange(DATA)})
    few = SourceSplit({"x": place[:9], "y": np.arange(9)})
    pv.pack([Source({"train": source, "validation": few, "test": few})], tmp_path / "p")
    return load_corpus(str(tmp_path / "p")).train.values


@pytest.mark.parametrize("size", [1, 32, 50, 3000])
def test_every_datum_comes_once_in_batches_of_one_size(train: Inputs, size: int) -> None:
    parts = list(batches(train, size, seed=3))
    assert [len(part) for part in parts] == [min(size, DATA - start) for start in range(0, DATA, size)]
    seen = torch.cat([part.kwargs["x"] for part in parts])
    assert torch.equal(seen.sort().values, torch.arange(DATA).float())
    assert torch.equal(seen.long(), torch.cat([part.kwargs["y"] for part in parts]))
    again, other = (torch.cat([p.kwargs["x"] for p in batches(train, size, seed)]) for seed in (3, 4))
    assert torch.equal(seen, again) and not torch.equal(seen, other)


def test_the_mean_of_a_batch_varies_as_a_sample_of_blocks_does(train: Inputs) -> None:
    blocks, held, size, per_block = 250, 16, 32, 8
    value = torch.randn(blocks, generator=torch.Generator().manual_seed(0)).repeat_interleave(per_block)
    value = (value - value.mean()) / value.std(correction=0)  # correlation 1 within a block: the worst data
    means = [
        value[part.kwargs["y"]].mean()
        for seed in range(40)
        for part in batches(train[: blocks * per_block] if seed < 0 else train, size, seed)
        if len(part) == size and part.kwargs["y"].max() < blocks * per_block
    ]
    same = (per_block - 1) / (held * per_block - 1)  # the probability that two data of a window share a block
    expected = 1 + (size - 1) * (same - (1 - same) / (blocks - 1))
    ratio = torch.stack(means).square().mean().item() * size
    assert abs(ratio / expected - 1) < 4 * (2 / len(means)) ** 0.5
    assert expected < 1 + (size - 1) / held  # as the docstring says


def test_data_that_fit_a_window_have_the_order_of_those_in_memory(tmp_path: Path) -> None:
    pv.pack("gaussians", tmp_path / "p")
    train, memory = (load_corpus(name).train.values for name in (str(tmp_path / "p"), "gaussians"))
    assert isinstance(train, MappedTensor) and window_blocks(train) == 256
    for one, other in zip(batches(train, 700, 1), batches(memory, 700, 1), strict=True):
        assert type(one) is torch.Tensor and torch.equal(one, other)


def test_wide_data_are_held_in_fewer_blocks(tmp_path: Path) -> None:
    pv.pack([Source({"train": SourceSplit(np.zeros((20, 3, 64, 64), np.float32))})], tmp_path / "p")
    assert window_blocks(load_corpus(str(tmp_path / "p")).train.values) == 2**26 // (256 * 4 * 3 * 64 * 64)


@pytest.mark.parametrize("documents", [True, False])
def test_training_is_that_in_memory_and_holds_a_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, documents: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    if documents:
        counts = csr_matrix(rng.poisson(0.5, (COUNT, 5)) + np.eye(5, dtype=int)[np.arange(COUNT) % 5])
        source = Source({"train": SourceSplit(counts)}, numbered_words(range(5)))
        pair, options = ("text", "linear_counts"), {"bits": 1}
    else:
        source = Source({"train": SourceSplit(rng.normal(size=(COUNT, 3)).astype(np.float32))})
        pair, options = ("ppca", "mean_field"), {"guide_width": 4}
    pv.pack([source], "p")
    memory = load_corpus("p")
    in_memory = type(memory)(
        "m", {n: type(d)(d.values[:]) for n, d in memory.splits.items()}, vocabulary=memory.vocabulary
    )
    model, guide = pair
    options |= {"epochs": 1, "batch_size": 4000, "evidence_data": 10}
    both = [pv.train(model, guide, data, out=out, **options) for data, out in (("p", "a"), (in_memory, "b"))]
    rows = [[{k: v for k, v in row.items() if "second" not in k} for row in run.history] for run in both]
    assert rows[0] == rows[1] and both[0].summary.splits["test"].facts() == both[1].summary.splits["test"].facts()
    monkeypatch.setattr(order, "BLOCK", 8)
    monkeypatch.setattr(order, "BLOCKS", 4)
    monkeypatch.setattr(mapped, "_NUMBERS", 2**12)
    monkeypatch.setattr(mapped, "_AT_ONCE", 2**10)
    monkeypatch.setattr(mapped, "_whole", lambda array: pytest.fail(f"all of {array.path.name} is read"))
    read = StoredArray.__getitem__
    largest = 0

    def watched(self: StoredArray, rows: slice | np.ndarray) -> np.ndarray:
        nonlocal largest
        values = read(self, rows)
        if self.path.name in ("train.offsets.npy", "train.field-x.npy"):
            largest = max(largest, len(values))
        return values

    monkeypatch.setattr(StoredArray, "__getitem__", watched)
    pv.train(model, guide, "p", out="c", **options)
    assert 2**10 <= largest <= 2**14 + 1
