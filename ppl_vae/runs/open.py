"""Trained runs, opened to be measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from ppl_vae.data import Corpus, Data
from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.inputs import Batch, concatenate
from ppl_vae.evidence.tables import html_table
from ppl_vae.nn.checkpoint import Checkpoint
from ppl_vae.programs.random_state import positions, subsample
from ppl_vae.runs.card import card
from ppl_vae.runs.code import config_of, own_code
from ppl_vae.runs.config import OBJECT, RunConfig
from ppl_vae.runs.digests import changed_files
from ppl_vae.runs.measurements import Measurements
from ppl_vae.runs.pair import Pair
from ppl_vae.runs.state import RunState
from ppl_vae.runs.summary import Summary
from ppl_vae.training.progress import log
from ppl_vae.training.run_folder import RunFolder

if TYPE_CHECKING:
    from ppl_vae.evidence.plot import Plot

__all__ = ["Run", "objects_needed", "open_run"]


@dataclass(repr=False)
class Run(Measurements):
    """A trained pair with its data, configuration and results.

    Its methods are the commands of ``ppl-vae`` that take a run: ``run.gap()``, ``run.evidence("annealing")``, ...

    Arguments:
        run: Its folder.
        config: Its configuration, with the device it is measured on.
        pair: With the parameters of the best state.
        data: The data by split, on that device; after retraining, ``"train"`` holds the validation data too.
        corpus: Where they come from.
        state: The checkpoint that was read and the code that is run, by which measurements of them are known.

    Example:
        >>> run = load_run("runs/text-linear_counts")                     # doctest: +SKIP
        >>> measure(run.model, run.guide, run.data["test"]).evidence      # doctest: +SKIP
    """

    run: RunFolder
    config: RunConfig
    pair: Pair
    data: dict[str, Batch]
    corpus: Corpus
    state: RunState

    @property
    def folder(self) -> Path:
        """The folder of the run."""
        return self.run.folder

    @property
    def model(self) -> nn.Module:
        """The generative model, in its best state."""
        return self.pair.model

    @property
    def guide(self) -> nn.Module:
        """The guide, in its best state."""
        return self.pair.guide

    @property
    def summary(self) -> Summary | None:
        """The final table; None of a training that is not finished, or opened with code that it was not made with."""
        return Summary.of(self.run) if self.state.is_run else None

    @property
    def history(self) -> list[dict[str, float]]:
        """The metrics of each epoch, in nats per datum: ``epoch``, ``train_elbo``, ``validation_elbo``, ..."""
        return self.run.metrics(self.state.name.replace("-best", "-metrics"))

    def plot(self) -> Plot:
        """The course of training, and the gap of each split; a ValueError says so of a run without a final table."""
        from ppl_vae.evidence.plot import plot

        summary = self.summary
        if not self.state.is_run:
            raise ValueError(
                f"{self.folder} is opened with code that it was not trained with, and its final table is of the other; "
                f"pv.load_run({str(self.folder)!r}) opens it with its own, and run.evidence().plot() draws what this "
                "code measures"
            )
        if summary is None:
            raise ValueError(f"{self.folder} is not finished; pv.resume({str(self.folder)!r}) trains it on")
        return plot(lambda figure: summary.draw(figure, self.history), (9, 3.8))

    def __repr__(self) -> str:
        head, *lines = card(self)
        return "\n".join([f"Run {head[1]}", *(f"  {name:<10}{value}" for name, value in lines)])

    def _repr_html_(self) -> str:
        head, *lines = card(self)
        return html_table(f"run {head[1]}", ("", ""), lines)

    def split(self, split: str, count: int = 0) -> Batch:
        """One split, or a random sample of so many of its data.

        Raises:
            ValueError: If there is no such split, naming those there are.
        """
        if split not in self.data:
            raise ValueError(f"{self.run.folder} has no {split} data; choose from {', '.join(self.data)}")
        if count > len(self.data[split]):
            log(f"note: {split} has {len(self.data[split])} data, fewer than the {count} asked for: all are taken")
        rows = self.subsample(split, count)
        return self.data[split] if rows is None else self.data[split][rows.to(self.data[split].device)]

    def tensor(self, split: str, count: int = 0) -> torch.Tensor:
        """One split of tensors, or a random sample of it; a ValueError says so if the run's data are documents."""
        x = self.split(split, count)
        if not isinstance(x, torch.Tensor):
            raise ValueError(f"{self.run.folder} was trained on documents; give a run of tensors")
        return x

    def documents(self, split: str) -> PackedCounts:
        """One split of documents; a ValueError says so if the run's data are tensors."""
        x = self.split(split)
        if not isinstance(x, PackedCounts):
            raise ValueError(f"{self.run.folder} was trained on tensors; give a run of documents")
        return x

    def subsample(self, split: str, count: int) -> torch.Tensor | None:
        """Positions of a random sample of a split, the same every time, in ascending order; None is all of it."""
        return subsample(len(self.data[split]), count)

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
        names = ["train", "validation"] if split == "train" and "validation" not in self.data else [split]
        return [data for name, data in self.corpus.splits.items() if name in names]

    def name_worst(self, what: str, split: str, count: int, worst: list[int], values: torch.Tensor) -> None:
        """Says which data are worst, by title where the corpus has titles."""
        titles = self.titles(split)
        lines = []
        for i, row in zip(worst, positions(worst, self.subsample(split, count)), strict=True):
            lines.append(f"{titles[row] if titles else f'datum {row}'} ({values[i].item():.2f})")
        log(f"{what}: {', '.join(lines)}")
        if lines and not titles:
            first = positions(worst, self.subsample(split, count))[0]
            place = f"pv.load_run({str(self.folder)!r}).data[{split!r}][{first}]"
            log(f"note: data are numbered from 0 in the {split} data; in Python the first of these is {place}")


def open_run(
    folder: Path | str, pair: Pair | None = None, corpus: Corpus | None = None, code: Mapping[str, str] | None = None
) -> Run:
    """The pair of a run in its best state, and the data it was trained on.

    Arguments:
        folder: The folder of the run.
        pair: The pair as its training began with it, of a run that was trained on objects of a Python program; None
            builds that of another run from its configuration.
        corpus: The data, likewise.
        code: The digests of the pair that is given, by ``"model"`` and ``"guide"``; None takes the configuration's.

    Raises:
        ValueError: If the folder is no run, has no checkpoint yet, or its data or files have changed.
    """
    run = RunFolder.open(Path(folder))
    run.check_pair("give the run of a model")
    config = config_of(run)
    code = own_code(config) if code is None else code
    if not config.is_of_objects:
        corpus = config.load_corpus()
    elif pair is None or corpus is None:
        raise objects_needed(run, config)
    elif corpus.fingerprint != config.fingerprint:
        raise ValueError(f"the data given are not those that {run.folder} was trained on; give the same data")
    if config.device != "cpu" and not getattr(torch, config.device).is_available():
        log(f"note: this machine has no {config.device}, on which the run was trained: measuring on the cpu")
        config = replace(config, device="cpu")
    for name in changed_files(config):
        log(f"note: {name} has changed since the run began, or is gone; what was measured with it may differ")
    if run.summary is None:
        log("note: the run is not finished; its best state so far is measured")
    device = torch.device(config.device)
    splits = {str(name): data.values.to(device) for name, data in corpus.splits.items()}
    state = RunState.of(run, code)
    if state.name == "retrain-best":
        splits["train"] = concatenate([splits["train"], splits.pop("validation")])
    pair = pair or Pair.from_config(config, splits["train"], from_checkpoint=True)
    pair.model.to(device), pair.guide.to(device)
    while True:
        Checkpoint.into(run.checkpoint(state.name), pair.model, pair.guide)
        if (read := RunState.of(run, code)) == state:
            break
        state = read  # a training that goes on has written a better one meanwhile
    return Run(run, config, pair, {name: x for name, x in splits.items() if len(x)}, corpus, state)


def objects_needed(run: RunFolder, config: RunConfig) -> ValueError:
    """The error where a run of objects is opened without them."""
    names = " and ".join(choice.name.removesuffix(OBJECT) for choice in (config.model, config.guide))
    return ValueError(
        f"{run.folder} was trained on objects of a Python program, {names}: give them and the data again, in Python: "
        "pv.load_run(folder, model, guide, data), or pv.resume likewise"
    )
