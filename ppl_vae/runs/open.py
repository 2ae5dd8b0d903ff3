"""Trained runs, opened to be measured."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ppl_vae.data import Corpus, Data
from ppl_vae.data.counts import Batch, PackedCounts, concatenate
from ppl_vae.nn.checkpoint import Checkpoint
from ppl_vae.programs.random_state import positions, subsample
from ppl_vae.runs.config import RunConfig
from ppl_vae.runs.pair import Pair
from ppl_vae.training.progress import log
from ppl_vae.training.run_folder import Run

__all__ = ["TrainedRun", "open_run"]


@dataclass
class TrainedRun:
    """A run, ready to be measured.

    Arguments:
        run: Its folder.
        config: Its configuration, with the device it is measured on.
        pair: With the parameters of the best state.
        splits: The data by name; after retraining, ``train`` holds the validation data too.
        corpus: Where they come from.
        state: Digest of the checkpoint that was read, by which measurements of it are known.
    """

    run: Run
    config: RunConfig
    pair: Pair
    splits: dict[str, Batch]
    corpus: Corpus
    state: str

    def data(self, split: str, count: int = 0) -> Batch:
        """One split, or a random sample of it; a ValueError names the splits there are."""
        if split not in self.splits:
            raise ValueError(f"{self.run.folder} has no {split} data; choose from {', '.join(self.splits)}")
        rows = self.subsample(split, count)
        return self.splits[split] if rows is None else self.splits[split][rows.to(self.splits[split].device)]

    def tensor(self, split: str, count: int = 0) -> torch.Tensor:
        """One split of tensors, or a random sample of it; a ValueError says so if the run's data are documents."""
        x = self.data(split, count)
        if not isinstance(x, torch.Tensor):
            raise ValueError(f"{self.run.folder} was trained on documents; give a run of tensors")
        return x

    def documents(self, split: str) -> PackedCounts:
        """One split of documents; a ValueError says so if the run's data are tensors."""
        x = self.data(split)
        if not isinstance(x, PackedCounts):
            raise ValueError(f"{self.run.folder} was trained on tensors; give a run of documents")
        return x

    def subsample(self, split: str, count: int) -> torch.Tensor | None:
        """Positions of a random sample of a split, the same every time, in ascending order; None is all of it."""
        return subsample(len(self.splits[split]), count)

    def titles(self, split: str) -> tuple[str, ...] | None:
        """A name for each datum of a split, in its order; None if the corpus has none."""
        parts = [data.titles for data in self.corpus_splits(split)]
        known = [part for part in parts if part is not None]
        return tuple(title for part in known for title in part) if len(known) == len(parts) else None

    def labels(self, split: str) -> torch.Tensor | None:
        """Class of each datum of a split, ``(data,)``; None if the corpus has none."""
        parts = [data.labels for data in self.corpus_splits(split)]
        known = [part for part in parts if part is not None]
        return torch.cat(known) if len(known) == len(parts) else None

    def corpus_splits(self, split: str) -> list[Data]:
        """The splits of the corpus whose data stand behind one of the run's."""
        names = ["train", "validation"] if split == "train" and "validation" not in self.splits else [split]
        return [data for name, data in self.corpus.splits.items() if name in names]

    def name_worst(self, what: str, split: str, count: int, worst: list[int], values: torch.Tensor) -> None:
        """Says which data are worst, by title where the corpus has titles."""
        titles = self.titles(split)
        lines = []
        for i, row in zip(worst, positions(worst, self.subsample(split, count)), strict=True):
            lines.append(f"{titles[row] if titles else f'datum {row}'} ({values[i].item():.2f})")
        log(f"{what}: {', '.join(lines)}")


def open_run(folder: Path) -> TrainedRun:
    """The pair of a run in its best state, and the data it was trained on.

    Raises:
        ValueError: If the folder is no run, has no checkpoint yet, or its data or files have changed.
    """
    run = Run.open(folder)
    run.check_pair("give the run of a model")
    config = RunConfig.of(run)
    corpus = config.load_corpus()
    if config.device != "cpu" and not getattr(torch, config.device).is_available():
        log(f"note: this machine has no {config.device}, on which the run was trained: measuring on the cpu")
        config = replace(config, device="cpu")
    if run.summary is None:
        log("note: the run is not finished; its best state so far is measured")
    device = torch.device(config.device)
    splits = {str(name): data.values.to(device) for name, data in corpus.splits.items()}
    name, state = run.best_state()
    if name == "retrain-best":
        splits["train"] = concatenate([splits["train"], splits.pop("validation")])
    pair = Pair.from_config(config, splits["train"], from_checkpoint=True)
    pair.state = Checkpoint.into(run.checkpoint(name), pair.model, pair.guide).digest
    return TrainedRun(run, config, pair, {name: x for name, x in splits.items() if len(x)}, corpus, state)
